"""Colours that everybody can read."""

from itertools import pairwise

import pytest

from brickctl.pages.colours import LINES, MORE, STEPS, contrast, named, palette, resolved

TEXT, MARK = 4.5, 3.0  # what WCAG 2.2 asks for, of text and of marks


@pytest.mark.parametrize("dark", [False, True])
def test_text_can_be_read_on_the_page_and_in_every_cell(*, dark: bool) -> None:
    colours = palette(dark=dark)
    for name in ("ink", "muted"):
        assert contrast(colours[name], colours["surface"]) >= TEXT
    for name in colours:
        if f"on-{name}" in colours:
            assert contrast(colours[name], colours[f"on-{name}"]) >= TEXT, name


@pytest.mark.parametrize("dark", [False, True])
def test_lines_stand_out_from_the_page(*, dark: bool) -> None:
    colours = palette(dark=dark)
    for at in range(LINES):
        assert contrast(colours[f"line-{at}"], colours["surface"]) >= MARK


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(("ramp", "steps"), [("ramp", STEPS), ("more", MORE)])
def test_much_is_further_from_the_page_than_little(ramp: str, steps: int, *, dark: bool) -> None:
    colours = palette(dark=dark)
    found = [contrast(colours[f"{ramp}-{at}"], colours["surface"]) for at in range(steps)]
    assert found == sorted(found)
    assert min(after / before for before, after in pairwise(found)) > 1.1


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_light_and_dark_have_the_same_names() -> None:
    assert list(palette(dark=False)) == list(palette(dark=True))


def test_only_names_of_colours_are_resolved() -> None:
    assert resolved(named("ink")) == palette(dark=False)["ink"]
    assert resolved("translate(0,0)") == "translate(0,0)"

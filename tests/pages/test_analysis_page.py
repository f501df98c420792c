"""The page as a whole: it is well formed, says what is measured, loads nothing, and believes nobody."""

from __future__ import annotations

import re
import struct
import sys
from itertools import pairwise
from typing import Any

import pytest

from brickctl.errors import Unsupported
from brickctl.pages.analysis import page, pictures
from brickctl.pages.rendering import MOST_ROWS
from brickctl.pages.sections import sections
from tests.support.analyses import BRICKS, LABELS, analysis
from tests.support.markup import Element, read

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src="http://127.0.0.1:9/x" onerror="alert(1)">',
    "' onload='alert(1)",
    "</svg></style><h1>mine</h1>",
    "{{ 7 * 7 }}{% raw %}",
    "var(--ink)",
    "&lt;b&gt;]]><!--",
)
ELEMENTS_OF_DRAWINGS = {"g", "path", "line", "rect", "text"}
ATTRIBUTES_OF_DRAWINGS = {
    *(
        "transform",
        "d",
        "x",
        "y",
        "x1",
        "x2",
        "y1",
        "y2",
        "dx",
        "dy",
        "width",
        "height",
        "text-anchor",
        "opacity",
        "display",
    ),
    *("fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-miterlimit", "stroke-opacity", "fill-opacity"),
    *("font-family", "font-size", "font-weight", "xml:space"),
}
LARGEST = 2_000_000
SMALL = analysis(layers=2, labels=("a", "b"))


def headings(root: Element) -> list[Element]:
    return list(root.all("h1", "h2", "h3", "h4"))


def test_headings_go_down_one_step_at_a_time(whole: str) -> None:
    levels = [int(one.name[1]) for one in headings(read(whole))]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert max(after - before for before, after in pairwise(levels)) == 1


def test_the_contents_lead_to_every_section(whole: str) -> None:
    root = read(whole)
    (nav,) = root.all("nav")
    links = [one.attributes["href"] for one in nav.all("a")]
    assert links == ["#measured", *(f"#{section.name}" for section in sections(analysis()))]
    ids = [one.attributes["id"] for one in root.all() if "id" in one.attributes]
    assert len(ids) == len(dict.fromkeys(ids))
    for one in root.all():
        for target in (one.attributes.get("href", "")[1:], one.attributes.get("aria-labelledby", "")):
            assert not target or target in ids or one.name == "link"


def test_every_plot_is_named_and_has_its_numbers(whole: str) -> None:
    root = read(whole)
    for article in root.all("article"):
        plots = list(article.all("svg"))
        assert plots
        for plot in plots:
            assert plot.attributes["role"] == "img"
            assert len(plot.attributes["aria-label"]) > 20
        (details,) = article.all("details")
        assert next(details.all("td")).text.strip()
    assert all(
        one.attributes.get("tabindex") == "0" for one in root.all("div") if one.attributes.get("class") == "scroll"
    )


def test_what_was_measured_stands_above(whole: str) -> None:
    (measured,) = (one for one in read(whole).all("section") if one.attributes.get("id") == "measured")
    for words in (
        "LlamaForCausalLM",
        "7ef915c9bf9d94d8",
        "3f6ad0c54b8cf6f3",
        "134,515,008",
        "20,000",
        "23 min",
        *LABELS,
    ):
        assert words in measured.text.replace("\N{NO-BREAK SPACE}", " ")


def test_labels_and_bricks_stand_in_the_plots(whole: str) -> None:
    texts = " ".join(one.text for one in read(whole).all("text"))
    for name in (*LABELS, *BRICKS):
        assert name in texts


def test_it_loads_and_runs_nothing(whole: str) -> None:
    root = read(whole)
    policy = next(one for one in root.all("meta") if one.attributes.get("http-equiv") == "Content-Security-Policy")
    assert policy.attributes["content"] == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert not list(root.all("script", "img", "iframe", "object", "embed", "use", "image", "a:href", "form"))
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", whole)
    assert all(not name.startswith("on") for one in root.all() for name in one.attributes)


def renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {names.get(key, key): renamed(part, names) for key, part in value.items()}
    if isinstance(value, list):
        return [renamed(part, names) for part in value]
    return names.get(value, value) if isinstance(value, str) else value


def hostile() -> dict[str, Any]:
    """Every name that comes from outside is hostile."""
    names = (*LABELS, *BRICKS, "SmolLM2-135M-Instruct", "prompts.jsonl", "kmeans", "oracle", "seed", "bfloat16")
    document = renamed(
        analysis(layers=2),
        {name: f"{HOSTILE[at % len(HOSTILE)]} {at}" for at, name in enumerate(names)},
    )
    assert isinstance(document, dict)
    return document


def test_names_from_outside_are_text_and_nothing_else() -> None:
    text = page(hostile())
    root, honest = read(text), read(page(analysis(layers=2)))
    assert {one.name for one in root.all()} == {one.name for one in honest.all()}
    names = {name for one in root.all() for name in one.attributes}
    assert names == {name for one in honest.all() for name in one.attributes}
    assert "{{ 7 * 7 }}" in root.text
    for one in HOSTILE:
        assert one in root.text


def test_a_hostile_name_does_not_spoil_a_picture() -> None:
    found = pictures({"schema": 1, "perturbation": hostile()["perturbation"]})
    assert [content[:4] for content in found.values()] == [b"\x89PNG"]


def test_a_drawing_is_made_of_shapes_and_text_alone(whole: str) -> None:
    for drawing in read(whole).all("svg"):
        assert {one.name for one in drawing.all()} <= ELEMENTS_OF_DRAWINGS
        assert {key for one in drawing.all() for key in one.attributes} <= ATTRIBUTES_OF_DRAWINGS


def test_colours_of_drawings_are_those_of_the_style_sheet(whole: str) -> None:
    """So that they change with light and dark."""
    shades = [
        shade
        for drawing in read(whole).all("svg")
        for one in drawing.all()
        for key in ("fill", "stroke")
        if (shade := one.attributes.get(key)) is not None
    ]
    assert {shade for shade in shades if not shade.startswith("var(--")} <= {"none", "transparent"}
    assert all(f"{shade[4:-1]}: #" in whole for shade in shades if shade.startswith("var("))


@pytest.mark.parametrize("name", ["sparsity", "specialisation", "partition", "perturbation", "bricks", "split"])
def test_every_section_makes_a_page_alone(name: str) -> None:
    root = read(page({"schema": 1, name: SMALL[name]}))
    assert [one.attributes["href"] for one in next(root.all("nav")).all("a")] == ["#measured", f"#{name}"]
    assert list(root.all("svg"))


def test_nothing_measured_is_said() -> None:
    root = read(page({"schema": 1}))
    assert "no section that a figure could be made of" in root.text
    assert not list(root.all("svg"))
    assert pictures({"schema": 1}) == {}


def test_equal_documents_give_equal_bytes() -> None:
    document = {"schema": 1, "specialisation": SMALL["specialisation"], "partition": SMALL["partition"]}
    first = page(document), pictures(document)
    page({"schema": 1, "split": SMALL["split"]})  # the library counts what it draws
    assert (page(document), pictures(document)) == first


def test_a_mixture_of_many_experts_stays_small() -> None:
    document = analysis(layers=32, labels=(*LABELS, "ethics", "writing"), experts=8)
    text = page(document)
    assert len(text.encode()) < LARGEST
    longest = max(len(list(table.all("tr"))) for table in read(text).all("table"))
    assert longest == MOST_ROWS + 1
    rows = 32 * 8 * 7
    assert f"{rows - MOST_ROWS:,} further rows" in text


def test_each_figure_has_a_picture() -> None:
    found = pictures(SMALL)
    names = [f"{figure.name}.png" for section in sections(SMALL) for figure in section.figures]
    assert list(found) == names
    for content in found.values():
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", content[16:24])
        assert 300 < width < 4000
        assert 300 < height < 4000


@pytest.mark.parametrize("package", ["vl_convert", "jinja2"])
def test_a_missing_package_is_named_with_its_extra(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(Unsupported) as refusal:
        page(SMALL)
    assert str(refusal.value) == (
        "a report needs more packages\n"
        f"  cause: the package `{package}` is missing\n"
        "hint: `pip install 'brickctl[report]'`"
    )

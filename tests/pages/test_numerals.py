"""Numbers as people read them."""

import pytest

from brickctl.pages.numerals import change, decimal, duration, listed, middle, percent, short_change


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.1132, "11 %"), (0.05, "5 %"), (0.0045, "0.45 %"), (1.0, "100 %"), (0.0, "0 %"), (1e-9, "0 %"), (None, "-")],
)
def test_a_share_has_two_digits_that_count(share: float | None, text: str) -> None:
    assert percent(share).replace("\N{NO-BREAK SPACE}", " ") == text.replace("-", "\N{EN DASH}")


@pytest.mark.parametrize(("value", "text"), [(704.2, "+704 %"), (-3.1, "-3.1 %"), (0, "+0 %"), (12345.6, "+12,346 %")])
def test_a_change_has_its_sign(value: float, text: str) -> None:
    shown = change(value).replace("\N{NO-BREAK SPACE}", " ").replace("\N{MINUS SIGN}", "-")
    assert shown == text


def test_numbers_of_any_size_stay_short() -> None:
    for value in (1e300, -1e300, float("inf"), 1e6, 999_999.9):
        assert max(len(change(value)), len(short_change(value)), len(decimal(value)), len(percent(value))) <= 14


def test_what_is_rounded_to_zero_has_no_sign() -> None:
    assert (short_change(-0.03), short_change(-0.06)) == ("0.0", "\N{MINUS SIGN}0.1")


@pytest.mark.parametrize(("seconds", "text"), [(8.2, "8.2 s"), (0, "0 s"), (200, "3 min 20 s"), (3900, "1 h 5 min")])
def test_times_are_in_units_of_their_size(seconds: float, text: str) -> None:
    assert duration(seconds).replace("\N{NO-BREAK SPACE}", " ") == text


def test_what_is_not_known_has_no_part_in_the_median() -> None:
    assert middle([None, 1.0, 3.0, None, 2.0]) == 2.0
    assert middle([None]) is None


def test_names_are_listed_as_in_a_sentence() -> None:
    assert listed(["French"]) == "French"
    assert listed(["French", "code", "prose"]) == "French, code and prose"

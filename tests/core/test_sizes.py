from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brickctl.core.sizes import format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("5GB", 5_000_000_000),
        ("5GiB", 5_368_709_120),
        ("1.5 GB", 1_500_000_000),
        ("512B", 512),
        ("0.5KiB", 512),
        ("100MB", 100_000_000),
        ("1TB", 1_000_000_000_000),
    ],
)
def test_gb_is_a_power_of_ten_and_gib_a_power_of_two(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "5", "GB", "5gb", "5 G", "-5GB", "1e3B", "0.3B", "5GB ", "5  GB", "999999999TB", "\u0665GB"]
)
def test_what_is_not_a_whole_number_of_bytes_is_none(text: str) -> None:
    assert parse_size(text) is None


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (861, "861 B"),
        (1000, "1.00 kB"),
        (228_352, "228 kB"),
        (9_994, "9.99 kB"),
        (9_996, "10.0 kB"),
        (269_060_552, "269 MB"),
    ],
)
def test_sizes_for_people_have_three_digits_that_count(size: int, text: str) -> None:
    assert format_size(size) == text


@given(st.text(max_size=12))
def test_any_text_is_a_size_or_none(text: str) -> None:
    size = parse_size(text)
    assert size is None or size >= 0

"""Names: which paths are safe to follow and to show."""

import pytest

from brickctl.core.names import is_safe_path


@pytest.mark.parametrize("path", ["config.json", "a/b/c.json", "vocab \u00e9\u4e2d.json", "...", "-x", "a" * 1024])
def test_paths_that_stay_inside_and_read_as_they_are(path: str) -> None:
    assert is_safe_path(path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/a",
        "a//b",
        "a/",
        "./a",
        "a/../b",
        "..",
        "a\\b",
        "c:a",
        "a" * 1025,
        "a\nb",
        "a\x1b[31m",
        "a\x7f",
        "a\x9b31m",
        "a\u202egpj.json",
        "a\u2066b",
        "a\u00a0b",
        "a\u200bb",
        "a\ud800",
    ],
    ids=ascii,
)
def test_paths_that_leave_or_mislead(path: str) -> None:
    assert not is_safe_path(path)

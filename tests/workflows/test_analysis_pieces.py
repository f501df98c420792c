"""Pieces of analyses are found by what they follow from, or made again."""

from pathlib import Path

import pytest

from brickctl.workflows.analysis_pieces import Pieces

KEY = {"measurement": "masked", "share": 0.5, "model": "a" * 64}


@pytest.fixture
def pieces(tmp_path: Path) -> Pieces:
    return Pieces(tmp_path / "pieces")


def fail() -> None:
    pytest.fail("it is made again")


def test_a_piece_is_made_once(pieces: Pieces) -> None:
    assert pieces.get(KEY) is None
    assert pieces.made(KEY, lambda: {"loss": 1.25}) == {"loss": 1.25}
    assert pieces.made(KEY, fail) == {"loss": 1.25}


def test_another_key_is_another_piece(pieces: Pieces) -> None:
    pieces.keep(KEY, 1)
    assert pieces.get({**KEY, "share": 0.25}) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"[1]", b'{"key": {}, "value": 3}', b"\xff"])
def test_a_piece_that_is_damaged_or_of_another_key_is_made_again(
    pieces: Pieces, tmp_path: Path, content: bytes
) -> None:
    pieces.keep(KEY, 1)
    (path,) = (tmp_path / "pieces").iterdir()
    path.write_bytes(content)
    assert pieces.made(KEY, lambda: 2) == 2


def test_a_number_that_is_none_is_not_stored(pieces: Pieces, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        pieces.keep(KEY, float("nan"))
    assert not (tmp_path / "pieces").exists()

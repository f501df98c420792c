"""Pieces of analyses are found by what they follow from, or made again."""

from pathlib import Path

import pytest

from brickctl.workflows.analyzing.pieces import Pieces, outlived

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


def test_what_no_last_analysis_rests_on_is_outlived(tmp_path: Path) -> None:
    folder = tmp_path / "pieces"
    for name, share in (("one", 0.1), ("one", 0.2), ("other", 0.3)):
        pieces = Pieces(folder)
        pieces.made({**KEY, "share": share}, lambda: 1)
        pieces.mark(name)
    (folder / "models").mkdir()

    (path,) = outlived(folder)

    path.unlink()
    assert Pieces(folder).get({**KEY, "share": 0.1}) is None
    assert all(Pieces(folder).get({**KEY, "share": share}) == 1 for share in (0.2, 0.3))


@pytest.mark.parametrize("mark", [None, b"{", b"[]", b'{"pieces": 7}', b'{"pieces": [[]]}'])
def test_nothing_is_outlived_where_nobody_knows_what_is_needed(tmp_path: Path, mark: bytes | None) -> None:
    folder = tmp_path / "pieces"
    pieces = Pieces(folder)
    pieces.made(KEY, lambda: 1)
    if mark is not None:
        pieces.mark("one")
        pieces.made({**KEY, "share": 0.1}, lambda: 1)
        next(folder.glob("last-*")).write_bytes(mark)
    assert outlived(folder) == ()

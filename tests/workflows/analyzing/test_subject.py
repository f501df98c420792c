"""Models that are analysed, and what tells them apart."""

import os
from pathlib import Path

from brickctl.workflows.analyzing.pieces import Pieces, outlived
from brickctl.workflows.analyzing.subject import folder_subject
from tests.support.projects import Listener


def test_analyses_of_folders_with_one_name_are_all_needed(tmp_path: Path) -> None:
    for number, parent in enumerate(("one", "other")):
        (tmp_path / parent / "model").mkdir(parents=True)
        (tmp_path / parent / "model/config.json").write_text("{}")
        subject = folder_subject(tmp_path / parent / "model", Listener())
        pieces = Pieces(tmp_path / "pieces")
        pieces.made({"number": number}, lambda: 1)
        pieces.mark(subject.identity)
        assert subject.name == "model"
    assert len(list((tmp_path / "pieces").glob("last-*"))) == 2
    assert outlived(tmp_path / "pieces") == ()


def test_a_folder_may_have_a_name_that_is_no_text(tmp_path: Path) -> None:
    pieces = Pieces(tmp_path)
    pieces.made({"number": 1}, lambda: 1)
    pieces.mark(os.fsdecode(b"/models/\xff"))
    assert outlived(tmp_path) == ()

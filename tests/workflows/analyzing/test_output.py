"""The folder of an analysis is written whole, and never one that holds something else."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest

from brickctl.errors import Unsupported, UsageFault
from brickctl.pages import analysis as pages
from brickctl.workflows.analyzing.output import check_output, finite, write_analysis
from tests.support.analyses import analysis
from tests.support.projects import Listener

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def document() -> dict[str, Any]:
    """A document with the sections that are drawn fastest."""
    whole = analysis(layers=2, labels=("code", "french"))
    measured = ("sparsity", "specialisation", "perturbation", "split")
    return {name: value for name, value in whole.items() if name not in measured}


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_folder_gets_the_document_and_its_page(tmp_path: Path, document: dict[str, Any]) -> None:
    folder = tmp_path / "analysis" / "base"
    assert write_analysis(folder, document, Listener(), png=False) == ("analysis.json", "report.html")
    assert json.loads((folder / "analysis.json").read_text()) == document
    assert (folder / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert names(folder) == ["analysis.json", "report.html"]


def test_pictures_come_where_they_are_asked_for_and_go_where_they_are_not(
    tmp_path: Path, document: dict[str, Any]
) -> None:
    written = write_analysis(tmp_path, document, Listener(), png=True)
    pictures = [path for path in written if path.startswith("plots/")]
    assert pictures
    assert all((tmp_path / path).read_bytes().startswith(b"\x89PNG") for path in pictures)
    write_analysis(tmp_path, document, Listener(), png=False)
    assert names(tmp_path) == ["analysis.json", "report.html"]


def test_there_is_no_folder_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageFault, match="cannot be a folder") as refused:
        check_output(tmp_path / "file" / "analysis")
    assert refused.value.causes == (f"{tmp_path / 'file'} is a file, and no folder",)


def test_equal_documents_give_equal_files(tmp_path: Path, document: dict[str, Any]) -> None:
    for name in ("one", "other"):
        write_analysis(tmp_path / name, document, Listener(), png=True)
    for path in names(tmp_path / "one"):
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "other" / path).read_bytes()


def test_without_the_packages_that_draw_there_is_the_document_and_a_warning(
    tmp_path: Path, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_: object) -> str:
        raise Unsupported("a report needs more packages", hint="`pip install 'brickctl[report]'`")

    monkeypatch.setattr(pages, "page", missing)
    events = Listener()
    assert write_analysis(tmp_path, document, events, png=False) == ("analysis.json",)
    (told,) = events.warnings
    assert told.startswith("there is no report.html: a report needs more packages; `pip install 'brickctl[report]'`")


def strange_file(folder: Path) -> None:
    (folder / "thesis.txt").write_text("years of work")


def strange_picture(folder: Path) -> None:
    (folder / "plots").mkdir(exist_ok=True)
    (folder / "plots" / "me.jpg").write_text("years of work")


def strange_document(folder: Path) -> None:
    (folder / "analysis.json").write_text('{"years": "of work"}')


def strange_page(folder: Path) -> None:
    (folder / "analysis.json").unlink()


def link(folder: Path) -> None:
    (folder / "report.html").unlink()
    (folder / "report.html").symlink_to("../elsewhere.html")


@pytest.mark.parametrize("spoil", [strange_file, strange_picture, strange_document, strange_page, link])
def test_a_folder_with_something_else_in_it_is_refused_and_stays_as_it_is(
    spoil: Any, tmp_path: Path, document: dict[str, Any]
) -> None:
    folder = tmp_path / "base"
    write_analysis(folder, document, Listener(), png=False)
    spoil(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}
    with pytest.raises(UsageFault, match="will not be written into"):
        write_analysis(folder, document, Listener(), png=False)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("place", ["base", "base/plots"])
def test_nothing_is_written_through_a_link(place: str, tmp_path: Path, document: dict[str, Any]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).symlink_to(tmp_path / "mine")
    with pytest.raises(UsageFault, match="will not be used"):
        write_analysis(tmp_path / "base", document, Listener(), png=True)
    assert not list((tmp_path / "mine").iterdir())


def test_an_empty_folder_and_one_that_is_not_there_are_ours(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    check_output(tmp_path / "empty")
    check_output(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_what_a_killed_process_left_half_written_is_in_nobodys_way(tmp_path: Path, document: dict[str, Any]) -> None:
    (tmp_path / ".brickctl-new-abc").write_text("{")
    check_output(tmp_path)
    write_analysis(tmp_path, document, Listener(), png=False)
    check_output(tmp_path)


def test_floats_that_are_none_are_null() -> None:
    assert finite({"a": [1.5, math.nan, (math.inf, 2)], "b": "NaN"}) == {"a": [1.5, None, [None, 2]], "b": "NaN"}

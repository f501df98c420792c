"""A project that came from elsewhere: links in it lead no write and no removal out of it."""

import multiprocessing
from pathlib import Path

import pytest

from brickctl.errors import UsageFault
from brickctl.tensors.executor import Budget
from brickctl.workflows import files
from brickctl.workflows.lock import LockMode
from brickctl.workflows.replace import Workbench
from brickctl.workflows.verify import verify_artifact
from tests.support.projects import Listener, build_targets, opened, starter_project

BUDGET = Budget(threads=1)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return starter_project(tmp_path, monkeypatch)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder of the user, outside of the project."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    return folder


def build(project: Path) -> Path:
    (built,) = build_targets(opened(project), ["assistant"], LockMode.REFRESH, BUDGET)
    return built.folder


PARTS = [
    "dist",
    "dist/assistant",
    "dist/.assistant.brickctl",
    "dist/.assistant.brickctl/new",
    "dist/.assistant.brickctl/journal",
    "dist/.assistant.brickctl/old",
    "dist/.assistant.lock",
]


@pytest.mark.parametrize("part", PARTS)
def test_a_link_in_the_place_of_a_folder_that_is_written_is_refused(project: Path, mine: Path, part: str) -> None:
    place = project / part
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(mine)

    with pytest.raises(UsageFault, match="will not be used") as refused:
        build(project)

    assert "link" in refused.value.causes[0]
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]
    assert (mine / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("name", ["vocab.txt", "config.json", "README.md", "brick.build.json", "model.safetensors"])
def test_a_link_on_the_workbench_is_removed_and_what_it_leads_to_stays(project: Path, mine: Path, name: str) -> None:
    bench = Workbench(project / "dist" / "assistant")
    bench.new.mkdir(parents=True)
    for place in (bench.new / name, bench.new / f"{name}.partial"):
        place.symlink_to(mine / "thesis.txt")

    folder = build(project)

    assert (mine / "thesis.txt").read_text() == "years of work"
    assert not any(path.is_symlink() for path in folder.rglob("*"))


def test_a_linked_folder_on_the_workbench_is_removed_and_what_it_leads_to_stays(project: Path, mine: Path) -> None:
    bench = Workbench(project / "dist" / "assistant")
    bench.new.mkdir(parents=True)
    (bench.new / "adapters").symlink_to(mine)

    build(project)

    assert (mine / "thesis.txt").read_text() == "years of work"


def test_the_cache_of_a_project_is_no_link(project: Path, mine: Path) -> None:
    (project / ".brickctl").symlink_to(mine)

    with pytest.raises(UsageFault, match=r"\.brickctl will not be used"):
        _ = opened(project).caches

    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]


def test_every_folder_of_an_artifact_is_flushed_before_it_stands(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    flush = files.flush

    def remember(folder: Path) -> None:
        flushed.append(folder.name)
        flush(folder)

    monkeypatch.setattr(files, "flush", remember)
    build_targets(opened(project), ["bundle"], LockMode.REFRESH, BUDGET)

    assert {"new", "adapters", "reverse", "odd"} <= set(flushed)


def _build_often(project: Path, outcomes: "multiprocessing.Queue[str]") -> None:
    for _ in range(4):
        try:
            build_targets(opened(project), ["sorter"], LockMode.LOCKED, BUDGET, force=True)
        except BaseException as error:  # noqa: BLE001 - it is told to the test
            outcomes.put(repr(error))
        else:
            outcomes.put("built")


def test_three_processes_at_one_artifact_wait_for_one_another(project: Path) -> None:
    build_targets(opened(project), ["sorter"], LockMode.REFRESH, BUDGET)
    context = multiprocessing.get_context("fork")
    outcomes: multiprocessing.Queue[str] = context.Queue()
    processes = [context.Process(target=_build_often, args=(project, outcomes)) for _ in range(3)]
    for process in processes:
        process.start()
    told = [outcomes.get(timeout=120) for _ in range(12)]
    for process in processes:
        process.join()

    assert set(told) == {"built"}
    verify_artifact(project / "dist" / "sorter", Listener())
    assert [path.name for path in (project / "dist").iterdir()] == ["sorter"]

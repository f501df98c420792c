"""Derived bricks that are made again, as their files are gone or to compare, and what is said of other bytes."""

import shutil
from pathlib import Path

import pytest

from brickctl.core.lock import same_entry
from brickctl.errors import LockStale, NotFound, NotReproducible
from brickctl.workflows.derive import check
from brickctl.workflows.install import install
from brickctl.workflows.lock import LockMode
from tests.support import scaling
from tests.support.loud_projects import append, built, loud_project, made, work
from tests.support.projects import Listener, opened


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return loud_project(tmp_path, monkeypatch)


def test_only_what_is_named_is_made_again_and_compared(project: Path) -> None:
    append(project, '[derived.other]\nop = "scale"\nlines = "data/lines.txt"\nfactor = 3.0\n')
    made(project, "loud")

    assert [moved for _, moved in check(opened(project), ["loud"], work())] == [()]
    with pytest.raises(LockStale, match="`other` was never made"):
        list(check(opened(project), [], work()))


def test_a_comparison_with_nothing_does_not_begin(project: Path) -> None:
    first = made(project)["loud"]
    assert first.folder is not None
    shutil.rmtree(first.folder)
    scaling.BEGUN.clear()

    with pytest.raises(NotFound, match="the files of `loud` are not on this machine"):
        list(check(opened(project), [], work()))
    assert not scaling.BEGUN.is_set()


def test_making_a_brick_again_says_what_moved(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(project)
    assert [moved for _, moved in check(opened(project), [], work())] == [()]

    monkeypatch.setitem(scaling.NOISE, "floats", 5e-4)
    ((_, (moved,)),) = check(opened(project), ["loud"], work())
    assert moved.name == "model.norm.weight"
    assert moved.distance == pytest.approx(5e-4, rel=0.05)

    monkeypatch.setitem(scaling.NOISE, "floats", 0.01)
    text = (project / "brick.lock").read_bytes()
    with pytest.raises(NotReproducible, match="`loud` is not what its recipe makes") as far:
        list(check(opened(project), [], work()))
    assert far.value.causes[0] == "`model.norm.weight` is 0.01 of its largest value apart"
    assert (project / "brick.lock").read_bytes() == text


def test_files_that_are_gone_are_made_again(project: Path) -> None:
    first = made(project)["loud"]
    assert first.folder is not None
    shutil.rmtree(first.folder)

    with pytest.raises(NotFound, match="`loud` is derived, and is not on this machine"):
        install(opened(project), LockMode.REFRESH)
    again = made(project, mode=LockMode.LOCKED)["loud"]

    assert again.fresh
    assert same_entry(again.entry, first.entry)
    assert install(opened(project), LockMode.LOCKED).fetched == ()


def test_all_bricks_whose_files_are_gone_are_told_of_at_once(project: Path) -> None:
    append(project, '[derived.more]\nop = "scale"\nlines = "data/lines.txt"\nfactor = 2.0\n')
    append(project, '[derived.other]\nop = "scale"\nlines = "data/lines.txt"\nfactor = 3.0\n')
    everything = made(project)
    shutil.rmtree(project / ".brickctl/derived")

    with pytest.raises(NotFound) as gone:
        install(opened(project), LockMode.LOCKED)

    assert gone.value.message == "`loud`, `more` and `other` are derived, and are not on this machine"
    digests = [one.entry.pin.digest[:12] for one in everything.values()]
    assert all(digest in cause for digest, cause in zip(digests, gone.value.causes, strict=True))
    assert (gone.value.hint or "").startswith("`brickctl derive loud more other` makes them again")


def test_what_a_target_lacks_is_told_of_before_a_header_is_read(project: Path) -> None:
    made(project)
    shutil.rmtree(project / ".brickctl/derived")
    with pytest.raises(NotFound, match="`loud` is derived, and is not on this machine") as gone:
        built(project)
    assert (gone.value.hint or "").startswith("`brickctl derive loud` makes it again")


def test_files_that_somebody_changed_are_made_again(project: Path) -> None:
    first = made(project)["loud"]
    assert first.folder is not None
    (first.folder / "model.safetensors").write_bytes(b"anything")

    assert same_entry(made(project)["loud"].entry, first.entry)
    assert install(opened(project), LockMode.LOCKED).fetched == ()


def test_other_bytes_of_the_same_recipe_change_the_lock_and_are_told_of(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = made(project)["loud"]
    assert first.folder is not None
    shutil.rmtree(first.folder)
    monkeypatch.setitem(scaling.NOISE, "floats", 5e-4)

    with pytest.raises(NotReproducible, match="`loud` came out with other bytes than"):
        made(project, mode=LockMode.LOCKED)
    events = Listener()
    other = made(project, events=events)["loud"].entry

    assert other.recipe == first.entry.recipe
    assert other.pin.digest != first.entry.pin.digest
    assert events.warnings[0].startswith("`loud` came out with other bytes")

"""A derived brick is made anew once what it is made of changes, and stops what uses it until then."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from brickctl.core.lock import same_entry
from brickctl.errors import LockStale
from brickctl.workflows import lock as locking
from brickctl.workflows.analyzing.desk import open_desk
from brickctl.workflows.build import read_recipes
from brickctl.workflows.derive import check
from brickctl.workflows.inventory import inventory
from brickctl.workflows.lock import LockMode, lock_for
from tests.support.loud_projects import BUDGET, LOUD, append, built, loud_project, made, opened_lock, work
from tests.support.projects import Listener, opened, rewrite


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return loud_project(tmp_path, monkeypatch)


def test_what_was_made_of_the_same_is_left_alone(project: Path) -> None:
    first = made(project)["loud"]
    text = (project / "brick.lock").read_bytes()

    again = made(project)["loud"]

    assert not again.fresh
    assert same_entry(again.entry, first.entry)
    assert (project / "brick.lock").read_bytes() == text
    assert made(project, force=True)["loud"].fresh


@pytest.mark.parametrize("change", ["input", "parameter", "base"])
def test_a_brick_is_out_of_date_once_what_it_is_made_of_changes(project: Path, change: str, tmp_path: Path) -> None:
    before = made(project)["loud"].entry
    if change == "input":
        (project / "data/lines.txt").write_text("one\ntwo\nthree\n")
    elif change == "parameter":
        rewrite(project, 'lines = "data/lines.txt"', 'lines = "data/lines.txt"\nfactor = 0.5')
    else:
        other_base(project, tmp_path)

    with pytest.raises(LockStale, match="`loud` was made of something else than brick"):
        built(project)
    with pytest.raises(LockStale):
        opened_lock(project, LockMode.LOCKED)

    after = made(project)["loud"].entry
    assert after.recipe != before.recipe
    assert after.pin.digest != before.pin.digest
    built(project, LockMode.LOCKED)


def other_base(project: Path, scratch: Path) -> None:
    """Another model of the same shapes, in a folder."""
    session = opened(project)
    pin = locking.current_lock(session, LockMode.REFRESH).base.pin
    folder = scratch / "base"
    folder.mkdir()
    for name, place in (session.sources.locate(pin) or {}).items():
        shutil.copy(place, folder / name)
    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensor * 2 for name, tensor in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    text = (project / "brick.toml").read_text()
    head, _, rest = text.partition("[base]")
    rest = rest[rest.index("\n[") :]
    (project / "brick.toml").write_text(f'{head}[base]\nsource = "path:{folder}"\n{rest}')


def test_a_brick_that_was_never_made_stops_its_targets_and_no_others(project: Path) -> None:
    events = Listener()
    session = opened(project, events)
    locking.refresh(session)

    assert events.notes == ["`loud` was never made: `brickctl derive` makes it"]
    lock_for(session, LockMode.REFRESH, read_recipes(session, ["assistant"]))
    with pytest.raises(LockStale, match="`loud` was never made") as stale:
        lock_for(session, LockMode.REFRESH, read_recipes(session, ["louder"]))
    assert stale.value.hint == "run `brickctl derive loud`, and commit brick.lock"
    assert str(stale.value.place) == place_of(project, "[derived.loud]")
    with pytest.raises(LockStale):
        lock_for(session, LockMode.FROZEN, read_recipes(session, ["louder"]))


def test_all_bricks_that_a_target_lacks_are_told_of_at_once(project: Path) -> None:
    append(project, '[derived.other]\nop = "scale"\nlines = "data/lines.txt"\n')
    rewrite(project, "{ loud = 1.0 }", "{ loud = 1.0, other = 1.0 }")

    with pytest.raises(LockStale, match="`loud` was never made") as stale:
        built(project)

    assert stale.value.causes == ("`other` was never made",)
    assert stale.value.hint == "run `brickctl derive loud other`, and commit brick.lock"


def place_of(project: Path, line: str) -> str:
    return f"brick.toml line {(project / 'brick.toml').read_text().splitlines().index(line) + 1}"


def test_a_frozen_lock_is_not_compared(project: Path) -> None:
    made(project)
    rewrite(project, 'lines = "data/lines.txt"', 'lines = "data/lines.txt"\nfactor = 0.5')
    built(project, LockMode.FROZEN)


def test_a_frozen_lock_is_not_changed(project: Path) -> None:
    locking.refresh(opened(project))
    with pytest.raises(LockStale, match="lock would change") as missing:
        made(project, mode=LockMode.FROZEN)
    assert missing.value.causes == ("`loud` was never made",)
    assert missing.value.hint == "run `brickctl derive` without --frozen"
    with pytest.raises(LockStale, match="`loud` was never made"):
        list(check(opened(project), [], work(LockMode.FROZEN)))

    first = made(project)["loud"]
    rewrite(project, 'lines = "data/lines.txt"', 'lines = "data/lines.txt"\nfactor = 0.5')
    text = (project / "brick.lock").read_bytes()
    assert not made(project, mode=LockMode.FROZEN)["loud"].fresh
    assert first.folder is not None
    shutil.rmtree(first.folder)
    with pytest.raises(LockStale, match="lock would change"):
        made(project, mode=LockMode.FROZEN)
    assert (project / "brick.lock").read_bytes() == text


def test_an_older_lock_finds_what_it_names(project: Path) -> None:
    made(project)
    text, lines = (project / "brick.lock").read_bytes(), (project / "data/lines.txt").read_bytes()
    (project / "data/lines.txt").write_text("one\n")
    made(project)

    (project / "brick.lock").write_bytes(text)
    (project / "data/lines.txt").write_bytes(lines)

    assert not made(project)["loud"].fresh


def test_a_brick_that_is_no_longer_asked_for_leaves_the_lock(project: Path) -> None:
    made(project)
    text = (project / "brick.toml").read_text()
    (project / "brick.toml").write_text(text.replace(LOUD, ""))
    with pytest.raises(LockStale) as stale:
        opened_lock(project, LockMode.LOCKED)
    assert stale.value.causes[0] == "`loud` is in the lock and no longer in brick.toml"
    locking.refresh(opened(project))
    lock = opened(project).read_lock()
    assert lock is not None
    assert not lock.derived


def test_a_derived_brick_that_is_out_of_date_is_listed_as_what_is_not_locked(project: Path) -> None:
    made(project)
    lock = opened(project).read_lock()
    rewrite(project, 'lines = "data/lines.txt"', 'lines = "data/lines.txt"\nfactor = 0.5')

    item = {item.alias: item for item in inventory(opened(project).manifest, lock)}["loud"]

    assert (item.locked, item.revision) == (None, "-")


@pytest.mark.parametrize("name", ["louder", "loud"])
def test_a_model_is_analysed_once_what_it_is_made_of_was_derived(project: Path, name: str) -> None:
    def desk() -> None:
        session_events = Listener()
        open_desk(project, name, BUDGET, session_events, mode=LockMode.REFRESH, offline=True).subject()

    with pytest.raises(LockStale, match="`loud` was never made"):
        desk()
    made(project)
    desk()
    (project / "data/lines.txt").write_text("one\n")
    with pytest.raises(LockStale, match="`loud` was made of something else"):
        desk()

"""Bricks that are made from models are made once, locked, and then used like any other."""

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from brickctl.core.lock import same_entry
from brickctl.core.lock_format import decode, encode
from brickctl.core.names import Alias
from brickctl.errors import IntegrityFault, LockStale, ManifestInvalid, NotFound, NotReproducible, UsageFault
from brickctl.tensors.executor import Budget
from brickctl.workflows import lock as locking
from brickctl.workflows.analysis_desk import open_desk
from brickctl.workflows.bench import Means
from brickctl.workflows.build import read_recipes
from brickctl.workflows.derive import Made, Work, check, derive
from brickctl.workflows.describe import describe
from brickctl.workflows.edit import remove
from brickctl.workflows.install import install
from brickctl.workflows.inventory import inventory
from brickctl.workflows.lock import LockMode, lock_for
from brickctl.workflows.project_tree import project_tree
from brickctl.workflows.vendor import vendor
from brickctl.workflows.verify import verify_project
from brickctl.workflows.why import why
from tests.support import scaling
from tests.support.projects import Listener, build_targets, opened, rewrite, starter_project

BUDGET = Budget(threads=1)
LOUD = """
[derived.loud]
op = "scale"
lines = "data/lines.txt"

[targets.louder]
apply = [{ op = "merge", method = "task_arithmetic", bricks = { loud = 1.0 } }]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The starter project with a brick that is the base's last norm, times the two lines of a file."""
    project = starter_project(tmp_path, monkeypatch)
    (project / "data").mkdir()
    (project / "data/lines.txt").write_text("one\ntwo\n")
    append(project, LOUD)
    return project


def append(project: Path, text: str) -> None:
    with (project / "brick.toml").open("a") as file:
        file.write(text)


def work(mode: LockMode = LockMode.REFRESH, *, force: bool = False) -> Work:
    return Work(means=Means(budget=BUDGET), mode=mode, force=force)


def made(project: Path, *names: str, events: Listener | None = None, **settings: Any) -> dict[str, Made]:
    session = opened(project, events)
    return {one.entry.alias: one for one in derive(session, names, work(**settings))}


def built(project: Path, mode: LockMode = LockMode.REFRESH) -> dict[str, Any]:
    session = opened(project)
    lock_for(session, mode, read_recipes(session, ["louder"]))
    (result,) = build_targets(session, ["louder"], mode, BUDGET)
    return load_file(result.folder / "model.safetensors")


def test_a_brick_is_made_locked_and_merged(project: Path) -> None:
    loud = made(project)["loud"]

    assert (loud.fresh, loud.entry.kind, loud.entry.pin.source) == (True, "module", "derived:loud")
    assert loud.findings.rows == ({"tensor": "model.norm.weight", "lines": 2},)
    assert loud.findings.notes == ("read model.safetensors",)
    lock = opened(project).read_lock()
    assert lock is not None
    assert same_entry(lock.derived[Alias("loud")], loud.entry)
    assert decode(encode(lock)) == lock
    assert set(lock.inputs) == {"data/lines.txt"}
    norm = built(project)["model.norm.weight"].float()
    made_norm = load_file(loud.folder / "model.safetensors")["model.norm.weight"] if loud.folder else None
    assert made_norm is not None
    assert (norm - made_norm).abs().max() < 0.01 * made_norm.abs().max()


def test_nobody_who_derives_is_told_to_derive(project: Path) -> None:
    events = Listener()
    made(project, events=events)
    assert events.notes == []


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


def opened_lock(project: Path, mode: LockMode) -> None:
    locking.current_lock(opened(project), mode)


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


def test_an_older_lock_finds_what_it_names(project: Path) -> None:
    made(project)
    text, lines = (project / "brick.lock").read_bytes(), (project / "data/lines.txt").read_bytes()
    (project / "data/lines.txt").write_text("one\n")
    made(project)

    (project / "brick.lock").write_bytes(text)
    (project / "data/lines.txt").write_bytes(lines)

    assert not made(project)["loud"].fresh


def test_bricks_are_made_after_those_that_they_are_made_of(project: Path) -> None:
    append(
        project,
        '[derived.again]\nop = "scale"\nfrom = "loud"\nlines = "data/lines.txt"\n'
        '[derived.target]\nop = "scale"\nfrom = { target = "louder" }\nlines = "data/lines.txt"\n',
    )
    session = opened(project)

    everything = list(derive(session, ["target", "again"], work()))

    assert [one.entry.alias for one in everything] == ["loud", "again", "target"]
    folders = [one.folder for one in everything if one.folder is not None]
    norms = [load_file(folder / "model.safetensors")["model.norm.weight"] for folder in folders]
    assert (norms[1] / norms[0]).mean() == pytest.approx(2.0, rel=0.01)
    (project / "data/lines.txt").write_text("one\n")
    with pytest.raises(LockStale, match="does not say what") as stale:
        opened_lock(project, LockMode.LOCKED)
    assert "data/lines.txt" in stale.value.causes[0]


def test_two_at_once_keep_what_both_have_made(project: Path) -> None:
    append(project, '[derived.other]\nop = "scale"\nlines = "data/lines.txt"\nfactor = 3.0\n')
    locking.refresh(opened(project))
    scaling.BEGUN.clear()
    scaling.GO_ON.clear()
    events = Listener()
    first = threading.Thread(target=made, args=(project, "loud"))
    second = threading.Thread(target=made, args=(project, "other"), kwargs={"events": events})
    first.start()
    assert scaling.BEGUN.wait(20)
    second.start()
    while not events.notes:  # it waits, and has read whatever it reads before
        second.join(0.05)
    scaling.GO_ON.set()
    first.join()
    second.join()

    assert events.notes[0].startswith("waiting: another brickctl is deriving bricks")
    lock = opened(project).read_lock()
    assert lock is not None
    assert sorted(lock.derived) == ["loud", "other"]


def test_who_waits_for_another_derivation_then_reads_brick_toml_as_it_is_by_then(project: Path) -> None:
    append(project, '[derived.other]\nop = "scale"\nlines = "data/lines.txt"\nfactor = 3.0\n')
    locking.refresh(opened(project))
    scaling.BEGUN.clear()
    scaling.GO_ON.clear()
    events = Listener()
    first = threading.Thread(target=made, args=(project, "loud"))
    second = threading.Thread(target=made, args=(project, "other"), kwargs={"events": events})
    first.start()
    assert scaling.BEGUN.wait(20)
    second.start()
    while not events.notes:
        second.join(0.05)
    rewrite(project, 'odd = "starter/odd@^1" ', 'odd2 = "starter/odd@^1"')
    rewrite(project, '"reverse", "odd"]', '"reverse", "odd2"]')
    locking.refresh(opened(project))
    scaling.GO_ON.set()
    first.join()
    second.join()

    opened_lock(project, LockMode.LOCKED)


def test_what_is_locked_while_a_brick_is_made_stays_locked(project: Path) -> None:
    made(project)
    scaling.BEGUN.clear()
    scaling.GO_ON.clear()
    again = threading.Thread(target=made, args=(project, "loud"), kwargs={"force": True})
    again.start()
    assert scaling.BEGUN.wait(20)
    rewrite(project, 'odd = "starter/odd@^1" ', 'odd2 = "starter/odd@^1"')
    rewrite(project, '"reverse", "odd"]', '"reverse", "odd2"]')
    text = encode(locking.refresh(opened(project)).lock)
    scaling.GO_ON.set()
    again.join()

    assert (project / "brick.lock").read_text() == text
    assert Alias("odd2") in decode(text).bricks


def test_bricks_of_one_another_are_refused(project: Path) -> None:
    append(project, '[derived.again]\nop = "scale"\nfrom = "loud"\nlines = "data/lines.txt"\nbrick = "third"\n')
    append(project, '[derived.third]\nop = "scale"\nfrom = "again"\nlines = "data/lines.txt"\n')
    with pytest.raises(ManifestInvalid, match="derived bricks are made of one another") as circle:
        made(project)
    assert circle.value.causes == ("again -> third -> again",)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('op = "scal"', "there is no derivation `scal`"),
        ('op = "scale"\nlines = "data/lines.txt"\nfrom = "lou"', "`odd2` is made from `lou`, which is no brick here"),
        ('op = "scale"\nlines = "x"\nfrom = { target = "lou" }', "`odd2` is made from `lou`, which is no target here"),
        ('op = "scale"\nlines = "x"\nbrick = "lou"', "`odd2` uses `lou`, which is no brick here"),
        ('op = "scale"\nlines = "x"\nlinse = "x"', "unknown key `linse` in \\[derived.odd2\\]"),
        ('lines = "x"', "`op` in \\[derived.odd2\\] is missing"),
    ],
)
def test_what_cannot_be_derived_is_refused_by_name(project: Path, entry: str, message: str) -> None:
    append(project, f"[derived.odd2]\n{entry}\n")
    with pytest.raises(ManifestInvalid, match=message):
        locking.refresh(opened(project))


def test_a_name_belongs_to_one_brick(project: Path) -> None:
    append(project, '[derived.upper]\nop = "scale"\nlines = "data/lines.txt"\n')
    with pytest.raises(ManifestInvalid, match="`upper` is a brick of \\[bricks\\] and of \\[derived\\]"):
        opened(project)


def test_a_name_that_is_not_derived_gets_a_hint(project: Path) -> None:
    with pytest.raises(NotFound, match="`lod` is no derived brick") as absent:
        made(project, "lod")
    assert absent.value.hint == "did you mean `loud`?"
    with pytest.raises(UsageFault, match="`loud` is derived, and not fetched"):
        locking.update(opened(project), ["loud"])


def test_a_derived_brick_is_listed_drawn_and_explained(project: Path) -> None:
    before = {item.alias: item for item in inventory(opened(project).manifest, None)}["loud"]
    assert (before.source, before.revision, before.size) == ("scale from base", "-", None)
    entry = made(project)["loud"].entry
    session = opened(project)
    lock = session.read_lock()
    item = {item.alias: item for item in inventory(session.manifest, lock)}["loud"]
    assert (item.kind, item.revision) == ("module", entry.pin.digest[:12])
    assert "loud" not in project_tree(session.manifest, lock).unused
    (told,) = why(session, "loud")
    assert [reason.words for reason in told.reasons] == ["scale from base", "merge"]


def test_a_derived_brick_that_is_out_of_date_is_listed_as_what_is_not_locked(project: Path) -> None:
    made(project)
    lock = opened(project).read_lock()
    rewrite(project, 'lines = "data/lines.txt"', 'lines = "data/lines.txt"\nfactor = 0.5')

    item = {item.alias: item for item in inventory(opened(project).manifest, lock)}["loud"]

    assert (item.locked, item.revision) == (None, "-")


def test_hints_about_derived_bricks_say_to_derive(project: Path) -> None:
    locking.refresh(opened(project))
    with pytest.raises(NotFound, match="`loud` was never made") as never:
        why(opened(project), "loud")
    assert never.value.hint == "run `brickctl derive loud`"

    loud = made(project)["loud"]
    path = project / "brick.lock"
    text = path.read_text()
    path.write_text(text.replace(f'interface = "sha256:{loud.entry.interface}"', f'interface = "sha256:{"0" * 64}"'))
    with pytest.raises(IntegrityFault, match="`loud` is not what was locked") as edited:
        built(project)
    assert edited.value.hint == "if the lock was edited by hand, run `brickctl derive --force loud`"

    path.write_text(text)
    assert loud.folder is not None
    shutil.rmtree(loud.folder)
    with pytest.raises(NotFound, match="`loud` is not installed") as gone:
        verify_project(opened(project), name="loud")
    assert gone.value.hint == "run `brickctl derive loud`"


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


def test_the_record_says_what_the_brick_was_made_of(project: Path) -> None:
    loud = made(project)["loud"]
    assert loud.folder is not None
    record = json.loads((loud.folder / "derivation.json").read_text())
    assert record["recipe"] == f"sha256:{loud.entry.recipe}"
    assert record["parameters"] == {"factor": 1.0, "lines": "data/lines.txt"}
    assert list(record["bricks"]) == ["base"]


def test_what_is_made_of_a_brick_has_its_licence(project: Path) -> None:
    append(project, '[derived.mine]\nop = "scale"\nfrom = "upper"\nlines = "data/lines.txt"\n')
    assert made(project, "mine")["mine"].entry.license == "Apache-2.0"


def test_a_derived_brick_is_described(project: Path) -> None:
    with pytest.raises(NotFound, match="`loud` was never made"):
        describe(project, "loud", Listener(), offline=True)
    entry = made(project)["loud"].entry
    told = describe(project, "loud", Listener(), offline=True)
    assert (told.kind, told.pin.digest, told.license) == ("module", entry.pin.digest, "Apache-2.0")


def test_what_a_derived_brick_is_made_of_is_not_removed(project: Path) -> None:
    append(project, '[derived.mine]\nop = "scale"\nfrom = "odd"\nlines = "data/lines.txt"\n')
    rewrite(project, "bundle", "bundled")
    text = (project / "brick.toml").read_text()
    with pytest.raises(UsageFault, match="`odd` is still used") as used:
        remove(opened(project), ["odd"])
    assert any(cause.startswith("[derived.mine] uses `odd`") for cause in used.value.causes)
    assert (project / "brick.toml").read_text() == text


def test_a_derived_brick_is_carried_with_the_project(project: Path) -> None:
    loud = made(project)["loud"].entry
    vendor(opened(project), LockMode.LOCKED, project / "vendor")
    shutil.rmtree(project / ".brickctl")

    installed = install(opened(project), LockMode.LOCKED)

    assert installed.lock.derived[Alias("loud")].pin.digest == loud.pin.digest
    assert not made(project)["loud"].fresh
    assert built(project, LockMode.LOCKED)


def test_a_derived_brick_is_used_elsewhere_like_any_other(project: Path) -> None:
    loud = made(project)["loud"]
    assert loud.folder is not None
    norm = built(project)["model.norm.weight"]
    shutil.copytree(loud.folder, project / "bricks/loud")
    rewrite(project, LOUD, LOUD.replace(LOUD[: LOUD.index("[targets")], ""))
    rewrite(project, "[bricks]\n", '[bricks]\nloud = { source = "path:bricks/loud", kind = "module" }\n')

    assert built(project)["model.norm.weight"].equal(norm)
    lock = opened(project).read_lock()
    assert lock is not None
    assert lock.bricks[Alias("loud")].pin.digest == loud.entry.pin.digest


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

"""Builds: up to date, resumed, replaced, refused, compared."""

import json
import shutil
import threading
from pathlib import Path

import pytest

from brickctl.core.digests import sha256_bytes, tree_digest
from brickctl.errors import Busy, IntegrityFault, LockStale, ManifestInvalid, NotFound, NotReproducible, UsageFault
from brickctl.tensors import executor
from brickctl.tensors.executor import Budget
from brickctl.workflows import provenance, replace
from brickctl.workflows.build import Built, outline, read_recipes
from brickctl.workflows.lock import LockMode, current_lock
from brickctl.workflows.replace import Workbench
from brickctl.workflows.reproduce import reproduce
from tests.support.projects import Listener, build_targets, opened, rewrite, starter_project, states

BUDGET = Budget(threads=2)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return starter_project(tmp_path, monkeypatch)


def build(project: Path, *names: str, events: Listener | None = None, force: bool = False) -> tuple[Built, ...]:
    return build_targets(opened(project, events), names, LockMode.REFRESH, BUDGET, force=force)


def test_a_build_makes_every_target_and_records_what_it_was_made_of(project: Path) -> None:
    results = build(project)

    assert [result.target for result in results] == ["assistant", "sorter", "bundle"]
    recorded = provenance.read_statement(project / "dist" / "assistant")
    assert recorded is not None
    definition, files = recorded
    assert definition["externalParameters"]["apply"][0]["scale"] == 1.0
    assert [entry["name"] for entry in definition["resolvedDependencies"]] == ["base", "next", "upper"]
    for name, digest in files.items():
        assert sha256_bytes((project / "dist" / "assistant" / name).read_bytes()) == digest
    assert results[0].digest == tree_digest(files.items())


def test_a_second_build_does_nothing_reads_nothing_and_touches_nothing(project: Path) -> None:
    build(project)
    before = states(project)

    events = Listener()
    results = build(project, events=events)

    assert not any(result.fresh for result in results)
    assert events.work == []
    assert states(project) == before


def test_a_forced_build_makes_the_same_bytes_in_new_files(project: Path) -> None:
    (first,) = build(project, "assistant")
    before = states(first.folder)

    (again,) = build(project, "assistant", force=True)

    assert again.fresh
    assert again.digest == first.digest
    assert states(again.folder).keys() == before.keys()
    assert states(again.folder) != before


def test_another_weight_makes_another_artifact_and_the_old_weight_the_old_one(project: Path) -> None:
    (first,) = build(project, "assistant")
    rewrite(project, "next = 0.9", "next = 0.8")
    (other,) = build(project, "assistant")
    rewrite(project, "next = 0.8", "next = 0.9")
    (back,) = build(project, "assistant")

    assert other.digest != first.digest
    assert back.digest == first.digest


def test_order_and_names_of_bricks_change_no_bit(project: Path) -> None:
    (first,) = build(project, "assistant")
    rewrite(project, "bricks = { upper = 0.9, next = 0.9 }", "bricks = { zulu = 0.9, upper = 0.9 }")
    rewrite(project, 'next = "starter/next@^1"', 'zulu = "starter/next@^1"')
    rewrite(project, '"upper", "next", "reverse", "odd"', '"reverse"')
    (renamed,) = build(project, "assistant")

    assert renamed.digest == first.digest


def test_a_folder_that_is_no_artifact_is_never_replaced(project: Path) -> None:
    mine = project / "dist" / "assistant"
    mine.mkdir(parents=True)
    (mine / "thesis.txt").write_text("years of work")

    for force in (False, True):
        with pytest.raises(UsageFault, match="will not be replaced"):
            build(project, "assistant", force=force)

    assert (mine / "thesis.txt").read_text() == "years of work"


def test_a_build_that_was_cut_off_goes_on_at_the_shard_where_it_stopped(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite(project, '[targets.assistant]\nfrom = "base"', '[targets.assistant]\nfrom = "base"\nshard-size = "500kB"')
    written: list[str] = []
    write = executor.ShardWriter.write

    def write_two(self: executor.ShardWriter, shard: object, path: Path) -> object:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path.name)
        return write(self, shard, path)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(executor.ShardWriter, "write", write_two)
        with pytest.raises(KeyboardInterrupt):
            build(project, "assistant")
    assert not (project / "dist" / "assistant").exists()
    bench = Workbench(project / "dist" / "assistant")
    done = {name: (bench.new / name).stat().st_ino for name in written}

    (result,) = build(project, "assistant")

    assert {name: (result.folder / name).stat().st_ino for name in written} == done
    assert not bench.folder.exists()
    (forced,) = build(project, "assistant", force=True)
    assert forced.digest == result.digest


def test_what_another_recipe_left_on_the_workbench_does_not_get_into_the_artifact(project: Path) -> None:
    bench = Workbench(project / "dist" / "assistant")
    (bench.new / "adapters").mkdir(parents=True)
    (bench.new / "adapters" / "stray.safetensors").write_bytes(b"stray")
    (bench.new / "model.safetensors").write_bytes(b"half a model")

    (result,) = build(project, "assistant")

    assert not (result.folder / "adapters").exists()
    assert (result.folder / "model.safetensors").stat().st_size > 3_000_000


def test_without_an_exchange_of_folders_two_renames_do(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replace, "_swap", lambda *_: False)
    build(project, "assistant")
    rewrite(project, "next = 0.9", "next = 0.8")

    (result,) = build(project, "assistant")

    assert result.fresh
    assert sorted(path.name for path in (project / "dist").iterdir()) == ["assistant"]


@pytest.mark.parametrize(("step", "fresh"), [(1, False), (2, True)])
def test_an_interrupt_right_after_a_rename_stays_one_and_leaves_an_artifact(
    step: int,
    fresh: bool,  # noqa: FBT001 - a case
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replace, "_swap", lambda *_: False)
    bench, steps, rename = Workbench(tmp_path / "chat"), iter((1, 2)), Path.rename
    bench.target.mkdir()

    def interrupted(one: Path, other: Path) -> Path:
        moved = rename(one, other)
        if next(steps, 0) == step:
            raise KeyboardInterrupt
        return moved

    bench.new.mkdir(parents=True)
    (bench.new / "config.json").touch()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt), bench.opened():
            bench.exchange()

    assert (bench.target / "config.json").exists() == fresh
    assert not (bench.folder / "old").exists()


def test_a_kill_between_the_two_renames_is_undone_by_the_next_build(project: Path) -> None:
    (first,) = build(project, "assistant")
    bench = Workbench(first.folder)
    bench.folder.mkdir()
    first.folder.rename(bench.folder / "old")

    with bench.opened():
        assert provenance.read_statement(first.folder) is not None

    assert sorted(path.name for path in (project / "dist").iterdir()) == ["assistant"]


def test_two_builds_of_one_artifact_do_not_mix(project: Path) -> None:
    """The second one says that it waits, waits, and finds the work done."""
    events, results = Listener(), []

    def second() -> None:
        results.extend(build(project, "assistant", events=events))

    thread = threading.Thread(target=second)
    bench = Workbench(project / "dist" / "assistant")
    with bench.opened():
        with pytest.raises(Busy, match="another brickctl"), Workbench(bench.target).opened():
            pass
        thread.start()
        while not any("waiting: another brickctl is building" in note for note in events.notes):
            thread.join(0.01)
        assert results == []
    thread.join(60)
    assert [result.fresh for result in results] == [True]
    assert sorted(path.name for path in (project / "dist").iterdir()) == ["assistant"]


def test_a_changed_artifact_is_noticed_and_made_anew(project: Path) -> None:
    (first,) = build(project, "assistant")
    (first.folder / "config.json").write_text("{}")

    (second,) = build(project, "assistant")

    assert second.fresh
    assert second.digest == first.digest


def test_check_passes_on_an_untouched_artifact_and_leaves_nothing_behind(project: Path) -> None:
    (built,) = build(project, "assistant")
    session = opened(project)
    (recipe,) = read_recipes(session, ["assistant"])

    result = reproduce(session, recipe, built.folder, current_lock(session, LockMode.LOCKED), BUDGET)

    assert result.digest == built.digest
    assert sorted(path.name for path in (project / "dist").iterdir()) == ["assistant"]


def test_check_fails_on_an_artifact_that_claims_other_bytes(project: Path) -> None:
    (built,) = build(project, "assistant")
    statement = json.loads((built.folder / provenance.FILE).read_text())
    statement["subject"][1]["digest"]["sha256"] = "0" * 64
    (built.folder / provenance.FILE).write_text(json.dumps(statement))
    session = opened(project)
    (recipe,) = read_recipes(session, ["assistant"])

    with pytest.raises(NotReproducible, match="not what its recipe makes"):
        reproduce(session, recipe, built.folder, current_lock(session, LockMode.LOCKED), BUDGET)


@pytest.mark.parametrize(("name", "what"), [("extra.py", "is not made by the recipe"), ("config.json", "is missing")])
def test_check_finds_files_too_many_and_too_few(project: Path, name: str, what: str) -> None:
    (built,) = build(project, "assistant")
    place = built.folder / name
    if place.exists():
        place.unlink()
    else:
        place.write_text("print()")
    session = opened(project)
    (recipe,) = read_recipes(session, ["assistant"])

    with pytest.raises(NotReproducible, match="not what its recipe makes") as found:
        reproduce(session, recipe, built.folder, current_lock(session, LockMode.LOCKED), BUDGET)
    assert found.value.causes == (f"{name} {what}",)


def test_a_licence_that_changed_gets_onto_the_card(project: Path) -> None:
    (first,) = build(project, "assistant")
    rewrite(
        project, 'upper = "starter/upper@^1"', 'upper = { brick = "starter/upper", version = "^1", license = "MIT" }'
    )
    (second,) = build(project, "assistant")
    (third,) = build(project, "assistant")

    assert second.fresh
    assert second.digest != first.digest
    assert "| MIT |" in (second.folder / "README.md").read_text()
    assert not third.fresh


def test_an_outline_says_what_would_be_written_and_writes_nothing(project: Path) -> None:
    session = opened(project)
    (recipe,) = read_recipes(session, ["assistant"])
    plan = outline(session, recipe, project / "dist" / "assistant", current_lock(session, LockMode.REFRESH), BUDGET)

    assert plan.output > 3_000_000
    assert plan.peak < 16 << 20
    assert not (project / "dist").exists()


def test_an_edited_folder_brick_stops_the_build_even_when_the_artifact_is_up_to_date(project: Path) -> None:
    registry = Path(__file__).parents[2] / "registry" / "files" / "starter" / "upper" / "1.0.0"
    shutil.copytree(registry, project / "mine")
    rewrite(project, 'upper = "starter/upper@^1"', 'upper = { source = "path:mine" }')
    build(project, "assistant")
    config = project / "mine" / "adapter_config.json"
    config.write_text(config.read_text().replace('"lora_alpha": 16', '"lora_alpha": 32'))

    with pytest.raises(IntegrityFault, match=r"adapter_config\.json"):
        build(project, "assistant")


def test_a_stale_lock_is_refreshed_unless_it_must_not_be(project: Path) -> None:
    build(project, "assistant")
    rewrite(project, 'odd = "starter/odd@^1"', 'odd = "starter/odd@>=1, <3"')

    with pytest.raises(LockStale, match="does not say") as stale:
        build_targets(opened(project), ["assistant"], LockMode.LOCKED, BUDGET)
    assert "odd" in stale.value.causes[0]
    build_targets(opened(project), ["assistant"], LockMode.FROZEN, BUDGET)
    build_targets(opened(project), ["assistant"], LockMode.REFRESH, BUDGET)
    build_targets(opened(project), ["assistant"], LockMode.LOCKED, BUDGET)


def test_unknown_names_get_the_name_that_was_meant(project: Path) -> None:
    with pytest.raises(NotFound, match="`asistant`") as target:
        build(project, "asistant")
    assert target.value.hint == "did you mean `assistant`?"
    rewrite(project, "bricks = { upper = 0.9", "bricks = { uper = 0.9")
    with pytest.raises(ManifestInvalid, match="uper") as brick:
        build(project)
    assert brick.value.hint == "did you mean `upper`?"


def test_a_file_in_the_way_of_dist_loses_nothing(project: Path) -> None:
    (project / "dist").write_text("a file of mine")

    with pytest.raises((OSError, UsageFault)):
        build(project, "assistant")

    assert (project / "dist").read_text() == "a file of mine"


def test_check_reads_the_bytes_of_the_artifact(project: Path) -> None:
    (built,) = build(project, "assistant")
    weights = built.folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    session = opened(project)
    (recipe,) = read_recipes(session, ["assistant"])

    with pytest.raises(NotReproducible) as found:
        reproduce(session, recipe, built.folder, current_lock(session, LockMode.LOCKED), BUDGET)
    assert found.value.causes == ("model.safetensors differs",)


def test_a_frozen_lock_without_a_brick_of_the_manifest_is_stale(project: Path) -> None:
    build(project, "assistant")
    rewrite(project, 'odd = "starter/odd@^1"', 'odd = "starter/odd@^1"\nmore = "starter/odd@^1"')

    with pytest.raises(LockStale) as found:
        build_targets(opened(project), ["assistant"], LockMode.FROZEN, BUDGET)
    assert found.value.causes == ("`more` is not in the lock",)


@pytest.mark.parametrize(("alias", "wrong", "right"), [("next", "expert", "adapter"), ("sort", "adapter", "expert")])
def test_a_lock_that_claims_another_kind_is_found(project: Path, alias: str, wrong: str, right: str) -> None:
    build(project)
    lock = project / "brick.lock"
    entry = f'name = "{alias}"\nkind = "'
    text = lock.read_text()
    assert f"{entry}{right}" in text
    lock.write_text(text.replace(f"{entry}{right}", f"{entry}{wrong}"))

    with pytest.raises(IntegrityFault, match=f"`{alias}` is not what was locked") as found:
        build(project, "assistant" if alias == "next" else "sorter", force=True)
    assert found.value.hint == f"if the lock was edited by hand, run `brickctl update {alias}`"


def test_a_file_of_the_user_in_an_artifact_is_not_lost(project: Path) -> None:
    (built,) = build(project, "assistant")
    notes = built.folder / "NOTES.txt"
    notes.write_text("what I tried")
    assert not build(project, "assistant")[0].fresh

    rewrite(project, "upper = 0.9", "upper = 0.5")
    with pytest.raises(UsageFault, match="will not be replaced") as found:
        build(project, "assistant")
    assert found.value.causes == ("NOTES.txt is not from brickctl, and would be lost",)
    assert notes.read_text() == "what I tried"

    notes.unlink()
    assert build(project, "assistant")[0].fresh


def test_a_damaged_record_is_replaced_by_force(project: Path) -> None:
    (built,) = build(project, "assistant")
    (built.folder / provenance.FILE).write_text("{")

    with pytest.raises(IntegrityFault, match="is damaged"):
        build(project, "assistant")
    assert build(project, "assistant", force=True)[0].digest == built.digest

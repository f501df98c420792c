"""A rebuild: shards whose inputs did not change are taken over from an earlier build, and no others."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brickctl.core.nodes import Statistic
from brickctl.tensors import executor
from brickctl.tensors.executor import Budget
from brickctl.tensors.results import Results
from brickctl.workflows import made_shards, provenance, take_over
from brickctl.workflows.build import Built
from brickctl.workflows.lock import LockMode
from brickctl.workflows.replace import Workbench
from tests.support.projects import Listener, build_targets, opened, rewrite, starter_project, states

BUDGET = Budget(threads=2)
LAYER = "model.layers.2.*"
STEP = (
    '{ op = "merge", method = "ties", density = 0.5, bricks = [{ brick = "upper", '
    f'weight = [{{ filter = "{LAYER}", value = 0.9 }}, {{ value = 0.8 }}] }}, '
    '{ brick = "next", weight = 0.9 }] },'
)
SHARDS = 7


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A target of 7 shards; the third layer has a weight of its own, and lies in 3 of them."""
    project = starter_project(tmp_path, monkeypatch)
    rewrite(project, '[targets.assistant]\nfrom = "base"', '[targets.assistant]\nfrom = "base"\nshard-size = "500kB"')
    rewrite(project, '{ op = "merge", method = "task_arithmetic", bricks = { upper = 0.9, next = 0.9 } },', STEP)
    return project


def build(project: Path, target: str = "assistant", events: Listener | None = None, *, force: bool = False) -> Built:
    (built,) = build_targets(opened(project, events), [target], LockMode.REFRESH, BUDGET, force=force)
    return built


def change(project: Path) -> None:
    rewrite(project, "value = 0.9", "value = 0.7")


def counts(built: Built) -> tuple[int, int]:
    return built.shards.made, built.shards.taken_over


def test_a_weight_behind_a_filter_makes_the_shards_that_it_touches_and_no_other(project: Path) -> None:
    first = build(project)
    before = dict(provenance.read_statement(first.folder)[1])  # type: ignore[index]
    assert counts(first) == (SHARDS, 0)
    change(project)

    again = build(project)

    after = dict(provenance.read_statement(again.folder)[1])  # type: ignore[index]
    changed = {name for name in after if before.get(name) != after[name]} - {"README.md"}
    assert counts(again) == (len(changed), SHARDS - len(changed)) == (3, 4)
    assert all(name.endswith(".safetensors") for name in changed)
    forced = build(project, force=True)
    assert counts(forced) == (SHARDS, 0)
    assert forced.digest == again.digest


def test_what_is_up_to_date_stays_so_and_counts_nothing(project: Path) -> None:
    built = build(project)
    before = states(built.folder)

    again = build(project)

    assert not again.fresh
    assert counts(again) == (0, 0)
    assert states(again.folder) == before


def test_of_a_shard_that_is_taken_over_no_statistic_is_computed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[str] = set()
    make = Results.statistic

    def watched(self: Results, node: Statistic, evaluator: Any) -> Any:
        asked.add(str(node.document()["inputs"]) + node.op.name)
        return make(self, node, evaluator)

    monkeypatch.setattr(Results, "statistic", watched)
    build(project)
    everything = len(asked)
    asked.clear()
    change(project)

    build(project)

    assert 0 < len(asked) < everything / 2


def tamper(shard: Path) -> None:
    """Another bit in the last byte, with the time stamps of before."""
    status = shard.stat()
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    os.utime(shard, ns=(status.st_atime_ns, status.st_mtime_ns))


def shorten(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes()[:-1])


@pytest.mark.parametrize("spoil", [tamper, shorten])
def test_a_shard_that_somebody_changed_is_made_again(project: Path, spoil: Callable[[Path], None]) -> None:
    first = build(project)
    spoil(first.folder / "model-00001-of-00007.safetensors")
    change(project)

    again = build(project)

    assert counts(again) == (4, 3)
    assert again.digest == build(project, force=True).digest


def test_an_artifact_that_is_edited_while_it_is_copied_is_not_believed(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build(project)
    copy = take_over.copy_range

    def copy_and_tamper(source: int, *more: int) -> None:
        copy(source, *more)
        if more[-1] == (first.folder / "model-00001-of-00007.safetensors").stat().st_size:
            tamper(first.folder / "model-00001-of-00007.safetensors")

    change(project)
    monkeypatch.setattr(take_over, "copy_range", copy_and_tamper)

    again = build(project)

    assert again.shards.made == 4
    assert again.digest == build(project, force=True).digest


def test_an_artifact_shares_no_file_with_the_one_that_it_took_shards_from(project: Path) -> None:
    more = STEP.replace("0.9", "0.7", 1)
    rewrite(project, "# A blend", f'[targets.second]\nfrom = "base"\nshard-size = "500kB"\napply = [{more}]\n# A blend')
    first = build(project)

    second = build(project, "second")

    assert counts(second) == (3, 4)
    ours = {path.stat().st_ino for path in first.folder.iterdir()}
    assert not ours & {path.stat().st_ino for path in second.folder.iterdir()}


def test_shards_come_from_another_artifact_where_the_own_one_is_gone_or_spoiled(project: Path) -> None:
    rewrite(project, "# A blend", f'[targets.second]\nfrom = "base"\nshard-size = "500kB"\napply = [{STEP}]\n# A blend')
    first, second = build(project), build(project, "second")
    tamper(first.folder / "model-00001-of-00007.safetensors")

    again = build(project)

    assert counts(second) == counts(again) == (0, SHARDS)
    assert again.digest == first.digest


def test_an_artifact_that_was_deleted_gives_nothing(project: Path) -> None:
    first = build(project)
    first.folder.rename(project / "elsewhere")

    again = build(project)

    assert counts(again) == (SHARDS, 0)
    assert again.digest == first.digest


def test_an_artifact_that_may_only_be_read_is_good_enough(project: Path) -> None:
    first = build(project)
    for path in first.folder.iterdir():
        path.chmod(0o444)
    change(project)

    assert counts(build(project)) == (3, 4)


def cut_off(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that ends after three shards."""
    written: list[Path] = []
    write = executor.ShardWriter.write

    def write_three(self: executor.ShardWriter, shard: Any, path: Path) -> Any:
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path)
        return write(self, shard, path)

    with monkeypatch.context() as patch:
        patch.setattr(executor.ShardWriter, "write", write_three)
        with pytest.raises(KeyboardInterrupt):
            build(project)


def test_a_build_that_was_cut_off_helps_the_one_of_a_changed_definition(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(project, monkeypatch)
    change(project)

    again = build(project)

    assert counts(again) == (4, 3)
    assert again.digest == build(project, force=True).digest
    assert not Workbench(again.folder).folder.exists()


def test_what_another_version_made_is_not_believed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, session = build(project).folder, opened(project)
    now = made_shards.made_by()
    assert len(session.made_shards.candidates(folder)) == SHARDS

    for name in ("brickctl", "engine", "torch", "peft"):
        monkeypatch.setattr(made_shards, "made_by", lambda name=name: {**now, name: "0.0.0"})
        assert not session.made_shards.candidates(folder), name

    change(project)
    assert counts(build(project)) == (SHARDS, 0)


def test_what_another_version_left_half_done_is_not_believed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = made_shards.made_by()
    with monkeypatch.context() as patch:
        patch.setattr(made_shards, "made_by", lambda: {**now, "engine": 0})
        cut_off(project, monkeypatch)

    assert counts(build(project)) == (SHARDS, 0)


def test_a_foolish_record_costs_time_and_nothing_else(project: Path) -> None:
    folder, session = build(project).folder, opened(project)
    (record,) = (project.parent / "cache" / "shards").iterdir()
    known = json.loads(record.read_bytes())
    strange = (json.dumps({**known, "artifact": name}).encode() for name in ("/\0", "/\ud800", "/" + "a" * 5000))
    foolish = (b"\xff", b"[]", b'{"artifact": 1}', b"[" * 100_000, *strange)

    for content in foolish:
        record.write_bytes(content)
        places = [place for found in session.made_shards.candidates(folder).values() for place in found]
        assert not any(session.ledger.known(place.path) for place in places), content[:40]
        assert list(session.made_shards.stale()) == [record], content[:40]

    change(project)
    assert counts(build(project)) == (SHARDS, 0)
    assert json.loads(record.read_bytes())["artifact"] == str(folder)


def test_a_record_that_lies_is_found_out(project: Path) -> None:
    first = build(project)
    (record,) = (project.parent / "cache" / "shards").iterdir()
    entry = json.loads(record.read_bytes())
    one, two, three, *_ = entry["shards"]
    entry["shards"][one] = ["../../brick.toml", "0" * 64]  # leads out of the artifact
    entry["shards"][two][1] = "0" * 64  # another digest than the file has
    entry["shards"][three] = 3
    record.write_text(json.dumps(entry))
    (first.folder / "config.json").unlink()

    again = build(project)

    assert counts(again) == (3, 4)
    assert again.digest == first.digest


def test_records_of_artifacts_that_are_gone_go_with_the_next_build(project: Path) -> None:
    first = build(project, "sorter")
    first.folder.rename(project / "elsewhere")

    build(project)

    (record,) = (project.parent / "cache" / "shards").iterdir()
    assert json.loads(record.read_bytes())["artifact"] == str(project / "dist" / "assistant")


def test_a_disk_that_fills_up_leaves_the_old_artifact_as_it_was(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build(project)
    before = states(first.folder)
    change(project)

    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(take_over, "copy_range", full)
    monkeypatch.setattr("brickctl.tensors.shard_writer.write_at", full)

    with pytest.raises(OSError, match="No space left"):
        build(project)

    assert states(first.folder) == before
    assert not list(Workbench(first.folder).new.glob("*.partial"))

"""Dry runs: what a build will take, told before it begins."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Input, Map, Op, Statistic, Stored
from brickctl.core.plan import Shard
from brickctl.core.regions import Access, Spec
from brickctl.errors import NoSpace
from brickctl.tensors import costs
from brickctl.tensors import top_k as top_k  # noqa: PLC0414 - registers keep-largest
from brickctl.tensors.costs import work_of
from brickctl.tensors.executor import Budget
from brickctl.tensors.memory import DEFAULT_MEMORY
from brickctl.workflows import machine_speed
from brickctl.workflows.build import Outline, outline, read_recipes
from brickctl.workflows.lock import LockMode, current_lock
from brickctl.workflows.machine_speed import Speed, free_cores, speed_of
from brickctl.workflows.show_plan import describe_plan, plan_document
from tests.support.projects import build_targets, opened, rewrite, starter_project, states

BUDGET = Budget(threads=2)
SLOW = Speed(read=1e6, write=1e6, sha256=1e9, arithmetic=1.0)
ELEMENTS = 1_000_000
MATRIX = Spec(DType.F64, (1000, 1000))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The starter project, on a machine where nobody else is at work."""
    monkeypatch.setattr("brickctl.workflows.estimate.free_cores", lambda wanted, _: float(wanted))
    return starter_project(tmp_path, monkeypatch)


def outlined(project: Path, *, budget: Budget = BUDGET, force: bool = False) -> Outline:
    session = opened(project)
    (recipe,) = read_recipes(session, ["assistant"])
    lock = current_lock(session, LockMode.REFRESH)
    return outline(session, recipe, project / "dist" / "assistant", lock, budget, force=force)


def stored(number: int = 0) -> Stored:
    return Stored(MATRIX, "0" * 64, number * MATRIX.bytes)  # type: ignore[arg-type]


def shard(node: Map | Stored) -> Shard:
    return Shard(path="model.safetensors", header=b"", tensors=(("w", node),))


def mean(*nodes: Stored | Map) -> Map:
    return Map(MATRIX, Op.make("merge.linear", 1), tuple(map(Input, nodes)))


def test_a_disk_of_1_mb_a_second_needs_as_many_seconds_as_there_are_megabytes(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brickctl.workflows.estimate.speed_of", lambda *_: SLOW)
    monkeypatch.setattr("brickctl.workflows.estimate._part_in_memory", lambda _: 0.0)

    found = outlined(project)

    megabytes = (found.output + found.estimate.read) / 1e6
    assert 5 < megabytes < 8, "the base and two adapters are read, and a model is written"
    assert found.estimate.seconds == pytest.approx(megabytes + 0.5 + 1.0, abs=0.1), "Python and torch come first"


def test_where_others_are_at_work_everything_but_the_disk_takes_longer(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brickctl.workflows.estimate.speed_of", lambda *_: SLOW)
    alone = outlined(project, budget=Budget(threads=1)).estimate
    monkeypatch.setattr("brickctl.workflows.estimate.free_cores", lambda wanted, _: wanted / 4)
    beside = outlined(project, budget=Budget(threads=1)).estimate

    assert (beside.cores, beside.free) == (1, 0.25)
    assert beside.seconds - alone.seconds == pytest.approx(3 * (0.5 + 1.0)), "starting takes four times as long"


def test_free_cores_are_at_most_those_that_were_wanted() -> None:
    assert 0.05 <= free_cores(1, 1e9) <= 1
    assert free_cores(2, 1.0) == 2, "whatever is hashed is more than one byte a second"
    assert free_cores(1, 1e15) == 0.05


def test_what_is_in_memory_already_is_not_waited_for(project: Path) -> None:
    outlined(project)  # reads all of it, in order to verify it

    megabytes = outlined(project).estimate.read / 1e6

    assert megabytes == 0 if system_tells(project) else 2 < megabytes < 4


def system_tells(folder: Path) -> bool:
    """Whether a read can be told to take nothing but what is in memory; not on every system and disk."""
    with (folder / "brick.toml").open("rb") as file:
        try:
            return os.preadv(file.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT) == 1
        except (AttributeError, OSError):
            return False


def test_a_changed_weight_costs_the_shards_that_it_touches(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brickctl.workflows.estimate.speed_of", lambda *_: SLOW)
    rewrite(project, '[targets.assistant]\nfrom = "base"', '[targets.assistant]\nfrom = "base"\nshard-size = "500kB"')
    build_targets(opened(project), ["assistant"], LockMode.REFRESH, BUDGET)
    kept = outlined(project)
    rewrite(project, "upper = 0.9", 'upper = [{ filter = "model.norm.*", value = 0.5 }, { value = 0.9 }]')
    changed = outlined(project)
    forced = outlined(project, force=True)

    assert (kept.fresh, kept.estimate.shares.made, kept.estimate.shares.taken_over) == (False, 0, 7)
    assert changed.fresh
    assert changed.estimate.shares.made + changed.estimate.shares.taken_over == 7
    assert forced.estimate.shares.made == 7
    assert "up to date: nothing to do" in describe_plan(kept)
    assert "7 taken over" in describe_plan(kept)
    assert "taken over" not in describe_plan(forced)


def test_what_is_said_is_said_in_json_too(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brickctl.workflows.estimate.speed_of", lambda *_: SLOW)
    found = outlined(project)

    told = json.loads(json.dumps(plan_document(found)))["estimate"]

    assert told["seconds"] == round(found.estimate.seconds, 1)
    assert told["download-bytes"] == 0
    assert told["shards"] == {"made": 1, "taken-over": 0}
    assert told["memory-bytes"] < DEFAULT_MEMORY + (230 << 20)
    assert told["measured"]["write-bytes-per-second"] == 1_000_000
    text = describe_plan(found)
    assert "the disk writes 1.00 MB/s and reads 1.00 MB/s, a core hashes 1.00 GB/s" in text
    assert "2.0 of 2 cores are free now" in text
    assert "download" not in text


def test_what_does_not_fit_into_the_budget_is_refused_by_a_dry_run_too(project: Path) -> None:
    with pytest.raises(NoSpace, match="memory budget is too small"):
        outlined(project, budget=Budget(threads=1, memory=1000))


def test_bricks_that_are_not_here_yet_are_told_as_bytes_to_download(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(project)
    (recipe,) = read_recipes(session, ["assistant"])
    lock = current_lock(session, LockMode.REFRESH)
    away = lock.bricks["upper"].pin  # type: ignore[index]
    locate = type(session.sources).locate
    monkeypatch.setattr(type(session.sources), "locate", lambda self, pin: None if pin == away else locate(self, pin))

    found = outline(session, recipe, project / "dist" / "assistant", lock, BUDGET)

    others = {file.sha256 for pin in (lock.base.pin, lock.bricks["next"].pin) for file in pin.files}  # type: ignore[index]
    size = sum(file.size for file in away.files if file.sha256 not in others)
    assert 200_000 < size < sum(file.size for file in away.files), "one licence is the same as that of another brick"
    assert found.estimate.fetch == size
    assert f"{size / 1e3:.0f} kB to download first" in describe_plan(found)
    assert "without downloading" in describe_plan(found)


COMPILED = pytest.mark.parametrize(
    ("machine", "plain", "keeping"), [(True, 0.1, 0.15), (None, 0.25, 1.4)], ids=["compiled", "by kernels"]
)


@COMPILED
def test_a_product_costs_its_terms_and_a_sum_its_elements(
    machine: object, plain: float, keeping: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    del keeping
    monkeypatch.setattr(costs, "machine", lambda: machine)
    product = Map(MATRIX, Op.make("product", 1), (Input(stored(0)), Input(stored(1))))
    cheap, dear = work_of([shard(mean(stored(0), stored(1)))]), work_of([shard(product)])

    assert cheap.spread == pytest.approx(ELEMENTS * (2 * 8 * 0.15 + 3 * plain) * 1e-9)
    assert dear.spread == pytest.approx(ELEMENTS * (2 * 8 * 0.15 + 1000 * 0.1) * 1e-9)
    assert cheap.written == dear.written == MATRIX.bytes


@COMPILED
def test_what_inputs_have_in_common_is_counted_once_and_a_statistic_as_often_as_it_looks(
    machine: object, plain: float, keeping: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "machine", lambda: machine)
    both = mean(mean(stored()), mean(stored()))
    quartiles = Statistic(Spec(DType.F64, (1, 3)), Op.make("quartiles", 1), (stored(),))
    kept = Map(MATRIX, Op.make("keep-largest", 1), (Input(stored()), Input(quartiles, Access.ALL)))
    read = ELEMENTS * 8 * 0.15e-9

    assert work_of([shard(both)]).spread == pytest.approx(read + ELEMENTS * (2 + 3) * plain * 1e-9)
    spread = work_of([shard(kept)]).spread
    assert spread == pytest.approx(2 * (read + ELEMENTS * 1.8e-9) + read + ELEMENTS * keeping * 1e-9, rel=1e-3)


def test_the_machine_is_measured_once_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Path] = []
    measure = machine_speed._measured

    def counted(folder: Path) -> Speed:
        measured.append(folder)
        return measure(folder)

    monkeypatch.setattr(machine_speed, "_measured", counted)
    first = speed_of(tmp_path / "not" / "there", tmp_path / "cache")
    assert speed_of(tmp_path, tmp_path / "cache") == first
    assert len(measured) == 1
    assert min(first.read, first.write, first.sha256) > 1e6
    assert 0.01 < first.arithmetic < 100
    assert not list(tmp_path.glob(".new-*")), "scratch files are gone"

    record = tmp_path / "cache" / "speeds.json"
    entries = json.loads(record.read_bytes())
    (disk,) = entries
    for spoiled in (
        {**entries[disk], "time": entries[disk]["time"] - 25 * 3600},
        {**entries[disk], "sha256": 0},
        {**entries[disk], "read": "fast"},
        {**entries[disk], "read": float("inf")},
        {**entries[disk], "write": 0},
        {**entries[disk], "sha256": 1e-320},
        {**entries[disk], "arithmetic": 10**400},
        3,
    ):
        record.write_text(json.dumps({disk: spoiled}))
        speed_of(tmp_path, tmp_path / "cache")
    record.write_bytes(b"\xff")
    speed_of(tmp_path, tmp_path / "cache")
    assert len(measured) == 10


def test_where_nothing_can_be_written_the_disk_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(_: Path) -> None:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(machine_speed, "probe", closed)
        speed = speed_of(tmp_path, tmp_path / "cache")
    assert (speed.read, speed.write) == (0, 0)
    assert speed_of(tmp_path, tmp_path / "cache").write > 0, "tried again, and not a day later"


def test_a_dry_run_writes_nothing_into_the_project_and_imports_no_torch(project: Path) -> None:
    outlined(project)
    before = states(project)
    script = (
        "import sys\nfrom brickctl.cli import main\ncode = main()\n"
        "print([code, [name for name in ('torch', 'transformers', 'peft') if name in sys.modules]])"
    )
    command = [sys.executable, "-c", script, "build", "assistant", "--dry-run"]
    done = subprocess.run(command, cwd=project, env=os.environ, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[0, []]"
    assert "about " in done.stdout
    assert states(project) == before

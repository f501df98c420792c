"""Processes at work: the bytes that threads make, their errors, and none of them left behind."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file

from brickctl.core.digests import canonical_json, sha256_bytes
from brickctl.core.dtypes import DType
from brickctl.core.nodes import Input, Map, Node, Op, Statistic, Stored
from brickctl.core.plan import Plan, Shard
from brickctl.core.regions import Access, Spec
from brickctl.errors import BrickctlError, IntegrityFault, Misfit
from brickctl.tensors import processes, shard_writer, workers
from brickctl.tensors.arithmetic import add, cast, multiply
from brickctl.tensors.exact import exact_product
from brickctl.tensors.header import read_header, write_header
from brickctl.tensors.kernels import kernel, statistic_kernel
from tests.support.building import Prepared, Runner, Silence

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from brickctl.core.brick import File
    from brickctl.core.regions import Region

ROOT = Path(__file__).parents[2]
ROWS, COLUMNS, RANK = 1500, 700, 8

pytestmark = pytest.mark.skipif(not processes.can_fork(), reason="on this system blocks are made in threads")


@kernel("own-process")
def own_process(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Write the number of the process into every element."""
    del inputs, arguments, block
    out.fill_(os.getpid())


@kernel("kill-itself")
def kill_itself(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """What the system does when memory runs out."""
    del inputs, out, arguments, block
    os.kill(os.getpid(), signal.SIGKILL)


@kernel("times-statistic")
def times(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Multiply a block by the first element of a statistic."""
    del arguments, block
    out.copy_(inputs[0]).mul_(inputs[1][0, 0])


@statistic_kernel("counted-total")
def total(scan: Any, given: Sequence[Tensor], arguments: Mapping[str, Any]) -> Tensor:
    """Add up a tensor and what is given; a file gets a line for each time that this is done."""
    with Path(arguments["log"]).open("a") as log:
        log.write(f"{arguments['name']} {os.getpid()}\n")
    sums = [float(blocks[0].double().sum()) for blocks, _ in scan()]
    return torch.tensor([[sum(sums) + sum(float(one.sum()) for one in given)]], dtype=torch.float64)


@statistic_kernel("failing")
def fail(scan: Any, given: Sequence[Tensor], arguments: Mapping[str, Any]) -> Tensor:
    """Fail at once."""
    del scan, given, arguments
    raise BrickctlError("a statistic failed")


@pytest.fixture(autouse=True)
def in_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "ENOUGH", 0)


class Stage:
    """A file of tensors, and plans of shards that are made of them."""

    def __init__(self, folder: Path) -> None:
        generator = torch.Generator().manual_seed(1)
        sizes = {"weight": (ROWS, COLUMNS), "other": (ROWS, COLUMNS), "b": (ROWS, RANK), "a": (RANK, COLUMNS)}
        tensors = {name: torch.randn(size, generator=generator).bfloat16() for name, size in sizes.items()}
        tensors["spoilt"] = torch.full((ROWS, COLUMNS), torch.nan).bfloat16()
        self.path = folder / "source.safetensors"
        save_file(tensors, self.path)
        self.blob = sha256_bytes(self.path.read_bytes())
        self.nodes = {
            entry.name: Stored(entry.spec, self.blob, entry.begin) for entry in read_header(self.path).entries
        }

    def total(self, log: Path, name: str, *given: Node) -> Statistic:
        op = Op("counted-total", 1, canonical_json({"log": str(log), "name": name}).decode())
        return Statistic(Spec(DType.F64, (1, 1)), op, (self.nodes[name],), given)

    def map(self, op: str, *inputs: Input) -> Map:
        return Map(Spec(DType.F64, (ROWS, COLUMNS)), Op.make(op, 1), inputs)

    def prepared(self, *shards: Mapping[str, Node]) -> Prepared:
        nothing: Any = None
        made = [
            Shard(
                path=f"{number}.safetensors",
                header=write_header({name: node.spec for name, node in tensors.items()}),
                tensors=tuple(tensors.items()),
            )
            for number, tensors in enumerate(shards)
        ]
        return Prepared(artifact=nothing, plan=Plan(tasks=tuple(made)), paths={self.blob: self.path})

    @property
    def sums(self) -> Mapping[str, Node]:
        """Stored, computed and computed by matrix products."""
        nodes = self.nodes
        product = exact_product(nodes["b"], nodes["a"], 0.5)
        return {
            "merged": cast(add(nodes["weight"], product), DType.BF16),
            "other": nodes["other"],
            "sum": cast(add(nodes["weight"], nodes["other"]), DType.F32),
        }


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def in_threads(prepared: Prepared, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[File, ...]:
    with monkeypatch.context() as patch:
        patch.setattr(workers, "ENOUGH", 1 << 60)
        return Runner(threads=1).run(prepared, folder)


def numbers(path: Path, entry: str) -> Tensor:
    from safetensors.torch import load_file

    return load_file(path)[entry]


@pytest.mark.parametrize("threads", [2, 5])
@pytest.mark.parametrize("memory", [24 << 20, None])
def test_they_make_the_bytes_that_threads_make(
    threads: int, memory: int | None, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = stage.prepared(stage.sums, {"copied": stage.nodes["weight"]}, {"again": stage.sums["sum"]})
    expected = in_threads(prepared, tmp_path / "threads", monkeypatch)
    assert Runner(threads=threads, memory=memory).run(prepared, tmp_path / "out") == expected
    for file in expected:
        assert sha256_bytes((tmp_path / "out" / file.path).read_bytes()) == file.sha256


def test_blocks_are_made_elsewhere_and_by_several(stage: Stage, tmp_path: Path) -> None:
    Runner(threads=2).run(stage.prepared({"who": stage.map("own-process")}), tmp_path / "out")
    found = {int(one) for one in numbers(tmp_path / "out" / "0.safetensors", "who").unique()}
    assert found
    assert os.getpid() not in found
    assert multiprocessing.active_children() == []


def test_what_is_small_is_made_here(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "ENOUGH", ROWS * COLUMNS + 1)
    Runner(threads=2).run(stage.prepared({"who": stage.map("own-process")}), tmp_path / "out")
    assert {int(one) for one in numbers(tmp_path / "out" / "0.safetensors", "who").unique()} == {os.getpid()}


def test_a_statistic_is_made_once_and_seen_by_all(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tensors ask for one, and one of them also for another that needs the first."""
    log = tmp_path / "log"
    first = stage.total(log, "weight")
    second = stage.total(log, "other", first)
    scaled = [
        stage.map("times-statistic", Input(stage.nodes["weight"]), Input(one, Access.ALL)) for one in (first, second)
    ]
    prepared = stage.prepared({"both": multiply(*scaled), "one": scaled[0]}, {"again": scaled[1]})
    expected = in_threads(prepared, tmp_path / "threads", monkeypatch)
    log.unlink()

    assert Runner(threads=3).run(prepared, tmp_path / "out") == expected

    made, makers = zip(*map(str.split, log.read_text().splitlines()), strict=True)
    assert sorted(made) == ["other", "weight"]
    assert str(os.getpid()) not in makers


def test_an_error_comes_back_with_all_that_it_says(stage: Stage, tmp_path: Path) -> None:
    spoilt = cast(add(stage.nodes["weight"], stage.nodes["spoilt"]), DType.BF16)
    with pytest.raises(Misfit, match="`x` would hold NaN or infinity") as caught:
        Runner().run(stage.prepared({**stage.sums, "x": spoilt}), tmp_path / "out")
    assert caught.value.causes == (f"{stage.path} holds NaN or infinity",)
    assert caught.value.hint == "leave that brick out, or ask its publisher for another file"
    assert [path.name for path in (tmp_path / "out").iterdir()] == []
    assert multiprocessing.active_children() == []


def test_the_first_error_in_the_file_is_the_one_that_is_told(stage: Stage, tmp_path: Path) -> None:
    """A statistic of a later tensor fails before the blocks of the first are made."""
    spoilt = cast(add(stage.nodes["weight"], stage.nodes["spoilt"]), DType.BF16)
    failing = Statistic(Spec(DType.F64, (1, 1)), Op.make("failing", 1), (stage.nodes["weight"],))
    later = stage.map("times-statistic", Input(stage.nodes["weight"]), Input(failing, Access.ALL))
    with pytest.raises(Misfit, match="`x` would hold"):
        Runner().run(stage.prepared({"x": spoilt, "y": later}), tmp_path / "first")
    with pytest.raises(BrickctlError, match="a statistic failed"):
        Runner().run(stage.prepared({"y": later, "x": spoilt}), tmp_path / "second")


def test_a_source_that_became_shorter_is_an_integrity_fault(stage: Stage, tmp_path: Path) -> None:
    prepared = stage.prepared(stage.sums)
    os.truncate(stage.path, 1000)
    with pytest.raises(IntegrityFault, match="changed under brickctl") as caught:
        Runner().run(prepared, tmp_path / "out")
    assert caught.value.hint == "run the command again"


def test_a_full_disk_names_the_file(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(processes, "write_at", full)
    with pytest.raises(OSError, match=r"No space left on device: .*0\.safetensors"):
        Runner().run(stage.prepared(stage.sums), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == []


def test_one_that_is_killed_is_told_and_takes_the_others_along(stage: Stage, tmp_path: Path) -> None:
    with pytest.raises(BrickctlError, match="ended unexpectedly") as caught:
        Runner().run(stage.prepared(stage.sums, {"x": stage.map("kill-itself")}), tmp_path / "out")
    assert caught.value.hint is not None
    assert "--threads 1" in caught.value.hint
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["0.safetensors"]
    assert multiprocessing.active_children() == []


DRIVER = """
import os, signal, sys, threading, time
from pathlib import Path
from brickctl.tensors import workers
from brickctl.tensors.kernels import kernel
from tests.support.building import Runner
from tests.tensors.test_processes import Stage, is_alive
import multiprocessing

workers.ENOUGH = 0

@kernel("slow")
def slow(inputs, out, arguments, block):
    time.sleep(float(sys.argv[2]))
    out.fill_(1)

def press():
    for pause in map(float, sys.argv[3:]):
        time.sleep(pause)
        os.killpg(0, signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
stage = Stage(Path(sys.argv[1]))
plan = stage.prepared({f"x{at}": stage.map("slow") for at in range(20)})
import torch
threading.Thread(target=press, daemon=True).start()
try:
    Runner(threads=8, memory=1 << 30).run(plan, Path(sys.argv[1]) / "out")
except KeyboardInterrupt:
    alive = [one for one in multiprocessing.active_children() if is_alive(one.pid)]
    print("interrupted", alive, [*(Path(sys.argv[1]) / "out").iterdir()])
"""


@pytest.mark.parametrize(
    "presses",
    [[0.01], [0.02], [0.04], [0.5], [0.5, 0.0, 0.0], [0.5, 0.01, 0.02]],
    ids=["as they start", "a little later", "as they begin", "at work", "three at once", "while they end"],
)
def test_ctrl_c_ends_them_all_at_once_and_leaves_no_half_a_file(presses: list[float], tmp_path: Path) -> None:
    """Whenever it comes, and however often; blocks that take a minute are not waited for."""
    command = [sys.executable, "-c", DRIVER, str(tmp_path), "60", *map(str, presses)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=50, start_new_session=True
    )
    assert done.stderr == "" or "KeyboardInterrupt" in done.stderr.splitlines()[-1]  # a second one while it ends
    if len(presses) == 1:
        assert (done.returncode, done.stdout) == (0, "interrupted [] []\n")


class KillOne(Silence):
    """A `Progress` that is interrupted, after somebody killed one of the processes."""

    def advance(self, label: str, amount: int) -> None:
        del label
        if amount > 10_000:
            multiprocessing.active_children()[0].kill()
            time.sleep(0.2)
            raise KeyboardInterrupt


def test_an_interrupt_beside_one_that_was_killed_ends_too(stage: Stage, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Runner(progress=KillOne()).run(stage.prepared(*[stage.sums] * 20), tmp_path / "out")
    assert multiprocessing.active_children() == []
    assert [path.name for path in (tmp_path / "out").iterdir()] == []


KILLED = """
import os, signal, sys
from pathlib import Path
from brickctl.tensors import workers
from tests.support.building import Runner, Silence
from tests.tensors.test_processes import Stage
import multiprocessing

class Killed(Silence):
    def advance(self, label, amount):
        if amount > 10_000:
            print(*(child.pid for child in multiprocessing.active_children()), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

workers.ENOUGH = 0
stage = Stage(Path(sys.argv[1]))
Runner(progress=Killed()).run(stage.prepared(*[stage.sums] * 20), Path(sys.argv[1]) / "out")
"""


def test_they_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    children = [int(one) for one in done.stdout.split()]
    assert len(children) == 2
    deadline = time.monotonic() + 30
    while any(map(is_alive, children)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_alive(process: int) -> bool:
    """Whether a process is there and not only waiting to be buried by whoever inherited it."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def refuses(error: Exception) -> Callable[..., None]:
    def pool(*_: Any, **__: Any) -> None:
        raise error

    return pool


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSYS, "no semaphores"), NotImplementedError("too few"), RuntimeError("can't start new thread")],
    ids=["no semaphores", "too few of them", "no threads"],
)
def test_where_a_system_has_no_processes_threads_do_it(
    error: Exception, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "ProcessPoolExecutor", refuses(error))
    Runner(threads=2).run(stage.prepared({"who": stage.map("own-process")}), tmp_path / "out")
    assert {int(one) for one in numbers(tmp_path / "out" / "0.safetensors", "who").unique()} == {os.getpid()}


def test_a_system_that_gives_only_some_processes_is_left_with_none(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork, forked = os.fork, []

    def some() -> int:
        if forked:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        child = fork()
        forked.append(child)
        return child

    monkeypatch.setattr(os, "fork", some)
    Runner(threads=2).run(stage.prepared({"who": stage.map("own-process")}), tmp_path / "out")
    assert {int(one) for one in numbers(tmp_path / "out" / "0.safetensors", "who").unique()} == {os.getpid()}
    assert len(forked) == 1
    deadline = time.monotonic() + 30
    while is_alive(forked[0]):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_window_bounds_what_waits(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces that are done and not hashed yet stand in the file, not in memory; and there are not many of them."""
    most = 0
    may_begin = shard_writer.ShardWriter._may_begin

    def watched(self: Any, piece: Any, others: int) -> bool:
        nonlocal most
        most = max(most, others)
        return may_begin(self, piece, others)

    monkeypatch.setattr(shard_writer.ShardWriter, "_may_begin", watched)
    Runner(threads=2).run(stage.prepared(*[stage.sums] * 3), tmp_path / "out")
    assert 0 < most <= 8

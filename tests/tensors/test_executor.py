"""The executor: the same bytes under every budget, memory within it, and a killed build that goes on."""

from __future__ import annotations

import dataclasses
import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from brickctl.core.digests import Sha256, sha256_bytes
from brickctl.core.dtypes import DType
from brickctl.core.nodes import Input, Map, Node, Op, Stored
from brickctl.core.plan import Copy, Plan, Shard, Text
from brickctl.core.regions import Spec
from brickctl.errors import EngineMissing, IntegrityFault, NoSpace
from brickctl.tensors import copying, threads, workers
from brickctl.tensors.arithmetic import add, cast
from brickctl.tensors.buffers import Buffers
from brickctl.tensors.exact import exact_product, exact_product_transposed
from brickctl.tensors.header import read_header, write_header
from brickctl.tensors.memory import peak_memory
from tests.support.building import Prepared, Runner, Silence

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).parents[2]
ROWS, COLUMNS, RANK = 1500, 700, 8


class Source:
    """A safetensors file as stored nodes."""

    def __init__(self, path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
        save_file(dict(tensors), path)
        self.path = path
        self.blob = sha256_bytes(path.read_bytes())
        self.nodes = {entry.name: Stored(entry.spec, self.blob, entry.begin) for entry in read_header(path).entries}


@pytest.fixture
def source(tmp_path: Path) -> Source:
    generator = torch.Generator().manual_seed(1)
    sizes = {
        "weight": (ROWS, COLUMNS),
        "other": (ROWS, COLUMNS),
        "b": (ROWS, RANK),
        "a": (RANK, COLUMNS),
        "norm": (700,),
    }
    tensors = {name: torch.randn(size, generator=generator).bfloat16() for name, size in sizes.items()}
    return Source(tmp_path / "source.safetensors", tensors)


def shard(path: str, tensors: Mapping[str, Node]) -> Shard:
    header = write_header({name: node.spec for name, node in tensors.items()})
    return Shard(path=path, header=header, tensors=tuple(tensors.items()))


def merged(source: Source) -> Node:
    """Weight + B A, in bf16."""
    nodes = source.nodes
    return cast(add(nodes["weight"], exact_product(nodes["b"], nodes["a"], 0.5)), DType.BF16)


@pytest.fixture
def prepared(source: Source) -> Prepared:
    """A plan of three shards, a copied file and a text: computed, mixed, and copied tensors."""
    nodes = source.nodes
    tasks = (
        Text(path="config.json", content=b"{}"),
        Copy(path="extra/copy.safetensors", blob=source.blob, size=source.path.stat().st_size),
        shard("1.safetensors", {"weight": merged(source)}),
        shard("2.safetensors", {"norm": nodes["norm"], "sum": cast(add(nodes["weight"], nodes["other"]), DType.F32)}),
        shard("3.safetensors", {"other": nodes["other"], "weight": nodes["weight"]}),
    )
    return _prepared(source, *tasks)


def _prepared(source: Source, *tasks: Any) -> Prepared:
    nothing: Any = None
    return Prepared(artifact=nothing, plan=Plan(tasks=tasks), paths={source.blob: source.path})


def test_files_hold_what_the_plan_says(source: Source, prepared: Prepared, tmp_path: Path) -> None:
    files = Runner().run(prepared, tmp_path / "out")
    assert [file.path for file in files] == [
        "1.safetensors", "2.safetensors", "3.safetensors", "config.json", "extra/copy.safetensors",
    ]  # fmt: skip
    for file in files:
        content = (tmp_path / "out" / file.path).read_bytes()
        assert (len(content), sha256_bytes(content)) == (file.size, file.sha256)
    before = load_file(source.path)
    product = before["b"].double() @ before["a"].double() * 0.5
    after = load_file(tmp_path / "out" / "1.safetensors")["weight"]
    assert torch.equal(after, (before["weight"].double() + product).bfloat16())
    total = load_file(tmp_path / "out" / "2.safetensors")["sum"]
    assert torch.equal(total, before["weight"].float() + before["other"].float())
    assert torch.equal(load_file(tmp_path / "out" / "3.safetensors")["other"], before["other"])


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("memory", [24 << 20, 64 << 20, 1 << 30])
def test_no_budget_changes_a_byte(threads: int, memory: int, prepared: Prepared, tmp_path: Path) -> None:
    expected = Runner(threads=1).run(prepared, tmp_path / "expected")
    assert Runner(threads=threads, memory=memory).run(prepared, tmp_path / "out") == expected


class Counted(Buffers):
    """Buffers that remember the most that was ever allocated."""

    largest = 0

    def take(self, size: int) -> Any:
        buffer = super().take(size)
        Counted.largest = max(Counted.largest, self.allocated)
        return buffer


@pytest.mark.parametrize("memory", [36 << 20, 48 << 20, 64 << 20])
def test_buffers_stay_within_the_budget(memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors of ten shapes whose rows may not be cut, so that one after another asks for buffers of other sizes."""
    monkeypatch.setattr(workers, "ENOUGH", 1 << 60)  # processes have buffers of their own
    monkeypatch.setattr(threads, "Buffers", Counted)
    monkeypatch.setattr(Counted, "largest", 0)
    sizes = (17, 300, 1500, 6000, 40_000, 90_000, 200_000, 400_000, 600_000, 1_000_000)
    source = Source(
        tmp_path / "source.safetensors", {str(size): torch.zeros(2_000_000 // size, size) for size in sizes}
    )
    whole = {
        name: cast(dataclasses.replace(add(node, node), whole_rows=True), DType.BF16)
        for name, node in source.nodes.items()
    }
    prepared = _prepared(source, shard("x.safetensors", whole))
    assert peak_memory(prepared.plan) <= memory
    Runner(threads=4, memory=memory).run(prepared, tmp_path / "out")
    assert 0 < Counted.largest <= memory


def test_a_budget_below_one_block_is_refused_with_the_one_that_is_enough(prepared: Prepared, tmp_path: Path) -> None:
    need = -(-peak_memory(prepared.plan) >> 20)
    with pytest.raises(NoSpace, match="the memory budget is too small") as caught:
        Runner(memory=(need << 20) - (1 << 20)).run(prepared, tmp_path / "out")
    assert caught.value.causes == (
        f"one block of `weight` needs {need} MiB of buffers, and {need - 1} MiB are allowed",
    )
    assert caught.value.hint == f"pass --memory {need}MiB"
    Runner(memory=need << 20).run(prepared, tmp_path / "out")


def test_rows_longer_than_a_block_are_computed_in_parts(tmp_path: Path) -> None:
    """Two rows of 300 thousand columns: two blocks each, and factors read by columns."""
    generator = torch.Generator().manual_seed(2)
    sizes = {"weight": (2, 300_000), "b": (2, 4), "a": (4, 300_000)}
    tensors = {name: torch.randn(size, generator=generator).bfloat16() for name, size in sizes.items()}
    source = Source(tmp_path / "long.safetensors", tensors)
    Runner().run(_prepared(source, shard("x.safetensors", {"weight": merged(source)})), tmp_path / "out")
    product = tensors["b"].double() @ tensors["a"].double() * 0.5
    expected = (tensors["weight"].double() + product).bfloat16()
    assert torch.equal(load_file(tmp_path / "out" / "x.safetensors")["weight"], expected)


def test_a_transposed_product_reads_across(tmp_path: Path) -> None:
    """An embedding of 1000 tokens and 700 dimensions: its blocks take columns of A by the numbers of their rows."""
    generator = torch.Generator().manual_seed(3)
    tensors = {"b": torch.randn(700, 4, generator=generator).bfloat16(), "a": torch.randn(4, 1000).bfloat16()}
    source = Source(tmp_path / "embedding.safetensors", tensors)
    node = exact_product_transposed(source.nodes["b"], source.nodes["a"], 2.0)
    Runner().run(_prepared(source, shard("x.safetensors", {"delta": node})), tmp_path / "out")
    expected = (tensors["b"].double() @ tensors["a"].double()).T * 2
    assert torch.equal(load_file(tmp_path / "out" / "x.safetensors")["delta"], expected)


def test_scalars_and_empty_tensors_are_written(tmp_path: Path) -> None:
    source = Source(tmp_path / "s.safetensors", {"scalar": torch.tensor(2.5), "empty": torch.zeros(0, 4)})
    tensors = {name: cast(add(node, node), DType.F32) for name, node in source.nodes.items()}
    Runner().run(_prepared(source, shard("x.safetensors", tensors)), tmp_path / "out")
    found = load_file(tmp_path / "out" / "x.safetensors")
    assert found["scalar"] == 5.0
    assert found["empty"].shape == (0, 4)


class StopAfter(Silence):
    """A `Progress` that interrupts the build once so many bytes are done."""

    def __init__(self, limit: int) -> None:
        self.left = limit

    def advance(self, label: str, amount: int) -> None:
        del label
        self.left -= amount
        if self.left < 0:
            raise KeyboardInterrupt


def test_a_build_that_was_stopped_goes_on_at_the_shard_where_it_stopped(prepared: Prepared, tmp_path: Path) -> None:
    expected = Runner().run(prepared, tmp_path / "expected")
    out = tmp_path / "out"
    done = sum(file.size for file in expected if file.path != "3.safetensors")
    with pytest.raises(KeyboardInterrupt):
        Runner(progress=StopAfter(done)).run(prepared, out)
    assert not (out / "3.safetensors.partial").exists()
    assert not (out / "3.safetensors").exists()
    before = {name: (out / name).stat() for name in ("1.safetensors", "2.safetensors")}
    assert Runner().run(prepared, out) == expected
    for name, status in before.items():
        after = (out / name).stat()
        assert (after.st_ino, after.st_mtime_ns) == (status.st_ino, status.st_mtime_ns)
    assert sorted(path.name for path in out.glob("*.partial")) == []


@pytest.mark.parametrize("damage", ["touched", "late", "shorter", "replaced", "missing"])
def test_a_finished_shard_that_was_changed_is_made_again(damage: str, prepared: Prepared, tmp_path: Path) -> None:
    out = tmp_path / "out"
    expected = Runner().run(prepared, out)
    path = out / "1.safetensors"
    if damage in {"touched", "late"}:
        before = path.stat()
        path.write_bytes(path.read_bytes()[:-1] + b"\x00")
        if damage == "late":
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif damage == "shorter":
        os.truncate(path, 100)
    elif damage == "replaced":
        (out / "new").write_bytes(b"x" * path.stat().st_size)
        (out / "new").replace(path)
    else:
        path.unlink()
    assert Runner().run(prepared, out) == expected
    assert {file.path: sha256_bytes((out / file.path).read_bytes()) for file in expected} == {
        file.path: file.sha256 for file in expected
    }


def test_a_journal_full_of_nonsense_costs_time_only(prepared: Prepared, tmp_path: Path) -> None:
    expected = Runner().run(prepared, tmp_path / "out")
    for entry in (tmp_path / "out.journal").iterdir():
        entry.write_bytes(b'{"identity": [], "sha256": 3')
    assert Runner().run(prepared, tmp_path / "out") == expected


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.support.building import Runner, Silence, manifest, prepare, sum_of

class Killed(Silence):
    left = int(sys.argv[4])
    def advance(self, label, amount):
        self.left -= amount
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

base, brick, out = map(Path, sys.argv[1:4])
text = manifest(base, {"a": brick}, sum_of(a=0.5), 'shard-size = "40kB"')
Runner(progress=Killed()).run(prepare(text, out.parent), out)
"""


@pytest.mark.full
def test_a_build_that_was_killed_goes_on_in_another_process(tmp_path: Path) -> None:
    from tests.support.models import tiny_model, tuned

    base = tiny_model(tmp_path / "base")
    brick = tuned(base, tmp_path / "expert")

    def run(out: str, limit: int) -> int:
        arguments = [str(base), str(brick), str(tmp_path / out), str(limit)]
        return subprocess.run([sys.executable, "-c", KILLED, *arguments], cwd=ROOT, check=False).returncode

    assert run("whole", 1 << 30) == 0
    assert run("out", 100_000) == -signal.SIGKILL
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.safetensors")}
    assert before
    assert run("out", 1 << 30) == 0
    for path in (tmp_path / "whole").iterdir():
        again = tmp_path / "out" / path.name
        assert again.read_bytes() == path.read_bytes()
        assert again.stat().st_mtime_ns == before.get(path.name, again.stat().st_mtime_ns)


def test_an_error_in_a_worker_surfaces_and_leaves_nothing_running(source: Source, tmp_path: Path) -> None:
    unknown = Map(Spec(DType.BF16, (ROWS, COLUMNS)), Op.make("no-such-kernel", 1), (Input(source.nodes["weight"]),))
    prepared = _prepared(source, shard("x.safetensors", {"other": source.nodes["other"], "unknown": unknown}))
    with pytest.raises(EngineMissing, match="no-such-kernel"):
        Runner(threads=4).run(prepared, tmp_path / "out")
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("brickctl-piece")] == []
    assert not (tmp_path / "out" / "x.safetensors").exists()


def test_a_source_that_became_shorter_is_an_integrity_fault(source: Source, prepared: Prepared, tmp_path: Path) -> None:
    with source.path.open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(IntegrityFault, match="changed under brickctl"):
        Runner().run(prepared, tmp_path / "out")


def no_kernel_copy(code: int) -> Callable[..., int]:
    def copy_file_range(*_: Any, **__: Any) -> int:
        raise OSError(code, os.strerror(code))

    return copy_file_range


@pytest.mark.parametrize("code", [errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_where_the_kernel_cannot_copy_bytes_are_copied_by_hand(
    code: int, prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = Runner().run(prepared, tmp_path / "expected")
    monkeypatch.setattr(copying.os, "copy_file_range", no_kernel_copy(code))
    assert Runner().run(prepared, tmp_path / "out") == expected


def test_where_the_system_has_no_such_call_bytes_are_copied_by_hand(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """macOS and old libraries."""
    expected = Runner().run(prepared, tmp_path / "expected")
    monkeypatch.setattr(copying, "_BY_KERNEL", value=False)
    assert Runner().run(prepared, tmp_path / "out") == expected


def test_a_full_disk_is_said_and_not_worked_around(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying.os, "copy_file_range", no_kernel_copy(errno.ENOSPC))
    with pytest.raises(OSError, match=r"No space left on device: .*safetensors"):
        Runner().run(prepared, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["config.json"]


def test_progress_counts_every_byte_once(prepared: Prepared, tmp_path: Path) -> None:
    class Counting(Silence):
        total = done = 0

        def start(self, label: str, total: int, unit: str = "bytes") -> None:
            del label, unit
            self.total = total

        def advance(self, label: str, amount: int) -> None:
            del label
            self.done += amount

    for _ in ("made", "found in the journal"):
        progress = Counting()
        files = Runner(progress=progress).run(prepared, tmp_path / "out")
        assert progress.total == sum(file.size for file in files)
        assert progress.done == progress.total


PASSTHROUGH = """
import sys
from pathlib import Path
from brickctl.core.plan import Copy, Plan, Shard
from brickctl.tensors.header import read_header, write_header
from brickctl.core.nodes import Stored
from tests.support.building import Prepared, Runner

source, out = map(Path, sys.argv[1:])
stored = {entry.name: Stored(entry.spec, "0" * 64, entry.begin) for entry in read_header(source).entries}
header = write_header({name: node.spec for name, node in stored.items()})
plan = Plan(tasks=(Shard(path="x.safetensors", header=header, tensors=tuple(stored.items())),))
Runner().run(Prepared(artifact=None, plan=plan, paths={"0" * 64: source}), out)
assert "torch" not in sys.modules, "torch was imported"
assert "numpy" not in sys.modules, "numpy was imported"
"""


def test_bytes_that_do_not_change_are_copied_without_torch(source: Source, tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(PASSTHROUGH), str(source.path), str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found, before = load_file(tmp_path / "out" / "x.safetensors"), load_file(source.path)
    assert all(torch.equal(found[name], before[name]) for name in before)


def test_a_blob_can_be_named_by_any_key(source: Source, tmp_path: Path) -> None:
    """Nothing in the executor hashes what it reads: the ledger has done so before."""
    other = Sha256("f" * 64)
    node = Stored(source.nodes["norm"].spec, other, source.nodes["norm"].offset)
    nothing: Any = None
    plan = Plan(tasks=(shard("x.safetensors", {"norm": node}),))
    Runner().run(Prepared(artifact=nothing, plan=plan, paths={other: source.path}), tmp_path / "out")
    assert torch.equal(load_file(tmp_path / "out" / "x.safetensors")["norm"], load_file(source.path)["norm"])

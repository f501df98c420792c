"""Memory: high ranks within small budgets, by strips that change no bit."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file

from brickctl.core.digests import sha256_bytes
from brickctl.core.dtypes import DType
from brickctl.core.nodes import Input, Map, Node, Op, Stored
from brickctl.core.plan import Plan, Shard
from brickctl.core.regions import Access, Region, Spec
from brickctl.errors import NoSpace
from brickctl.kinds.adapters import dora
from brickctl.tensors import threads as pool
from brickctl.tensors import workers
from brickctl.tensors.arithmetic import add, cast
from brickctl.tensors.block_memory import strips
from brickctl.tensors.buffers import Buffers
from brickctl.tensors.exact import exact_product, exact_product_transposed
from brickctl.tensors.header import read_header, write_header
from brickctl.tensors.memory import peak_memory, share
from tests.support.building import Prepared, Runner

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.tensors.buffers import Buffer

RANK, ROWS, COLUMNS = 256, 200, 8192
MIB = 1 << 20


@pytest.fixture
def nodes(tmp_path: Path) -> dict[str, Stored]:
    """A weight (200, 8192), factors of rank 256 for it, and for it transposed, where it is an embedding."""
    generator = torch.Generator().manual_seed(4)
    sizes = {
        "weight": (ROWS, COLUMNS),
        "b": (ROWS, RANK),
        "a": (RANK, COLUMNS),
        "eb": (COLUMNS, RANK),
        "ea": (RANK, ROWS),
    }
    tensors = {name: torch.randn(size, generator=generator).bfloat16() for name, size in sizes.items()}
    tensors |= {"m": torch.rand(ROWS, generator=generator), "em": torch.rand(COLUMNS, generator=generator)}
    path = tmp_path / "source.safetensors"
    save_file(tensors, path)
    blob = sha256_bytes(path.read_bytes())
    return {entry.name: Stored(entry.spec, blob, entry.begin) for entry in read_header(path).entries}


def linear(nodes: dict[str, Stored]) -> Node:
    return exact_product(nodes["b"], nodes["a"], 0.5)


def embedding(nodes: dict[str, Stored]) -> Node:
    return exact_product_transposed(nodes["eb"], nodes["ea"], 0.5)


DELTAS = {
    "linear": linear,
    "embedding": embedding,
    "dora": lambda nodes: dora.linear_delta(nodes["weight"], linear(nodes), nodes["m"]),
    "dora of an embedding": lambda nodes: dora.embedding_delta(nodes["weight"], embedding(nodes), nodes["em"]),
}


def prepared(tmp_path: Path, nodes: dict[str, Stored], delta: Node) -> Prepared:
    node = cast(add(nodes["weight"], delta), DType.BF16)
    shard = Shard(path="x.safetensors", header=write_header({"w": node.spec}), tensors=(("w", node),))
    path = tmp_path / "source.safetensors"
    nothing: object = None
    return Prepared(artifact=nothing, plan=Plan(tasks=(shard,)), paths={nodes["weight"].blob: path})  # type: ignore[arg-type]


class Counted(Buffers):
    """Buffers that remember the most that were in use at once."""

    in_use = largest = 0
    counting = threading.Lock()

    def take(self, size: int) -> Buffer:
        buffer = super().take(size)
        with Counted.counting:
            Counted.in_use += buffer.size
            Counted.largest = max(Counted.largest, Counted.in_use)
        return buffer

    def give_back(self, buffer: Buffer) -> None:
        with Counted.counting:
            Counted.in_use -= buffer.size
        super().give_back(buffer)


@pytest.mark.parametrize("delta", DELTAS)
def test_a_high_rank_gives_the_same_bytes_in_every_budget_and_keeps_to_it(
    delta: str, nodes: dict[str, Stored], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = prepared(tmp_path, nodes, DELTAS[delta](nodes))
    expected = Runner(threads=1, memory=1 << 30).run(made, tmp_path / "expected")
    monkeypatch.setattr(workers, "ENOUGH", 1 << 60)  # processes have buffers of their own
    monkeypatch.setattr(pool, "Buffers", Counted)
    for memory in (peak_memory(made.plan), 16 * MIB, 24 * MIB, 64 * MIB):
        for threads in (1, 2):
            monkeypatch.setattr(Counted, "largest", 0)
            monkeypatch.setattr(Counted, "in_use", 0)
            place = tmp_path / f"{memory} {threads}"
            assert Runner(threads=threads, memory=memory).run(made, place) == expected
            assert 0 < Counted.largest <= memory
    if delta == "linear":
        source = load_file(tmp_path / "source.safetensors")
        product = source["b"].double() @ source["a"].double() * 0.5
        merged = load_file(tmp_path / "expected" / "x.safetensors")["w"]
        assert (merged != (source["weight"].double() + product).bfloat16()).sum() < merged.numel() // 10_000


def test_all_threads_work_where_narrower_strips_allow_it(nodes: dict[str, Stored], tmp_path: Path) -> None:
    """The right factor takes 16 MiB in fp64: two of them fit into 64 MiB, four do not."""
    plan = prepared(tmp_path, nodes, linear(nodes)).plan
    wide, narrow = (share(plan, threads=threads, memory=64 * MIB) for threads in (2, 4))
    assert (wide.threads, narrow.threads) == (2, 4)
    assert narrow.room < 16 * MIB < wide.room


def test_what_fits_in_no_strips_is_refused_by_name_before_it_runs(nodes: dict[str, Stored], tmp_path: Path) -> None:
    plan = prepared(tmp_path, nodes, linear(nodes)).plan
    with pytest.raises(NoSpace, match="too small") as found:
        share(plan, threads=2, memory=4 * MIB)
    assert "`w`" in found.value.causes[0]


def test_strips_cover_a_rectangle_and_leave_alone_what_needs_whole_rows() -> None:
    factor = Stored(Spec(DType.F64, (100, 1000)), sha256_bytes(b""), 0)
    inputs = (Input(factor, Access.COLUMNS),)
    product = Map(Spec(DType.F64, (50, 1000)), Op.make("product", 1), inputs)
    region = Region(10, 20, 100, 900)
    assert strips(product, region, 1 << 40) == (region,)
    assert strips(product, region, 100 * 8 * 300) == (
        Region(10, 20, 100, 400),
        Region(10, 20, 400, 700),
        Region(10, 20, 700, 900),
    )
    assert len(strips(product, region, 1)) == 800
    whole = Map(product.spec, product.op, inputs, whole_rows=True)
    assert strips(whole, region, 1) == (region,)

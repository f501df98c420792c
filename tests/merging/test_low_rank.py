"""Deltas that are products of small factors: combined through their factors, with the result of whole matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from brickctl.core.digests import sha256_bytes
from brickctl.core.dtypes import DType
from brickctl.core.graph import walk
from brickctl.core.nodes import Output, Stored
from brickctl.core.plan import Plan, Shard
from brickctl.core.regions import Spec
from brickctl.merging.iso_c import IsoC
from brickctl.merging.knots import Knots
from brickctl.merging.low_rank import products_of
from brickctl.merging.tsv import Tsv
from brickctl.merging.wudi import Wudi
from brickctl.tensors.arithmetic import add, scaled, zeros
from brickctl.tensors.exact import exact_product, exact_product_transposed
from brickctl.tensors.memory import peak_memory
from brickctl.tensors.views import reshape, transpose
from tests.merging.test_iso_c import close
from tests.support.building import build, manifest, prepare
from tests.support.evaluating import evaluated
from tests.support.merging import combined
from tests.support.models import adapter, tiny_model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

    from brickctl.core.nodes import Node

METHODS: list[Any] = [IsoC(scale=1.5), Tsv(), Tsv(scale=0.5), Knots(density=0.6), Knots(elect="count", divide="none")]
WUDI = Wudi(steps=20, learning_rate=0.01, scale=0.5)
RANKS = (3, 5, 2)


def named(methods: list[Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("method", methods, ids=lambda method: method.declared.name)


def stored_factors(rows: int, columns: int, ranks: Sequence[int] = RANKS) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(rows)
    found = {}
    for at, rank in enumerate(ranks):
        found[f"B{at}"] = torch.randn(rows, rank, generator=generator)
        found[f"A{at}"] = torch.randn(rank, columns, generator=generator).bfloat16()
    return found


def plain(left: Node, right: Node) -> Node:
    return exact_product(left, right, 0.3)


def transposed(left: Node, right: Node) -> Node:
    """As in an embedding: (A^T B^T)^T, the transposed product of factors that are views."""
    return exact_product_transposed(transpose(right), transpose(left), 2.0)


def turned_over(left: Node, right: Node) -> Node:
    """As in a layer that stores (in, out)."""
    return transpose(exact_product(transpose(right), transpose(left), 0.7))


def as_a_kernel(left: Node, right: Node) -> Node:
    """As in a convolution; methods that flatten it see (first, all others) again."""
    matrix = exact_product(left, right, 1.0)
    return reshape(reshape(matrix, (matrix.spec.rows, matrix.spec.columns // 2, 2)), matrix.spec.shape)


def dense(node: Node) -> Node:
    """The same numbers, which no longer look like a product."""
    return scaled(node, 1.0)


@named([*METHODS, WUDI])
@pytest.mark.parametrize("delta", [plain, transposed, turned_over, as_a_kernel], ids=lambda one: one.__name__)
@pytest.mark.parametrize("shape", [(40, 30), (24, 600), (700, 20)], ids=str)
def test_factors_give_what_whole_matrices_give(
    method: Any, delta: Callable[[Node, Node], Node], shape: tuple[int, int], tmp_path: Path
) -> None:
    """Within 1e-11 of the largest entry; the third of four bricks leaves the tensor alone."""
    results = []
    for name, seen in (("factors", lambda node: node), ("matrices", dense)):

        def made(nodes: Any, seen: Callable[[Node], Node] = seen) -> Node:
            deltas = [delta(nodes[f"B{at}"], nodes[f"A{at}"]) for at in range(3)]
            with_zeros = [*map(seen, deltas[:2]), zeros(deltas[0]), seen(deltas[2])]
            node = combined(method, with_zeros, [1.0, 0.5, 1.0, -0.7])
            assert outputs(node)[0].bundle.op.name.endswith(".factors") is (seen is not dense)
            return node

        folder = tmp_path / name
        folder.mkdir()
        results.append(evaluated(folder, stored_factors(*shape), made))
    close(*results, 1e-11)


def outputs(node: Node) -> list[Output]:
    return [found for found in walk(node) if isinstance(found, Output)]


def numbers(rows: int, columns: int, at: int = 0) -> Stored:
    return Stored(Spec(DType.BF16, (rows, columns)), sha256_bytes(b""), at)


def test_what_is_not_a_product_alone_or_not_of_low_rank_stays_a_matrix() -> None:
    product = plain(numbers(40, 4), numbers(4, 30, 1))
    assert products_of([product, zeros(product)]) is not None
    assert products_of([product, numbers(40, 30)]) is None
    assert products_of([product, add(product, numbers(40, 30))]) is None
    assert products_of([zeros(product)]) is None
    assert products_of([product] * 3) is not None
    assert products_of([product] * 4) is None, "16 columns of factors for 30 of the matrix"


@named([IsoC(), Tsv(), Knots(), Wudi()])
def test_a_matrix_of_128_mib_needs_less_than_40_mib(method: Any) -> None:
    """Three adapters of rank 16 on 4096 x 4096, 128 MiB in fp64; the bundle of factors has 48 rows and columns."""
    deltas = [plain(numbers(4096, 16, 2 * at), numbers(16, 4096, 2 * at + 1)) for at in range(3)]
    node = combined(method, deltas)
    assert peak_memory(Plan(tasks=(Shard(path="x", header=b"", tensors=(("x", node),)),))) < 40 << 20


@named([IsoC(), Tsv(), Knots(), WUDI])
def test_no_budget_changes_a_bit(method: Any, tmp_path: Path) -> None:
    stored = stored_factors(900, 700)

    def made(nodes: Any) -> Node:
        return combined(method, [plain(nodes[f"B{at}"], nodes[f"A{at}"]) for at in range(3)])

    usual = evaluated(tmp_path, stored, made, threads=1, memory=1 << 30)
    for budget in ({"threads": 2, "memory": 1 << 30}, {"threads": 3, "memory": 24 << 20}):
        assert torch.equal(evaluated(tmp_path, stored, made, **budget), usual)


@named([IsoC(), Knots()])
def test_factors_that_hold_no_numbers_are_refused(method: Any, tmp_path: Path) -> None:
    stored = stored_factors(40, 30)
    stored["B1"][7, 1] = float("inf")

    def made(nodes: Any) -> Node:
        return combined(method, [plain(nodes[f"B{at}"], nodes[f"A{at}"]) for at in range(3)])

    with pytest.raises(Exception, match="NaN or infinity"):
        evaluated(tmp_path, stored, made)


def test_adapters_of_a_project_are_merged_through_their_factors(tmp_path: Path) -> None:
    """Rank 4 twice: the sum of deltas has rank 8, and all of its singular values are equal."""
    base = tiny_model(tmp_path / "base")
    bricks = {"one": adapter(base, tmp_path / "one"), "two": adapter(base, tmp_path / "two", seed=9)}
    apply = '{ op = "merge", method = "iso_c", bricks = { one = 1.0, two = 1.0 } }'
    text, name = manifest(base, bricks, apply, 'dtype = "float32"'), "model.layers.0.self_attn.q_proj.weight"
    shard = next(task for task in prepare(text, tmp_path).plan.tasks if isinstance(task, Shard))
    assert outputs(dict(shard.tensors)[name])[0].bundle.op.name == "merge.iso_c.factors"
    out = load_file(build(text, tmp_path / "out") / "model.safetensors")
    delta = out[name].double() - load_file(base / "model.safetensors")[name].double()
    values = torch.linalg.svdvals(delta)
    assert int((values > 1e-4 * values[0]).sum()) == 8
    torch.testing.assert_close(values[:8], values[0].expand(8), rtol=1e-4, atol=0)

"""Products and sums whose bits do not depend on the order of the additions, checked against integers and fractions."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from brickctl.core.digests import Sha256
from brickctl.core.dtypes import DType
from brickctl.core.nodes import Map, Node, Stored
from brickctl.core.regions import Region, Spec
from brickctl.tensors.exact import exact_product, exact_product_transposed, quantise, sum_of_squares
from brickctl.tensors.kernels import find

if TYPE_CHECKING:
    from torch import Tensor

RANKS = [1, 2, 3, 8, 16, 64, 100, 128]


def stored(rows: int, columns: int) -> Stored:
    return Stored(Spec(DType.F32, (rows, columns)), Sha256("0" * 64), 0)


def run(node: Node, *inputs: Tensor, block: Region | None = None) -> Tensor:
    """One block of a node, or all of it."""
    assert isinstance(node, Map)
    block = block or Region(0, node.spec.rows, 0, node.spec.columns)
    out = torch.empty(block.shape, dtype=torch.float64)
    find(node.op).run(list(inputs), out, node.op.arguments(), block)
    return out


def quantised(factor: Tensor, terms: int, along: str = "columns") -> Tensor:
    return run(quantise(stored(*factor.shape), terms, along=along), factor)


def factors(rank: int, seed: int, rows: int = 6, columns: int = 5) -> tuple[Tensor, Tensor]:
    """B (rows, r) and A (r, columns) in fp32, with magnitudes that differ by up to 2^20."""
    generator = torch.Generator().manual_seed(seed)
    up = torch.randn(rows, rank, generator=generator) * torch.exp2(torch.randint(-10, 10, (rows, 1)).float())
    return up, torch.randn(rank, columns, generator=generator)


@pytest.mark.parametrize("rank", RANKS)
def test_a_product_is_the_sum_of_fractions_without_any_rounding(rank: int) -> None:
    up, down = factors(rank, seed=rank)
    left, right = quantised(up, rank, "rows"), quantised(down, rank)
    product = run(exact_product(stored(6, rank), stored(rank, 5), 1.0), left, right)
    for row in range(6):
        for column in range(5):
            terms = zip(left[row].tolist(), right[:, column].tolist(), strict=True)
            exact = sum((Fraction(a) * Fraction(b) for a, b in terms), Fraction(0))
            assert Fraction(float(product[row, column])) == exact


@given(st.integers(1, 128), st.randoms(use_true_random=False))
def test_no_order_of_the_terms_changes_a_bit(rank: int, random: Any) -> None:
    up, down = factors(rank, seed=rank)
    left, right = quantised(up, rank, "rows"), quantised(down, rank)
    order = list(range(rank))
    random.shuffle(order)
    assert torch.equal(left[:, order] @ right[order], left @ right)
    by_hand = torch.zeros(6, 5, dtype=torch.float64)
    for term in order:
        by_hand += torch.outer(left[:, term], right[term])
    assert torch.equal(by_hand, left @ right)


def test_without_quantising_the_order_does_change_bits() -> None:
    """What the quantised factors are for: plain fp64 is not enough."""
    up, down = factors(64, seed=1, rows=64, columns=64)
    left, right = up.double(), down.double()
    by_hand = torch.zeros(64, 64, dtype=torch.float64)
    for term in range(64):
        by_hand += torch.outer(left[:, term], right[term])
    assert not torch.equal(by_hand, sum_in_reverse(left, right))


def sum_in_reverse(left: Tensor, right: Tensor) -> Tensor:
    total = torch.zeros(left.shape[0], right.shape[1], dtype=torch.float64)
    for term in reversed(range(left.shape[1])):
        total += torch.outer(left[:, term], right[term])
    return total


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("along", ["rows", "columns"])
def test_a_quantised_factor_is_off_by_at_most_half_a_unit_of_its_row_or_column(rank: int, along: str) -> None:
    """With b bits: 2^-b of the largest number beside it, 2^-23 for r = 128."""
    factor = factors(rank, seed=5)[0]
    bits = (53 - math.ceil(math.log2(rank))) // 2
    largest = factor.double().abs().amax(dim=1 if along == "rows" else 0, keepdim=True)
    assert bool(((quantised(factor, rank, along) - factor.double()).abs() <= largest * 2.0**-bits).all())
    assert bits >= 23


def test_a_factor_of_few_bits_is_not_changed_at_all() -> None:
    """bf16 has 8 bits: up to 2^15 of range in a row fit into 23."""
    generator = torch.Generator().manual_seed(3)
    factor = torch.randn(32, 64, generator=generator).bfloat16()
    factor[factor.abs() < 2.0**-12] = 0
    assert torch.equal(quantised(factor, 16, "rows"), factor.double())
    assert torch.equal(quantised(factor, 16, "columns"), factor.double())


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=8))
def test_quantising_twice_changes_nothing_more(row: list[float]) -> None:
    once = quantised(torch.tensor([row]), 16, "rows")
    assert torch.equal(quantised(once, 16, "rows"), once)


def test_a_row_of_zeros_stays_zero() -> None:
    assert torch.equal(quantised(torch.zeros(2, 3), 8, "rows"), torch.zeros(2, 3, dtype=torch.float64))


@pytest.mark.parametrize("rank", RANKS)
def test_the_transposed_product_is_the_product_of_the_same_factors_transposed(rank: int) -> None:
    up, down = factors(rank, seed=7)
    left, right = quantised(up, rank, "rows"), quantised(down, rank)
    product = run(exact_product(stored(6, rank), stored(rank, 5), 0.7), left, right)
    transposed = run(exact_product_transposed(stored(6, rank), stored(rank, 5), 0.7), left, right)
    assert torch.equal(transposed, product.T)
    block = Region(1, 4, 2, 5)  # of (5, 6): tokens 1 to 3, dimensions 2 to 4
    part = run(
        exact_product_transposed(stored(6, rank), stored(rank, 5), 0.7),
        left[block.left : block.right],
        right[:, block.top : block.bottom],
        block=block,
    )
    assert torch.equal(part, product.T[1:4, 2:5])


def test_the_scale_is_one_multiplication_at_the_end() -> None:
    up, down = factors(8, seed=9)
    left, right = quantised(up, 8, "rows"), quantised(down, 8)
    plain = run(exact_product(stored(6, 8), stored(8, 5), 1.0), left, right)
    for scale in (0.1, 0.75, -3.0, 0.25, 2.0, -16.0, 0.0):
        assert torch.equal(run(exact_product(stored(6, 8), stored(8, 5), scale), left, right), plain * scale)


@given(st.integers(1, 40), st.integers(0, 1))
def test_squares_are_added_as_a_binary_tree(count: int, dim: int) -> None:
    """The tree of 5 terms: ((t0 + t2) + (t1 + t3)) + t4, written out for any number of terms."""
    generator = torch.Generator().manual_seed(count)
    block = torch.randn((3, count) if dim else (count, 3), generator=generator, dtype=torch.float64)
    rows = block.tolist() if dim else block.T.tolist()
    expected = [tree([value * value for value in row]) for row in rows]
    assert sum_of_squares(block, dim=dim).flatten().tolist() == expected


def tree(terms: list[float]) -> float:
    while len(terms) > 1:
        half = len(terms) // 2
        terms = [terms[index] + terms[index + half] for index in range(half)] + terms[2 * half :]
    return terms[0]

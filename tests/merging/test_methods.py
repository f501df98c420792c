"""Every merge method keeps the laws that it declares; the two there are agree with their formulas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from brickctl.merging.linear import Linear
from brickctl.merging.method import Declared, methods
from brickctl.merging.task_arithmetic import TaskArithmetic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

numbers = st.floats(-8, 8, width=32)
cases = st.integers(1, 4).flatmap(
    lambda count: st.tuples(
        st.lists(st.lists(numbers, min_size=6, max_size=6), min_size=count, max_size=count),
        st.lists(st.floats(0.125, 2), min_size=count, max_size=count),
    )
)


def every_method(law: str | None = None) -> pytest.MarkDecorator:
    """All methods, or those that declare a law."""
    found = [method for method in methods().values() if law is None or law in method.laws]
    return pytest.mark.parametrize("method", found, ids=lambda method: method.name)


def blocks(rows: Sequence[Sequence[float]]) -> list[Tensor]:
    return [torch.tensor(row, dtype=torch.float64).reshape(2, 3) for row in rows]


def combine(method: Any, inputs: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    out = torch.full((2, 3), torch.nan, dtype=torch.float64)
    method.combine([block.clone() for block in inputs], weights, out)
    return out


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@every_method("permutation")
@given(case=cases, data=st.data())
def test_permutation_the_order_of_the_bricks_does_not_matter(method: Declared, case: Any, data: st.DataObject) -> None:
    rows, weights = case
    order = data.draw(st.permutations(range(len(rows))))
    shuffled = combine(method.method(), [blocks(rows)[at] for at in order], [weights[at] for at in order])
    close(shuffled, combine(method.method(), blocks(rows), weights))


@every_method("idempotence")
@given(case=cases)
def test_idempotence_equal_inputs_give_that_input(method: Declared, case: Any) -> None:
    rows, weights = case
    same = [blocks(rows)[0] for _ in weights]
    close(combine(method.method(), same, weights), same[0])


@every_method("scale")
@given(case=cases, factor=st.floats(0.125, 8))
def test_scale_the_result_grows_with_the_weights(method: Declared, case: Any, factor: float) -> None:
    rows, weights = case
    grown = combine(method.method(), blocks(rows), [weight * factor for weight in weights])
    close(grown, combine(method.method(), blocks(rows), weights) * factor)


@every_method()
def test_a_method_says_where_its_formula_comes_from(method: Declared) -> None:
    assert method.reference.startswith("https://")
    assert method.method.__doc__
    assert "out = " in method.method.__doc__


def test_linear_of_two_numbers() -> None:
    """(1 * 2 + 3 * 6) / (1 + 3) = 5, and 20 without `normalize`."""
    inputs = [torch.full((2, 3), 2.0, dtype=torch.float64), torch.full((2, 3), 6.0, dtype=torch.float64)]
    assert combine(Linear(), inputs, [1.0, 3.0]).unique().tolist() == [5.0]
    assert combine(Linear(normalize=False), inputs, [1.0, 3.0]).unique().tolist() == [20.0]


def test_task_arithmetic_of_two_numbers() -> None:
    """0.5 * (1 * 2 - 3 * 6) = -8."""
    inputs = [torch.full((2, 3), 2.0, dtype=torch.float64), torch.full((2, 3), 6.0, dtype=torch.float64)]
    assert combine(TaskArithmetic(scale=0.5), inputs, [1.0, -3.0]).unique().tolist() == [-8.0]


@pytest.mark.parametrize(("normalize", "refused"), [(True, True), (False, False)])
def test_only_a_mean_needs_weights_that_do_not_cancel(*, normalize: bool, refused: bool) -> None:
    assert (Linear(normalize=normalize).refusal([1.0, -1.0]) is not None) is refused
    assert Linear().refusal([1.0, 1.0]) is None

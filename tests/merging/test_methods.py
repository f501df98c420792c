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
from tests.support.merging import merged_in_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

numbers = st.floats(-8, 8, width=32)


def cases(method: Declared) -> st.SearchStrategy[tuple[list[list[float]], list[float]]]:
    """Rows of six numbers, as many as the method takes, and a weight for each: 1 where it has none."""
    weight = st.floats(0.125, 2) if method.weighted else st.just(1.0)
    return st.integers(method.least, min(method.most, max(method.least, 4))).flatmap(
        lambda count: st.tuples(
            st.lists(st.lists(numbers, min_size=6, max_size=6), min_size=count, max_size=count),
            st.lists(weight, min_size=count, max_size=count),
        )
    )


def every_method(law: str | None = None) -> pytest.MarkDecorator:
    """All methods, or those that declare a law."""
    found = [method for method in methods().values() if law is None or law in method.laws]
    return pytest.mark.parametrize("method", found, ids=lambda method: method.name)


def blocks(rows: Sequence[Sequence[float]]) -> list[Tensor]:
    return [torch.tensor(row, dtype=torch.float64).reshape(2, 3) for row in rows]


def combine(method: Any, inputs: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    return merged_in_memory(method, inputs, weights)


def close(found: Tensor, expected: Tensor, method: Declared) -> None:
    """Singular vectors that all but coincide make rounding up to 2^27 times larger."""
    tolerance = 1e-12 if method.reproducible == "bitwise" else 1e-7
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@every_method("permutation")
@given(data=st.data())
def test_permutation_the_order_of_the_bricks_does_not_matter(method: Declared, data: st.DataObject) -> None:
    rows, weights = data.draw(cases(method))
    order = data.draw(st.permutations(range(len(rows))))
    shuffled = combine(method.method(), [blocks(rows)[at] for at in order], [weights[at] for at in order])
    close(shuffled, combine(method.method(), blocks(rows), weights), method)


@every_method("idempotence")
@given(data=st.data())
def test_idempotence_equal_inputs_give_that_input(method: Declared, data: st.DataObject) -> None:
    rows, weights = data.draw(cases(method))
    same = [blocks(rows)[0] for _ in weights]
    close(combine(method.method(), same, weights), same[0], method)


@every_method("scale")
@given(data=st.data(), factor=st.floats(0.125, 8))
def test_scale_the_result_grows_with_the_weights(method: Declared, data: st.DataObject, factor: float) -> None:
    rows, weights = data.draw(cases(method))
    grown = combine(method.method(), blocks(rows), [weight * factor for weight in weights])
    close(grown, combine(method.method(), blocks(rows), weights) * factor, method)


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

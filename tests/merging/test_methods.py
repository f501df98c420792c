"""Every merge method keeps the laws that it declares and says what it does; the two plain ones agree by hand."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING

import pytest
import torch

from brickctl.core.numbers import Scalar
from brickctl.core.parameters import defaults, describe
from brickctl.merging.linear import Linear
from brickctl.merging.method import Declared, methods
from brickctl.merging.task_arithmetic import TaskArithmetic
from tests.support.deltas import merged
from tests.support.documented import arguments, first_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

SHAPES = [(24, 10), (70,), (1,), (3, 4, 5)]
TOLERANCE = {"bitwise": 1e-12, "numeric": 1e-7}
"""Relative to the largest entry: fp64 sums in another order, and what decompositions leave beside that."""
MANY = 3


def every_method(law: str | None = None) -> pytest.MarkDecorator:
    """All methods, or those that declare a law."""
    found = [method for method in methods().values() if law is None or law in method.laws]
    return pytest.mark.parametrize("method", found, ids=lambda method: method.name)


def tensors(shape: tuple[int, ...], count: int) -> list[Tensor]:
    """Some that overlap in part, of the size of a fine-tune."""
    generator = torch.Generator().manual_seed(count + len(shape))
    noise = [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(count)]
    return [one * 0.01 for one in noise]


def close(method: Declared, found: Tensor, expected: Tensor) -> None:
    allowed = TOLERANCE[method.reproducible] * max(float(expected.abs().max()), 1e-300)
    torch.testing.assert_close(found, expected, rtol=0, atol=allowed)


def most_of(method: Declared) -> int:
    return max(method.least, min(method.most, MANY))


@every_method("permutation")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_permutation_the_order_of_the_bricks_does_not_matter(
    method: Declared, shape: tuple[int, ...], tmp_path: Path
) -> None:
    inputs, weights, chosen = tensors(shape, most_of(method)), [0.5, 1.0, 1.5], method.method()
    base = tensors(shape, 9)[0]
    count = len(inputs)
    expected = merged(tmp_path, chosen, inputs, weights=_weights(method, weights[:count]), names="abc", base=base)
    backwards = merged(
        tmp_path,
        chosen,
        inputs[::-1],
        weights=_weights(method, weights[:count][::-1]),
        names="abc"[:count][::-1],
        base=base,
    )
    close(method, backwards, expected)


@every_method("idempotence")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_idempotence_equal_inputs_give_that_input(method: Declared, shape: tuple[int, ...], tmp_path: Path) -> None:
    one = tensors(shape, 1)[0]
    count = most_of(method)
    weights = _weights(method, [0.5, 1.0, 1.5][:count])
    close(method, merged(tmp_path, method.method(), [one] * count, weights=weights, base=tensors(shape, 9)[0]), one)


@every_method("scale")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_scale_the_result_grows_with_the_weights(method: Declared, shape: tuple[int, ...], tmp_path: Path) -> None:
    inputs, chosen, base = tensors(shape, most_of(method)), method.method(), tensors(shape, 9)[0]
    weights = [0.5, 1.0, 1.5][: len(inputs)]
    once = merged(tmp_path, chosen, inputs, weights=weights, base=base)
    grown = merged(tmp_path, chosen, inputs, weights=[3 * weight for weight in weights], base=base)
    close(method, grown, once * 3)


def _weights(method: Declared, weights: Sequence[float]) -> Sequence[float]:
    return weights if method.weighted else [1.0] * len(weights)


@every_method()
def test_a_method_without_weights_has_no_law_about_them(method: Declared) -> None:
    assert method.weighted or "scale" not in method.laws


@every_method()
def test_a_method_says_what_it_computes_and_where_its_formula_comes_from(method: Declared) -> None:
    assert method.reference.startswith("https://")
    assert "out = " in (method.method.__doc__ or "")
    name, _, clause = first_line(sys.modules[method.method.__module__]).partition(": ")
    assert name
    assert clause.endswith(".")


@every_method()
def test_every_parameter_has_a_meaning_and_every_meaning_a_parameter(method: Declared) -> None:
    told = arguments(method.method)
    assert list(told) == [parameter.name for parameter in describe(method.method)]
    assert all(meaning.endswith(".") for meaning in told.values())


@every_method()
def test_what_people_get_who_choose_nothing_is_what_the_class_has(method: Declared) -> None:
    chosen = defaults(method.method)
    assert chosen.at("layer.weight", 0.5) == method.method()
    assert all(isinstance(number, Scalar) for number in chosen.numbers.values())
    assert dataclasses.is_dataclass(method.method)


def test_linear_of_two_numbers(tmp_path: Path) -> None:
    """(1 * 2 + 3 * 6) / (1 + 3) = 5, and 20 without `normalize`."""
    inputs = [torch.full((2, 3), 2.0), torch.full((2, 3), 6.0)]
    assert merged(tmp_path, Linear(), inputs, weights=[1.0, 3.0]).unique().tolist() == [5.0]
    assert merged(tmp_path, Linear(normalize=False), inputs, weights=[1.0, 3.0]).unique().tolist() == [20.0]


def test_task_arithmetic_of_two_numbers(tmp_path: Path) -> None:
    """0.5 * (1 * 2 - 3 * 6) = -8."""
    inputs = [torch.full((2, 3), 2.0), torch.full((2, 3), 6.0)]
    assert merged(tmp_path, TaskArithmetic(scale=0.5), inputs, weights=[1.0, -3.0]).unique().tolist() == [-8.0]


@pytest.mark.parametrize(("normalize", "refused"), [(True, True), (False, False)])
def test_only_a_mean_needs_weights_that_do_not_cancel(*, normalize: bool, refused: bool) -> None:
    assert (Linear(normalize=normalize).refusal([1.0, -1.0]) is not None) is refused
    assert Linear().refusal([1.0, 1.0]) is None

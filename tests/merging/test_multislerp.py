"""Multi-SLERP, against mergekit's formula step by step in plain torch, and against mergekit."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from mergekit.merge_methods.multislerp import multislerp as multislerp_of_mergekit

from brickctl.merging.multislerp import MultiSlerp
from tests.support.building import build, manifest
from tests.support.merging import merged, merged_in_memory, random_tensors
from tests.support.models import tiny_model, tuned, weights, worst_ratio

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

SHAPES = [(1500, 300), (3, 300_000), (700_000,), (5, 7, 9), (1,), ()]


def doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def formula(inputs: Sequence[Tensor], given: Sequence[float], *, normalize: bool = True) -> Tensor:
    """With the tangent step that mergekit takes, which adds nothing but rounding."""
    x = torch.stack([one.double().reshape(-1) for one in inputs])
    shares = doubles(*given).reshape(-1, 1) / (sum(given) if normalize else 1.0)
    lengths = x.norm(dim=1, keepdim=True)
    units = x / lengths
    direction = (shares * units).sum(0) / (shares * units).sum(0).norm()
    tangent = (shares * (units - (units @ direction)[:, None] * direction)).sum(0)
    assert tangent.norm() < 1e-12
    return ((shares * lengths).sum() * direction).reshape(inputs[0].shape)


def by_mergekit(
    inputs: Sequence[Tensor], given: Sequence[float], base: Tensor | None = None, **settings: Any
) -> Tensor:
    """Its own function on tensors."""
    group = SimpleNamespace(
        non_base=[SimpleNamespace(tensor=one.clone()) for one in inputs],
        base=None if base is None else SimpleNamespace(tensor=base),
    )
    shares = SimpleNamespace(values_for=lambda _: list(given))
    return multislerp_of_mergekit.implementation(group, shares, **settings)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("normalize", [True, False])
def test_the_result_is_that_of_the_formula(shape: tuple[int, ...], *, normalize: bool, tmp_path: Path) -> None:
    inputs, given = random_tensors(shape, 3), [1.0, 2.0, 0.5]
    found = merged(tmp_path, MultiSlerp(normalize=normalize), inputs, given)
    torch.testing.assert_close(found, formula(inputs, given, normalize=normalize), rtol=1e-11, atol=1e-12)


def test_two_axes_and_their_diagonal() -> None:
    """Directions (1, 0) and (0, 1) have the mean direction (0.7071, 0.7071); lengths 2 and 4 the mean 3."""
    found = merged_in_memory(MultiSlerp(), [doubles(2, 0), doubles(0, 4)], [1.0, 1.0])
    torch.testing.assert_close(found, doubles(3 * math.sqrt(0.5), 3 * math.sqrt(0.5)))


@pytest.mark.parametrize(
    ("shape", "dtype", "bound"),
    [((200, 300), "float32", 1e-6), ((5, 7, 9), "float32", 1e-6), ((1,), "float32", 1e-6)]
    + [(shape, "float64", 1e-8) for shape in SHAPES if shape],
    ids=str,
)
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("count", [2, 4])
def test_mergekit_gives_the_same(
    shape: tuple[int, ...], dtype: str, bound: float, count: int, *, normalize: bool, tmp_path: Path
) -> None:
    """Large ones in fp64: torch's norm of 300 thousand numbers in fp32 is off by 7e-6. 1e-8 is the `eps` it adds."""
    inputs, given = random_tensors(shape, count), [1.0, 2.0, 0.5, 0.25][:count]
    wide = [one.to(getattr(torch, dtype)) for one in inputs]
    expected = by_mergekit(wide, given, normalize_weights=normalize)
    ours = merged(tmp_path, MultiSlerp(normalize=normalize), inputs, given)
    assert (ours - expected.double()).abs().max() <= bound * expected.abs().max()


@pytest.mark.parametrize("normalize", [True, False])
def test_one_tensor_keeps_its_weight_where_mergekit_forgets_it(*, normalize: bool) -> None:
    """Without `normalize` the formula gives |w| x; mergekit returns x."""
    found = merged_in_memory(MultiSlerp(normalize=normalize), [doubles(1, -2)], [3.0])
    torch.testing.assert_close(found, doubles(1, -2) * (1.0 if normalize else 3.0))
    assert by_mergekit([doubles(1, -2)], [3.0], normalize_weights=False).tolist() == [1.0, -2.0]


def test_directions_that_cancel_give_the_weighted_mean_where_mergekit_fails_for_three() -> None:
    """Unit vectors a, -a and nothing: (1 - 2 + 0) a / 3, with lengths 1, 2 and 0."""
    inputs = [doubles(0.6, 0.8), doubles(-1.2, -1.6), doubles(0, 0)]
    found = merged_in_memory(MultiSlerp(), inputs)
    torch.testing.assert_close(found, doubles(-0.2, -0.8 / 3))
    with pytest.raises(ValueError, match="antipodal"):
        by_mergekit([one.float() for one in inputs], [1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ([(1.0, 2.0), (1.0, 2.0)], (1.0, 2.0)),
        ([(1.0, 2.0), (-1.0, -2.0)], (0.0, 0.0)),
        ([(3.0,), (-5.0,)], (-1.0,)),
        ([(0.0, 0.0), (0.0, 0.0)], (0.0, 0.0)),
        ([(1.0, 2.0), (0.0, 0.0)], (0.5, 1.0)),
        ([(1e-45, 0.0), (0.0, 1e-45)], (0.7071067811865476e-45, 0.7071067811865476e-45)),
    ],
    ids=["equal", "opposite", "one element", "zeros", "one of zeros", "denormal"],
)
def test_every_set_has_a_defined_result(inputs: list[tuple[float, ...]], expected: tuple[float, ...]) -> None:
    found = merged_in_memory(MultiSlerp(), [doubles(*one) for one in inputs])
    torch.testing.assert_close(found, doubles(*expected), rtol=1e-12, atol=1e-58)


def test_a_small_model_turns_as_a_large_one_where_mergekit_bends_it() -> None:
    """mergekit adds 1e-8 to each length, so that a delta of that length counts half."""
    inputs = [doubles(1, 0), doubles(0, 1e-8)]
    found = merged_in_memory(MultiSlerp(), inputs)
    assert found[0].item() == pytest.approx(found[1].item(), rel=1e-12)
    bent = by_mergekit(inputs, [1.0, 1.0])
    assert bent[1].item() == pytest.approx(bent[0].item() / 2, rel=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_makes_the_whole_tensor_none(value: float) -> None:
    assert merged_in_memory(MultiSlerp(), [doubles(1, 2), doubles(2, value), doubles(0, 0)]).isnan().all()


def test_only_a_mean_needs_weights_that_do_not_cancel() -> None:
    assert MultiSlerp().refusal([1.0, -1.0]) == "the weights sum to 0, so there is no mean: [1.0, -1.0]"
    assert MultiSlerp(normalize=False).refusal([1.0, -1.0]) is None


@pytest.mark.parametrize("budget", [{"threads": 1}, {"threads": 4}, {"memory": 24 << 20}], ids=str)
def test_no_budget_changes_a_bit(budget: dict[str, int], tmp_path: Path) -> None:
    inputs = random_tensors((1500, 700), 3)
    usual = merged(tmp_path / "usual", MultiSlerp(), inputs)
    assert torch.equal(merged(tmp_path / "other", MultiSlerp(), inputs, **budget), usual)


def test_deltas_are_combined_and_added_to_the_base(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    experts = {name: tuned(base, tmp_path / name, seed=seed) for seed, name in enumerate("abc")}
    step = '{ op = "merge", method = "multislerp", bricks = { a = 1.0, b = 2.0, c = 0.5 }, deltas = true }'
    out = weights(build(manifest(base, experts, step), tmp_path / "out"))
    start, tensors = weights(base), [weights(folder) for folder in experts.values()]
    expected = {name: by_mergekit([one[name] for one in tensors], [1.0, 2.0, 0.5], start[name]) for name in out}
    assert worst_ratio(out, expected) <= 1e-6

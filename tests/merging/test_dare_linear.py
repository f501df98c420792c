"""DARE: the masks are those of the contract and of chance; against the formula and against mergekit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch

from brickctl.core.digests import sha256_bytes
from brickctl.core.dtypes import DType
from brickctl.core.nodes import Stored
from brickctl.core.regions import Spec
from brickctl.merging.dare_linear import DareLinear
from brickctl.merging.dare_ties import DareTies
from brickctl.merging.method import Part
from brickctl.merging.rescaling import ratio
from tests.support.merging import merged, merged_in_memory
from tests.support.sparse import (
    BUDGETS,
    SHAPES,
    by_mergekit,
    close,
    deltas,
    drawn_mask,
    inject_draws,
    models,
    parity,
    restored,
)

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from brickctl.core.nodes import Node
    from brickctl.merging.election import Divide
    from brickctl.merging.method import MergeMethod
    from brickctl.merging.rescaling import Rescale

WEIGHTS = [0.5, 0.3, -1.2]
DENSITIES = [{"density": 0.5}, {"density": 0.2}, {"density": 1.0}]
CASES = [*((shape, "l1") for shape in SHAPES), ((48, 64), "density"), ((48, 64), "none")]


def kept(method: DareLinear, number: int, delta: Tensor, density: float, seed: int = 0) -> Tensor:
    """One thinned delta, straight from the contract."""
    mask = drawn_mask(method, number, torch.full_like(delta, density), seed) if density < 1 else 1.0
    return restored(delta, delta * mask, method.rescale, density)


def formula(method: DareLinear, inputs: list[Tensor], seed: int = 0) -> Tensor:
    parts = [
        weight * kept(method, number, delta, own["density"], seed)
        for number, (delta, weight, own) in enumerate(zip(inputs, WEIGHTS, DENSITIES, strict=True))
    ]
    return torch.stack(parts).sum(0)


def test_four_numbers_by_hand() -> None:
    """The first draws are 1975, 23658, 64102 and 37186: two are below 32768, and 10 = 1 + 2 + 3 + 4 becomes 3."""
    delta = torch.tensor([[1.0, 2.0, -3.0, 4.0]], dtype=torch.float64)
    for rescale, expected in (("none", [1, 2, 0, 0]), ("density", [2, 4, 0, 0]), ("l1", [10 / 3, 20 / 3, 0, 0])):
        found = merged_in_memory(DareLinear(rescale=rescale), [delta], settings=[{"density": 0.5}])
        close(found, torch.tensor([expected], dtype=torch.float64))


@pytest.mark.parametrize(("shape", "rescale"), CASES, ids=str)
def test_the_formula_holds_for_every_shape(shape: tuple[int, ...], rescale: Rescale, tmp_path: Path) -> None:
    inputs, method = deltas(shape, 3), DareLinear(rescale=rescale, seed=5, scale=0.7)
    close(merged(tmp_path, method, inputs, WEIGHTS, DENSITIES), 0.7 * formula(method, inputs, seed=5))


@pytest.mark.parametrize(("divide", "divisor"), [("weight", 2.0), ("count", 3.0), ("none", 1.0)])
def test_a_sum_may_be_divided(divide: Divide, divisor: float) -> None:
    inputs = deltas((2, 3), 3)
    found = merged_in_memory(DareLinear(divide=divide), inputs, [0.5, 0.5, 1.0])
    close(found, (0.5 * inputs[0] + 0.5 * inputs[1] + inputs[2]) / divisor)


def test_weights_that_cancel_have_no_mean() -> None:
    assert "sum to 0" in (DareLinear(divide="weight").refusal([0.3, -0.1, -0.2]) or "")
    assert DareLinear(divide="weight").refusal([0.3, 0.1]) is None
    assert DareLinear().refusal([1.0, -1.0]) is None
    assert DareLinear(divide="count").refusal([1.0, -1.0]) is None


@pytest.mark.parametrize(("shape", "rescale"), [*((shape, True) for shape in SHAPES), ((48, 64), False)], ids=str)
def test_mergekit_gives_the_same_with_our_masks(
    shape: tuple[int, ...], *, rescale: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = DareLinear(rescale="l1" if rescale else "none", scale=0.7)
    inject_draws(monkeypatch, ours)
    theirs = {"rescale": rescale, "lambda": 0.7}
    assert parity(tmp_path, ours, models(shape, 3), WEIGHTS, DENSITIES, **theirs) <= 1e-6


def test_over_100_seeds_as_many_are_kept_as_chance_has_it() -> None:
    """Of 600 entries with density 0.3: shares of mean 0.3 and variance 0.21 / 600, values of d^2 0.7 / 0.3."""
    (delta,) = deltas((20, 30), 1)
    made = [
        merged_in_memory(DareLinear(seed=seed, rescale="density"), [delta], settings=[{"density": 0.3}])
        for seed in range(100)
    ]
    shares = torch.tensor([float((one != 0).double().mean()) for one in made], dtype=torch.float64)
    assert abs(float(shares.mean()) - 0.3) < 4 * math.sqrt(0.21 / 60_000)
    assert abs(float(shares.var()) / (0.21 / 600) - 1) < 4 * math.sqrt(2 / 99)
    values = torch.stack(made) / delta
    assert abs(float(values.mean()) - 1) < 4 * math.sqrt(0.7 / 0.3 / 60_000)
    assert abs(float(values.var(0).mean()) / (0.7 / 0.3) - 1) < 0.05


def test_a_mask_depends_on_seed_brick_method_and_tensor() -> None:
    delta = Stored(Spec(DType.F64, (1, 4)), sha256_bytes(b""), 0)

    def node(method: MergeMethod, brick: bytes = b"a", tensor: str = "x") -> Node:
        part = Part(node=delta, weight=1.0, settings={"density": 0.5}, brick=sha256_bytes(brick))
        return method.prepare_all([part], tensor)[0]

    usual = node(DareLinear())
    assert node(DareLinear()) == usual
    others = node(DareLinear(seed=1)), node(DareTies()), node(DareLinear(), b"b"), node(DareLinear(), tensor="y")
    assert len({usual, *others}) == 5


def test_small_deltas_are_rescaled_too_where_mergekit_leaves_them() -> None:
    """mergekit takes an L1 norm below 1e-7 for nothing."""
    delta = torch.tensor([[1.0, 2.0, -3.0, 4.0]], dtype=torch.float64) * 2.0**-60
    found = merged_in_memory(DareLinear(), [delta], settings=[{"density": 0.5}])
    close(found.abs().sum(), delta.abs().sum())
    theirs = by_mergekit("dare_linear", torch.zeros(1, 4), [delta.float()], weight=1.0, density=0.5)
    assert set(theirs.flatten().tolist()) <= {0.0, *delta.flatten().tolist()}


def test_the_norm_of_what_left_nothing_is_not_brought_back() -> None:
    assert ratio(torch.tensor([[3.0, 0.0]])) == 1.0
    assert ratio(torch.tensor([[3.0, 1.5]])) == 2.0
    lonely = torch.ones(1, 1, dtype=torch.float64)
    found = {merged_in_memory(DareLinear(seed=seed), [lonely], settings=[{"density": 0.5}]).item() for seed in range(9)}
    assert found == {0.0, 1.0}


@pytest.mark.parametrize("rescale", ["l1", "density", "none"])
@pytest.mark.parametrize("density", [1e-9, 0.5, 1.0])
def test_both_ends_of_the_density_and_zeros_have_a_result(rescale: Rescale, density: float) -> None:
    method, delta = DareLinear(rescale=rescale), torch.ones(3, 4, dtype=torch.float64)
    settings = [{"density": density}]
    assert torch.isfinite(merged_in_memory(method, [delta], settings=settings)).all()
    assert not merged_in_memory(method, [torch.zeros_like(delta)], settings=settings).any()
    assert torch.isfinite(merged_in_memory(method, [delta * 5e-324], settings=settings)).all()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("rescale", ["l1", "density", "none"])
def test_what_is_no_number_is_never_dropped(rescale: Rescale, value: float) -> None:
    for place in range(4):
        delta = torch.ones(1, 4, dtype=torch.float64)
        delta[0, place] = value
        found = merged_in_memory(DareLinear(rescale=rescale), [delta], settings=[{"density": 0.5}])
        assert not torch.isfinite(found[0, place])


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_no_budget_changes_a_bit(budget: dict[str, int], tmp_path: Path) -> None:
    inputs = [delta.float() for delta in deltas((1200, 300), 3)]
    usual = merged(tmp_path / "usual", DareLinear(), inputs, WEIGHTS, DENSITIES)
    assert torch.equal(merged(tmp_path / "other", DareLinear(), inputs, WEIGHTS, DENSITIES, **budget), usual)

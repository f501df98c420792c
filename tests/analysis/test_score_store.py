"""Counting scores in bins costs little of the average precision, and never more memory than was said."""

import pytest
import torch

from brickctl.analysis.average_precision import of_random_ranking
from brickctl.analysis.score_store import ScoreStore

INSTANCES, NEURONS, KINDS = 4000, 200, 4
A_BIN = 4 * 2 * KINDS * NEURONS
"""Bytes that a bin takes for two labellings."""

WHOLE = 2**30


@pytest.fixture(scope="module")
def scores() -> torch.Tensor:
    """Log-normal as the mean |activation| is: neurons of very different size, many that like a label, five dead."""
    torch.manual_seed(0)
    size = torch.randn(NEURONS).mul(2)
    liking = torch.randn(KINDS, NEURONS)
    scores = (size + torch.randn(INSTANCES, NEURONS) * 0.4 + 0.5 * liking[labels()[0]]).exp()
    scores[:, :5] = 0
    return scores


def labels() -> torch.Tensor:
    """As they are, and permuted."""
    rows = torch.arange(INSTANCES) % KINDS
    return torch.stack([rows, rows[torch.randperm(INSTANCES, generator=torch.Generator().manual_seed(1))]])


def _filled(scores: torch.Tensor, limit: int) -> ScoreStore:
    store = ScoreStore(labels(), KINDS, NEURONS, limit=limit)
    order = torch.randperm(INSTANCES, generator=torch.Generator().manual_seed(2)).tolist()
    for first in range(0, INSTANCES, 300):
        batch = order[first : first + 300]
        store.add(batch, scores[batch])
    return store


@pytest.fixture(scope="module")
def exact(scores: torch.Tensor) -> torch.Tensor:
    store = _filled(scores, WHOLE)
    assert (store.structure, store.error) == ("every score", 0.0)
    return store.average_precision()


@pytest.mark.parametrize(("bins", "most", "mean"), [(256, 0.0015, 0.0001), (32, 0.02, 0.001)])
def test_bins_cost_little(scores: torch.Tensor, exact: torch.Tensor, bins: int, most: float, mean: float) -> None:
    store = _filled(scores, bins * A_BIN)
    assert store.structure == f"{bins} logarithmic bins a neuron"
    wrong = (exact - store.average_precision()).abs()
    assert wrong.max() < most
    assert wrong.mean() < mean
    assert wrong[0].max() / 4 < store.error < 4 * most


def test_permuted_labels_give_the_precision_of_chance(exact: torch.Tensor) -> None:
    actual, permuted = exact
    assert actual.max() > 0.6
    assert (permuted - of_random_ranking(INSTANCES // KINDS, INSTANCES)).abs().max() < 0.04


def test_the_order_in_which_instances_come_does_not_matter(scores: torch.Tensor, exact: torch.Tensor) -> None:
    store = ScoreStore(labels(), KINDS, NEURONS)
    store.add(list(range(INSTANCES)), scores)
    assert torch.equal(store.average_precision(), exact)


@pytest.mark.parametrize("limit", [WHOLE, 32 * A_BIN])
def test_a_neuron_without_activation_ranks_as_chance_does(scores: torch.Tensor, limit: int) -> None:
    dead = _filled(scores, limit).average_precision()[0, :, :5]
    assert torch.allclose(dead, torch.tensor(of_random_ranking(INSTANCES // KINDS, INSTANCES)))


def test_memory_stays_below_the_limit_however_many_instances_come(scores: torch.Tensor) -> None:
    store = _filled(scores, 100 * A_BIN)
    assert store._bins is not None
    kept = [*vars(store).values(), *vars(store._bins).values()]
    floats = sum(value.numel() for value in kept if isinstance(value, torch.Tensor) and value is not store._labels)
    assert store._bins.counts.shape == (2, KINDS, 100, NEURONS)
    assert floats * 4 <= 100 * A_BIN + 2 * 4 * NEURONS  # and where the bins of each neuron lie


def test_few_bins_are_laid_also_where_they_take_more(scores: torch.Tensor) -> None:
    assert _filled(scores, 10 * A_BIN).structure.startswith("32 ")


@pytest.mark.parametrize(("bins", "most"), [(256, 0.0015), (32, 0.02)])
@pytest.mark.parametrize("silent", [0.0005, 0.3])
def test_texts_on_which_a_neuron_is_silent_make_no_bins_wider(
    scores: torch.Tensor, bins: int, most: float, silent: float
) -> None:
    quiet = scores.clone()
    quiet[torch.rand(scores.shape, generator=torch.Generator().manual_seed(3)) < silent] = 0
    exact = _filled(quiet, WHOLE).average_precision()
    binned = _filled(quiet, bins * A_BIN).average_precision()
    assert (binned - exact).abs().max() < most

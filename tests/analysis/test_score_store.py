"""Counting scores in bins costs little of the average precision, and never more memory than was said."""

import pytest
import torch

from brickctl.analysis.average_precision import of_random_ranking
from brickctl.analysis.score_store import BINS, ScoreStore

INSTANCES, NEURONS, KINDS = 400, 300, 4


@pytest.fixture(scope="module")
def scores() -> torch.Tensor:
    """Log-normal as the mean |activation| is: neurons of very different size, many that like a label, five dead."""
    torch.manual_seed(0)
    size = torch.randn(NEURONS).mul(2)
    liking = torch.randn(KINDS, NEURONS)
    scores = (size + torch.randn(INSTANCES, NEURONS) * 0.4 + 0.5 * liking[labels()[0]]).exp()
    scores[:, :5] = 0
    return scores


def labels(seed: int = 1) -> torch.Tensor:
    """As they are, and permuted."""
    rows = torch.arange(INSTANCES) % KINDS
    return torch.stack([rows, rows[torch.randperm(INSTANCES, generator=torch.Generator().manual_seed(seed))]])


def _filled(scores: torch.Tensor, limit: int) -> ScoreStore:
    store = ScoreStore(labels(), KINDS, NEURONS, limit=limit)
    order = torch.randperm(INSTANCES, generator=torch.Generator().manual_seed(2)).tolist()
    for first in range(0, INSTANCES, 32):
        batch = order[first : first + 32]
        store.add(batch, scores[batch])
    return store


def test_bins_are_off_by_less_than_a_hundredth(scores: torch.Tensor) -> None:
    exact, binned = _filled(scores, 2**30), _filled(scores, 100 * NEURONS * 4)
    assert (exact.structure, binned.structure) == ("every score", f"{BINS} logarithmic bins a neuron")
    difference = (exact.average_precision() - binned.average_precision()).abs()
    assert difference.max() < 0.008
    assert difference.mean() < 0.0005
    assert exact.error == 0.0 < binned.error < 0.02


def test_permuted_labels_give_the_precision_of_chance(scores: torch.Tensor) -> None:
    actual, permuted = _filled(scores, 2**30).average_precision()
    assert actual.max() > 0.6
    assert permuted.max() < 0.45


def test_the_order_in_which_instances_come_does_not_matter(scores: torch.Tensor) -> None:
    store = ScoreStore(labels(), KINDS, NEURONS)
    store.add(list(range(INSTANCES)), scores)
    assert torch.equal(store.average_precision(), _filled(scores, 2**30).average_precision())


def test_a_neuron_without_activation_ranks_as_chance_does(scores: torch.Tensor) -> None:
    for limit in (2**30, 100 * NEURONS * 4):
        dead = _filled(scores, limit).average_precision()[0, :, :5]
        assert torch.allclose(dead, torch.tensor(of_random_ranking(100, 400)))


def test_memory_does_not_grow_with_instances(scores: torch.Tensor) -> None:
    store = _filled(scores, 100 * NEURONS * 4)
    kept = [value for value in vars(store).values() if isinstance(value, torch.Tensor)]
    assert sum(value.numel() for value in kept) == labels().numel()
    assert store._bins is not None
    assert store._bins.counts.shape == (2, KINDS, BINS, NEURONS)

"""Sparsity of activations that a reader can check."""

import math

import pytest
import torch

from brickctl.analysis.ffn import find_ffns
from brickctl.analysis.perplexity import mean_losses
from brickctl.analysis.sparsity import BINS, EDGES, MaskedLoss, RunningSparsity, below, masked_losses, sparsity
from brickctl.errors import Unsupported
from tests.support.ffn_models import tiny
from tests.support.planted import planted_instances, planted_llama


def _running() -> RunningSparsity:
    """Of an FFN with 24 neurons whose output columns have length 1, but for the last, which has 10."""
    model = tiny("Llama")
    with torch.no_grad():
        columns = model.model.layers[0].mlp.down_proj.weight
        columns.copy_(columns / columns.norm(dim=0))
        columns[:, -1] *= 10
    return RunningSparsity(find_ffns(model)[0])


def _token(*first: float, last: float = 0.0) -> torch.Tensor:
    activations = torch.zeros(1, 24)
    activations[0, : len(first)] = torch.tensor(first)
    activations[0, -1] = last
    return activations


def test_energy_is_the_least_share_of_neurons_that_carries_it() -> None:
    running = _running()
    # squares 90, 5, 4, 1 of 100: one neuron carries 90 %, two 95 %, three 99 %
    running.add(_token(*(value**0.5 for value in (90.1, 5.0, 4.0, 0.9))))
    assert running.result().energy == pytest.approx((1 / 24, 2 / 24, 3 / 24))
    running.add(_token(*[-1.0] * 20))  # 20 equal ones: 18, 19 and 20 of them
    assert running.result().energy == pytest.approx((19 / 48, 21 / 48, 23 / 48))


def test_energy_counts_what_a_neuron_adds_to_the_output() -> None:
    running = _running()
    running.add(_token(*[1.0] * 4, last=1.0))  # squared magnitudes 1, 1, 1, 1, 100
    assert running.result().energy == pytest.approx((1 / 24, 1 / 24, 4 / 24))


def test_indicators_are_counted_against_the_largest_of_their_token() -> None:
    running = _running()
    running.add(_token(10.0, -1.9, 2.1, 5.0))
    running.add(_token(0.25, last=0.5))
    found = running.result()
    counted = {at: count for at, count in enumerate(found.activation) if count}
    # 10 and 0.5 are largest; 1.9 of 10 lies in [0.18, 0.20), 2.1 in [0.20, 0.22), 5 of 10 and 0.25 in [0.50, 0.52)
    assert counted == {0: 42, 9: 1, 10: 1, 25: 2, BINS - 1: 2}
    assert below(found.activation) == 43 / 48
    counted = {at: count for at, count in enumerate(found.magnitude) if count}
    assert counted == {0: 42, 2: 1, 9: 1, 10: 1, 25: 1, BINS - 1: 2}  # 0.25 of 0.5 * 10 lies in [0.04, 0.06)
    assert (EDGES[9], EDGES[10], EDGES[25]) == (0.18, 0.2, 0.5)


def test_a_token_without_activation_needs_no_neuron() -> None:
    running = _running()
    running.add(_token())
    assert running.result().energy == (0, 0, 0)
    assert below(running.result().activation) == 1


def test_a_pass_counts_every_token_once_and_no_padding() -> None:
    model = tiny("Llama")
    done: list[int] = []
    found = sparsity(find_ffns(model), [[5, 6, 7], [8, 9], [10]], batch_size=2, watch=done.append)
    assert [(one.layer, one.expert, one.tokens) for one in found] == [(0, None, 6), (1, None, 6)]
    assert sum(found[0].activation) == sum(found[0].magnitude) == 6 * 24
    assert sum(done) == 6
    document = found[1].document()
    assert sorted(document) == ["below", "below_magnitude", "energy", "expert", "histogram", "layer", "neurons"]
    assert sorted(document["energy"]) == ["0.9", "0.95", "0.99"]


def test_experts_that_no_token_reached_are_left_out() -> None:
    found = sparsity(find_ffns(tiny("Mixtral")), [[5]])
    assert len(found) == 4  # two of four experts in each of two layers
    assert all(one.tokens == 1 for one in found)


def test_losses_grow_with_what_is_masked_and_are_whole_again_afterwards() -> None:
    model = planted_llama()
    rows = planted_instances(model, 4).rows

    def loss() -> float:
        return mean_losses(model, [rows])[0]

    whole = loss()
    found = list(masked_losses(find_ffns(model), loss, (0.0, 0.5, 1.0)))
    assert [(one.by, one.share) for one in found] == [
        (by, share) for by in ("activation", "magnitude") for share in (0.0, 0.5, 1.0)
    ]
    assert found[0].loss == found[3].loss == whole
    assert found[1].loss == pytest.approx(whole, rel=1e-3)  # only small neurons, which say nothing
    assert found[2].loss == pytest.approx(math.log(32))
    assert found[2].document()["perplexity"] == pytest.approx(32)
    assert loss() == whole


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_activations_that_are_no_numbers_are_refused(value: float) -> None:
    with pytest.raises(Unsupported, match=r"activations of `model\.layers\.0\.mlp` are NaN or infinite"):
        _running().add(_token(1.0, value))


def test_a_loss_beyond_all_numbers_has_an_infinite_perplexity() -> None:
    found = MaskedLoss(by="activation", share=0.5, loss=1e4).document()
    assert found["perplexity"] == math.inf
    assert math.isnan(MaskedLoss(by="activation", share=0.5, loss=math.nan).document()["perplexity"])

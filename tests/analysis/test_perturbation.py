"""Silencing what was planted for a label costs that label, and a random choice costs nothing."""

import math
from functools import partial

import pytest
import torch

from brickctl.analysis.ffn import find_ffns
from brickctl.analysis.perplexity import mean_losses
from brickctl.analysis.perturbation import PrunedShare, perturbation, random_sets
from brickctl.analysis.specialisation import func_scores
from tests.support.ffn_models import tiny
from tests.support.planted import LETTERS, planted_instances, planted_llama


def _groups(instances: object) -> list[list[tuple[int, ...]]]:
    of = instances.labels_of  # type: ignore[attr-defined]
    return [[row for row, at in zip(instances.rows, of, strict=True) if at == label] for label in range(3)]  # type: ignore[attr-defined]


def test_pruning_planted_neurons_hurts_their_own_label_and_no_other() -> None:
    model = planted_llama()
    found = func_scores(find_ffns(model), planted_instances(model, 20), batch_size=32)
    others = _groups(planted_instances(model, 10, seed=1))  # texts that the scores have not seen
    result = perturbation(found, partial(mean_losses, model, others, batch_size=16), shares=(0.05,), seeds=range(5))
    (one,) = result.shares
    for pruned in range(len(LETTERS)):
        assert one.change[pruned][pruned] > 20
        assert all(abs(one.change[pruned][other]) < 1 for other in range(3) if other != pruned)
    assert all(abs(change) < 5 for change in one.control)
    assert mean_losses(model, others, batch_size=16) == result.losses  # nothing stays silenced


def test_a_change_is_that_of_perplexity_in_percent_and_the_control_is_a_median() -> None:
    model = planted_llama()
    found = func_scores(find_ffns(model), planted_instances(model, 2))
    losses = iter([(1.0, 2.0, 3.0), *[(1.0 + math.log(2), 2.0, 3.0 - math.log(2))] * 3, *_CONTROLS])
    names: list[str] = []

    def measure(name: str, _: object) -> tuple[float, ...]:
        names.append(name)
        return next(losses)

    result = perturbation(found, lambda: (), shares=(0.01,), seeds=(7, 8, 9), measure=measure)
    assert result.shares[0].change[0] == pytest.approx((100, 0, -50))
    assert result.shares[0].control == pytest.approx((100, 0, 0))
    assert names == [
        "whole", "0.01/label/first", "0.01/label/second", "0.01/label/third",
        "0.01/random/7", "0.01/random/8", "0.01/random/9",
    ]  # fmt: skip
    assert result.document()["perplexity"] == pytest.approx([math.exp(1), math.exp(2), math.exp(3)])


_CONTROLS = [(1.0 + math.log(2), 2.0, 3.0), (1.0 + math.log(5), 2.0, 3.0), (1.0, 2.0, 3.0)]


def test_the_document_has_every_control() -> None:
    one = PrunedShare(share=0.01, change=((1.0, 2.0), (3.0, 4.0)), controls=((0.0, 1.0), (2.0, 3.0), (9.0, -1.0)))
    assert one.document() == {
        "share": 0.01, "change": [[1.0, 2.0], [3.0, 4.0]], "control": [2.0, 1.0],
        "controls": [[0.0, 1.0], [2.0, 3.0], [9.0, -1.0]],
    }  # fmt: skip


def test_random_sets_are_a_share_of_each_ffn_and_follow_the_seed() -> None:
    ffns = find_ffns(tiny("Qwen2Moe"))
    first, again, other = (random_sets(ffns, 0.25, seed) for seed in (0, 0, 1))
    assert [int(one.sum()) for one in first] == [2, 2, 2, 2, 3, 6]
    assert all(map(torch.equal, first, again))
    assert not all(map(torch.equal, first, other))
    assert all(int(one.sum()) == 1 for one in random_sets(ffns, 0.001, 0))


def test_a_model_that_is_pruned_to_pieces_has_no_end_of_perplexity() -> None:
    model = planted_llama()
    found = func_scores(find_ffns(model), planted_instances(model, 4))
    losses = iter([(1.0, 2000.0, 1.0), *[(1e4, 1.0, math.nan)] * 4])
    document = perturbation(found, lambda: next(losses), shares=(0.05,), seeds=[0]).document()
    assert document["perplexity"][1] == math.inf
    assert document["shares"][0]["change"][0][:2] == [math.inf, -100.0]

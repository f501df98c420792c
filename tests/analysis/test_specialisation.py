"""Functionality scores find what was planted, and nothing where labels are permuted."""

import pytest
import torch

from brickctl.analysis.activations import locating
from brickctl.analysis.average_precision import by_rank, expected, of_random_ranking
from brickctl.analysis.ffn import find_ffns
from brickctl.analysis.instances import Instances
from brickctl.analysis.partition import partition, top_sets
from brickctl.analysis.specialisation import FuncScores, _mean_activations, func_scores
from brickctl.errors import Unsupported
from tests.support.ffn_models import tiny
from tests.support.planted import LAYERS, LETTERS, NEURONS, PLANTED, instances_of, planted_instances, planted_llama
from tests.support.successors import character_tokenizer

COUNT = 40


@pytest.fixture(scope="module")
def found() -> FuncScores:
    model = planted_llama()
    return func_scores(find_ffns(model), planted_instances(model, COUNT), permutations=range(10), batch_size=32)


def _planted(label: int) -> list[int]:
    return list(range(label * PLANTED, (label + 1) * PLANTED))


def test_planted_neurons_come_first_for_their_label_in_every_layer(found: FuncScores) -> None:
    for layer in range(LAYERS):
        for label in range(len(LETTERS)):
            best = found.by_ffn()[layer][label].argsort(descending=True)[:PLANTED]
            assert sorted(best.tolist()) == _planted(label)
            assert found.by_ffn()[layer][label, best].min() == 1.0


def test_other_neurons_score_what_chance_says(found: FuncScores) -> None:
    chance = of_random_ranking(COUNT, 3 * COUNT)
    others = found.by_ffn()[0][:, 3 * PLANTED :]
    assert others.mean().item() == pytest.approx(chance, abs=0.03)
    assert found.null.mean().item() == pytest.approx(chance, abs=0.01)
    assert found.null.max() < 0.6


def test_top_sets_are_what_was_planted_and_share_nothing(found: FuncScores) -> None:
    result = partition(found, share=PLANTED / NEURONS)
    assert result.overlap == ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    assert result.random == pytest.approx(0.05)
    first = [one[0].nonzero().flatten().tolist() for one in top_sets(found.scores, found.ffns, 0.05)]
    assert first == [_planted(0)] * LAYERS


def test_permuted_labels_share_less_than_random_sets_and_all_alike(found: FuncScores) -> None:
    result = partition(found, share=0.05)
    apart = [result.null[a][b] for a in range(3) for b in range(3) if a != b]
    assert result.seeds == 10
    assert max(apart) < 0.05  # labels that exclude each other push it down
    assert max(apart) - min(apart) < 0.03
    assert all(result.null[label][label] == 1 for label in range(3))


def test_the_document_says_where_the_best_are(found: FuncScores) -> None:
    document = found.document()
    assert document["labels"] == ["first", "second", "third"]
    assert document["prevalence"]["first"] == pytest.approx(1 / 3)
    assert document["random"]["first"] == of_random_ranking(COUNT, 3 * COUNT)
    assert len(document["layers"]) == LAYERS * 3
    assert document["layers"][4] == {
        "layer": 1, "expert": None, "label": "second", "best": 1.0,
        "mean": pytest.approx(found.by_ffn()[1][1].mean().item()),
    }  # fmt: skip
    assert [(one["layer"], one["neuron"]) for one in document["top"]["second"]] == [
        (layer, neuron) for layer in range(LAYERS) for neuron in _planted(1)
    ]
    assert (document["structure"], document["error"]) == ("every score", 0.0)


def test_bins_find_the_same_as_whole_scores(found: FuncScores) -> None:
    model = planted_llama()
    instances = planted_instances(model, COUNT)
    limit = 40 * LAYERS * NEURONS * 4
    binned = func_scores(find_ffns(model), instances, permutations=(0,), batch_size=32, limit=limit)
    assert "bins" in binned.structure
    assert (binned.scores - found.scores).abs().max() < 0.05
    assert partition(binned).overlap == partition(found).overlap


def test_a_score_is_the_average_precision_of_the_mean_activation() -> None:
    model = planted_llama()
    instances = planted_instances(model, 3)
    up, gate = model.model.layers[0].mlp.up_proj, model.model.layers[0].mlp.gate_proj
    means = []
    for row in instances.rows:
        hidden = model.model.layers[0].post_attention_layernorm(model.model.embed_tokens(torch.tensor(row)))
        means.append((torch.nn.functional.silu(gate(hidden)) * up(hidden)).abs()[1:].mean(dim=0))
    labels = torch.tensor([instances.labels_of])
    wanted = expected(by_rank(torch.stack(means).detach(), labels, 3)[0])
    scores = func_scores(find_ffns(model), instances, batch_size=2).by_ffn()[0]
    assert (scores - wanted).abs().max() < 1e-6


def test_an_expert_is_silent_on_what_is_routed_past_it() -> None:
    ffns = find_ffns(tiny("Mixtral"))
    widths = [ffn.neurons for ffn in ffns]
    together = _mean_activations(ffns, [(5, 6), (7, 8, 9)])
    one_token = [bool(part.any()) for part in torch.split(together[0], widths)]
    assert [sum(one_token[:4]), sum(one_token[4:])] == [2, 2]  # two of four experts in each layer
    heard = torch.zeros(sum(widths))
    with torch.inference_mode(), locating(ffns, lambda at, a, places: _add(heard, sum(widths[:at]), a[places > 0])):
        ffns[0].decoder(input_ids=torch.tensor([[7, 8, 9]]))
    assert torch.allclose(together[1], heard / 2, rtol=1e-4)


def _add(heard: torch.Tensor, first: int, activations: torch.Tensor) -> None:
    heard[first : first + activations.shape[1]] += activations.abs().sum(dim=0)


def test_the_length_of_a_text_does_not_show_in_the_neurons_of_its_first_token() -> None:
    model = planted_llama()
    with torch.no_grad():
        for rows in (model.model.layers[0].mlp.gate_proj.weight, model.model.layers[0].mlp.up_proj.weight):
            rows[0] = 0
            rows[0, 1] = 10  # `<bos>` alone
    texts = {"short": ["mno", "pqr", "stu"], "long": ["mnop" * 5, "qrst" * 6, "uvwx" * 7]}
    found = func_scores(find_ffns(model), instances_of(model, character_tokenizer(), texts))
    assert found.by_ffn()[0][:, 0].tolist() == pytest.approx([of_random_ranking(3, 6)] * 2)


def test_who_watches_hears_every_token_once() -> None:
    instances = Instances(labels=("one", "two"), rows=((5, 6), (7, 8, 9)), labels_of=(0, 1))
    done: list[int] = []
    func_scores(find_ffns(tiny("Llama")), instances, batch_size=1, watch=done.append)
    assert sorted(done) == [2, 3]


def test_activations_that_are_no_numbers_are_refused_and_no_hook_is_left() -> None:
    model = tiny("Llama")
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3] = torch.nan
    instances = Instances(labels=("a", "b"), rows=((3, 4, 5), (6, 7, 8)), labels_of=(0, 1))
    with pytest.raises(Unsupported, match=r"activations of `model\.layers\.1\.mlp` are NaN or infinite"):
        func_scores(find_ffns(model), instances)
    assert not any(module._forward_pre_hooks for module in model.modules())

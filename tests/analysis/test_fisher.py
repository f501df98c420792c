"""Fisher information against autograd, row by row, and against its definition where all labels can be summed over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import MixtralConfig, MixtralForCausalLM

from brickctl.analysis.fisher import diagonal_fisher, drawn
from brickctl.analysis.rows import Row
from tests.support.models import VOCABULARY, load, tiny_model, weights

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from brickctl.analysis.fisher import Labels

ROWS = (
    Row(tokens=tuple(range(1, 13)), first=1),
    Row(tokens=(5, 9, 33, 80, 2), first=3),
    Row(tokens=(7, 7, 40), first=2),
)


def likelihood(model: Any, row: Row, labels: Tensor) -> Tensor:
    logits = model(torch.tensor([row.tokens])).logits[0, row.first - 1 : -1]
    found: Tensor = torch.log_softmax(logits, dim=-1).gather(1, labels[:, None]).sum()
    return found


def by_autograd(model: Any, pairs: list[tuple[Row, Tensor]]) -> Mapping[str, Tensor]:
    """The mean of squared gradients, of which all are kept."""
    named = dict(model.named_parameters())
    each = [torch.autograd.grad(likelihood(model, row, labels), list(named.values())) for row, labels in pairs]
    return {name: torch.stack([one[at] for one in each]).square().mean(dim=0) for at, name in enumerate(named)}


def close(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-6 * float(expected[name].max()))


@pytest.mark.parametrize("tied", [False, True])
def test_it_is_the_mean_of_the_squared_gradients_of_each_row(tmp_path: Path, *, tied: bool) -> None:
    """A weight that is embedding and head has one gradient, the sum of two, squared once."""
    model = load(tiny_model(tmp_path / "m", tie_word_embeddings=tied))
    found = diagonal_fisher(model, ROWS, labels="given", seed=0, advance=lambda _: None)
    close(found.tensors, by_autograd(model, [(row, torch.tensor(row.tokens[row.first :])) for row in ROWS]))
    assert found.tensors.keys() == weights(tmp_path / "m").keys()
    assert all(tensor.dtype == torch.float32 for tensor in found.tensors.values())


def test_the_loss_is_that_of_the_text_whatever_was_drawn(tmp_path: Path) -> None:
    model = load(tiny_model(tmp_path / "m"))
    texts = [likelihood(model, row, torch.tensor(row.tokens[row.first :])) for row in ROWS]
    expected = -sum(text.item() for text in texts) / sum(row.predicted for row in ROWS)
    chosen: tuple[Labels, ...] = ("given", "sampled")
    for labels in chosen:
        found = diagonal_fisher(model, ROWS, labels=labels, seed=0, advance=lambda _: None)
        assert found.loss == pytest.approx(expected, rel=1e-5)


def test_drawn_labels_estimate_the_expectation_over_what_the_model_predicts(tmp_path: Path) -> None:
    """One token to predict, 96 labels: the expectation is a sum. Of 200 rows the mean is some percent from it."""
    model = load(tiny_model(tmp_path / "m"))
    row = Row(tokens=(3, 11, 50), first=2)
    logits = model(torch.tensor([row.tokens])).logits[0, 1]
    chances = torch.softmax(logits, dim=-1).detach()
    weight = model.model.norm.weight
    labels = [torch.tensor([label]) for label in range(VOCABULARY)]
    each = [torch.autograd.grad(likelihood(model, row, label), [weight])[0] for label in labels]
    expected = (torch.stack(each).square() * chances[:, None]).sum(dim=0)

    def apart(count: int, labels: Labels) -> float:
        found = diagonal_fisher(model, (row,) * count, labels=labels, seed=1, advance=lambda _: None)
        return float((found.tensors["model.norm.weight"] - expected).norm() / expected.norm())

    assert apart(200, "sampled") < 0.2
    assert apart(1, "given") > 0.5


def test_labels_are_drawn_by_their_chances_and_the_seed_decides() -> None:
    logits = torch.tensor([[0.0, 1.0, float("-inf"), 2.0]]).expand(20_000, 4)
    labels = drawn(logits, torch.Generator().manual_seed(3))
    shares = torch.bincount(labels, minlength=4) / len(labels)
    torch.testing.assert_close(shares, torch.softmax(logits[0], dim=-1), rtol=0, atol=0.01)
    assert torch.equal(labels, drawn(logits, torch.Generator().manual_seed(3)))
    assert not torch.equal(labels, drawn(logits, torch.Generator().manual_seed(4)))


def test_nothing_is_left_behind_in_the_model(tmp_path: Path) -> None:
    model = load(tiny_model(tmp_path / "m"))
    model.requires_grad_(requires_grad=False)
    heard: list[int] = []
    diagonal_fisher(model, ROWS, labels="sampled", seed=0, advance=heard.append)
    assert heard == [12, 5, 3]
    assert not any(weight.requires_grad or weight.grad is not None for weight in model.parameters())
    assert not any(weight._post_accumulate_grad_hooks for weight in model.parameters())


def test_experts_have_the_names_and_shapes_of_their_files(tmp_path: Path) -> None:
    """transformers has them in one tensor, files one by one; and what is in which place is what autograd says."""
    torch.manual_seed(0)
    config: Any = MixtralConfig
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    more = {"num_key_value_heads": 1, "num_local_experts": 3, "num_experts_per_tok": 2, "vocab_size": VOCABULARY}
    MixtralForCausalLM(config(**sizes, **more)).save_pretrained(tmp_path / "m")
    stored, model = weights(tmp_path / "m"), load(tmp_path / "m")
    found = diagonal_fisher(model, ROWS, labels="given", seed=0, advance=lambda _: None).tensors
    assert {name: tensor.shape for name, tensor in found.items()} == {n: t.shape for n, t in stored.items()}
    squares = by_autograd(model, [(row, torch.tensor(row.tokens[row.first :])) for row in ROWS])
    fused = next(tensor for name, tensor in squares.items() if name.endswith("experts.down_proj"))
    for expert in range(3):
        (name,) = [name for name in found if f"experts.{expert}.w2" in name]
        torch.testing.assert_close(found[name], fused[expert], rtol=1e-4, atol=1e-9)

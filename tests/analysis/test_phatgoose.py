"""Gates of one adapter: how examples become steps, and what a step does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from brickctl.analysis.phatgoose import Product, Trained, batches_within, standardised, train_gates
from brickctl.analysis.rows import Row
from brickctl.derivations.gate_report import doubts, tell_time
from tests.support.models import VOCABULARY, load, tiny_model
from tests.support.projects import Listener

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

PATHS = {"model.layers.0.self_attn.q_proj": (32, 32), "model.layers.2.mlp.down_proj": (48, 32)}


def rows(*lengths: int) -> list[Row]:
    """Rows of tokens of these lengths, of which the second half is to be predicted."""
    return [Row(tokens=tuple((3 * at + 5 * one) % VOCABULARY for one in range(at)), first=at // 2) for at in lengths]


@pytest.mark.parametrize(
    ("lengths", "steps", "tokens", "sizes"),
    [
        ([10, 10], 4, 40, [[10], [10], [10], [10]]),
        ([4, 6], 2, 20, [[4, 6], [4, 6]]),
        ([30], 4, 40, [[30], [30]]),  # a row alone has more than a step is to have: fewer steps
        ([7], 3, 7, [[7]]),
        ([5], 2, 12, [[5, 5], [5]]),  # the last row goes beyond
    ],
)
def test_rows_are_read_again_until_there_are_tokens_enough(
    lengths: list[int], steps: int, tokens: int, sizes: list[list[int]]
) -> None:
    found = batches_within(rows(*lengths), steps=steps, tokens=tokens)
    assert [[len(row.tokens) for row in batch] for batch in found] == sizes


def test_a_vector_becomes_its_deviations_from_its_mean() -> None:
    found = standardised(torch.tensor([1.0, 2.0, 3.0, 6.0]))
    torch.testing.assert_close(found, torch.tensor([-2.0, -1.0, 0.0, 3.0]) / 3.5**0.5)
    assert not standardised(torch.full((4,), 0.1)).any()
    assert not standardised(torch.zeros(4)).any()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load(tiny_model(tmp_path_factory.mktemp("phatgoose") / "base"))


@pytest.fixture(scope="module")
def products() -> dict[str, Product]:
    generator = torch.Generator().manual_seed(3)
    return {
        path: Product(
            up=torch.randn(outputs, 4, generator=generator) * 0.3, down=torch.randn(4, inputs, generator=generator)
        )
        for path, (inputs, outputs) in PATHS.items()
    }


class Gated(torch.nn.Module):
    """The formula of one module, written as a module."""

    def __init__(self, inner: Any, product: Product) -> None:
        super().__init__()
        self.inner = inner
        self.gate = torch.nn.Parameter(torch.zeros(product.down.shape[1]))
        self.delta = product.up @ product.down

    def forward(self, given: Tensor) -> Any:
        share = torch.sigmoid(torch.einsum("btd,d->bt", given, self.gate))
        return self.inner(given) + torch.einsum("bt,btd,od->bto", share, given, self.delta)


def test_the_gates_are_those_of_a_model_that_is_trained_with_them_in_it(
    model: Any, products: dict[str, Product], tmp_path: Path
) -> None:
    """Rows of one length, a step each, and the loss of transformers itself, which leaves out labels of -100."""
    other = load(tiny_model(tmp_path / "other"))
    other.requires_grad_(False)  # noqa: FBT003 - torch takes it so
    for path, product in products.items():
        parent, _, name = path.rpartition(".")
        setattr(other.get_submodule(parent), name, Gated(other.get_submodule(path), product))
    modules = {path: other.get_submodule(path) for path in products}
    optimizer = torch.optim.Adam([one.gate for one in modules.values()], lr=0.01)
    steps, losses = rows(12, 20, 16), []
    for row in steps:
        ids = torch.tensor([row.tokens])
        labels = torch.where(torch.arange(len(row.tokens)) < row.first, -100, ids)
        loss = other(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    found = train_gates(model, products, [[row] for row in steps], rate=0.01)
    assert found.losses == pytest.approx(losses, rel=1e-5)
    for path, vector in found.vectors.items():
        torch.testing.assert_close(vector, standardised(modules[path].gate.detach()), rtol=0, atol=1e-3)


def test_examples_cost_less_and_less_and_the_model_is_as_before(model: Any, products: dict[str, Product]) -> None:
    ids = torch.tensor([rows(16)[0].tokens])
    before = model(input_ids=ids).logits
    heard: list[int] = []
    found = train_gates(model, products, [rows(16, 10)] * 20, rate=0.01, watch=heard.append)
    assert all(after < one for one, after in zip(found.losses, found.losses[1:], strict=False))
    assert heard == [26] * 20
    assert torch.equal(model(input_ids=ids).logits, before)


def test_padding_counts_for_nothing(model: Any, products: dict[str, Product]) -> None:
    """The loss of two rows of several lengths is the mean over the tokens of both."""
    short, long = rows(6, 18)
    alone = [train_gates(model, products, [[row]], rate=0.01).losses[0] for row in (short, long)]
    (both,) = train_gates(model, products, [[short, long]], rate=0.01).losses
    wanted = (alone[0] * short.predicted + alone[1] * long.predicted) / (short.predicted + long.predicted)
    assert both == pytest.approx(wanted, rel=1e-5)


def test_an_adapter_that_adds_nothing_gets_a_gate_of_zeros(model: Any) -> None:
    path, (inputs, outputs) = next(iter(PATHS.items()))
    nothing = {path: Product(up=torch.zeros(outputs, 2), down=torch.ones(2, inputs))}
    assert not train_gates(model, nothing, [rows(8)] * 3, rate=0.01).vectors[path].any()


def trained(**gates: list[float]) -> dict[Any, Trained]:
    """Gates of one module, and a step for each adapter."""
    vectors = {name: standardised(torch.tensor(gate)) for name, gate in gates.items()}
    return {name: Trained(vectors={"q": vector}, losses=(1.0,)) for name, vector in vectors.items()}


def test_gates_that_tell_nothing_are_told_of() -> None:
    found = trained(one=[1.0, 2.0, 3.0, 5.0], nothing=[0.0] * 4, other=[5.0, 1.0, 1.0, 1.0], two=[1.0, 2.0, 3.0, 4.0])
    assert list(doubts(found, 1)) == [
        "the gates of `nothing` are zeros: it changes nothing of what the model says of its examples",
        "the gates of `one` and `two` are much alike (cosine 0.983): few tokens tell them apart",
    ]
    assert list(doubts(trained(one=[1.0, 2.0], two=[2.0, 1.0]), 1)) == []


def test_somebody_who_will_wait_is_told_so_before(model: Any) -> None:
    class Bench:
        events = Listener()

    bench: Any = Bench()
    tell_time(bench, model, rows(12), 100)
    assert bench.events.notes == []
    tell_time(bench, model, rows(12), 10**9)
    (note,) = bench.events.notes
    assert note.startswith("training gates reads 1,000,000,000 tokens, which takes about ")

"""From the FFNs of a dense model to the blocks of a stock mixture of experts: tensors and names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.operations.dense_ffns import PARTS
from brickctl.operations.mixtures import COMPUTED, QKV_BIASES, QWEN2_MOE, Mixture
from brickctl.operations.neuron_groups import zero_matrix
from brickctl.tensors.views import reshape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from brickctl.core.model import LazyModel
    from brickctl.core.nodes import Node
    from brickctl.kinds.neurons import Ffn

ALIGNED = 8
"""Grouped products of torch need rows of a multiple of 16 bytes: as many neurons in 16 bits, half as many in 32."""

Expert = tuple["Node", "Node", "Node"]
"""Gate and up, (neurons, hidden), and down, (hidden, neurons)."""


def aligned(neurons: int) -> int:
    """The width of an expert that has room for so many neurons."""
    return -(-neurons // ALIGNED) * ALIGNED


def mixed(
    model: LazyModel, modules: Sequence[Ffn], mixture: Mixture, make: Callable[[Ffn], Mapping[str, Node]]
) -> dict[str, Node]:
    """The tensors of the mixture: what is made of each FFN where its first matrix stood, and all others."""
    return dict(_with_biases(_with_ffns(model.tensors, modules, make), mixture))


def names_outside(model: LazyModel, modules: Sequence[Ffn]) -> tuple[str, ...]:
    """The names of the tensors that are no matrix of an FFN, tied ones among them."""
    return (*_with_ffns(model.tensors, modules, lambda _: {}), *model.ties)


def block_of(
    mixture: Mixture, ffn: Ffn, router: Node, experts: Iterable[Expert], shared: Expert | None
) -> dict[str, Node]:
    """The tensors that stand for an FFN.

    Args:
        mixture: which gives them their names.
        ffn: what they stand for.
        router: (experts, hidden), whose products with a token are the logits of experts.
        experts: those among which it chooses.
        shared: the one that is always on, if the mixture has one: its gate of zeros lets half of it through.
    """
    block = f"{ffn.path.rpartition('.')[0]}.{mixture.block}"
    tensors = {f"{block}.gate.weight": router}
    for number, expert in enumerate(experts):
        names = (f"{block}.experts.{number}.{name}.weight" for name in mixture.names)
        tensors |= dict(zip(names, expert, strict=True))
    if shared is not None:
        names = (f"{block}.shared_expert.{name}.weight" for name in mixture.names)
        tensors |= dict(zip(names, shared, strict=True))
        tensors[f"{block}.shared_expert_gate.weight"] = zero_matrix(1, ffn.hidden)
    return tensors


def empty_expert(neurons: int, hidden: int) -> Expert:
    """An expert that puts out nothing."""
    nothing = zero_matrix(neurons, hidden)
    return nothing, nothing, zero_matrix(hidden, neurons)


def _with_ffns(
    tensors: Mapping[str, Node], modules: Iterable[Ffn], make: Callable[[Ffn], Mapping[str, Node]]
) -> dict[str, Node]:
    """The tensors with what is made of each FFN where its first matrix stood."""
    owners = {f"{ffn.path}.{part}": ffn for ffn in modules for part in PARTS}
    return dict(_replaced(tensors, owners, make))


def _replaced(
    tensors: Mapping[str, Node], owners: Mapping[str, Ffn], make: Callable[[Ffn], Mapping[str, Node]]
) -> Iterator[tuple[str, Node]]:
    done = dict[str, None]()
    for name, node in tensors.items():
        ffn = owners.get(name)
        if ffn is None:
            yield name, node
        elif ffn.path not in done:
            done[ffn.path] = None
            yield from make(ffn).items()


def _with_biases(tensors: Mapping[str, Node], mixture: Mixture) -> Iterator[tuple[str, Node]]:
    """The tensors with the biases that the mixture wants and the base does not have, and without what is computed."""
    for name, node in tensors.items():
        if name.endswith(COMPUTED):
            continue
        yield name, node
        bias = f"{name.removesuffix('.weight')}.bias"
        if mixture is QWEN2_MOE and bias.endswith(QKV_BIASES) and bias not in tensors:
            yield bias, reshape(zero_matrix(1, node.spec.rows), (node.spec.rows,))

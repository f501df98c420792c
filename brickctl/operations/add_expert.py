"""Add an expert: the FFNs of a tuned dense model as one more of a mixture, whose others stay as they are."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.core.rows import RowMap
from brickctl.errors import Unsupported
from brickctl.kinds.neurons import Ffn, ffns
from brickctl.operations.mixtures import Mixture, mixture_of
from brickctl.operations.neuron_groups import down, gate, named_brick, up
from brickctl.operations.operation import (
    Ingredients,
    Operation,
    refuse_masked,
    refuse_restacked,
    refuse_stacked,
    register,
)
from brickctl.operations.tuned_experts import expert_model, no_expert
from brickctl.tensors.arithmetic import cast
from brickctl.tensors.averages import mean_row
from brickctl.tensors.columns import ZEROS
from brickctl.tensors.views import gather_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from brickctl.core import manifest
    from brickctl.core.model import Artifact, LazyModel
    from brickctl.core.names import Alias
    from brickctl.core.nodes import Node
    from brickctl.errors import Misfit, Place


@dataclass(frozen=True, slots=True, kw_only=True)
class AddExpert:
    """A step that makes the FFNs of a brick one more expert."""

    brick: Alias
    place: Place | None = dataclasses.field(default=None, compare=False)

    reproducible = "bitwise"
    computes = True
    takes_layers = True  # a whole dense model, which need not be like a base that is a mixture itself
    inputs = ()

    @property
    def aliases(self) -> tuple[Alias, ...]:
        """The brick."""
        return (self.brick,)

    def document(self) -> Mapping[str, Any]:
        """The step."""
        return {"op": "add-expert", "brick": self.brick}

    def apply(self, artifact: Artifact, ingredients: Ingredients) -> Artifact:
        """Add it to every block that has experts."""
        refuse_masked(artifact, self.place)
        refuse_stacked(artifact, "grow", self.place)
        refuse_restacked(dataclasses.replace(artifact, regrouped=False), (self.brick,), self.place)
        root = artifact.root
        mixture = mixture_of(root.config, self.place)
        blocks, dense = self._blocks(root, mixture), expert_model(self.brick, root, ingredients, self.place)
        tensors = dict(root.tensors)
        for layer, ffn in self._paired(blocks, dense):
            tensors |= self._added(root, dense, mixture, layer, ffn)
        count = root.config[mixture.count]
        config = {**root.config, mixture.count: count + 1}
        model = dataclasses.replace(root, tensors=tensors, config=config, source_config=None)
        notes = (*artifact.notes, *self._notes(root.config, count))
        return dataclasses.replace(artifact, root=model, notes=notes, regrouped=True)

    def _blocks(self, model: LazyModel, mixture: Mixture) -> tuple[str, ...]:
        """The layers that have experts.

        Raises:
            Unsupported: there are none, or they are not what config.json counts.
        """
        router = f".{mixture.block}.gate.weight"
        found = [name.removesuffix(router) for name in model.tensors if name.endswith(router)]
        if not found:
            cause = f"it has no `model.layers.0{router}`"
            raise Unsupported("the model has no experts that could get another one", causes=(cause,), place=self.place)
        faults = (_fault(model, mixture, f"{layer}.{mixture.block}") for layer in found)
        fault = next((fault for fault in faults if fault is not None), None)
        if fault is not None:
            raise Unsupported("the model cannot get another expert", causes=(fault,), place=self.place)
        return tuple(found)

    def _paired(self, blocks: tuple[str, ...], dense: LazyModel) -> Iterator[tuple[str, Ffn]]:
        """Each block with the FFN of the brick that stands in the same layer."""
        modules = {ffn.path: ffn for ffn in ffns(dense)}
        for layer in blocks:
            ffn = modules.get(f"{layer}.mlp")
            if ffn is None:
                raise self._misfit(f"it has no FFN `{layer}.mlp` with `gate_proj`, `up_proj` and `down_proj`")
            yield layer, ffn

    def _added(
        self, running: LazyModel, dense: LazyModel, mixture: Mixture, layer: str, ffn: Ffn
    ) -> Iterator[tuple[str, Node]]:
        """The wider router of a block, and the matrices of its new expert."""
        block = f"{layer}.{mixture.block}"
        router = running.tensors[f"{block}.gate.weight"]
        width, hidden = running.tensors[f"{block}.experts.0.{mixture.names[0]}.weight"].spec.shape
        if ffn.hidden != hidden or ffn.neurons > width:
            cause = f"`{ffn.path}` has {ffn.neurons} neurons of {ffn.hidden} numbers; experts have {width} of {hidden}"
            raise self._misfit(cause)
        neurons = (*range(ffn.neurons), *itertools.repeat(ZEROS, width - ffn.neurons))
        out = down(dense.tensors[f"{ffn.path}.down_proj.weight"], neurons)
        made = (gate(dense, ffn.path, neurons), up(dense, ffn.path, neurons), out)
        yield f"{block}.gate.weight", _with_mean(router)
        names = (f"{block}.experts.{router.spec.shape[0]}.{part}.weight" for part in mixture.names)
        yield from zip(names, made, strict=True)

    def _misfit(self, cause: str) -> Misfit:
        return no_expert(self.brick, cause, self.place)

    def _notes(self, config: Mapping[str, Any], count: int) -> Iterator[str]:
        yield f"expert {count} of 0 to {count} is the FFNs of `{self.brick}`; what it has outside of them is left out"
        if config.get("num_experts_per_tok") == 1:
            yield (
                f"expert {count} is chosen by nobody until the router is trained: one expert is active, and its logit"
                " is the mean of the others'"
            )


def _fault(model: LazyModel, mixture: Mixture, block: str) -> str | None:
    """What is wrong with the experts of a block: one for each row of the router, all of one shape, in plain numbers."""
    router, count = model.tensors[f"{block}.gate.weight"], model.config.get(mixture.count)
    shape = router.spec.shape
    if len(shape) != 2 or shape[0] != count or not router.spec.dtype.is_mergeable:  # noqa: PLR2004 - a matrix
        said = f"`{mixture.count}` in config.json is {shown(count)}"
        return f"`{block}.gate.weight` is {router.spec.dtype.code} {list(shape)}; {said}"
    first = model.tensors.get(f"{block}.experts.0.{mixture.names[0]}.weight")
    into = (0 if first is None else first.spec.rows, shape[1])
    parts = tuple(zip(mixture.names, (into, into, into[::-1]), strict=True))
    for number, (part, wanted) in itertools.product(range(shape[0]), parts):
        name = f"{block}.experts.{number}.{part}.weight"
        node = model.tensors.get(name)
        if node is None:
            return f"it has no `{name}`"
        if not node.spec.dtype.is_mergeable:
            return f"`{name}` is stored as {node.spec.dtype.code}, and the new expert is not"
        if node.spec.shape != wanted:
            return f"`{name}` has shape {list(node.spec.shape)}, and not {list(wanted)}"
    return None


def _with_mean(router: Node) -> Node:
    """A router (experts, hidden) with one row more: the mean of the others."""
    mean = cast(mean_row(router), router.spec.dtype)
    return gather_rows((router, mean), RowMap(((0, 0, router.spec.rows), (1, 0, 1))))


def read_add_expert(step: manifest.Step) -> Operation:
    """Read `{ op = "add-expert", brick = NAME }`.

    The running model is a stock mixture (Mixtral, Qwen2-MoE, Qwen3-MoE), as grow-experts makes one. The FFNs of the
    brick, a full fine-tune of the dense model that the mixture was grown from, or an adapter of it that is folded in
    here, become one more expert of each block; what else the brick changes is left out. No bit of the other experts,
    and of their rows of the router, changes.

    The new row of the router is the mean of the others: for every token the new expert has the mean of their logits. So
    it is above some and below others, and which of the others come before which stays as it is. As many experts are
    active as before. Where rows are equal nothing says which expert is chosen, until the router is trained: those of a
    router of zeros are, and those of two experts that are added one after the other.
    """
    table = step.table.fresh()
    brick = named_brick(table, "add-expert", "a full fine-tune of the dense model, or an adapter")
    table.finish()
    return AddExpert(brick=brick, place=step.place)


register("add-expert", read_add_expert)

"""Mixture of experts: the FFNs of several tuned models as experts, and a router that chooses among them for a token."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.core.dtypes import DType
from brickctl.core.names import Alias, is_alias
from brickctl.core.nodes import Stored
from brickctl.core.rows import RowMap
from brickctl.errors import ManifestInvalid, Misfit
from brickctl.kinds.gates import METHODS, labels_of
from brickctl.kinds.kind import kind_named
from brickctl.kinds.neurons import Ffn, ffns
from brickctl.operations.dense_ffns import PARTS
from brickctl.operations.into_mixture import names_outside
from brickctl.operations.neuron_groups import zero_matrix
from brickctl.operations.operation import Ingredients, Operation, refuse_restacked, register
from brickctl.operations.random_router import random_router
from brickctl.operations.tuned_experts import expert_model, no_expert
from brickctl.operations.upcycling import Dense, dense
from brickctl.tensors.arithmetic import cast
from brickctl.tensors.views import gather_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from brickctl.core import manifest
    from brickctl.core.document import Table
    from brickctl.core.model import Artifact, LazyModel
    from brickctl.core.nodes import Node
    from brickctl.errors import Place
    from brickctl.operations.into_mixture import Expert

    Router = Callable[[Ffn], Node]

RANDOM, UNIFORM = "random", "uniform"
_MADE_HERE = (RANDOM, UNIFORM)
_MOST = 1024
"""Experts: more than any model has, and few enough to be planned at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moe:
    """A step that makes a mixture of the FFNs of `experts`, `active` of which a token passes through.

    `gates` is how the router begins: `random`, `uniform`, or a brick of kind gates.
    """

    experts: tuple[Alias, ...]
    active: int
    gates: str
    seed: int
    place: Place | None = dataclasses.field(default=None, compare=False)

    reproducible = "bitwise"
    computes = True
    takes_layers = False
    inputs = ()

    @property
    def aliases(self) -> tuple[Alias, ...]:
        """The experts, and the gates where they are a brick."""
        return self.experts if self.gates in _MADE_HERE else (*self.experts, Alias(self.gates))

    def document(self) -> Mapping[str, Any]:
        """The step with every default written out."""
        chance = {"seed": self.seed} if self.gates == RANDOM else {}
        return {"op": "moe", "experts": list(self.experts), "active": self.active, "gates": self.gates, **chance}

    def apply(self, artifact: Artifact, ingredients: Ingredients) -> Artifact:
        """Put the FFNs of the experts in the place of every FFN."""
        refuse_restacked(artifact, self.aliases, self.place)
        found = dense(artifact, "mix", self.place)
        models = {alias: self._expert(alias, found, ingredients) for alias in self.experts}
        router = self._router(ingredients)

        def make(ffn: Ffn) -> tuple[Node, tuple[Expert, ...]]:
            experts = tuple(_in_type_of(found.model, ffn, found.expert(model, ffn)) for model in models.values())
            return cast(router(ffn), DType.F64), experts

        model = found.upcycled(len(self.experts), self.active, make)
        notes = (*artifact.notes, *self._notes(found, model, models, ingredients))
        return dataclasses.replace(artifact, root=model, notes=notes, regrouped=True)

    def _expert(self, alias: Alias, found: Dense, ingredients: Ingredients) -> LazyModel:
        """The model of a brick, whose FFNs are those of the running model in all but their numbers.

        Raises:
            Misfit, Unsupported: they are not.
        """
        model = expert_model(alias, found.model, ingredients, self.place)
        theirs = {ffn.path: ffn for ffn in ffns(model)}
        for ffn in found.modules:
            if theirs.get(ffn.path) != ffn:
                raise no_expert(alias, _difference(ffn, theirs.get(ffn.path)), self.place)
        parts = (f"{ffn.path}.{part}" for ffn in found.modules for part in PARTS)
        is_whole = ingredients.brick(alias).kind in ("base", "expert")
        if not is_whole and all(_is_same(name, model, ingredients.base) for name in parts):
            cause = "it changes no FFN of the base, so its expert would be that of the base"
            hint = "name `base` where that is meant; a merge before this step takes what it has outside of FFNs"
            raise no_expert(alias, cause, self.place, hint)
        return model

    def _router(self, ingredients: Ingredients) -> Router:
        """What makes the router of an FFN, with a row for each expert in their order.

        Raises:
            ManifestInvalid, Misfit: `gates` is no brick of gates, or has no row for an expert.
        """
        if self.gates == UNIFORM:
            return lambda ffn: zero_matrix(len(self.experts), ffn.hidden)
        if self.gates == RANDOM:
            return lambda ffn: random_router(len(self.experts), ffn, op="moe", seed=self.seed)
        brick = ingredients.brick(Alias(self.gates))
        if brick.kind != "gates":
            message = f"`{self.gates}` is of kind {brick.kind}, and holds no gates"
            hint = 'name a brick that `brickctl derive` made with `op = "gates"`, or write "random" or "uniform"'
            raise ManifestInvalid(message, place=self.place, hint=hint)
        kind_named(brick.kind).check(brick, ingredients.base)
        rows = self._rows(labels_of(brick))
        return lambda ffn: gather_rows((brick.contents.tensors[f"{ffn.path}.weight"],), rows)

    def _rows(self, labels: Sequence[str]) -> RowMap:
        """Where the rows of the experts stand among those of the gates."""
        lacking = next((alias for alias in self.experts if alias not in labels), None)
        if lacking is not None:
            cause = f"it was derived from prompts for {', '.join(labels)}"
            hint = f'add lines with "label": "{lacking}" to its prompts, and derive it again'
            raise Misfit(f"`{self.gates}` has no row for `{lacking}`", causes=(cause,), place=self.place, hint=hint)
        return RowMap.of((0, labels.index(alias)) for alias in self.experts)

    def _notes(
        self, found: Dense, mixture: LazyModel, models: Mapping[Alias, LazyModel], ingredients: Ingredients
    ) -> Iterator[str]:
        """What the user should know: sizes, what is left out, and routers that know nothing."""
        before, after = (sum(node.spec.elements for node in one.tensors.values()) for one in (found.model, mixture))
        yield (
            f"{len(self.experts)} experts for each FFN, {self.active} of them active: {after:,} parameters instead of"
            f" {before:,}"
        )
        yield from found.notes()
        yield from _twins(models, found.modules)
        for alias, model in models.items():
            yield from _left_out(alias, model, ingredients.base)
        if self.active < len(self.experts) and self.gates == UNIFORM:
            those = "expert" if self.active == 1 else f"{self.active} experts"
            yield f"a router of zeros chooses the same {those} for all tokens, until it is trained"
        if self.active < len(self.experts) and self.gates == RANDOM:
            yield "a random router knows nothing of the experts: until it is trained, chance chooses among them"


def _difference(ours: Ffn, theirs: Ffn | None) -> str:
    if theirs is None:
        return f"it has no FFN `{ours.path}` with `gate_proj`, `up_proj` and `down_proj`"
    return (
        f"`{ours.path}` has {theirs.neurons} neurons of {theirs.hidden} numbers; that of the running model has"
        f" {ours.neurons} of {ours.hidden}"
    )


def _in_type_of(running: LazyModel, ffn: Ffn, expert: Expert) -> Expert:
    """Matrices of other types than the running model has are widened: the target rounds them once, as it ends."""
    dtype = running.tensors[f"{ffn.path}.down_proj.weight"].spec.dtype
    first, second, third = (node if node.spec.dtype is dtype else cast(node, DType.F64) for node in expert)
    return first, second, third


def _twins(models: Mapping[Alias, LazyModel], modules: Sequence[Ffn]) -> Iterator[str]:
    """A note about each expert that is, number for number, one that came before."""
    first: dict[tuple[Node, ...], Alias] = {}
    for alias, model in models.items():
        matrices = tuple(model.tensors[f"{ffn.path}.{part}"] for ffn in modules for part in PARTS)
        twin = first.setdefault(matrices, alias)
        if twin != alias:
            yield f"`{alias}` has the very FFNs of `{twin}`: both say the same until they are trained apart"


def _left_out(alias: Alias, model: LazyModel, base: LazyModel) -> Iterator[str]:
    """A note about what a brick has outside of FFNs and the base has not."""
    others = [name for name in names_outside(model, ffns(model)) if not _is_same(name, model, base)]
    if others:
        count = "1 tensor" if len(others) == 1 else f"{len(others)} tensors"
        may = "may change" if all(isinstance(model.node(name), Stored) for name in others) else "changes"
        yield f"outside of FFNs the model stays as it is: {count} that `{alias}` {may} there {_is(others)} not taken"


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _is_same(name: str, model: LazyModel, base: LazyModel) -> bool:
    is_known = name in base.tensors or name in base.ties
    return is_known and model.node(name) == base.node(name)


def read_moe(step: manifest.Step) -> Operation:
    """Read `{ op = "moe", experts = [NAMES], active = K, gates = "uniform" | "random" | NAME, seed = 0 }`.

    Each FFN of the running model, which is dense, becomes a mixture: the FFNs of the experts in their order, of which a
    token passes through K. Experts are full fine-tunes of the base, adapters, which are folded in, or `base` itself.
    All else stays as the running model has it; what experts have outside of their FFNs is left out. The result is the
    stock mixture that a model of this type has: Mixtral for Llama and Mistral, Qwen2-MoE, Qwen3-MoE. The weights of the
    K always add up to 1, so equal experts say what the dense model says, whatever the gates.

    `gates` are the rows of the routers. A brick of kind gates, derived from prompts, has one for each expert. `uniform`
    are zeros: with K of K experts their mean. `random` are uniform numbers of mean 0 and deviation 0.02 by `seed`,
    module and element: a router to be trained.
    """
    table = step.table.fresh()
    experts = _read_experts(table)
    active, gates, seed = table.integer_or_none("active"), _read_gates(table), table.integer_or_none("seed")
    if active is None:
        hint = "write `active = 2`: how many experts a token passes through"
        raise table.missing("a moe needs `active`", "active", hint=hint)
    table.finish()
    if not 1 <= active <= len(experts):
        raise table.error("`active` must be from 1 to the number of experts", key="active")
    if seed is not None and gates != RANDOM:
        raise table.error("`seed` is for random gates", key="seed")
    return Moe(experts=experts, active=active, gates=gates, seed=seed or 0, place=step.place)


def _read_experts(table: Table) -> tuple[Alias, ...]:
    names: Sequence[str] = table.strings_or_none("experts") or ()
    if not 1 < len(names) <= _MOST:
        hint = 'write experts = ["NAME", "OTHER"]; `base` may be among them'
        raise table.missing(f"a moe needs `experts`: 2 to {_MOST} bricks", "experts", hint=hint)
    if len(dict.fromkeys(names)) != len(names):
        raise table.error("`experts` names each brick once", key="experts")
    return tuple(map(Alias, names))


def _read_gates(table: Table) -> str:
    gates = table.string_or_none("gates")
    if gates is None:
        hint = 'name a brick of kind gates, or write "random" or "uniform"'
        raise table.missing("a moe needs `gates`: what its routers are", "gates", hint=hint)
    if gates in METHODS:
        hint = (
            f'write [derived.NAME] with op = "gates", method = "{gates}" and prompts = "PATH", and here gates = "NAME"'
        )
        raise table.error(f"gates by `{gates}` are derived from prompts", key="gates", hint=hint)
    if not is_alias(gates):
        hint = 'name a brick of kind gates, or write "random" or "uniform"'
        raise table.error(f"`{shown(gates)}` is no name of a brick", key="gates", hint=hint)
    return gates


register("moe", read_moe)

"""The canonical form of adapters that are to stand in for one another: plain LoRAs of one rank for the same modules.

    delta = s B A   becomes   B' = [s B, 0] (out, R),  A' = [A; 0] (R, in),  alpha = r = R, so that PEFT scales by 1

A delta that is no product of two small factors, such as that of a DoRA, becomes the best one of some rank. A module
that some other adapter changes gets factors of zeros, and so does each that has the same last part of its name: that is
how PEFT's configuration names modules. What no LoRA of a linear layer holds is refused, by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.digests import readable_json
from brickctl.core.dtypes import DType
from brickctl.core.nodes import Map, Node, Op
from brickctl.core.regions import Spec
from brickctl.errors import Misfit, Unsupported
from brickctl.kinds.adapters.config import FILE
from brickctl.kinds.adapters.module import Layout, layout_of
from brickctl.tensors.arithmetic import cast, scaled
from brickctl.tensors.factored import as_stored, product_of
from brickctl.tensors.truncated import truncated
from brickctl.tensors.views import stack_rows, transpose
from brickctl.vocabulary.axis import EMBEDDING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from brickctl.core.brick import Brick
    from brickctl.core.model import LazyModel
    from brickctl.core.names import Alias
    from brickctl.errors import Place
    from brickctl.kinds.kind import Change
    from brickctl.operations.operation import Ingredients

WEIGHTS = "adapter_model.safetensors"
_MATRIX = 2
_PREFIX = "base_model.model."
_ELSE = 'merge it instead, or put it beside the model alone: { op = "stack", ... }'


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """What an adapter does to one module: up (out, r) @ down (r, in), the scale folded into `up`.

    Attributes:
        up: in fp64.
        down: as it is stored, or in fp64.
        missed: where they are an approximation, the norm of what they miss and that of the delta, (2,) fp64.
    """

    up: Node
    down: Node
    missed: Node | None = None

    @property
    def rank(self) -> int:
        """Rows of `down`."""
        return self.down.spec.rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Canonical:
    """Several adapters in one form.

    Attributes:
        modules: paths of the modules that have factors, in the order of the base, with inputs and outputs of each.
        rank: of all factors, padded with zeros.
        factors: what each adapter does to each module that it changes, not padded.
        transposed: whether the base stores weights of theirs as (in, out).
    """

    modules: Mapping[str, tuple[int, int]]
    rank: int
    factors: Mapping[Alias, Mapping[str, Factors]]
    transposed: bool

    def config(self) -> bytes:
        """`adapter_config.json`, the same for all of them."""
        document = {
            "alpha_pattern": {},
            "bias": "none",
            "fan_in_fan_out": self.transposed,
            "inference_mode": True,
            "init_lora_weights": True,
            "lora_alpha": self.rank,
            "lora_dropout": 0.0,
            "modules_to_save": None,
            "peft_type": "LORA",
            "r": self.rank,
            "rank_pattern": {},
            "revision": None,
            "target_modules": sorted(dict.fromkeys(map(_end, self.modules))),
            "task_type": "CAUSAL_LM",
            "use_dora": False,
            "use_rslora": False,
        }
        return readable_json(document)

    def tensors(self, alias: Alias) -> dict[str, Node]:
        """The fp32 tensors of one adapter under PEFT's names."""
        return dict(self._tensors(self.factors[alias]))

    def _tensors(self, factors: Mapping[str, Factors]) -> Iterator[tuple[str, Node]]:
        for path, (inputs, outputs) in self.modules.items():
            found = factors.get(path)
            down = zeros_of(self.rank, inputs) if found is None else _padded(found.down, self.rank)
            up = zeros_of(outputs, self.rank)
            if found is not None and found.rank == self.rank:
                up = found.up
            elif found is not None:
                up = transpose(_padded(transpose(found.up), self.rank))
            yield f"{_PREFIX}{path}.lora_A.weight", cast(down, DType.F32)
            yield f"{_PREFIX}{path}.lora_B.weight", cast(up, DType.F32)

    def missed(self) -> dict[str, Node]:
        """What approximations miss, F32 (2,), by adapter and module."""
        each = ((f"{alias}.{path}", one) for alias, own in self.factors.items() for path, one in own.items())
        return {name: cast(one.missed, DType.F32) for name, one in each if one.missed is not None}

    def approximated(self) -> dict[Alias, int]:
        """The adapters of which something is an approximation, and its rank."""
        ranks = ((alias, [one.rank for one in own.values() if one.missed]) for alias, own in self.factors.items())
        return {alias: max(found) for alias, found in ranks if found}


def canonical(ingredients: Ingredients, aliases: Sequence[Alias], rank: int | None, place: Place | None) -> Canonical:
    """The canonical form of adapters; `rank` is that of approximations, by default twice the rank of the adapter.

    Raises:
        Misfit: one does not fit the base, or changes what no LoRA of a linear layer holds.
        Unsupported: one is no adapter that can be merged, or has no rank of its own and `rank` is None.
    """
    found = {alias: _Conversion(ingredients, alias, rank, place).factors() for alias in aliases}
    base = ingredients.base
    modules = _modules(base, [path for own in found.values() for path in own])
    largest = max(one.rank for own in found.values() for one in own.values())
    is_transposed = any(_is_transposed(base, path) for path in modules)
    return Canonical(modules=modules, rank=largest, factors=found, transposed=is_transposed)


def zeros_of(rows: int, columns: int) -> Node:
    """A matrix of zeros, in fp64."""
    return Map(Spec(DType.F64, (rows, columns)), Op.make("zeros", 1), ())


@dataclass(frozen=True, slots=True)
class _Conversion:
    """One adapter while its factors are collected."""

    ingredients: Ingredients
    alias: Alias
    rank: int | None
    place: Place | None

    @property
    def brick(self) -> Brick:
        return self.ingredients.brick(self.alias)

    def factors(self) -> dict[str, Factors]:
        """Those of each module that the adapter changes."""
        if self.brick.kind != "adapter":
            hint = f'make an adapter of it: [derived.NAME] with op = "extract-lora" and from = "{self.alias}"'
            message = f"only adapters can be routed; `{self.alias}` is of kind {self.brick.kind}"
            raise Unsupported(message, place=self.place, hint=hint)
        changes = self.ingredients.changes(self.alias)
        return {name.removesuffix(".weight"): self._of(name, change) for name, change in changes.items()}

    def _of(self, name: str, change: Change) -> Factors:
        path = name.removesuffix(".weight")
        delta = change.delta
        if delta is None or change.tuned is not None or not _is_linear(self.ingredients.base, name):
            cause = f"it changes `{name}`, which no LoRA of a linear layer holds"
            raise Misfit(f"`{self.alias}` cannot be routed", causes=(cause,), place=self.place, hint=_ELSE)
        if _is_transposed(self.ingredients.base, path):
            delta = transpose(delta)
        product = product_of(delta)
        if product is not None:
            return Factors(up=scaled(as_stored(product.left), product.scale), down=as_stored(product.right))
        up, down, missed = truncated(delta, min(self._rank_of_approximation(), *delta.spec.shape))
        return Factors(up=up, down=down, missed=missed)

    def _rank_of_approximation(self) -> int:
        if self.rank is not None:
            return self.rank
        own = self.brick.contents.documents[FILE].get("r")
        if type(own) is int and own > 0:
            return 2 * own
        cause = "what it does to a weight is no product of two small factors, and it has no rank of its own"
        hint = "say how good the approximation is to be: rank = 16"
        raise Unsupported(f"`{self.alias}` is no LoRA", causes=(cause,), place=self.place, hint=hint)


def _modules(base: LazyModel, changed: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of the modules whose names end as those of changed ones do, in the order of the base."""
    ends = dict.fromkeys(map(_end, changed))
    found = {}
    for name in (*base.tensors, *base.ties):
        path = name.removesuffix(".weight")
        if _end(path) in ends and _is_linear(base, name):
            outputs, inputs = base.node(name).spec.shape
            found[path] = (outputs, inputs) if _is_transposed(base, path) else (inputs, outputs)
    return found


def _end(path: str) -> str:
    return path.rpartition(".")[2]


def _is_linear(base: LazyModel, name: str) -> bool:
    """Whether a tensor is the matrix of a layer that PEFT puts a LoRA on, as far as names and shapes tell."""
    return (
        name.endswith(".weight")
        and EMBEDDING.search(name) is None
        and len(base.node(name).spec.shape) == _MATRIX
        and base.node(name).spec.elements > 0
    )


def _is_transposed(base: LazyModel, path: str) -> bool:
    return layout_of(base, path, base.node(f"{path}.weight")) is Layout.TRANSPOSED


def _padded(matrix: Node, rows: int) -> Node:
    """The matrix with rows of zeros below, up to so many."""
    have, columns = matrix.spec.shape
    if have == rows:
        return matrix
    return stack_rows((cast(matrix, DType.F64), zeros_of(rows - have, columns)), (rows, columns))

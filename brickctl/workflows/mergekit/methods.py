"""The merge methods of mergekit 0.1.5: what each reads of a recipe, with its defaults, and what brick.toml calls it.

The methods have the same names here and there, but for one case. A default stands here even where ours is the same, so
that no change of ours can change what a recipe means. Only `eps` of multislerp has none, which is 1e-8 there: between
unit vectors in single precision nothing so small can be told from 0, and ours begins at 1e-7.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Role = Literal["model", "start", "origin", "optional", "none"]
"""What `base_model` is. `model`: one model more. `start`: needed, and the first of the models. `origin`: needed, and
what deltas are relative to. `optional`: the same, where it is named. `none`: it may not be named."""

Switches = dict[str, bool]
Choices = dict[str, str | bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Numeric:
    """A number of a recipe.

    Attributes:
        ours: its key in brick.toml.
        default: mergekit's; None where it has none, `required` then tells whether one must be given.
        each: whether models may have their own.
    """

    ours: str
    default: float | None = None
    required: bool = False
    each: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MergekitMethod:
    """What one method reads.

    Attributes:
        base: what `base_model` is to it.
        least: models that have to take part.
        numbers: by mergekit's names; a `weight` is that of a brick.
        switches: by mergekit's names, with their defaults.
        idle: switches that have no effect while another is on.
        chosen: what the switches mean in brick.toml.
        ignored: what it reads and what changes no number of the result.
    """

    base: Role
    least: int = 1
    numbers: Mapping[str, Numeric] = field(default_factory=dict)
    switches: Switches = field(default_factory=dict)
    idle: Mapping[str, str] = field(default_factory=dict)
    chosen: Callable[[Switches], Choices] = lambda _: {}
    ignored: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """Everything that it reads."""
        return (*self.numbers, *self.switches, *self.ignored)


WEIGHT = Numeric(ours="weight", required=True, each=True)


def _divided(switches: Switches) -> Choices:
    divide = "weight" if switches["normalize"] else "none"
    if "rescale" not in switches:
        return {"divide": divide}
    return {"divide": divide, "rescale": "l1" if switches["rescale"] else "none"}


def _sparsified(*, normalize: bool, rescale: bool, **more: float) -> MergekitMethod:
    """A method that thins out deltas before it sums them up; `more` are its other numbers, another for each model."""
    own = {name: Numeric(ours=name, default=value, each=True) for name, value in {"density": 1.0, **more}.items()}
    return MergekitMethod(
        base="origin",
        numbers={"weight": WEIGHT, **own, "lambda": Numeric(ours="scale", default=1.0)},
        switches={"normalize": normalize, "rescale": rescale},
        chosen=_divided,
        ignored=("int8_mask",),
    )


def name_here(method: str, switches: Switches) -> str:
    """What a method is called here: breadcrumbs without a density drop nothing, and can be divided by the weights."""
    return "breadcrumbs" if method == "task_arithmetic" and switches.get("normalize") else method


def _along(switches: Switches) -> Choices:
    if switches["nuslerp_flatten"]:
        return {"by": "tensor"}
    return {"by": "column" if switches["nuslerp_row_wise"] else "row"}


METHODS: Mapping[str, MergekitMethod] = {
    "arcee_fusion": MergekitMethod(base="origin"),
    "breadcrumbs": _sparsified(normalize=False, rescale=False, gamma=0.01),
    "breadcrumbs_ties": _sparsified(normalize=False, rescale=False, gamma=0.01),
    "dare_linear": _sparsified(normalize=False, rescale=True),
    "dare_ties": _sparsified(normalize=False, rescale=True),
    "della": _sparsified(normalize=True, rescale=True, epsilon=0.15),
    "della_linear": _sparsified(normalize=False, rescale=True, epsilon=0.15),
    "karcher": MergekitMethod(
        base="model",
        numbers={"max_iter": Numeric(ours="max_iter", default=10.0), "tol": Numeric(ours="tol", default=1e-5)},
    ),
    "linear": MergekitMethod(
        base="model",
        numbers={"weight": WEIGHT},
        switches={"normalize": True},
        chosen=lambda switches: {"normalize": switches["normalize"]},
    ),
    "model_stock": MergekitMethod(
        base="origin",
        least=2,
        switches={"filter_wise": False},
        chosen=lambda switches: {"by": "row" if switches["filter_wise"] else "tensor"},
    ),
    "multislerp": MergekitMethod(
        base="optional",
        least=2,
        numbers={"weight": WEIGHT, "eps": Numeric(ours="eps")},
        switches={"normalize_weights": True},
        chosen=lambda switches: {"normalize": switches["normalize_weights"]},
    ),
    "nearswap": MergekitMethod(base="origin", numbers={"t": Numeric(ours="t", required=True)}),
    "nuslerp": MergekitMethod(
        base="optional",
        numbers={"weight": WEIGHT},
        switches={"nuslerp_row_wise": False, "nuslerp_flatten": True},
        idle={"nuslerp_row_wise": "nuslerp_flatten"},
        chosen=_along,
    ),
    "passthrough": MergekitMethod(
        base="none", numbers={"scale": Numeric(ours="scale", default=1.0, each=True)}
    ),
    "ram": MergekitMethod(base="origin", numbers={"epsilon": Numeric(ours="epsilon", default=1e-5)}),
    "ramplus_tl": MergekitMethod(
        base="origin",
        numbers={
            "r": Numeric(ours="r", default=0.1),
            "alpha": Numeric(ours="alpha", default=0.2),
            "epsilon": Numeric(ours="epsilon", default=1e-5),
        },
    ),
    "sce": MergekitMethod(
        base="origin",
        numbers={"select_topk": Numeric(ours="select_topk", default=1.0)},
        ignored=("int8_mask",),
    ),
    "slerp": MergekitMethod(base="start", numbers={"t": Numeric(ours="t", required=True)}),
    "task_arithmetic": MergekitMethod(
        base="origin",
        numbers={"weight": WEIGHT, "lambda": Numeric(ours="scale", default=1.0)},
        switches={"normalize": False},
        chosen=lambda switches: {"divide": "weight"} if switches["normalize"] else {},
        ignored=("int8_mask",),
    ),
    "ties": _sparsified(normalize=True, rescale=False),
}  # fmt: skip

PARAMETERS = tuple(dict.fromkeys(key for method in METHODS.values() for key in method.keys))
"""What some method reads."""

SUMS = ("breadcrumbs", "dare_linear", "della_linear", "task_arithmetic")
"""Methods without an election: with `normalize` they divide by all weights."""

RANDOM = ("dare_linear", "dare_ties", "della", "della_linear")
"""Methods whose masks are drawn: from other random numbers than mergekit's."""

"""Bricks whose FFNs become experts of a mixture: dense fine-tunes of one model, or adapters that are folded in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.document import shown
from brickctl.errors import Misfit
from brickctl.kinds.neurons import ffns
from brickctl.operations.dense_ffns import PARTS, refuse_mixture, refuse_quantised

if TYPE_CHECKING:
    from brickctl.core.model import LazyModel
    from brickctl.core.names import Alias
    from brickctl.errors import Place
    from brickctl.operations.operation import Ingredients

_ACTIVATION = "hidden_act"
_HINT = "an expert is a fine-tune, or an adapter, of the dense model that the mixture is made from"


def expert_model(alias: Alias, running: LazyModel, ingredients: Ingredients, place: Place | None) -> LazyModel:
    """The dense model that a brick stands for, with FFNs that compute as those of the running model do.

    Raises:
        Misfit, Unsupported: it stands for none, or for one that computes something else.
    """
    dense = ingredients.model(alias)
    refuse_mixture(dense.config, "take the FFNs of", place, subject=f"`{alias}`")
    refuse_quantised(dense, place, subject=f"`{alias}`")
    ours, theirs = (model.config.get(_ACTIVATION, "silu") for model in (running, dense))
    if ours != theirs:
        cause = f"`{_ACTIVATION}` in its config.json is {shown(theirs)}; the running model has {shown(ours)}"
        raise no_expert(alias, cause, place)
    paths = [ffn.path for ffn in ffns(dense)]
    known = [f"{path}.{part}" for path in paths for part in PARTS]
    inside = (name for name in dense.tensors if any(name.startswith(f"{path}.") for path in paths))
    strange = next((name for name in inside if name not in known), None)
    if strange is not None:
        raise no_expert(alias, f"it has `{strange}`, for which experts have no place", place)
    return dense


def no_expert(alias: Alias, cause: str, place: Place | None, hint: str = _HINT) -> Misfit:
    """An error about a brick that is no expert of this mixture, to be raised by the caller."""
    message = f"`{alias}` cannot become an expert of the model"
    return Misfit(message, causes=(cause,), place=place, hint=hint)

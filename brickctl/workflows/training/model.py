"""The model that a brick is trained on: the base of a project, or one of its targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.names import BASE, Alias, did_you_mean
from brickctl.errors import NotFound, Unsupported
from brickctl.operations.target import read_recipe
from brickctl.workflows.analyzing.subject import Workplace
from brickctl.workflows.assemble import assemble
from brickctl.workflows.lock import lock_for
from brickctl.workflows.measure import alone
from brickctl.workflows.model_card import chain_license

if TYPE_CHECKING:
    from brickctl.core.brick import Brick
    from brickctl.core.lock import Locked
    from brickctl.core.model import Artifact, LazyModel
    from brickctl.operations.target import Recipe
    from brickctl.tensors.device import Device
    from brickctl.tensors.executor import Budget
    from brickctl.workflows.lock import LockMode
    from brickctl.workflows.session import Session

WIDENED = 2 << 30
"""Bytes that weights may take in fp32 for a CPU to train in it: of a larger model nobody has promised the room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a brick is trained on.

    Attributes:
        workplace: where it is built.
        recipe: what is built; nothing more than the base, unless somebody names a target.
        base: the base of the project, which the brick has to fit.
        base_brick: the same, as it was locked.
        model: what is built, before it is.
    """

    workplace: Workplace
    recipe: Recipe
    base: LazyModel
    base_brick: Brick
    model: LazyModel

    @property
    def locked(self) -> Locked:
        """The entry of the base."""
        return self.workplace.lock.base

    @property
    def is_base(self) -> bool:
        """Whether it is the base itself."""
        return self.recipe.name == BASE

    @property
    def license(self) -> str:
        """Of the base and of every brick that the target uses: what is trained on them is made from them."""
        aliases = dict.fromkeys((BASE, *self.recipe.aliases))
        return chain_license([self.workplace.lock.entries[alias] for alias in aliases])

    def document(self) -> dict[str, Any]:
        """For the record: what everything follows from. A folder of this machine is nobody else's business."""
        pin = self.locked.pin
        source = None if pin.source.startswith("path:/") else pin.source
        base = {"source": source, "commit": pin.commit, "digest": f"sha256:{pin.digest}"}
        if self.is_base:
            return {"base": base}
        digest = f"sha256:{self.workplace.digest_of(self.recipe)}"
        return {"base": base, "target": {"name": str(self.recipe.name), "digest": digest}}

    def precision(self, told: str | None, device: Device | None) -> str:
        """The type in which it runs: bf16 where it is stored in half the width and fp32 has no room, or no use.

        CPUs are faster in fp32 as long as there is room; devices are not.
        """
        floats = [node.spec for node in self.model.tensors.values() if node.spec.dtype.torch_name is not None]
        wide = 4 * sum(spec.elements for spec in floats)
        if told is not None:
            return told
        if any(spec.dtype in {DType.F32, DType.F64} for spec in floats) or (device is None and wide <= WIDENED):
            return "float32"
        return "bfloat16"


def find_ground(session: Session, name: str, mode: LockMode, budget: Budget) -> Ground:
    """Lock the project if need be, and find the model; nothing is built yet.

    Raises:
        NotFound: nothing is called so.
        Unsupported: what is called so is not one model with the layers of the base.
        LockStale: the lock may not be refreshed, and says something else than the manifest.
    """
    recipe = _recipe(session, name)
    lock = lock_for(session, mode, (recipe,))
    ingredients = assemble(session, lock, recipe.aliases)
    artifact = recipe.artifact(ingredients)
    reason = _reason_against(artifact)
    if reason is not None:
        hint = "train it on the base, or in a project of its own whose base is what this target builds"
        raise Unsupported(f"a brick cannot be trained on `{name}`", causes=(reason,), hint=hint)
    return Ground(
        workplace=Workplace(session=session, lock=lock, budget=budget),
        recipe=recipe,
        base=ingredients.base,
        base_brick=ingredients.base_brick,
        model=artifact.root,
    )


def _recipe(session: Session, name: str) -> Recipe:
    targets = session.manifest.targets
    if name == BASE:
        return alone(BASE)
    if name in targets:
        return read_recipe(session.manifest, targets[Alias(name)])
    hint = did_you_mean(name, (BASE, *targets)) or f"there are {', '.join((BASE, *targets))}"
    raise NotFound(f"`{name}` is no target of this project", hint=hint)


def _reason_against(artifact: Artifact) -> str | None:
    """Why no brick can be trained on it."""
    if artifact.parts or artifact.weights:
        return "it is not one model: it has adapters, masks or a router beside it"
    if artifact.restacked or artifact.regrouped:
        return "its layers or FFNs are not those of the base, and a brick of this project is one for the base"
    return None

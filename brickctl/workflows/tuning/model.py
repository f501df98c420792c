"""One loaded model that becomes one candidate after another: only tensors that differ are made, and nothing is written.

Weighted sums of what stays the same, as task arithmetic over LoRAs is, cost one small product a tensor
(`LinearTensors`). Everything else goes through the kernels of a build, and has its very bits. Where the tensors of a
model do not stand under their own names in transformers, as some mixtures of experts, candidates are built and loaded.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brickctl.analysis.load import Loaded, load
from brickctl.core.names import BASE
from brickctl.core.nodes import key
from brickctl.core.numbers import split_layer
from brickctl.errors import BrickctlError, Unsupported
from brickctl.tensors.blobs import Blobs
from brickctl.tensors.linear_tensors import LinearTensors
from brickctl.tensors.linear_terms import terms_before_rounding
from brickctl.tensors.whole_tensors import WholeTensors
from brickctl.workflows.assemble import assemble
from brickctl.workflows.build import build
from brickctl.workflows.install import bring
from brickctl.workflows.suggesting.measure import dtype_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from brickctl.core.model import Artifact
    from brickctl.core.nodes import Node
    from brickctl.operations.operation import Ingredients
    from brickctl.operations.target import Recipe
    from brickctl.workflows.analyzing.subject import Workplace
    from brickctl.workflows.tuning.space import Space


@dataclass(slots=True, kw_only=True)
class ModelInMemory:
    """A model that `become` gives the weights of any recipe over the same bricks.

    Attributes:
        loaded: the model as it is now, with its tokenizer.
        dtype: the type in which it runs, as transformers names it; "auto" is that of its files.
    """

    workplace: Workplace
    scratch: Path
    ingredients: Ingredients
    whole: WholeTensors
    linear: LinearTensors
    dtype: str
    loaded: Loaded
    now: dict[str, Node]
    is_plain: bool = True
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def become(self, recipe: Recipe) -> None:
        """Give the model the weights that a build of the recipe would have.

        Raises:
            Misfit: a tensor holds NaN or infinity.
            ManifestInvalid, Unsupported: the numbers of the recipe have no result.
        """
        artifact = one_model(recipe, self.ingredients)
        wanted = artifact.root.tensors
        changed = [name for name, node in wanted.items() if name not in self.now or key(self.now[name]) != key(node)]
        if self.is_plain and list(wanted) == list(self.now) and all(self._fits(name, wanted[name]) for name in changed):
            for name in changed:
                self._set(name, wanted[name])
        elif changed or list(wanted) != list(self.now):
            self._load_anew(recipe)
            self.now = dict(wanted)

    def _set(self, name: str, node: Node) -> None:
        import torch

        made = self.linear.tensor(node)
        with torch.no_grad():
            self.parameters[name].copy_(self.whole.tensor(node) if made is None else made)
        self.now[name] = node

    def _fits(self, name: str, node: Node) -> bool:
        return name in self.parameters and tuple(self.parameters[name].shape) == node.spec.shape

    def _load_anew(self, recipe: Recipe) -> None:
        built = build(
            self.workplace.session, recipe, self.scratch / ".again", self.workplace.lock, self.workplace.budget
        )
        self.loaded = load(built.folder, dtype=self.dtype, threads=self.workplace.budget.threads)
        self.parameters = dict(self.loaded.model.named_parameters())

    def look(self) -> None:
        """See whether tensors of files are parameters under their names: one of each kind is compared.

        What transformers calls otherwise, or turns round while it loads, can only be built and loaded.
        """
        import torch

        self.parameters = dict(self.loaded.model.named_parameters())
        kinds: dict[str, str] = {}
        for name in self.now:
            place = split_layer(name)
            kinds.setdefault(name if place is None else place[2], name)
        self.is_plain = all(
            torch.equal(self.parameters[name], self.whole.tensor(self.now[name]).to(self.parameters[name].dtype))
            for name in kinds.values()
            if self._fits(name, self.now[name])
        )

    def settle(self) -> None:
        """Make every sum as `become` makes it, which is not to the last bit as a build does.

        How a candidate reads may not depend on which one was there before: a search that goes on has not tried the
        earlier ones again.
        """
        for name, node in self.now.items() if self.is_plain else ():
            if self._fits(name, node) and len(terms_before_rounding(node)) > 1:
                self._set(name, node)


def one_model(recipe: Recipe, ingredients: Ingredients) -> Artifact:
    """What a recipe becomes, which must be one model.

    Raises:
        Unsupported: it has adapters or masks beside its model.
        ManifestInvalid, Misfit: it becomes nothing.
    """
    artifact = recipe.artifact(ingredients)
    if artifact.parts or artifact.weights:
        cause = f"`{recipe.name}` has adapters or masks beside its model"
        hint = "tune a target that is one model: merge its bricks"
        raise Unsupported(f"`{recipe.name}` cannot be tuned", causes=(cause,), hint=hint)
    return artifact


def require_one_model(workplace: Workplace, recipe: Recipe) -> None:
    """Make sure that a recipe becomes one model, before anything is built; raises as `one_model`."""
    one_model(recipe, assemble(workplace.session, workplace.lock, recipe.aliases))


@contextmanager
def opened_model(
    workplace: Workplace, spaces: Sequence[Space], first: Recipe, scratch: Path
) -> Iterator[ModelInMemory]:
    """The model of the recipe `first`, built below `scratch` and loaded; everything that it needs is fetched.

    Raises:
        BrickctlError: as `build` raises, and as transformers cannot load it.
    """
    session, lock, budget = workplace.session, workplace.lock, workplace.budget
    require_one_model(workplace, first)
    built = build(session, first, scratch / first.name, lock, budget)
    installed = bring(session, lock, (BASE, *first.aliases))
    ingredients = assemble(session, lock, first.aliases)
    dtype = dtype_for(workplace, None) or "auto"
    with Blobs(installed.files) as blobs:
        whole = WholeTensors(blobs)
        model = ModelInMemory(
            workplace=workplace,
            scratch=scratch,
            ingredients=ingredients,
            whole=whole,
            linear=LinearTensors(whole, lasting_terms(spaces, ingredients)),
            dtype=dtype,
            loaded=load(built.folder, dtype=dtype, threads=budget.threads),
            now=dict(one_model(first, ingredients).root.tensors),
        )
        model.look()
        model.settle()
        yield model


def lasting_terms(spaces: Sequence[Space], ingredients: Ingredients) -> dict[Node, None]:
    """What merged tensors are sums of, whatever the dials say: what is there with two different numbers in each."""
    found: dict[Node, None] = {}
    for space in spaces:
        sides = [_terms(space, share, ingredients) for share in (0.4, 0.6)]
        found |= dict.fromkeys(term for term in sides[0] if term in sides[1])
    return found


def _terms(space: Space, share: float, ingredients: Ingredients) -> dict[Node, None]:
    try:
        artifact = space.recipe(space.values([share] * len(space.dials))).artifact(ingredients)
    except BrickctlError:  # these numbers do not go together; others may
        return {}
    nodes = artifact.root.tensors.values()
    return dict.fromkeys(term for node in nodes for term in terms_before_rounding(node))

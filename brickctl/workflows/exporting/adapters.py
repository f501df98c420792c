"""Stacked adapters in canonical form: the only one that llama.cpp and vLLM both read, and read alike.

Neither knows rsLoRA, patterns of ranks or alphas, or DoRA (`facts/peft.md` says what each passes over in silence). What
is a product of two factors under any name becomes a plain LoRA whose scale is in B; what is none is refused, or
becomes the nearest LoRA of a rank that the user names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.core.names import BASE, Alias
from brickctl.core.plan import Plan, Shard, Task, Text
from brickctl.errors import Misfit, Unsupported
from brickctl.kinds.adapters.config import FILE
from brickctl.operations.canonical_adapters import WEIGHTS, Canonical, canonical
from brickctl.operations.missed import MISSED
from brickctl.operations.stack import FOLDER
from brickctl.tensors.blobs import Blobs
from brickctl.tensors.executor import LocalExecutor, provide
from brickctl.tensors.header import write_header
from brickctl.tensors.journal import Journal
from brickctl.workflows.approximations import approximations
from brickctl.workflows.assemble import assemble
from brickctl.workflows.install import bring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from brickctl.core.lock import Lock
    from brickctl.core.model import Artifact, LazyModel
    from brickctl.core.nodes import Node
    from brickctl.operations.operation import Ingredients
    from brickctl.operations.target import Recipe
    from brickctl.tensors.executor import Budget
    from brickctl.vocabulary.tokenizer import Tokenizer
    from brickctl.workflows.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters:
    """Folders of adapters by alias, and what approximations miss, one sentence each."""

    folders: Mapping[Alias, Path]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Canonisation:
    """How adapters are brought into one form.

    Attributes:
        form: the format that they are for.
        rank: of the LoRA that takes the place of one that is none; None refuses it.
        alike: whether all get the same modules and the same rank, with zeros where they have none.
    """

    form: str
    rank: int | None
    alike: bool


def stacked(session: Session, lock: Lock, recipe: Recipe, form: str) -> tuple[Ingredients, Artifact, tuple[Alias, ...]]:
    """The parts of a target, and its stacked adapters, all of which a format without words for more can take.

    Raises:
        Unsupported: the artifact has masks, routed adapters or prompts.
    """
    ingredients = assemble(session, lock, recipe.aliases)
    artifact = recipe.artifact(ingredients)
    if artifact.weights:
        is_routed = any(path.startswith(f"{FOLDER}/") for path in artifact.weights)
        what = "routed adapters, among which a router chooses" if is_routed else "masks"
        hint = "export a target that merges or stacks these bricks; `--format oci` and `hf` carry this one as it is"
        raise Unsupported(f"`{recipe.name}` has {what}, and {form} has no words for them", hint=hint)
    marks = (path for path in sorted(artifact.parts) if path.startswith(f"{FOLDER}/") and path.endswith(FILE))
    aliases = tuple(Alias(path.split("/")[1]) for path in marks)
    for alias in aliases:
        if ingredients.brick(alias).kind != "adapter":
            hint = "leave it out of the target; PEFT alone loads it"
            message = f"`{alias}` is of kind {ingredients.brick(alias).kind}, and {form} knows LoRA only"
            raise Unsupported(message, place=ingredients.brick(alias).required_by, hint=hint)
    return ingredients, artifact, aliases


def check_adapters(
    session: Session, lock: Lock, recipe: Recipe, wanted: Canonisation
) -> tuple[LazyModel, Callable[[], Tokenizer | None]]:
    """Refuse what `write_adapters` would refuse, from headers alone; the model below them, and its tokenizer.

    Raises:
        Unsupported: one is no LoRA of linear layers, or the artifact has something that is no adapter.
    """
    ingredients, artifact, aliases = stacked(session, lock, recipe, wanted.form)
    for group in _groups(aliases, wanted):
        _canonical(ingredients, artifact, group, wanted)
    return artifact.root, lambda: ingredients.tokenizer(artifact.root)


def write_adapters(
    session: Session, lock: Lock, recipe: Recipe, budget: Budget, folder: Path, wanted: Canonisation
) -> Adapters:
    """Write the stacked adapters of a target in canonical form, each into a folder of its own.

    Raises:
        Unsupported: one is no LoRA of linear layers, or the artifact has something that is no adapter.
    """
    ingredients, artifact, aliases = stacked(session, lock, recipe, wanted.form)
    if not aliases:
        return Adapters(folders={})
    groups = _groups(aliases, wanted)
    found = [_canonical(ingredients, artifact, group, wanted) for group in groups]
    tasks: list[Task] = []
    missed: dict[str, Node] = {}
    for group, form in zip(groups, found, strict=True):
        tasks += _tasks(form, group)
        missed |= form.missed()
    if missed:
        tasks.append(_shard(MISSED, missed))
    installed = bring(session, lock, (BASE, *recipe.aliases))
    plan = Plan(tasks=tuple(tasks))
    with Blobs(installed.files) as blobs:
        executor = LocalExecutor(blobs, provide(plan, budget), session.events, f"converting adapters of {recipe.name}")
        executor.run(plan, folder, Journal(folder / "journal"))
    return Adapters(folders={alias: folder / alias for alias in aliases}, notes=approximations(folder))


def _groups(aliases: tuple[Alias, ...], wanted: Canonisation) -> list[tuple[Alias, ...]]:
    """Which adapters get one form together; none for no adapters."""
    if wanted.alike:
        return [aliases] if aliases else []
    return [(alias,) for alias in aliases]


def _canonical(
    ingredients: Ingredients, artifact: Artifact, aliases: Sequence[Alias], wanted: Canonisation
) -> Canonical:
    place = ingredients.brick(aliases[0]).required_by
    try:
        found = canonical(ingredients, aliases, wanted.rank, place)
    except (Misfit, Unsupported) as fault:
        hint = "merge it into the model instead of stacking it; `--format oci` and `hf` carry it as it is"
        message = f"{' and '.join(aliases)} cannot be written as plain LoRA, which is all that {wanted.form} knows"
        raise Unsupported(message, causes=(fault.message, *fault.causes), place=fault.place, hint=hint) from None
    for alias in found.approximated():
        _refuse_approximation(ingredients, artifact, alias, wanted)
    return found


def _refuse_approximation(ingredients: Ingredients, artifact: Artifact, alias: Alias, wanted: Canonisation) -> None:
    """Refuse what is no LoRA, unless the user has named a rank, and it stands beside the weights that it is made for.

    Raises:
        Unsupported: it is to be refused.
    """
    brick = ingredients.brick(alias)
    document = brick.contents.documents[FILE]
    message = f"`{alias}` is a {_called(document)}, and {wanted.form} knows plain LoRA only"
    if wanted.rank is None:
        hint = "`--rank 16` writes the nearest LoRA of that rank, and says what it misses; or merge it into the model"
        raise Unsupported(message, place=brick.required_by, hint=hint)
    if artifact.root.tensors != ingredients.base.tensors:
        cause = "what it does depends on the weights below it, and a step before has changed those"
        hint = "merge it into the model instead of stacking it"
        raise Unsupported(message, causes=(cause,), place=brick.required_by, hint=hint)


def _called(document: Mapping[str, Any]) -> str:
    """What an adapter is that is no product of two factors everywhere."""
    if document.get("use_dora"):
        return "DoRA"
    kind = str(document.get("peft_type"))
    return "LoRA with weights that are saved whole" if kind == "LORA" else shown(kind)


def _tasks(form: Canonical, aliases: Sequence[Alias]) -> Iterator[Task]:
    for alias in aliases:
        yield Text(path=f"{alias}/{FILE}", content=form.config())
        yield _shard(f"{alias}/{WEIGHTS}", form.tensors(alias))


def _shard(path: str, tensors: Mapping[str, Node]) -> Shard:
    header = write_header({name: node.spec for name, node in tensors.items()})
    return Shard(path=path, header=header, tensors=tuple(tensors.items()))

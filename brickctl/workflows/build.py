"""Build: turn targets into artifacts, or say that they are up to date."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brickctl.core.belonging import SIGNATURE, WEIGHTS
from brickctl.core.digests import Sha256, sha256_bytes, tree_digest
from brickctl.core.document import shown
from brickctl.core.graph import each_once
from brickctl.core.names import BASE, Alias, did_you_mean
from brickctl.core.nodes import Output
from brickctl.core.plan import Plan, Text
from brickctl.core.sizes import format_size
from brickctl.errors import BrickctlError, NotFound
from brickctl.operations.target import Recipe, read_recipe
from brickctl.tensors.blobs import Blobs
from brickctl.tensors.bundle_memory import BESIDE_DEVICE, HERE, bundle_memory
from brickctl.tensors.executor import LocalExecutor, provide
from brickctl.tensors.layout import lay_out
from brickctl.tensors.memory import DEFAULT_MEMORY, peak_memory, share
from brickctl.workflows import model_card, provenance
from brickctl.workflows.approximations import approximations
from brickctl.workflows.assemble import assemble
from brickctl.workflows.derived import require_derived
from brickctl.workflows.files import write_new
from brickctl.workflows.inputs import read_input
from brickctl.workflows.install import bring
from brickctl.workflows.replace import Workbench, check_replaceable, keep_signature, refuse_strangers
from brickctl.workflows.take_over import Shares, journal_of, take_over

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from brickctl.core.brick import File
    from brickctl.core.lock import Lock
    from brickctl.core.model import Artifact
    from brickctl.tensors.executor import Budget
    from brickctl.tensors.memory import Share
    from brickctl.workflows.estimate import Estimate
    from brickctl.workflows.install import Installed
    from brickctl.workflows.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A target and the artifact that it is now.

    Attributes:
        digest: tree digest over every file but the provenance.
        fresh: whether something was built; False when it was up to date.
        shards: how many weight files were made, and how many taken over from an earlier build.
        notes: what the user should know about the result.
    """

    target: Alias
    folder: Path
    digest: Sha256
    fresh: bool
    shards: Shares = field(default_factory=Shares)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What a build would do: the plan, what it would read and write, in bytes, and what that takes.

    Attributes:
        peak: bytes of buffers without which it cannot be done.
        whole: how many of them are for whole matrices.
        device: where whole matrices are made, if not here, and the bytes that they take there, with several at once.
        fresh: whether anything would be done; False when the artifact is up to date.
    """

    target: Alias
    folder: Path
    plan: Plan
    inputs: int
    output: int
    peak: int
    whole: int
    device: tuple[str, int] | None
    fresh: bool
    estimate: Estimate


def read_recipes(session: Session, names: Sequence[str]) -> tuple[Recipe, ...]:
    """The recipes of the targets named, or of all.

    Raises:
        NotFound: there is no such target.
    """
    targets = session.manifest.targets
    for name in names:
        if name not in targets:
            hint = did_you_mean(name, targets) or f"there are {', '.join(targets) or 'none'}"
            raise NotFound(f"`{name}` is no target of this project", hint=hint)
    if not targets:
        raise NotFound("brick.toml has no target to build", hint="add a [targets.NAME] table")
    return tuple(read_recipe(session.manifest, targets[Alias(name)]) for name in (names or targets))


def build(session: Session, recipe: Recipe, folder: Path, lock: Lock, budget: Budget, *, force: bool = False) -> Built:
    """Build one recipe into a folder, unless that folder is its result already.

    Shards that an earlier build made are taken over, but with `force`.

    Raises:
        LockStale: a derived brick was never made.
        Misfit, Unsupported, ManifestInvalid: before any weight is read or fetched.
        UsageFault: the folder is not brickctl's, or holds something that brickctl did not make.
        NoSpace: on the disk, or in the budget of memory; before anything is fetched.
        IntegrityFault, TransportFault.
        UsageFault: also where whole matrices are to be made on a device that is not there.
    """
    check_replaceable(folder)
    require_derived(session.manifest, lock, recipe.aliases, compare=False)
    notice_edits(session, recipe, lock)
    definition = definition_of(recipe, lock)
    bench = Workbench(folder)
    digest = None if force else up_to_date(session, folder, definition, card_of(recipe, lock))
    if digest is not None:
        bench.clear()
        return Built(target=recipe.name, folder=folder, digest=digest, fresh=False)
    refuse_strangers(folder)
    plan = make_plan(session, recipe, lock)
    part = provide(plan, budget)  # what does not fit is refused before anything is fetched
    _note_whole_matrices(session, recipe, plan, budget, part)
    with bench.opened(session.events.note):
        digest = None if force else up_to_date(session, folder, definition, card_of(recipe, lock))
        if digest is not None:  # somebody else has built it while this one waited
            return Built(target=recipe.name, folder=folder, digest=digest, fresh=False, notes=plan.notes)
        refuse_strangers(folder)
        if force:
            bench.discard()
        room = {bench.folder: _size(plan) - _size_of(bench.new)}
        installed = bring(session, lock, (BASE, *recipe.aliases), later=room)
        if installed.fetched:  # until now some headers were only a server's word
            plan = make_plan(session, recipe, lock)
            part = provide(plan, budget)
        shares = _begin(session, plan, bench, force=force)
        files = _execute(session, recipe, plan, installed, bench, part)
        write_new(bench.new / provenance.FILE, provenance.statement(definition, files, plan.reproducible))
        was_signed = (folder / SIGNATURE).is_file()
        is_signed = keep_signature(folder, bench.new)
        bench.exchange()
        if was_signed and not is_signed:
            session.events.note(f"{recipe.name}: its signature went with what it was about; `brickctl sign` signs anew")
        for file in files:
            session.ledger.record(folder / file.path, file.sha256)
        session.made_shards.record(folder, plan.shards, files)
    digest = _digest(files)
    notes = (*plan.notes, *approximations(folder))
    return Built(target=recipe.name, folder=folder, digest=digest, fresh=True, shards=shares, notes=notes)


def _note_whole_matrices(session: Session, recipe: Recipe, plan: Plan, budget: Budget, part: Share) -> None:
    """Say where memory goes, when it is more than blocks take, and what a device that was asked for does."""
    if part.device is not None:
        there = f"on {part.device.name}, in up to {format_size(part.on_device)} there"
        session.events.note(f"{recipe.name}: whole matrices are made {there}")
        return
    need, tensor = bundle_memory(plan)
    if budget.device is not None:
        session.events.note(
            f"{recipe.name}: nothing is made on {budget.device.name}: no method here needs whole matrices"
        )
    if need > DEFAULT_MEMORY:
        session.events.note(f"{recipe.name}: `{shown(tensor)}` is made as a whole, in {format_size(need)} of memory")


def make_plan(session: Session, recipe: Recipe, lock: Lock) -> Plan:
    """Everything that a build will write; reads headers and no weights."""
    ingredients = assemble(session, lock, recipe.aliases)
    artifact = recipe.artifact(ingredients)
    card = Text(path=model_card.FILE, content=card_of(recipe, lock))
    tasks = (*lay_out(artifact, recipe.shard_size, ingredients.plain_files()), card)
    ordered = sorted(tasks, key=lambda task: (task.path.endswith(WEIGHTS), task.path))
    return Plan(tasks=tuple(ordered), reproducible=_weakest(recipe, artifact), notes=artifact.notes)


def _weakest(recipe: Recipe, artifact: Artifact) -> str:
    """What the plan promises: whole modules that go through another library's arithmetic are `numeric`."""
    nodes = (node for tensors in (artifact.root.tensors, *artifact.weights.values()) for node in tensors.values())
    is_numeric = any(isinstance(node, Output) for node in each_once(nodes))
    return "numeric" if is_numeric else recipe.reproducible


def outline(
    session: Session, recipe: Recipe, folder: Path, lock: Lock, budget: Budget, *, force: bool = False
) -> Outline:
    """What `build` would do; fetches nothing but headers."""
    from brickctl.workflows.estimate import estimate

    definition, card = definition_of(recipe, lock), card_of(recipe, lock)
    fresh = force or up_to_date(session, folder, definition, card) is None
    plan = make_plan(session, recipe, lock)
    pins = [lock.entries[alias].pin for alias in (BASE, *recipe.aliases)]
    part = share(plan, threads=budget.threads, memory=budget.memory, device=budget.device)
    return Outline(
        target=recipe.name,
        folder=folder,
        plan=plan,
        inputs=sum(file.size for pin in pins for file in pin.files),
        output=_size(plan),
        peak=peak_memory(plan, part.device),
        whole=bundle_memory(plan, memory=HERE if part.device is None else BESIDE_DEVICE)[0],
        device=None if part.device is None else (part.device.name, part.on_device),
        fresh=fresh,
        estimate=estimate(session, pins, plan, folder, budget, force=force),
    )


def up_to_date(session: Session, folder: Path, definition: Mapping[str, Any], card: bytes) -> Sha256 | None:
    """The artifact's digest, if it was made by this definition, has this card, and nobody has touched it since."""
    recorded = provenance.read_statement(folder)
    if recorded is None or not provenance.is_same(recorded[0], definition):
        return None
    files = recorded[1]
    if files.get(model_card.FILE) != sha256_bytes(card):
        return None
    for path, digest in files.items():
        if _digest_now(session, folder / path) != digest:
            return None
    return tree_digest(files.items())


def _digest_now(session: Session, place: Path) -> Sha256 | None:
    """The digest of a file of an artifact; None where it is no file, or one that changes or cannot be read."""
    try:
        return session.ledger.digest(place) if place.is_file() and not place.is_symlink() else None
    except BrickctlError:
        return None


def definition_of(recipe: Recipe, lock: Lock) -> dict[str, Any]:
    """What decides every byte of an artifact but its card: equal ones, equal artifacts."""
    bricks = [lock.entries[alias] for alias in recipe.aliases]
    return provenance.definition(recipe, lock.base, bricks, [lock.inputs[one.path] for one in recipe.inputs])


def card_of(recipe: Recipe, lock: Lock) -> bytes:
    """The model card of an artifact."""
    return model_card.model_card(recipe, lock.base, [lock.entries[alias] for alias in recipe.aliases])


def notice_edits(session: Session, recipe: Recipe, lock: Lock) -> None:
    """Look at files of this machine even when nothing has to be built: people edit them and expect an effect."""
    for one in recipe.inputs:
        read_input(session, lock, one)
    for alias in (BASE, *recipe.aliases):
        pin = lock.entries[alias].pin
        if pin.source.startswith("path:"):
            session.sources.locate(pin)


def _begin(session: Session, plan: Plan, bench: Workbench, *, force: bool) -> Shares:
    """Put on the workbench what need not be made, which may be what a killed build left there."""
    bench.keep_only(frozenset(task.path for task in plan.tasks))
    if force:
        return Shares(made=len(plan.shards))
    return take_over(session, plan, bench, journal_of(bench))


def _execute(
    session: Session, recipe: Recipe, plan: Plan, installed: Installed, bench: Workbench, part: Share
) -> tuple[File, ...]:
    """Run the plan on the workbench."""
    with Blobs(installed.files) as blobs:
        executor = LocalExecutor(blobs, part, session.events, f"building {recipe.name}")
        return executor.run(plan, bench.new, journal_of(bench))


def _digest(files: Sequence[File]) -> Sha256:
    return tree_digest((file.path, file.sha256) for file in files)


def _size(plan: Plan) -> int:
    return sum(len(task.content) if isinstance(task, Text) else task.size for task in plan.tasks)


def _size_of(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())

"""Derive: make bricks from models, once, and lock their bytes; or make them again and say what moved."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from brickctl.core.belonging import WEIGHTS
from brickctl.core.brick import DERIVED, Brick
from brickctl.core.digests import prefixed, readable_json
from brickctl.core.names import BASE, Alias, did_you_mean
from brickctl.derivations.derivation import Findings
from brickctl.errors import IntegrityFault, LockStale, Misfit, NotFound, NotReproducible
from brickctl.kinds.kind import kind_named
from brickctl.sources.derived import DerivedSource, derived_folder
from brickctl.tensors.closeness import Apart, apart
from brickctl.workflows.artifact import names_in
from brickctl.workflows.bench import BRICK, opened_bench
from brickctl.workflows.derived import recipe_digest, require_derived, wanted_bricks
from brickctl.workflows.files import alone, flush_tree, refuse_link, write_new
from brickctl.workflows.lock import LockMode, current_lock
from brickctl.workflows.model_card import chain_license
from brickctl.workflows.opening import lock_entry
from brickctl.workflows.scratch import scratch_folder
from brickctl.workflows.session import SCRATCH, read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from brickctl.core.brick import Pin
    from brickctl.core.digests import Sha256
    from brickctl.core.lock import Lock, Locked
    from brickctl.core.model import LazyModel
    from brickctl.derivations.derivation import Tolerance
    from brickctl.workflows.bench import Means
    from brickctl.workflows.derived import Wanted
    from brickctl.workflows.session import Session

RECORD = "derivation.json"
"""What lies beside the weights of a derived brick, and says what it was made by and from."""

_FORMAT = "brickctl-derivation-1"
_KEPT = "measured"
_MOST_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A derived brick as it is now.

    Attributes:
        folder: where its files are; None where only what is vendored has them.
        fresh: whether it was made now; False where it was there already.
        findings: what its derivation had to say, if it was made now.
    """

    entry: Locked
    folder: Path | None
    fresh: bool
    findings: Findings = field(default_factory=Findings)

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(file.size for file in self.entry.pin.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """How derivations may work."""

    means: Means
    mode: LockMode = LockMode.REFRESH
    force: bool = False


def derive(session: Session, names: Sequence[str], work: Work) -> Iterator[Made]:
    """Make the derived bricks that are named, or all, and first what those are made of; each one is locked at once.

    What is there, and would be made of the same now, is left alone, but with `force`.

    Raises:
        NotFound: there is no such derived brick.
        LockStale: the mode lets brick.lock not change, and it would have to.
        NotReproducible: the same, because what is made again has other bytes than were locked.
        Misfit, Unsupported, UsageFault: it cannot be made of this model, or of this input.
    """
    _chosen(session, names)  # not to find out after a wait that there is no such brick
    with alone(session.caches / f"{SCRATCH}.lock", "deriving bricks of this project", session.events.note):
        session = replace(session, manifest=read_manifest(session.root))  # somebody may have edited it by now
        chosen = _chosen(session, names)
        lock = current_lock(session, work.mode, derived=False)  # with what somebody else has derived while this waited
        for wanted in chosen.values():
            named = not names or wanted.name in names
            made = _derive(session, wanted, lock, work if named else replace(work, force=False))
            lock = _with(lock, made.entry)
            if made.fresh:
                _lock_made(session, lock, made.entry)
            yield made


def check(session: Session, names: Sequence[str], work: Work) -> Iterator[tuple[Made, tuple[Apart, ...]]]:
    """Make derived bricks again, and hold each against what is locked; changes nothing. Gives what moved.

    Raises:
        LockStale: one was never made, or of something else.
        NotReproducible: one is further from what is locked than its derivation allows.
    """
    chosen = _chosen(session, names)
    mode = LockMode.FROZEN if work.mode is LockMode.FROZEN else LockMode.LOCKED
    lock = current_lock(session, mode, derived=False)
    require_derived(session.manifest, lock, chosen, compare=mode is LockMode.LOCKED)
    for wanted in chosen.values():
        if names and wanted.name not in names:
            continue
        entry = lock.derived[wanted.name]
        there = _locked_files(session, entry.pin)
        with (
            _scratch(session) as scratch,
            opened_bench(session, wanted, lock, work.means, scratch) as bench,  # measures anew, to be a check
        ):
            findings = wanted.derivation.make(bench)
            moved = _moved(there, bench.folder)
        _refuse_moved(entry, moved, wanted.derivation.tolerance)
        yield Made(entry=entry, folder=_folder(session, entry.pin), fresh=False, findings=findings), moved


def _chosen(session: Session, names: Sequence[str]) -> Mapping[Alias, Wanted]:
    """The bricks that are named, or all, and what they are made of, in an order in which they can be made."""
    wanted = wanted_bricks(session.manifest)
    for name in names:
        if name not in wanted:
            hint = did_you_mean(name, wanted) or f"there are {', '.join(wanted) or 'none: add a [derived.NAME] table'}"
            raise NotFound(f"`{name}` is no derived brick of this project", hint=hint)
    if not wanted:
        raise NotFound("brick.toml has no brick to derive", hint="add a [derived.NAME] table")
    needed: dict[str, None] = dict.fromkeys(names or wanted)
    for name in reversed(list(wanted)):
        if name in needed:
            needed |= dict.fromkeys(wanted[name].aliases)
    return {name: one for name, one in wanted.items() if name in needed}


def _derive(session: Session, wanted: Wanted, lock: Lock, work: Work) -> Made:
    """Make one brick, unless it is there; what it is made of is in the lock."""
    old, recipe = lock.derived.get(wanted.name), recipe_digest(wanted, lock)
    same = old is not None and old.recipe == recipe
    enough = same or work.mode is LockMode.FROZEN
    if old is not None and enough and not work.force and _is_here(session, old.pin):
        return Made(entry=old, folder=_folder(session, old.pin), fresh=False)
    if work.mode is not LockMode.REFRESH and not same:
        what = "was never made" if old is None else "would be made of something else than was locked"
        hint = f"run `brickctl derive` without --{work.mode.value}"
        raise LockStale("brick.lock would change", causes=(f"`{wanted.name}` {what}",), hint=hint)
    with _scratch(session) as scratch:
        with opened_bench(session, wanted, lock, _means(session, work), scratch) as bench:
            findings = wanted.derivation.make(bench)
            base = bench.ingredients.base
        made = scratch / BRICK
        write_new(made / RECORD, record(wanted, lock, recipe))
        pin = DerivedSource(session.root, session.ledger).pin_of(wanted.name, made)
        if same and old is not None and pin.digest != old.pin.digest:
            _tell_of_other_bytes(session, old, work.mode)
        folder = _keep(session, made, pin, scratch)
    entry = replace(_entry(session, wanted, lock, pin, base), recipe=recipe)
    return Made(entry=entry, folder=folder, fresh=True, findings=findings)


def _lock_made(session: Session, lock: Lock, entry: Locked) -> None:
    """Write the lock with a brick that was just made; what another command has locked in the meantime stays."""
    now = session.read_lock()
    session.write_lock(lock if now is None else _with(now, entry))


def _with(lock: Lock, entry: Locked) -> Lock:
    return replace(lock, derived={**lock.derived, entry.alias: entry})


def record(wanted: Wanted, lock: Lock, recipe: Sha256 | None) -> bytes:
    """The text of the record of a derived brick."""
    told = {} if recipe is None else {"recipe": prefixed(recipe)}
    return readable_json({"format": _FORMAT, **(wanted.document(lock) or {}), **told})


def _entry(session: Session, wanted: Wanted, lock: Lock, pin: Pin, base: LazyModel) -> Locked:
    """The entry of a brick that was just made, which must be what its derivation says.

    Raises:
        Misfit: it is of no such kind, or does not fit the base.
    """
    kind = kind_named(wanted.derivation.kind)
    contents = session.sources.inspect(pin)
    if not kind.detect(contents):
        message = f"what was made of `{wanted.name}` is no {kind.name}"
        raise Misfit(message, place=wanted.derived.place, hint="this is a fault of its derivation: please report it")
    license_name = chain_license([lock.entries[alias] for alias in (BASE, *wanted.aliases)])
    place = wanted.derived.place
    brick = Brick(name=wanted.name, kind=kind.name, pin=pin, contents=contents, license=license_name, required_by=place)
    kind.check(brick, base)
    return lock_entry(brick)


def _tell_of_other_bytes(session: Session, old: Locked, mode: LockMode) -> None:
    """The same recipe has made other bytes than are locked, as another CPU or library does.

    Raises:
        NotReproducible: and brick.lock may not change.
    """
    message = f"`{old.alias}` came out with other bytes than brick.lock has"
    if mode is not LockMode.REFRESH:
        where = "get the locked files from where they were made (`brickctl vendor` there)"
        hint = f"{where}, or derive without --{mode.value}"
        raise NotReproducible(message, causes=("floats differ between machines",), hint=hint)
    session.events.warn(f"{message}, which now has these. Artifacts that were built of it will be built anew.")


def _means(session: Session, work: Work) -> Means:
    """With what derivations of a project work: they keep what they measured in its cache."""
    kept = session.caches / _KEPT
    refuse_link(kept)
    return replace(work.means, kept=kept)


def _is_here(session: Session, pin: Pin) -> bool:
    """Whether the files of a derived brick are there, as they were locked."""
    try:
        return session.sources.locate(pin) is not None
    except IntegrityFault:  # somebody has written to a cache
        return False


def _folder(session: Session, pin: Pin) -> Path | None:
    folder = derived_folder(session.root) / pin.digest
    return folder if folder.is_dir() else None


@contextmanager
def _scratch(session: Session) -> Iterator[Path]:
    """An empty folder for one derivation, gone afterwards."""
    place = session.caches / SCRATCH
    refuse_link(place)
    place.mkdir(exist_ok=True)
    with scratch_folder(place) as scratch:
        yield scratch


def _keep(session: Session, made: Path, pin: Pin, scratch: Path) -> Path:
    """Give a brick that was made its place, which is called after its content."""
    place = derived_folder(session.root)
    refuse_link(session.caches, place)
    place.mkdir(exist_ok=True)
    folder = place / pin.digest
    if os.path.lexists(folder):  # the same bytes as before, or what somebody has made of them
        folder.rename(scratch / "before")
    flush_tree(made)
    made.rename(folder)
    return folder


def _locked_files(session: Session, pin: Pin) -> Mapping[str, Path]:
    """The files of a brick, as they were locked.

    Raises:
        NotFound: they were made on another machine, or removed here.
    """
    there = session.sources.locate(pin)
    if there is None:
        name = pin.source.removeprefix(DERIVED)
        raise NotFound(f"the files of `{name}` are not on this machine", hint=f"run `brickctl derive {name}`")
    return there


def _moved(there: Mapping[str, Path], made: Path) -> tuple[Apart, ...]:
    """What differs between the locked files of a brick and those that were made again."""
    moved: list[Apart] = []
    for path in sorted({*there, *names_in(made)} - {RECORD}):
        if path not in there or not (made / path).is_file():
            moved.append(Apart(name=path, share=1.0))
        elif path.endswith(WEIGHTS):
            moved += apart(there[path], made / path)
        elif there[path].read_bytes() != (made / path).read_bytes():
            moved.append(Apart(name=path, share=1.0))
    return tuple(moved)


def _refuse_moved(entry: Locked, moved: Sequence[Apart], tolerance: Tolerance) -> None:
    """Make sure that nothing has moved further than is allowed.

    Raises:
        NotReproducible: something has.
    """
    beyond = [one for one in moved if one.distance > tolerance.floats or one.share > tolerance.integers]
    if beyond:
        allowed = f"up to {tolerance.floats:g} of the largest float, and {tolerance.integers:.1%} of all integers, may"
        causes = (*(f"{one}" for one in beyond[:_MOST_SHOWN]), allowed)
        hint = "another version of torch, or another input, made it; `brickctl derive --force` locks what is made here"
        raise NotReproducible(f"`{entry.alias}` is not what its recipe makes", causes=causes, hint=hint)

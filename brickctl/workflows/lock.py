"""Lock: find exactly which bytes the manifest means, check that they fit, and write that down."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from brickctl.core.brick import Brick
from brickctl.core.licenses import UNKNOWN
from brickctl.core.lock import Lock, Locked
from brickctl.core.names import BASE, Alias, did_you_mean
from brickctl.core.reference import PathReference
from brickctl.core.staleness import echo, stale_reasons, standing
from brickctl.errors import LockStale, Misfit, NotFound, UsageFault, asked_for
from brickctl.kinds.kind import detect_kind, kind_named
from brickctl.operations.target import read_recipe
from brickctl.workflows.fit import by_number, check_declared_bases, check_fit, used_by_layers
from brickctl.workflows.inputs import input_changes, inputs_of, pin_inputs, stale_inputs
from brickctl.workflows.parallel import in_parallel

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from brickctl.core.brick import Contents
    from brickctl.core.manifest import Manifest, Requirement
    from brickctl.workflows.session import Session

BASE_KIND = "base"


class LockMode(Enum):
    """What a command may do about a lock that does not say what the manifest says."""

    REFRESH = "refresh"  # make it anew, as Cargo does
    LOCKED = "locked"  # fail
    FROZEN = "frozen"  # do not look


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What became of one entry of a lock: added where `before` is None, removed where `after` is, else updated."""

    alias: Alias
    before: Locked | None
    after: Locked | None

    @property
    def what(self) -> str:
        """`added`, `removed` or `updated`."""
        return "added" if self.before is None else "removed" if self.after is None else "updated"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockResult:
    """A lock that says what the manifest says, whether it had to be written, and what changed.

    `changes` are sorted by alias; `inputs` are files of the project, each with what became of it.
    """

    lock: Lock
    written: bool
    changes: tuple[Change, ...]
    inputs: tuple[tuple[str, str], ...] = ()


def current_lock(session: Session, mode: LockMode, *, write: bool = True) -> Lock:
    """The lock that a command shall work with; refreshed where the mode allows, and on disk if it is to `write`.

    Raises:
        LockStale: it is missing or says something else, and may not be changed.
        PolicyViolation: `[policy]` forbids a brick of it.
    """
    old = session.read_lock()
    reasons: tuple[str, ...] = ("there is no brick.lock",)
    says = "what brick.toml says"
    if old is not None and mode is LockMode.FROZEN:
        inputs = (one.path for one in inputs_of(session.manifest))
        lacking = (
            *(alias for alias in session.manifest.bricks if alias not in old.bricks),
            *(path for path in dict.fromkeys(inputs) if path not in old.inputs),
        )
        reasons = tuple(f"`{name}` is not in the lock" for name in lacking)
    elif old is not None:
        reasons = stale_reasons(session.manifest, old)
        says = says if reasons else "what the files say that targets read"
        reasons += tuple(stale_inputs(session.root, old, inputs_of(session.manifest)))
    if old is not None and not reasons:
        check_declared_bases(session, old, ())
        return old
    if mode is not LockMode.REFRESH:
        raise _stale(reasons, says)
    return refresh(session).lock if write else resolve(session, old, _folders(session.manifest))


def refresh(session: Session) -> LockResult:
    """Lock what is new or asked for differently; everything else keeps its pin.

    Folders of this machine are looked at again, since what they hold now is what they mean.
    """
    return _lock(session, anew=_folders(session.manifest))


def check(session: Session) -> LockResult:
    """The lock, if `refresh` would leave it as it is; writes nothing.

    Raises:
        LockStale: it would not.
    """
    lock = current_lock(session, LockMode.LOCKED)
    changes = changes_between(lock, resolve(session, lock, _folders(session.manifest)))
    if changes:
        reasons = tuple(f"the folder of `{change.alias}` holds something else than was locked" for change in changes)
        raise _stale(reasons)
    return LockResult(lock=lock, written=False, changes=())


def _folders(manifest: Manifest) -> list[Alias]:
    """The bricks that lie in folders of this machine."""
    return [alias for alias, asked in manifest.requirements.items() if isinstance(asked.reference, PathReference)]


def _stale(reasons: tuple[str, ...], says: str = "what brick.toml says") -> LockStale:
    hint = "run `brickctl lock`, look at the difference, and commit it"
    return LockStale(f"brick.lock does not say {says}", causes=reasons, hint=hint)


def update(session: Session, names: Collection[str]) -> LockResult:
    """Pin anew: the bricks named, or all where none is named.

    Raises:
        NotFound: a name that is no brick of the manifest.
    """
    requirements = session.manifest.requirements
    for name in names:
        if name not in requirements:
            hint = did_you_mean(name, requirements) or f"there are {', '.join(requirements)}"
            raise NotFound(f"`{name}` is no brick of this project", hint=hint)
    return _lock(session, anew=[Alias(name) for name in names] or list(requirements))


def _lock(session: Session, anew: Collection[Alias]) -> LockResult:
    old = session.read_lock()
    lock = resolve(session, old, anew)
    changes, inputs = changes_between(old, lock), input_changes(old, lock)
    return LockResult(lock=lock, written=session.write_lock(lock), changes=changes, inputs=inputs)


def resolve(
    session: Session, old: Lock | None = None, anew: Collection[Alias] = (), unfinished: Collection[Alias] = ()
) -> Lock:
    """The lock that the manifest means now; nothing is written.

    Entries of `old` stand while they are asked for in the same words, unless they are to be pinned `anew`. Targets that
    are `unfinished` are not looked at.

    Raises:
        ManifestInvalid, NotFound, Gated, Misfit, Unsupported, PolicyViolation, TransportFault, OfflineMiss.
    """
    targets = session.manifest.targets
    recipes = [read_recipe(session.manifest, target) for name, target in targets.items() if name not in unfinished]
    inputs = pin_inputs(session.root, (one for recipe in recipes for one in recipe.inputs))
    before = {} if old is None else standing(session.manifest, old)
    kept = {alias: entry for alias, entry in before.items() if alias not in anew}
    wanted = [requirement for alias, requirement in session.manifest.requirements.items() if alias not in kept]
    found = dict(zip((entry.alias for entry in wanted), in_parallel(_Finder(session, old, anew), wanted), strict=True))
    entries = kept | {alias: _locked(brick) for alias, brick in found.items()}
    changed = [alias for alias in found if alias not in before or not _same(before[alias], entries[alias])]
    check_fit(session, entries, found, changed, used_by_layers(recipes), by_number(recipes))
    bricks = {alias: entries[alias] for alias in sorted(session.manifest.bricks)}
    lock = Lock(base=entries[BASE], bricks=bricks, inputs=inputs, manifest=echo(session.manifest))
    check_declared_bases(session, lock, changed)
    return lock


class _Finder:
    """Pins one requirement and reads its headers; called in several threads."""

    def __init__(self, session: Session, old: Lock | None, anew: Collection[Alias]) -> None:
        self._session = session
        self._old = {} if old is None else old.entries
        self._anew = anew

    def __call__(self, requirement: Requirement) -> Brick:
        alias = requirement.alias
        old = None if alias in self._anew or alias not in self._old else self._old[alias].pin
        with asked_for(requirement.place):
            pin = self._session.sources.pin(requirement.reference, old)
            contents = self._session.sources.inspect(pin)
            kind = _kind_of(requirement, contents)
        return Brick(
            name=alias,
            kind=kind,
            pin=pin,
            contents=contents,
            license=requirement.license or pin.license or UNKNOWN,
            required_by=requirement.place,
        )


def _kind_of(requirement: Requirement, contents: Contents) -> str:
    """The kind that the manifest says, if the files can be of it; else the kind that the files say."""
    if requirement.alias == BASE:
        return BASE_KIND
    if requirement.kind is None:
        return detect_kind(requirement.alias, contents).name
    if not kind_named(requirement.kind).detect(contents):
        found = detect_kind(requirement.alias, contents).name
        hint = f'write `kind = "{found}"`, or leave `kind` out'
        cause = f"its files are those of another kind: {found}"
        raise Misfit(f"`{requirement.alias}` is no {requirement.kind}", causes=(cause,), hint=hint)
    return requirement.kind


def _locked(brick: Brick) -> Locked:
    is_base = brick.kind == BASE_KIND
    return Locked(
        alias=Alias(brick.name),
        kind=brick.kind,
        pin=brick.pin,
        interface=brick.contents.interface,
        license=brick.license or UNKNOWN,
        declared_base=None if is_base else kind_named(brick.kind).declared_base(brick.contents),
    )


def changes_between(old: Lock | None, new: Lock) -> tuple[Change, ...]:
    """What became of each entry that is not as it was."""
    before: Mapping[Alias, Locked] = {} if old is None else old.entries
    after = new.entries
    pairs = [(alias, before.get(alias), after.get(alias)) for alias in sorted({*before, *after})]
    return tuple(Change(alias=alias, before=was, after=now) for alias, was, now in pairs if not _same(was, now))


def _same(one: Locked | None, other: Locked | None) -> bool:
    """Whether two entries say the same; a pin out of a lock may have forgotten what its source said of the licence."""
    if one is None or other is None:
        return one is other
    return replace(one, pin=replace(one.pin, license=None)) == replace(other, pin=replace(other.pin, license=None))


def mode_for(*, locked: bool, frozen: bool) -> LockMode:
    """The mode that two flags ask for.

    Raises:
        UsageFault: both at once.
    """
    if locked and frozen:
        raise UsageFault("--locked and --frozen exclude each other", hint="--locked compares, --frozen does not")
    return LockMode.LOCKED if locked else LockMode.FROZEN if frozen else LockMode.REFRESH

"""Lock: find exactly which bytes the manifest means, check that they fit, and write that down."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING

from brickctl.core.lock import same_entry
from brickctl.core.names import Alias, did_you_mean
from brickctl.core.reference import PathReference
from brickctl.core.staleness import stale_reasons
from brickctl.errors import LockStale, NotFound, UsageFault
from brickctl.workflows.derived import require_derived, stale_derived, wanted_bricks
from brickctl.workflows.inputs import input_changes, inputs_of, stale_inputs
from brickctl.workflows.policy import check_policy

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from brickctl.core.lock import Lock, Locked
    from brickctl.core.manifest import Manifest
    from brickctl.operations.target import Recipe
    from brickctl.workflows.session import Session


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


def current_lock(session: Session, mode: LockMode, *, write: bool = True, derived: bool = True) -> Lock:
    """The lock that a command shall work with; refreshed where the mode allows, and on disk if it is to `write`.

    Without `derived` nothing is asked about derived bricks, for those who are about to make them.

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
        if mode is LockMode.LOCKED and derived and not reasons:
            _refuse_stale_derived(session.manifest, old)
    if old is not None and not reasons:
        check_policy(session, old, ())
        return old
    if mode is not LockMode.REFRESH:
        raise _stale(reasons, says)
    if not write:
        return _resolve(session, old, _folders(session.manifest))
    return refresh(session, derived=derived).lock


def lock_for(session: Session, mode: LockMode, recipes: Iterable[Recipe], *, write: bool = True) -> Lock:
    """As `current_lock`, for building recipes: what they use of derived bricks must have been made, of what is locked.

    Raises:
        LockStale: it was not.
    """
    lock = current_lock(session, mode, write=write)
    aliases = [alias for recipe in recipes for alias in recipe.aliases]
    require_derived(session.manifest, lock, aliases, compare=mode is not LockMode.FROZEN)
    return lock


def refresh(session: Session, *, derived: bool = True) -> LockResult:
    """Lock what is new or asked for differently; everything else keeps its pin.

    Folders of this machine are looked at again, since what they hold now is what they mean. Without `derived` nobody is
    told which derived bricks are out of date.
    """
    result = _lock(session, anew=_folders(session.manifest))
    if derived:
        _tell_of_derived(session, result.lock)
    return result


def check(session: Session) -> LockResult:
    """The lock, if `refresh` would leave it as it is; writes nothing.

    Raises:
        LockStale: it would not.
    """
    lock = current_lock(session, LockMode.LOCKED)
    changes = changes_between(lock, _resolve(session, lock, _folders(session.manifest)))
    if changes:
        folders = _folders(session.manifest)
        held, moved = "the folder of `{0}` holds something else than was locked", "`{0}` would be {1}"
        reasons = tuple((held if one.alias in folders else moved).format(one.alias, one.what) for one in changes)
        raise _stale(reasons)
    return LockResult(lock=lock, written=False, changes=())


def _folders(manifest: Manifest) -> list[Alias]:
    """The bricks that lie in folders of this machine."""
    return [alias for alias, asked in manifest.requirements.items() if isinstance(asked.reference, PathReference)]


def _refuse_stale_derived(manifest: Manifest, lock: Lock) -> None:
    reasons = tuple(stale_derived(manifest, lock))
    if reasons:
        hint = "run `brickctl derive`, and commit brick.lock"
        raise LockStale("brick.lock does not say what derived bricks would be made of", causes=reasons, hint=hint)


def _stale(reasons: tuple[str, ...], says: str = "what brick.toml says") -> LockStale:
    hint = "run `brickctl lock`, look at the difference, and commit it"
    return LockStale(f"brick.lock does not say {says}", causes=reasons, hint=hint)


def update(session: Session, names: Collection[str], precise: str | None = None) -> LockResult:
    """Pin anew: the bricks named, or all where none is named.

    With `precise`, the one brick named gets this version, or this revision of its repository.

    Raises:
        NotFound: a name that is no brick of the manifest, or a version that may not be had.
        UsageFault: `precise` without exactly one name, or out of the range that brick.toml says.
    """
    if precise is not None and len(names) != 1:
        raise UsageFault("--precise takes one brick to one version", hint="name exactly one brick before it")
    old = session.read_lock()
    for name in names:
        if name in session.manifest.derived:
            hint = f"run `brickctl derive {name}`; `--force` makes it again although nothing changed"
            raise UsageFault(f"`{name}` is derived, and not fetched", hint=hint)
    known = [*session.manifest.requirements, *(() if old is None else old.dependencies)]
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f"there are {', '.join(known)}"
            raise NotFound(f"`{name}` is no brick of this project", hint=hint)
    exactly = {} if precise is None else {Alias(name): precise for name in names}
    result = _lock(session, [Alias(name) for name in names] or known, exactly)
    _tell_of_derived(session, result.lock)
    return result


def _lock(session: Session, anew: Collection[Alias], exactly: Mapping[Alias, str] = MappingProxyType({})) -> LockResult:
    wanted_bricks(session.manifest)  # what cannot be read is told of before anything is asked for
    old = session.read_lock()
    lock = _resolve(session, old, anew, exactly)
    changes, inputs = changes_between(old, lock), input_changes(old, lock)
    return LockResult(lock=lock, written=session.write_lock(lock), changes=changes, inputs=inputs)


def _tell_of_derived(session: Session, lock: Lock) -> None:
    for reason in stale_derived(session.manifest, lock):
        session.events.note(f"{reason}: `brickctl derive` makes it")


def _resolve(
    session: Session,
    old: Lock | None,
    anew: Collection[Alias],
    exactly: Mapping[Alias, str] = MappingProxyType({}),
) -> Lock:
    from brickctl.workflows.resolution import resolve  # 30 ms, and most commands find a lock that is good

    return resolve(session, old, anew, exactly=exactly)


def changes_between(old: Lock | None, new: Lock) -> tuple[Change, ...]:
    """What became of each entry that is not as it was."""
    before: Mapping[Alias, Locked] = {} if old is None else old.entries
    after = new.entries
    pairs = [(alias, before.get(alias), after.get(alias)) for alias in sorted({*before, *after})]
    return tuple(Change(alias=alias, before=was, after=now) for alias, was, now in pairs if not same_entry(was, now))


def mode_for(*, locked: bool, frozen: bool) -> LockMode:
    """The mode that two flags ask for.

    Raises:
        UsageFault: both at once.
    """
    if locked and frozen:
        raise UsageFault("--locked and --frozen exclude each other", hint="--locked compares, --frozen does not")
    return LockMode.LOCKED if locked else LockMode.FROZEN if frozen else LockMode.REFRESH

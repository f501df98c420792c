"""Every error that a user can meet, as one tree.

BrickctlError                 1  failed
├── UsageFault                2  usage            the command line is off
│   └── ManifestInvalid       2  manifest-invalid brick.toml is off
├── NotFound                  1  not-found        a brick, a revision, a file, a target
├── Gated                     1  gated            a repository that asks for access first
├── Misfit                    1  misfit           a brick does not fit the base
├── Conflict                  1  conflict         no choice of versions satisfies all that is asked for
├── Unsupported               1  unsupported      known, and not built here (yet)
├── NoSpace                   1  no-space         the disk or the memory budget is too small
├── Busy                      1  busy             another process is at the same work
├── Unhealthy                 1  unhealthy        `brickctl doctor` found something broken
├── LockStale                 3  lock-stale       brick.lock does not say what brick.toml says
├── LockInvalid               3  lock-invalid     brick.lock cannot be read
├── EngineMissing             3  engine-missing   the lock asks for another engine
├── IntegrityFault            4  integrity        bytes are not what was promised
│   └── HeaderInvalid         4  header-invalid   a safetensors header that lies
├── PolicyViolation           5  policy           refused by [policy], or unsafe by nature
│   └── AuditFailed           5  audit            `brickctl audit` found something that must not be used
├── TransportFault            6  transport        the network or the server failed
│   └── OfflineMiss           6  offline          not in the cache, and the network is not to be used
├── NotReproducible           7  not-reproducible a rebuild gave other bytes
├── CheckFailed               8  check-failed     a [[checks]] gate was missed
└── Interrupted             130  interrupted      stopped by the user
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place in a text file: `file` as the user knows it, `line` counted from 1."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file} line {self.line}"


class BrickctlError(Exception):
    """What went wrong (`message`), why (`causes`, outermost first), where (`place`), and what to do next (`hint`).

    `place` is the line that asks for what failed, or, where a text is itself off, the line that is: `where` says which.
    """

    code: ClassVar[str] = "failed"
    exit_code: ClassVar[int] = 1
    where: ClassVar[str] = "required by"

    def __init__(
        self,
        message: str,
        *,
        causes: tuple[str, ...] = (),
        place: Place | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.causes = causes
        self.place = place
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.message, *(f"  cause: {cause}" for cause in self.causes)]
        if self.place is not None and str(self.place) not in self.message:
            lines.append(f"  {self.where}: {self.place}")
        if self.hint is not None:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


@contextmanager
def asked_for(place: Place | None, hint: str | None = None) -> Iterator[None]:
    """Errors inside are about what `place` asks for, and `hint` helps, where they do not say better themselves."""
    try:
        yield
    except BrickctlError as error:
        if place is not None and (error.place is None or error.place.line is None):
            error.place = place
        error.hint = error.hint or hint
        raise


class UsageFault(BrickctlError):
    """The command line asks for something that makes no sense."""

    code = "usage"
    exit_code = 2
    where = "at"


class ManifestInvalid(UsageFault):
    """brick.toml cannot be read, or says something that it may not say."""

    code = "manifest-invalid"


class NotFound(BrickctlError):
    """A brick, a revision, a file or a target does not exist."""

    code = "not-found"


class Gated(BrickctlError):
    """A repository exists and asks for access first."""

    code = "gated"


class Misfit(BrickctlError):
    """A brick does not fit the base: another shape, a missing module, no matching key."""

    code = "misfit"


class Conflict(BrickctlError):
    """No choice of versions satisfies brick.toml, what bricks need of one another, and the base."""

    code = "conflict"


class Unsupported(BrickctlError):
    """Something that brickctl knows by name and does not build."""

    code = "unsupported"


class NoSpace(BrickctlError):
    """The disk is too small for the output, or the memory budget for one block."""

    code = "no-space"


class Busy(BrickctlError):
    """Another process holds what this one needs."""

    code = "busy"


class Unhealthy(BrickctlError):
    """Something that installs or builds need is broken. `findings` are all that was looked at, for programs."""

    code = "unhealthy"
    findings: tuple[Mapping[str, Any], ...] = ()


class LockStale(BrickctlError):
    """brick.lock does not say what brick.toml says, and may not be changed."""

    code = "lock-stale"
    exit_code = 3


class LockInvalid(BrickctlError):
    """brick.lock cannot be read."""

    code = "lock-invalid"
    exit_code = 3
    where = "at"


class EngineMissing(BrickctlError):
    """The lock pins an engine that this brickctl does not have."""

    code = "engine-missing"
    exit_code = 3
    where = "at"


class IntegrityFault(BrickctlError):
    """Bytes are not what the lock, the index or the provenance promised."""

    code = "integrity"
    exit_code = 4


class HeaderInvalid(IntegrityFault):
    """A safetensors file whose header is malformed or does not describe its file."""

    code = "header-invalid"


class PolicyViolation(BrickctlError):
    """Refused by a rule of `[policy]`, or unsafe by nature (pickle, remote code)."""

    code = "policy"
    exit_code = 5


class AuditFailed(PolicyViolation):
    """Bricks that must not be used are locked. `findings` are all that was found, for programs."""

    code = "audit"
    findings: tuple[Mapping[str, Any], ...] = ()


class TransportFault(BrickctlError):
    """The network or a server failed.

    `wait` is how many seconds should pass before the same is asked again; None: the answer would be the same.
    """

    code = "transport"
    exit_code = 6
    wait: float | None = 0.0


class OfflineMiss(TransportFault):
    """Something is not in the cache and the network may not be used."""

    code = "offline"


class NotReproducible(BrickctlError):
    """A rebuild gave other bytes than the artifact holds."""

    code = "not-reproducible"
    exit_code = 7


class CheckFailed(BrickctlError):
    """At least one `[[checks]]` gate was missed. `scores` are all that were measured, for programs."""

    code = "check-failed"
    exit_code = 8
    scores: tuple[Mapping[str, Any], ...] = ()


class Interrupted(BrickctlError):
    """The user stopped the command."""

    code = "interrupted"
    exit_code = 130

"""From pins to bricks: headers read, kinds found, and the entry that a lock gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.brick import Brick
from brickctl.core.licenses import UNKNOWN
from brickctl.core.lock import Locked
from brickctl.core.names import BASE, Alias
from brickctl.errors import Misfit
from brickctl.kinds.kind import detect_kind, kind_named

if TYPE_CHECKING:
    from brickctl.core.brick import Contents, Pin
    from brickctl.core.dependency import Dependency
    from brickctl.core.manifest import Requirement
    from brickctl.workflows.session import Session

BASE_KIND = "base"


def open_brick(session: Session, name: Alias, requirement: Requirement | None, pin: Pin) -> Brick:
    """Read the headers of a pinned brick; `requirement` is what brick.toml says of it, if it names it.

    Raises:
        Misfit: it is of no kind that could be, or not of the one that brick.toml says.
        HeaderInvalid, IntegrityFault, TransportFault, OfflineMiss: its files cannot be read.
    """
    contents = session.sources.inspect(pin)
    told = None if requirement is None else requirement.license
    return Brick(
        name=name,
        kind=_kind_of(name, None if requirement is None else requirement.kind, contents),
        pin=pin,
        contents=contents,
        license=told or pin.license or UNKNOWN,
        required_by=None if requirement is None else requirement.place,
    )


def _kind_of(name: Alias, told: str | None, contents: Contents) -> str:
    """The kind that the manifest says, if the files can be of it; else the kind that the files say."""
    if name == BASE:
        return BASE_KIND
    if told is None:
        return detect_kind(name, contents).name
    if not kind_named(told).detect(contents):
        found = detect_kind(name, contents).name
        hint = f'write `kind = "{found}"`, or leave `kind` out'
        cause = f"its files are those of another kind: {found}"
        raise Misfit(f"`{name}` is no {told}", causes=(cause,), hint=hint)
    return told


def lock_entry(brick: Brick, dependencies: tuple[Dependency, ...] = ()) -> Locked:
    """The entry of a lock about a brick that was opened."""
    is_base = brick.kind == BASE_KIND
    return Locked(
        alias=Alias(brick.name),
        kind=brick.kind,
        pin=brick.pin,
        interface=brick.contents.interface,
        license=brick.license or UNKNOWN,
        declared_base=None if is_base else kind_named(brick.kind).declared_base(brick.contents),
        dependencies=dependencies,
    )

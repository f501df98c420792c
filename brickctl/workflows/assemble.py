"""From a lock to bricks as values: pins, contents, and where each was asked for."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from brickctl.core.brick import Brick
from brickctl.core.digests import sha256_bytes
from brickctl.core.names import BASE, Alias
from brickctl.errors import IntegrityFault, asked_for
from brickctl.kinds.kind import detect_kind, kind_named
from brickctl.operations.operation import Ingredients
from brickctl.sources.derived import not_here
from brickctl.workflows.inputs import read_input
from brickctl.workflows.parallel import in_parallel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from brickctl.core.brick import Contents, File
    from brickctl.core.lock import Lock, Locked
    from brickctl.workflows.session import Session


def assemble(session: Session, lock: Lock, aliases: Iterable[Alias]) -> Ingredients:
    """The base and some bricks of a lock, with their headers; local files are used where they are there.

    Raises:
        IntegrityFault: a brick's tensors are not those that were locked.
        TransportFault, OfflineMiss: a header is not here and cannot be fetched.
        NotFound: derived bricks, which cannot be fetched, are not here; all of them are named.
    """
    entries = [lock.entries[alias] for alias in (BASE, *aliases)]
    pins = (entry.pin for entry in entries if entry.pin.is_derived)
    absent = [pin for pin in pins if session.sources.places(pin) is None]
    if absent:
        raise not_here(*absent)
    base, *bricks = in_parallel(lambda locked: locked_brick(session, locked), entries)
    read = partial(_read, session)
    return Ingredients(base, {Alias(brick.name): brick for brick in bricks}, read, partial(read_input, session, lock))


def _read(session: Session, brick: Brick, file: File) -> bytes:
    """The bytes of a small file, which are what the lock says; it is fetched where it is not here."""
    with asked_for(brick.required_by):
        content = session.sources.fetch(brick.pin, file, session.events).read_bytes()
        if sha256_bytes(content) != file.sha256:
            cause = "it changed while it was read"
            hint = "run the command again"
            raise IntegrityFault(f"`{file.path}` of `{brick.name}` is not what was locked", causes=(cause,), hint=hint)
        return content


def locked_brick(session: Session, locked: Locked) -> Brick:
    """One brick of a lock."""
    place = session.manifest.place_of(locked.alias)
    with asked_for(place):
        contents = session.sources.inspect(locked.pin)
        cause = _contradiction(locked, contents)
        if cause is not None:
            again = "update" if locked.recipe is None else "derive --force"
            hint = f"if the lock was edited by hand, run `brickctl {again} {locked.alias}`"
            raise IntegrityFault(f"`{locked.alias}` is not what was locked", causes=(cause,), hint=hint)
    return Brick(
        name=locked.alias,
        kind=locked.kind,
        pin=locked.pin,
        contents=contents,
        license=locked.license,
        required_by=place,
    )


def _contradiction(locked: Locked, contents: Contents) -> str | None:
    """What a lock says of a brick that its files do not."""
    if contents.interface != locked.interface:
        return "the names and shapes of its tensors differ from the interface in brick.lock"
    if locked.alias != BASE and not kind_named(locked.kind).detect(contents):
        found = detect_kind(locked.alias, contents).name
        return f"its files are those of the kind `{found}`; brick.lock has the kind `{locked.kind}`"
    return None

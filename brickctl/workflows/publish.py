"""Publish: a folder becomes a version of a brick in a registry, its files on the Hub or in the registry itself.

Everything is checked before anything is sent, and the line is written last: so a line never speaks of files that are
not there, and whoever was interrupted publishes again.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from brickctl.core.brick import Brick
from brickctl.core.document import shown
from brickctl.core.made_for import MadeFor
from brickctl.core.names import BASE, Alias
from brickctl.core.reference import PathReference
from brickctl.core.sizes import format_size
from brickctl.errors import Misfit, UsageFault
from brickctl.kinds.base import whole_model
from brickctl.kinds.kind import detect_kind, kind_named
from brickctl.workflows.publishing import writing
from brickctl.workflows.release import FOLDER, release_line
from brickctl.workflows.surroundings import dtype_of, vocabulary_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from brickctl.core.brick import Pin
    from brickctl.core.ports import Source
    from brickctl.core.registry_line import RegistryEntry
    from brickctl.sources.checkout import Checkout
    from brickctl.workflows.publishing import Publishing
    from brickctl.workflows.release import Publication


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A line, the bytes of its files, and whether it is new; `left_out` are files that belong to no brick."""

    entry: RegistryEntry
    size: int
    new: bool
    left_out: tuple[str, ...] = ()


def publish(publication: Publication, surroundings: Publishing, checkout: Checkout, *, dry_run: bool) -> Published:
    """Check a brick, bring its files to where they stay, and write its line.

    It is held against the base of the surroundings, and the line says that it was made for that one. With `dry_run`
    nothing is sent or written.

    Raises:
        UsageFault: a name, licence or dependency that cannot be, or a version that exists with other content.
        NotFound, Misfit, PolicyViolation, IntegrityFault: the folder is no brick that anybody could use.
        Gated, Busy, TransportFault, OfflineMiss: the Hub does not take it.
    """
    sources, base = surroundings.sources, surroundings.base
    pin = sources.pin(PathReference(path=str(publication.folder.absolute())))
    made_for = None if base is None else Brick(name=BASE, kind=BASE, pin=base, contents=sources.inspect(base))
    brick = _checked(publication, pin, made_for, sources)
    told = None if made_for is None else _made_for(made_for, surroundings)
    entry = release_line(publication, brick, made_for, told, checkout)
    if dry_run:
        there = _there(checkout, entry)
    else:
        with writing(checkout, entry.name, entry.version, surroundings.events):
            there = _there(checkout, entry)
            if there is None:
                entry = _send(publication, entry, checkout, surroundings)
    return Published(
        entry=there or entry,
        size=_size(entry),
        new=there is None,
        left_out=tuple(_left_out(publication.folder, pin)),
    )


def _checked(publication: Publication, pin: Pin, base: Brick | None, sources: Source) -> Brick:
    """The brick, with its headers read, of a kind that exists, and fitting its base."""
    contents = sources.inspect(pin)
    name = Alias(publication.name.rpartition("/")[2])
    is_base = publication.kind == BASE
    kind = BASE if is_base else (publication.kind or detect_kind(name, contents).name)
    if not is_base and not kind_named(kind).detect(contents):
        hint = f"leave out `--kind`, or write `--kind {detect_kind(name, contents).name}`"
        raise UsageFault(f"{publication.folder} holds no {kind}", hint=hint)
    brick = Brick(name=name, kind=kind, pin=pin, contents=contents)
    if is_base:
        whole_model(brick)
    elif base is not None:
        with _of_publisher():
            kind_named(kind).check(brick, whole_model(base))
    return brick


@contextmanager
def _of_publisher() -> Iterator[None]:
    """What does not fit is told to somebody who uses a brick; here it is somebody who makes one."""
    try:
        yield
    except Misfit as fault:
        fault.hint = "say with `--base` which model it was made for"
        raise


def _made_for(base: Brick, surroundings: Publishing) -> MadeFor | None:
    """What a line says of the base; a folder of this machine says nothing to anybody else."""
    if base.pin.source.startswith(FOLDER):
        return None
    return MadeFor(
        source=base.pin.source,
        commit=base.pin.commit,
        interface=base.contents.interface,
        vocabulary=vocabulary_of(base, surroundings.sources, surroundings.events),
        dtype=dtype_of(base.contents),
    )


def _there(checkout: Checkout, entry: RegistryEntry) -> RegistryEntry | None:
    """The line about this very version, if it is there and says the same.

    Raises:
        UsageFault: it says something else.
    """
    checkout.check_readable(entry.name)
    for other in checkout.entries(entry.name):
        if other.version != entry.version:
            continue
        same = replace(
            entry,
            commit=other.commit,
            subfolder=other.subfolder,
            published=other.published,
            yanked=other.yanked,
        )
        if same == other:
            return other
        hint = f"publish another version; `brickctl yank {entry.name}@{entry.version}` takes this one back"
        causes = ("a published version never changes", *_differences(same, other))
        raise UsageFault(f"{entry.name} {entry.version} is published already", causes=causes, hint=hint)
    return None


def _differences(new: RegistryEntry, old: RegistryEntry) -> Iterator[str]:
    for key in ("source", "kind", "license", "summary"):
        if getattr(new, key) != getattr(old, key):
            yield f"its `{key}` is {_told(getattr(old, key))}, and would be {_told(getattr(new, key))}"
    for key in ("files", "interface", "base", "tags", "dependencies"):
        if getattr(new, key) != getattr(old, key):
            yield f"its `{key}` would not be the same"


def _told(value: str) -> str:
    return f"`{shown(value)}`" if value else "empty"


def _send(
    publication: Publication,
    entry: RegistryEntry,
    checkout: Checkout,
    surroundings: Publishing,
) -> RegistryEntry:
    """Bring the files to where they stay, then write the line."""
    places = {file: publication.folder / file.path for file in entry.files}
    if publication.repository is None:
        checkout.add_files(entry, places)
    else:
        from brickctl.sources.hub.publisher import Publisher

        message = f"{entry.name} {entry.version}"
        publisher = Publisher(offline=surroundings.offline)
        publisher.check(publication.repository)
        surroundings.events.note(f"sending {format_size(_size(entry))} to {entry.source}, unless it is there")
        commit = publisher.put(publication.repository, places, message=message, private=publication.private)
        entry = replace(entry, commit=commit)
    checkout.add_line(entry)
    return entry


def _size(entry: RegistryEntry) -> int:
    return sum(file.size for file in entry.files)


def _left_out(folder: Path, pin: Pin) -> list[str]:
    """Files of the folder that belong to no brick."""
    taken = {file.path for file in pin.files}
    return sorted(path.name for path in folder.iterdir() if path.is_file() and path.name not in taken)

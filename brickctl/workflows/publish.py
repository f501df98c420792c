"""Publish: a folder becomes a version of a brick in a registry, its files on the Hub or in the registry itself.

Everything is checked before anything is sent, and the line is written last: so a line never speaks of files that are
not there, and whoever was interrupted publishes again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from brickctl.core.brick import Brick
from brickctl.core.made_for import MadeFor
from brickctl.core.names import BASE, Alias
from brickctl.core.reference import PathReference
from brickctl.errors import UsageFault
from brickctl.kinds.base import whole_model
from brickctl.kinds.kind import detect_kind, kind_named
from brickctl.workflows.release import FOLDER, release_line
from brickctl.workflows.surroundings import dtype_of, vocabulary_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from brickctl.core.brick import File, Pin
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
    there = _there(checkout, entry)
    if there is None and not dry_run:
        places = {file: publication.folder / file.path for file in pin.files}
        entry = _send(publication, entry, places, checkout, offline=surroundings.offline)
    return Published(
        entry=there or entry,
        size=sum(file.size for file in pin.files),
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
        kind_named(kind).check(brick, whole_model(base))
    return brick


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
    for other in checkout.entries(entry.name):
        if other.version != entry.version:
            continue
        same = replace(
            entry,
            source=other.source,
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
    for key in ("files", "kind", "license", "interface", "base", "summary", "tags", "dependencies"):
        if getattr(new, key) != getattr(old, key):
            yield f"its `{key}` would be others"


def _send(
    publication: Publication,
    entry: RegistryEntry,
    places: Mapping[File, Path],
    checkout: Checkout,
    *,
    offline: bool,
) -> RegistryEntry:
    """Bring the files to where they stay, then write the line."""
    if publication.repository is None:
        checkout.add_files(entry, places)
    else:
        from brickctl.sources.hub.publisher import Publisher

        message = f"{entry.name} {entry.version}"
        commit = Publisher(offline=offline).put(
            publication.repository, places, message=message, private=publication.private
        )
        entry = replace(entry, source=f"hf:{publication.repository}", commit=commit)
    checkout.add_line(entry)
    return entry


def _left_out(folder: Path, pin: Pin) -> list[str]:
    """Files of the folder that belong to no brick."""
    taken = {file.path for file in pin.files}
    return sorted(path.name for path in folder.iterdir() if path.is_file() and path.name not in taken)

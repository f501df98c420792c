"""One line of a registry's index: one version of one brick, as canonical JSON, immutable but for `yanked`.

`parse_line(encode_line(entry)) == entry`. A registry is a server like any other: nothing in a line is believed that can
be computed, and nothing can grow without bound.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from brickctl.core.brick import Pin
from brickctl.core.dependency import read_dependencies
from brickctl.core.digests import Sha256, canonical_json, prefixed, sha256_bytes, tree_digest
from brickctl.core.document import Table, shown
from brickctl.core.licenses import parse_license
from brickctl.core.lines import Lines
from brickctl.core.made_for import read_base
from brickctl.core.pin_format import (
    file_document,
    read_commit,
    read_digest,
    read_files,
    read_kind,
    read_name,
    read_source,
    read_subfolder,
    read_version,
)
from brickctl.core.versions import parse_version
from brickctl.errors import IntegrityFault, Place, Unsupported

if TYPE_CHECKING:
    from brickctl.core.brick import File
    from brickctl.core.dependency import Dependency
    from brickctl.core.made_for import MadeFor
    from brickctl.core.versions import Version

VERSION = 1
"""Version of the line format, `v`."""

LONGEST_LINE = 1 << 20
"""Bytes of a line; enough for a brick of some 7,000 files."""

_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", re.ASCII)
_TAG = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_LONGEST_SUMMARY = 300
_MOST_TAGS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryEntry:
    """One published version of a brick. `published` is what the publisher says, and proves nothing."""

    name: str
    version: str
    kind: str
    source: str
    files: tuple[File, ...]
    interface: Sha256
    license: str
    commit: str | None = None
    subfolder: str | None = None
    base: MadeFor | None = None
    summary: str = ""
    tags: tuple[str, ...] = ()
    published: str | None = None
    dependencies: tuple[Dependency, ...] = ()
    yanked: bool = False

    @property
    def digest(self) -> Sha256:
        """Tree digest over the files."""
        return tree_digest((file.path, file.sha256) for file in self.files)

    @property
    def semver(self) -> Version:
        """The version, in SemVer's order."""
        version = parse_version(self.version)
        if version is None:
            raise ValueError(self.version)
        return version

    def pin(self, registry: str) -> Pin:
        """The pin that a project gets which found this entry in `registry`."""
        return Pin(
            source=self.source,
            files=self.files,
            subfolder=self.subfolder,
            commit=self.commit,
            license=self.license,
            brick=self.name,
            version=self.version,
            registry=registry,
        )

    @property
    def fingerprint(self) -> Sha256:
        """Digest of what may never change once it is published: everything but `yanked`."""
        return sha256_bytes(encode_line(replace(self, yanked=False)))


def encode_line(entry: RegistryEntry) -> bytes:
    """Write an entry: sorted keys, no spaces, one line feed at the end."""
    document: dict[str, Any] = {
        "base": None if entry.base is None else entry.base.document(),
        "commit": entry.commit,
        "dependencies": [dependency.document() for dependency in entry.dependencies],
        "digest": prefixed(entry.digest),
        "files": [file_document(file) for file in entry.files],
        "interface": prefixed(entry.interface),
        "kind": entry.kind,
        "license": entry.license,
        "name": entry.name,
        "published": entry.published,
        "source": entry.source,
        "subfolder": entry.subfolder,
        "summary": entry.summary,
        "tags": list(entry.tags),
        "v": VERSION,
        "version": entry.version,
        "yanked": entry.yanked,
    }
    return canonical_json({key: value for key, value in document.items() if value is not None}) + b"\n"


def parse_line(raw: bytes, *, file: str, line: int = 1) -> RegistryEntry:
    """Read one line, with or without the line feed at its end; `file` and `line` are for messages.

    Raises:
        IntegrityFault: not canonical JSON, too long, an unknown key, a value that cannot be, or a digest that is not
            that of its files.
        Unsupported: a newer format; a reader of many lines may pass over such a line.
    """
    table = _parse_json(raw.removesuffix(b"\n"), file, line)
    _check_supported(table)
    name, version = read_name(table, "name"), read_version(table)
    if name is None or version is None:
        raise table.error("a line must have a `name` and a `version`")
    source = _read_source(table, name, version)
    entry = RegistryEntry(
        name=name,
        version=version,
        kind=read_kind(table),
        source=source,
        files=read_files(table),
        interface=read_digest(table, "interface"),
        license=_read_license(table),
        commit=read_commit(table, source),
        subfolder=read_subfolder(table),
        base=read_base(table.table_or_none("base")),
        summary=_read_summary(table),
        tags=_read_tags(table),
        published=_read_published(table),
        dependencies=read_dependencies(table),
        yanked=table.boolean_or_none("yanked") or False,
    )
    table.finish()
    return entry


def _parse_json(raw: bytes, file: str, line: int) -> Table:
    """A line as a table; canonical bytes leave no room for keys given twice or numbers that are none."""
    place = Place(file=file, line=line)
    if len(raw) > LONGEST_LINE:
        causes = (f"it has {len(raw):,} bytes; at most {LONGEST_LINE:,} are read",)
        raise IntegrityFault("a line of the registry is too long", causes=causes, place=place)
    try:
        values = json.loads(raw.decode())
        canonical = canonical_json(values)
    except (ValueError, RecursionError) as error:  # bad UTF-8 and bad JSON are both ValueErrors
        causes = (shown(str(error)),)
        raise IntegrityFault("a line of the registry is not JSON", causes=causes, place=place) from None
    if not isinstance(values, dict) or canonical != raw:
        causes = ("it must be one object, with sorted keys, no spaces, and nothing twice",)
        raise IntegrityFault("a line of the registry is not in canonical form", causes=causes, place=place)
    return Table(values, file=file, lines=Lines({(): line}), fault=IntegrityFault)


def _check_supported(table: Table) -> None:
    version = table.integer("v")
    if version > VERSION:
        message = f"this line of the registry has the format {version}; this brickctl reads {VERSION}"
        raise Unsupported(message, place=table.place(), hint="upgrade brickctl: `pip install -U brickctl`")
    if version != VERSION:
        raise table.error(f"there is no format {version} of registry lines")


def _read_source(table: Table, name: str, version: str) -> str:
    source = read_source(table)
    if not source.startswith("hf:") and source != f"index:{name}/{version}":
        causes = (f"the files are on the Hub, or in the index under `index:{name}/{version}`",)
        raise table.error(f"`{shown(source)}` is no source for `{name}` {version}", key="source", causes=causes)
    return source


def _read_license(table: Table) -> str:
    text = table.string("license")
    if parse_license(text) != text:
        raise table.error(f"`{shown(text)}` is no licence in canonical SPDX form", key="license")
    return text


def _read_summary(table: Table) -> str:
    summary = table.string_or_none("summary") or ""
    if len(summary) > _LONGEST_SUMMARY:
        raise table.error(f"`summary` has {len(summary)} characters; at most {_LONGEST_SUMMARY} are read")
    return summary


def _read_tags(table: Table) -> tuple[str, ...]:
    tags = table.strings_or_none("tags") or ()
    if len(tags) > _MOST_TAGS or any(_TAG.fullmatch(tag) is None for tag in tags):
        raise table.error(f"`tags` are at most {_MOST_TAGS} words of lower-case letters, digits and `-`")
    return tags


def _read_published(table: Table) -> str | None:
    published = table.string_or_none("published")
    if published is not None and _TIME.fullmatch(published) is None:
        raise table.error(f"`{shown(published)}` is no time such as `2026-11-20T00:00:00Z`", key="published")
    return published

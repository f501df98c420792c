"""The page of one brick: how to install it, its versions, and what the registry says of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.dependency import BrickDependency
from brickctl.core.names import alias_from
from brickctl.core.sizes import format_size
from brickctl.pages.catalogue.listing import base_label, page_path, shown_entry
from brickctl.pages.numerals import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from brickctl.core.advisories import Advisory
    from brickctl.core.dependency import Dependency
    from brickctl.core.registry_line import RegistryEntry
    from brickctl.pages.catalogue.about import About

_SHORT = 12
_BASE_KIND = "base"
_HUB = "hf:"
_INDEX = "index:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Words that lead somewhere: to a page of this site (`path`), to the Hub or an advisory (`url`), or nowhere."""

    words: str
    path: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One line of the table of versions."""

    version: str
    published: str
    license: str
    size: str
    digest: str
    yanked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Caution:
    """Something that is known to be wrong with some versions."""

    id: str
    summary: str
    versions: str
    link: Link


@dataclass(frozen=True, slots=True, kw_only=True)
class BrickPage:
    """What a page shows. `entry` is the version that stands for the brick; `files` are its own."""

    entry: RegistryEntry
    commands: str
    manifest: str
    facts: tuple[tuple[str, str], ...]
    base: Link | None
    source: Link
    needs: tuple[Link, ...]
    used_by: tuple[Link, ...]
    versions: tuple[Version, ...]
    files: tuple[tuple[str, str, str], ...]
    warnings: tuple[Caution, ...]


def brick_page(
    entries: Sequence[RegistryEntry],
    about: About,
    known: Collection[str],
    used_by: Sequence[str],
    advisories: Sequence[Advisory],
) -> BrickPage:
    """A brick with all its versions; `known` are the names of all bricks of the registry."""
    entry = shown_entry(entries)
    newest_first = sorted(entries, key=lambda one: one.semver, reverse=True)
    return BrickPage(
        entry=entry,
        commands=_command(entry, about),
        manifest=_manifest(entry, about),
        facts=tuple(_facts(entry)),
        base=None if entry.base is None else _source(entry.base.source, entry.base.commit, known),
        source=_source(entry.source, entry.commit, ()),
        needs=tuple(_need(dependency, known) for dependency in entry.dependencies),
        used_by=tuple(Link(words=name, path=page_path(name)) for name in used_by),
        versions=tuple(map(_version, newest_first)),
        files=tuple((file.path, format_size(file.size), file.sha256) for file in entry.files),
        warnings=tuple(_warnings(newest_first, about, advisories)),
    )


def models_and_needs(entry: RegistryEntry) -> Iterator[str]:
    """The bricks of the registry that a version was made for or needs."""
    if entry.base is not None and entry.base.source.startswith(_INDEX):
        yield base_label(entry.base.source)
    yield from (one.brick for one in entry.dependencies if isinstance(one, BrickDependency))


def _wanted(entry: RegistryEntry) -> str:
    """The range that `brickctl add` would write: what is compatible, and exactly this one where it is no release."""
    return f"={entry.version}" if entry.semver.pre else f"^{entry.version}"


def _command(entry: RegistryEntry, about: About) -> str:
    """The line that adds the brick; a base is added by hand."""
    if entry.kind == _BASE_KIND:
        return ""
    asked = "" if about.is_builtin else f" --registry {about.name}"
    return f"brickctl add {entry.name}@{_wanted(entry)}{asked}"


def _manifest(entry: RegistryEntry, about: About) -> str:
    """What stands in brick.toml."""
    registry = () if about.is_builtin else (f'registry = "{about.name}"',)
    asked = (f'brick = "{entry.name}"', f'version = "{_wanted(entry)}"', *registry)
    known = () if about.url is None or about.is_builtin else ("[registries]", f"{about.name} = {_toml(about.url)}", "")
    if entry.kind == _BASE_KIND:
        return "\n".join((*known, "[base]", *asked))
    short = f'"{entry.name}@{_wanted(entry)}"' if about.is_builtin else f"{{ {', '.join(asked)} }}"
    return "\n".join((*known, "[bricks]", f"{alias_from(entry.name, ())} = {short}"))


def _toml(text: str) -> str:
    """A string of TOML, which are those of JSON but for a few that no address has."""
    return json.dumps(text)


def _facts(entry: RegistryEntry) -> Iterator[tuple[str, str]]:
    yield "Kind", entry.kind
    yield "Licence", entry.license
    yield "Size", format_size(sum(file.size for file in entry.files))
    yield "Published", UNKNOWN if entry.published is None else entry.published[:10]
    if entry.base is not None and entry.base.dtype is not None:
        yield "Weights of the base", entry.base.dtype.code
    if entry.base is not None and entry.base.vocabulary is not None:
        yield "Tokens of the base", f"{entry.base.vocabulary.size:,}"
    yield "Digest", f"sha256:{entry.digest}"
    yield "Interface", f"sha256:{entry.interface}"


def _source(source: str, commit: str | None, known: Collection[str]) -> Link:
    """Where files are: on the Hub, whose names have no signs that mean anything in an address, or in the registry."""
    words = source if commit is None else f"{source} at {commit[:_SHORT]}"
    if source.startswith(_HUB):
        tree = "" if commit is None else f"/tree/{commit}"
        return Link(words=words, url=f"https://huggingface.co/{source.removeprefix(_HUB)}{tree}")
    name = base_label(source)
    return Link(words=words, path=page_path(name) if name in known else None)


def _need(dependency: Dependency, known: Collection[str]) -> Link:
    if isinstance(dependency, BrickDependency):
        path = page_path(dependency.brick) if dependency.brick in known else None
        return Link(words=str(dependency), path=path)
    return Link(words=str(dependency), url=_source(dependency.source, dependency.commit, ()).url)


def _version(entry: RegistryEntry) -> Version:
    return Version(
        version=entry.version,
        published=UNKNOWN if entry.published is None else entry.published[:10],
        license=entry.license,
        size=format_size(sum(file.size for file in entry.files)),
        digest=entry.digest[:_SHORT],
        yanked=entry.yanked,
    )


def _warnings(entries: Sequence[RegistryEntry], about: About, advisories: Sequence[Advisory]) -> Iterator[Caution]:
    for one in advisories:
        meant = [entry.version for entry in entries if one.is_about(entry.pin(about.name), about.name)]
        if meant:
            link = Link(words=one.url or "", url=one.url)
            yield Caution(id=one.id, summary=one.summary, versions=", ".join(meant), link=link)

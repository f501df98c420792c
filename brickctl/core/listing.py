"""A brick as a search shows it, and as a line of a registry's snapshot has it: canonical JSON.

`parse_listing(encode_listing(listing)) == listing`. A snapshot has hundreds of thousands of lines, and every one of
them is checked whenever it is read; so these checks are plain ones, without the line of each key.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import Sha256, canonical_json, parse_prefixed, prefixed
from brickctl.core.document import shown
from brickctl.core.licenses import parse_license
from brickctl.core.names import is_alias, is_brick_name, is_hub_id
from brickctl.core.versions import parse_version
from brickctl.errors import IntegrityFault, Place, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from brickctl.core.registry_line import RegistryEntry

VERSION = 1
"""Version of the line format, `v`."""

LONGEST_LINE = 1 << 14
"""Bytes of a line."""

_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", re.ASCII)
_TAG = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_LONGEST_SUMMARY = 300
_MOST_TAGS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The newest version of a brick that may be chosen. The base is the model that it was made for."""

    name: str
    version: str
    kind: str
    license: str
    summary: str = ""
    tags: tuple[str, ...] = ()
    base_source: str | None = None
    base_interface: Sha256 | None = None
    published: str | None = None

    def document(self) -> dict[str, Any]:
        """The listing as JSON: null where there is nothing to say."""
        return {
            "name": self.name,
            "version": self.version,
            "kind": self.kind,
            "license": self.license,
            "summary": self.summary,
            "tags": list(self.tags),
            "base": _base(self),
            "published": self.published,
        }


def _base(listing: Listing) -> dict[str, str] | None:
    if listing.base_source is None or listing.base_interface is None:
        return None
    return {"interface": prefixed(listing.base_interface), "source": listing.base_source}


def listing_of(entries: Iterable[RegistryEntry]) -> Listing | None:
    """What a search shows of a brick: its newest release, else its newest version; None where all were yanked."""
    versions = {version: entry for entry in entries if not entry.yanked and (version := parse_version(entry.version))}
    if not versions:
        return None
    entry = versions[max(versions, key=lambda version: (not version.pre, version))]
    return Listing(
        name=entry.name,
        version=entry.version,
        kind=entry.kind,
        license=entry.license,
        summary=entry.summary,
        tags=entry.tags,
        base_source=None if entry.base is None else entry.base.source,
        base_interface=None if entry.base is None else entry.base.interface,
        published=entry.published,
    )


def encode_listing(listing: Listing) -> bytes:
    """Write a line: sorted keys, no spaces, nothing that is not known, one line feed at the end."""
    document = {key: value for key, value in listing.document().items() if value is not None}
    return canonical_json({**document, "v": VERSION}) + b"\n"


def parse_listing(raw: bytes, *, file: str, line: int) -> Listing:
    """Read one line; `file` and `line` are for messages.

    Raises:
        IntegrityFault: not canonical JSON, too long, a key too many or too few, or a value that cannot be.
        Unsupported: a newer format.
    """
    place = Place(file=file, line=line)
    if len(raw) > LONGEST_LINE:
        raise _unsound(place, f"it has more than {LONGEST_LINE:,} bytes")
    try:
        document = json.loads(raw)
        canonical = canonical_json(document) + b"\n"
    except (ValueError, RecursionError) as error:
        raise _unsound(place, f"it is not JSON: {shown(str(error))}") from None
    if not isinstance(document, dict) or canonical != raw:
        raise _unsound(place, "it must be one object, with sorted keys, no spaces, and nothing twice")
    version = document.get("v")
    if isinstance(version, int) and version > VERSION:
        message = f"the snapshot of the registry has the format {version}; this brickctl reads {VERSION}"
        raise Unsupported(message, place=place, hint="upgrade brickctl: `pip install -U brickctl`")
    wrong = _wrong_key(document)
    if wrong is not None:
        raise _unsound(place, f"`{shown(wrong)}` is missing, unknown, or cannot be so")
    return _read(document)


def _unsound(place: Place, reason: str) -> IntegrityFault:
    return IntegrityFault("a line of the registry's snapshot cannot be read", causes=(reason,), place=place)


def _read(document: dict[str, Any]) -> Listing:
    base = document.get("base")
    return Listing(
        name=document["name"],
        version=document["version"],
        kind=document["kind"],
        license=document["license"],
        summary=document["summary"],
        tags=tuple(document["tags"]),
        base_source=None if base is None else base["source"],
        base_interface=None if base is None else parse_prefixed(base["interface"]),
        published=document.get("published"),
    )


def _wrong_key(document: dict[str, Any]) -> str | None:
    """A key that should not be there, should be there, or has a value that cannot be; None where all is well."""
    for key in document:
        if key not in _CHECKS:
            return key
    for key, check in _CHECKS.items():
        if (key in document or key not in _OPTIONAL) and not check(document.get(key)):
            return key
    return None


def _is_summary(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_SUMMARY and _is_text(value)


def _is_text(value: str) -> bool:
    """Whether it can be written as UTF-8, which half of a surrogate pair cannot."""
    return value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)


def _are_tags(value: Any) -> bool:
    if not isinstance(value, list) or len(value) > _MOST_TAGS:
        return False
    return all(isinstance(tag, str) and _TAG.fullmatch(tag) is not None for tag in value)


def _is_base(value: Any) -> bool:
    if not isinstance(value, dict) or len(value) != 2:  # noqa: PLR2004 - its two keys
        return False
    source, interface = value.get("source"), value.get("interface")
    is_interface = isinstance(interface, str) and parse_prefixed(interface) is not None
    return isinstance(source, str) and _is_source(source) and is_interface


@lru_cache(1024)
def _is_source(text: str) -> bool:
    scheme, _, rest = text.partition(":")
    name, _, version = rest.rpartition("/")
    return (scheme == "hf" and is_hub_id(rest)) or (
        scheme == "index" and is_brick_name(name) and parse_version(version) is not None
    )


@lru_cache(1024)
def _is_license(text: str) -> bool:
    return parse_license(text) == text


@lru_cache(1024)
def _is_version(text: str) -> bool:
    return parse_version(text) is not None


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "base": _is_base,
    "kind": lambda value: isinstance(value, str) and is_alias(value),
    "license": lambda value: isinstance(value, str) and _is_license(value),
    "name": lambda value: isinstance(value, str) and is_brick_name(value),
    "published": lambda value: isinstance(value, str) and _TIME.fullmatch(value) is not None,
    "summary": _is_summary,
    "tags": _are_tags,
    "v": lambda value: value == VERSION and isinstance(value, int) and not isinstance(value, bool),
    "version": lambda value: isinstance(value, str) and _is_version(value),
}
_OPTIONAL = frozenset({"base", "published"})

"""`advisories.json` of a registry: bricks and files that are known to be bad.

    {"v": 1, "advisories": [{"id": "ACME-2026-1", "summary": "...", "url": "https://...", "digests": ["sha256:..."],
                             "brick": "acme/sql", "versions": "<1.2.3"}]}

An entry names digests (of files, or tree digests of bricks, wherever they come from), or a brick of this registry and a
range of versions, or both.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.digests import Sha256, parse_prefixed
from brickctl.core.document import Table, shown
from brickctl.core.pin_format import read_name
from brickctl.core.versions import VersionRange, parse_version
from brickctl.errors import IntegrityFault, Unsupported, UsageFault

if TYPE_CHECKING:
    from brickctl.core.brick import Pin

FILE = "advisories.json"
VERSION = 1

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_URL = re.compile(r"https://[^\s]{1,500}")
_LONGEST_SUMMARY = 500
_MOST = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisory:
    """Something that is known to be bad, and why."""

    id: str
    summary: str
    url: str | None = None
    digests: frozenset[Sha256] = frozenset()
    brick: str | None = None
    versions: VersionRange | None = None

    def is_about(self, pin: Pin, registry: str) -> bool:
        """Whether a pinned brick is meant, where the advisory comes from `registry`."""
        if pin.digest in self.digests or any(file.sha256 in self.digests for file in pin.files):
            return True
        if self.brick is None or (pin.brick, pin.registry) != (self.brick, registry):
            return False
        version = None if pin.version is None else parse_version(pin.version)
        return self.versions is None or (version is not None and self.versions.reaches(version))


def parse_advisories(raw: bytes, *, file: str) -> tuple[Advisory, ...]:
    """Read the file.

    Raises:
        IntegrityFault: not JSON, an unknown key, or a value that cannot be.
        Unsupported: a newer format.
    """
    try:
        values = json.loads(raw.decode())
    except (ValueError, RecursionError) as error:
        raise IntegrityFault(f"{file} is not JSON", causes=(shown(str(error)),)) from None
    if not isinstance(values, dict):
        raise IntegrityFault(f"{file} is not a list of advisories", causes=("it must be one object",))
    top = Table(values, file=file, fault=IntegrityFault)
    version = top.integer("v")
    if version > VERSION:
        hint = "upgrade brickctl: `pip install -U brickctl`"
        raise Unsupported(f"{file} has the format {version}; this brickctl reads {VERSION}", hint=hint)
    if version != VERSION:
        raise top.error(f"there is no format {version} of {file}", key="v")
    tables = top.tables_or_none("advisories") or ()
    top.finish()
    if len(tables) > _MOST:
        raise top.error(f"{file} has {len(tables):,} advisories; at most {_MOST:,} are read")
    return tuple(map(_read, tables))


def _read(table: Table) -> Advisory:
    name, summary, url = table.string("id"), table.string("summary"), table.string_or_none("url")
    if _ID.fullmatch(name) is None:
        raise table.error(f"`{shown(name)}` is no name of an advisory", key="id")
    if len(summary) > _LONGEST_SUMMARY or (url is not None and _URL.fullmatch(url) is None):
        raise table.error(f"advisory {name} has a `summary` that is too long, or a `url` that is none")
    advisory = Advisory(
        id=name,
        summary=summary,
        url=url,
        digests=frozenset(_digest(table, text) for text in table.strings_or_none("digests") or ()),
        brick=read_name(table, "brick"),
        versions=_versions(table),
    )
    if not advisory.digests and advisory.brick is None:
        raise table.error(f"advisory {name} is about nothing: it has neither `digests` nor `brick`")
    table.finish()
    return advisory


def _digest(table: Table, text: str) -> Sha256:
    digest = parse_prefixed(text)
    if digest is None:
        raise table.error(f"`{shown(text)}` is no digest", key="digests")
    return digest


def _versions(table: Table) -> VersionRange | None:
    text = table.string_or_none("versions")
    try:
        return None if text is None else VersionRange.parse(text)
    except UsageFault as fault:
        raise table.error(fault.message, key="versions", causes=fault.causes) from None

"""Reading `[policy]` of brick.toml."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.core.licenses import parse_license
from brickctl.core.names import is_safe_path
from brickctl.core.policy import Cutoff, Exemption, Policy, parse_moment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.document import Table

_AGE = re.compile(r"([1-9][0-9]{0,3}) ?(hour|day|week)s?")
_PATTERN = re.compile(r"(?:hf|path|[a-z*][a-z0-9_*-]*):[^\s]+")
_RULES = ("formats", "base", "licenses", "sources", "exclude-newer", "signatures", "signers", "exceptions")
_CUTOFF_HINT = 'write a moment such as `"2026-11-20T00:00:00Z"`, or an age such as `"7 days"`'


def read_policy(table: Table | None) -> Policy:
    """Read the table, or what holds without one.

    Raises:
        ManifestInvalid: (or whatever the table raises) a rule that cannot be.
    """
    if table is None:
        return Policy()
    signers, signatures = _read_signers(table), _read_signatures(table)
    if signatures == "required" and not signers:
        hint = 'add `signers = { NAME = "keys/NAME.pub" }`, files with public keys beside brick.toml'
        raise table.error(
            "`signatures` are required in [policy], and it names no `signers`", key="signatures", hint=hint
        )
    policy = Policy(
        formats=_read_formats(table),
        base=_read_base(table),
        licenses=_read_licenses(table),
        sources=_read_sources(table),
        exclude_newer=_read_cutoff(table),
        signatures=signatures,
        signers=signers,
        exceptions=_read_exceptions(table.table_or_none("exceptions")),
        places={"policy": table.place(), **{rule: table.place(rule) for rule in _RULES if table.has(rule)}},
    )
    table.finish()
    return policy


def _read_formats(table: Table) -> tuple[str, ...]:
    formats = table.strings_or_none("formats")
    if formats is not None and formats != ("safetensors",):
        hint = "pickle runs code when it is loaded; brickctl reads nothing but safetensors"
        raise table.error('`formats` in [policy] can only be `["safetensors"]`', key="formats", hint=hint)
    return ("safetensors",)


def _read_base(table: Table) -> str:
    base = table.string_or_none("base")
    if base not in {None, "fits", "declared"}:
        hint = "`fits`: names and shapes decide; `declared`: a brick must also name this base as its own"
        raise table.error(f"`{shown(base)}` is no rule about the base", key="base", hint=hint)
    return base or "fits"


def _read_licenses(table: Table) -> tuple[str, ...] | None:
    names = table.strings_or_none("licenses")
    if names is None:
        return None
    found = []
    for name in names:
        known = parse_license(name)
        if known is None or " AND " in known or " OR " in known:
            hint = "list single licences such as `Apache-2.0`, `LicenseRef-NAME`, or `unknown` for those that say none"
            raise table.error(f"`{shown(name)}` is no licence that SPDX knows", key="licenses", hint=hint)
        found.append(known)
    return tuple(found)


def _read_sources(table: Table) -> tuple[str, ...] | None:
    patterns = table.strings_or_none("sources")
    for pattern in patterns or ():
        if _PATTERN.fullmatch(pattern) is None:
            hint = "patterns look like `hf:acme/*`, `path:bricks/*`, or `corp:acme/*` for a registry called corp"
            raise table.error(f"`{shown(pattern)}` is no pattern of sources", key="sources", hint=hint)
    return patterns


def _read_cutoff(table: Table) -> Cutoff | None:
    value: Any = table.take("exclude-newer")
    if not table.has("exclude-newer"):
        return None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    text = value.isoformat() if isinstance(value, datetime) else value
    age = _AGE.fullmatch(text) if isinstance(text, str) else None
    if age is not None:
        return Cutoff(text=age[0], age=timedelta(**{f"{age[2]}s": int(age[1])}))
    moment = parse_moment(text) if isinstance(text, str) else None
    if moment is None:
        raise table.error(f"`{shown(text)}` says no moment", key="exclude-newer", hint=_CUTOFF_HINT)
    return Cutoff(text=text, moment=moment)


def _read_signatures(table: Table) -> str:
    signatures = table.string_or_none("signatures")
    if signatures not in {None, "optional", "required"}:
        message = f"`{shown(signatures)}` is no rule about signatures"
        raise table.error(message, key="signatures", hint="`optional` or `required`")
    return signatures or "optional"


def _read_signers(table: Table) -> Mapping[str, str]:
    signers = table.table_or_none("signers")
    found = {} if signers is None else {name: signers.string(name) for name in signers}
    for name, path in found.items():
        if signers is not None and not is_safe_path(path):
            hint = "write a path relative to brick.toml, such as `keys/acme.pub`"
            raise signers.error(f"`{shown(path)}` is no file of the project", key=name, hint=hint)
    return found


def _read_exceptions(table: Table | None) -> Mapping[str, Exemption]:
    found: dict[str, Exemption] = {}
    for name in () if table is None else table:
        entry = None if table is None else table.table_or_none(name)
        if entry is None:
            continue
        found[name] = Exemption(
            licenses=_read_licenses(entry),
            sources=_read_sources(entry),
            any_age=_is_off(entry, "exclude-newer"),
            any_tokens=_is_off(entry, "vocabulary"),
            unsigned=_read_signatures(entry) == "optional" and entry.has("signatures"),
        )
        entry.finish()
    return found


def _is_off(table: Table, rule: str) -> bool:
    """Whether an exception turns a rule off."""
    value = table.boolean_or_none(rule)
    if value:
        raise table.error(f"`{rule}` of an exception can only be false", key=rule)
    return value is False

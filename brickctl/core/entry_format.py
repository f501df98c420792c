"""One entry of brick.lock, of what is fetched or what the project makes: read as if someone hostile had written it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from brickctl.core.brick import DERIVED, Pin
from brickctl.core.dependency import read_dependencies
from brickctl.core.document import shown
from brickctl.core.licenses import UNKNOWN
from brickctl.core.lock import Locked
from brickctl.core.names import BASE, Alias, is_alias
from brickctl.core.pin_format import (
    read_commit,
    read_digest,
    read_files,
    read_kind,
    read_name,
    read_source,
    read_subfolder,
    read_version,
)

if TYPE_CHECKING:
    from brickctl.core.document import Table

AGAIN = "restore brick.lock from git, or make it anew: remove it and run `brickctl lock`"
"""What helps where a lock cannot be read."""


def read_entry(table: Table, alias: Alias) -> Locked:
    """An entry of what is fetched.

    Raises:
        whatever the table raises: a key that is missing, damaged or not known, or a source that is none.
    """
    source = read_source(table)
    brick, version, registry = read_name(table, "brick"), read_version(table), table.string_or_none("registry")
    if len({brick is None, version is None, registry is None}) != 1:
        raise table.error(f"{table.where} must have all of `brick`, `version` and `registry`, or none", hint=AGAIN)
    if registry is not None:
        read_alias(table, registry, "registry")
        if not source.startswith("hf:") and source != f"index:{brick}/{version}":
            message = f"`{shown(source)}` is no source of `{brick}` {version}"
            raise table.error(message, key="source", hint=AGAIN)
    pin = Pin(
        source=source,
        files=read_files(table),
        subfolder=read_subfolder(table),
        commit=read_commit(table, source),
        brick=brick,
        version=version,
        registry=registry,
    )
    dependencies = read_dependencies(table)
    if dependencies and registry is None:
        raise table.error(f"{table.where} has `dependencies`, and only bricks of a registry do", key="dependencies")
    return replace(_read_locked(table, alias, pin), dependencies=dependencies)


def read_made(table: Table, alias: Alias) -> Locked:
    """An entry of what the project has made: it has a recipe, and no place but the project's own.

    Raises:
        whatever the table raises, as `read_entry`.
    """
    source = table.string("source")
    if source != f"{DERIVED}{alias}":
        raise table.error(f"`{alias}` is derived, and `{shown(source)}` is no source of it", key="source", hint=AGAIN)
    recipe = read_digest(table, "recipe")
    return replace(_read_locked(table, alias, Pin(source=source, files=read_files(table))), recipe=recipe)


def _read_locked(table: Table, alias: Alias, pin: Pin) -> Locked:
    """What every entry says of its brick, and no more than was read."""
    license_name = table.string("license")
    locked = Locked(
        alias=alias,
        kind=read_kind(table),
        pin=replace(pin, license=None if license_name == UNKNOWN else license_name),
        interface=read_digest(table, "interface"),
        license=license_name,
        declared_base=table.string_or_none("declared-base"),
    )
    table.finish()
    return locked


def read_alias(table: Table, text: str, key: str) -> Alias:
    """A text that may be the name of a brick, but for the base, or of a registry."""
    if not is_alias(text) or text == BASE:
        raise table.error(f"`{shown(text)}` is no name of a brick or registry", key=key, hint=AGAIN)
    return Alias(text)

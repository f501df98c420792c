"""Reading `[derived.NAME]`: bricks that are made from a model.

What is made is not known here: an entry keeps its table unread, and the derivation that its `op` names reads it later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.document import shown
from brickctl.core.manifest import Derived
from brickctl.core.names import BASE, Alias, is_alias
from brickctl.core.reference_format import check_alias

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from brickctl.core.document import Table


def read_derived(table: Table | None, bricks: Collection[Alias]) -> Mapping[Alias, Derived]:
    """Read every derived brick, and make sure that each one has a name of its own.

    Raises:
        ManifestInvalid: a name that a brick has already, or no `op`.
    """
    if table is None:
        return {}
    names = [check_alias(table, name, "a derived brick") for name in table]
    for name in names:
        if name in bricks:
            message = f"`{name}` is a brick of [bricks] and of [derived]"
            raise table.error(message, key=name, hint="give one of them another name")
    return {name: _read(name, entry) for name in names if (entry := table.table_or_none(name)) is not None}


def _read(name: Alias, table: Table) -> Derived:
    op = table.string("op")
    start, target = _read_start(table)
    own = table.without("op").without("from")
    return Derived(name=name, op=op, table=own, start=start, target=target, place=table.place())


def _read_start(table: Table) -> tuple[Alias, Alias | None]:
    """The brick that an entry starts from, and the target, if it starts from one."""
    start = table.take("from")
    if start is None:
        return BASE, None
    if isinstance(start, str) and is_alias(start):
        return Alias(start), None
    if not isinstance(start, dict):
        hint = 'write `from = "base"`, the name of a brick, or `from = { target = "NAME" }`'
        raise table.error(f"`{shown(start)}` is nothing that a brick can be made from", key="from", hint=hint)
    inner = table.table_or_none("from")
    if inner is None:
        raise table.error(f"{table.named('from')} is empty", key="from")
    target = inner.string("target")
    inner.finish()
    return BASE, Alias(target)

"""Reading `[targets.NAME]` and `[[checks]]`: what is built, and what the result must be able to do.

Operations and kinds of checks are not known here: a step or a check keeps its table unread, and the operation or the
kind that it names reads it later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.document import shown
from brickctl.core.dtypes import DType
from brickctl.core.manifest import Check, Step, Target
from brickctl.core.names import BASE, Alias, did_you_mean, is_alias
from brickctl.core.reference_format import check_alias
from brickctl.core.sizes import parse_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.document import Table

_DTYPES = ("bfloat16", "float16", "float32", "float64")


def read_targets(table: Table | None) -> Mapping[Alias, Target]:
    """Read every target, and make sure that each one starts somewhere.

    Raises:
        ManifestInvalid: an unknown key, a value that cannot be, a start that does not exist, or targets in a circle.
    """
    if table is None:
        return {}
    tables = {check_alias(table, name, "a target"): table.table_or_none(name) for name in table}
    targets = {name: _read_target(name, target) for name, target in tables.items() if target is not None}
    for name, target in tables.items():
        if target is not None:
            _check_start(name, target, targets)
    return targets


def _read_target(name: Alias, table: Table) -> Target:
    start = _read_start(table)
    dtype = _read_dtype(table)
    shard_size = _read_shard_size(table)
    apply = tuple(_read_step(step) for step in table.tables_or_none("apply") or ())
    table.finish()
    place = table.place()
    return Target(name=name, start=start, dtype=dtype, shard_size=shard_size, apply=apply, place=place)


def _read_start(table: Table) -> Alias | None:
    start = table.take("from")
    if start is None or start == BASE:
        return None
    if not isinstance(start, dict):
        name = start if isinstance(start, str) and is_alias(start) else "NAME"
        hint = f'write `from = {{ target = "{name}" }}`, or `from = "base"`'
        raise table.error(f"`{shown(start)}` is nothing that {table.where} can start from", key="from", hint=hint)
    inner = table.table_or_none("from")
    if inner is None:
        raise table.error(f"{table.named('from')} is empty", key="from")
    name = inner.string("target")
    inner.finish()
    return Alias(name)


def _read_dtype(table: Table) -> DType | None:
    name = table.string_or_none("dtype")
    dtype = None if name is None else DType.from_torch_name(name)
    if name is not None and dtype is None:
        hint = did_you_mean(name, _DTYPES) or f"known: {', '.join(_DTYPES)}"
        raise table.error(f"`{shown(name)}` is no dtype to build with", key="dtype", hint=hint)
    return dtype


def _read_shard_size(table: Table) -> int | None:
    text = table.string_or_none("shard-size")
    size = None if text is None else parse_size(text)
    if text is not None and not size:
        hint = "write a size with its unit, such as `5GB` (10^9 bytes) or `5GiB` (2^30)"
        raise table.error(f"`{shown(text)}` is no size for a shard", key="shard-size", hint=hint)
    return size


def _read_step(table: Table) -> Step:
    return Step(op=table.string("op"), table=table.without("op"), place=table.place())


def _check_start(name: Alias, table: Table, targets: Mapping[Alias, Target]) -> None:
    """Follow the chain of starts down to the base, or to a start that its own table is blamed for."""
    start = targets[name].start
    if start is not None and start not in targets:
        hint = did_you_mean(start, targets)
        raise table.error(f"{table.where} starts from `{shown(start)}`, which is no target", key="from", hint=hint)
    chain = [name]
    while start is not None and start in targets:
        repeated = start in chain
        chain.append(start)
        if repeated:
            circle = " -> ".join(f"`{link}`" for link in chain)
            hint = 'let one of them start from the base: `from = "base"`'
            raise table.error(f"the targets go in a circle: {circle}", key="from", hint=hint)
        start = targets[start].start


def read_checks(tables: tuple[Table, ...], targets: Mapping[Alias, Target]) -> tuple[Check, ...]:
    """Read every check, and make sure that its target exists and that no name is given twice.

    Raises:
        ManifestInvalid: a value that cannot be, an unknown target, or a name that is taken.
    """
    checks: dict[str, Check] = {}
    for table in tables:
        check = _read_check(table, targets)
        if check.name in checks:
            raise table.error(f"there are two checks named `{check.name}`", key="name")
        checks[check.name] = check
    return tuple(checks.values())


def _read_check(table: Table, targets: Mapping[Alias, Target]) -> Check:
    name, target, kind = table.string("name"), table.string("target"), table.string("kind")
    if not is_alias(name):
        raise table.error(f"`{shown(name)}` cannot name a check", key="name", hint="such as `sql` or `copy-kept`")
    if target not in targets:
        message = f"`{shown(target)}` is no target: there is nothing to check"
        raise table.error(message, key="target", hint=did_you_mean(target, targets))
    own = table.without("name").without("target").without("kind")
    return Check(name=name, target=Alias(target), kind=kind, table=own, place=table.place())

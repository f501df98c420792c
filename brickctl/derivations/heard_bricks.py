"""The bricks that a split listens with: each changes weights of the base, and leaves it the FFNs that are split."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.names import BASE, Alias
from brickctl.errors import Misfit, Unsupported
from brickctl.kinds.neurons import ffns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from brickctl.core.document import Table
    from brickctl.derivations.derivation import Bench
    from brickctl.errors import Place


def read_bricks(table: Table) -> tuple[Alias, ...]:
    """The names in `bricks`; none where it is left out."""
    names = table.strings_or_none("bricks") or ()
    if BASE in names:
        raise table.error("`bricks` are put onto the base", key="bricks", hint="leave `base` out")
    if len(dict.fromkeys(names)) != len(names):
        raise table.error("`bricks` names each brick once", key="bricks")
    return tuple(map(Alias, names))


def check_bricks(bricks: Iterable[Alias], bench: Bench, place: Place | None) -> None:
    """Make sure, before any model reads, that each of them can be on the base, whose FFNs then are those split.

    Raises:
        Misfit, Unsupported: one cannot be, as it changes no weights, or has FFNs of its own.
    """
    wanted = {ffn.path: ffn.neurons for ffn in ffns(bench.start)}
    for alias in bricks:
        try:
            model = bench.ingredients.model(alias)
        except (Misfit, Unsupported) as error:
            causes, message = (error.message, *error.causes), f"nothing can be heard with `{alias}` on the base"
            raise Unsupported(message, causes=causes, place=place, hint=_leave_out(alias)) from None
        check_same(alias, {ffn.path: ffn.neurons for ffn in ffns(model)}, wanted, place)


def check_same(alias: Alias, found: Mapping[str, int], wanted: Mapping[str, int], place: Place | None) -> None:
    """Make sure that a brick is about the neurons that are split: as many of each FFN.

    Raises:
        Misfit: the base with this brick has other FFNs than the model.
    """
    if found != wanted:
        cause = f"the base with `{alias}` on it has other FFNs than the model that is split"
        raise Misfit(f"this model cannot be split for `{alias}`", causes=(cause,), place=place, hint=_leave_out(alias))


def _leave_out(alias: Alias) -> str:
    return f"leave `{alias}` out of `bricks`"

"""What is written above numbers that were found: how, by what, and what held-out data says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl import __version__
from brickctl.core.document import shown
from brickctl.workflows.checking.telling import figure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from brickctl.workflows.tuning.deciding import HeldOut
    from brickctl.workflows.tuning.tune import Found
    from brickctl.workflows.tuning.wish import Material, Wish

MARK = "tuned: "
"""What each line of such a comment begins with."""


def note(wish: Wish, found: Found, held_out: Sequence[HeldOut], materials: Sequence[Material]) -> list[str]:
    """The lines of the comment, without a mark."""
    parts = [f"brickctl {__version__}", f"{found.tried} trials", wish.sampler, f"seed {wish.seed}", *_unusual(wish)]
    count = sum(len(material.examples) for material in materials)
    names = ", ".join(shown(material.name) for material in materials)
    return [
        ", ".join(parts),
        f"by {count} examples of {names}: loss {found.before.loss:.3f} -> {found.after.loss:.3f}",
        f"held out: {'; '.join(map(_pair, held_out))}",
    ]


def _unusual(wish: Wish) -> Iterator[str]:
    """What one would have to say to get the same again."""
    if wish.alpha:
        yield f"alpha {wish.alpha:g}"
    if wish.points > 1:
        yield f"{wish.points} numbers over depth"
    if wish.methods:
        yield f"of {', '.join(wish.methods)}"
    if wish.only:
        yield f"only {', '.join(wish.only)}"


def _pair(pair: HeldOut) -> str:
    return f"{pair.before.check.name} {figure(pair.before)} -> {figure(pair.after)}"

"""`errors-and-exit-codes.md`: the tree of errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pages.markdown import code, filled, sentence, table

from brickctl.cli.failures import document, render
from brickctl.errors import BrickctlError, Misfit, Place

if TYPE_CHECKING:
    from collections.abc import Iterator

_MEANINGS = {
    0: "done",
    1: "failed",
    2: "usage: the command line or brick.toml is off",
    3: "the lock is stale, cannot be read, or needs another engine",
    4: "integrity: bytes are not what was promised",
    5: "policy",
    6: "transport: the network failed, or may not be used",
    7: "not reproducible",
    8: "a check failed",
    130: "interrupted",
}
_EXAMPLE = Misfit(
    "`legal` does not fit the base",
    causes=("`model.layers.0.self_attn.q_proj.weight` needs in_features 4096; the base has 576",),
    place=Place(file="brick.toml", line=13),
    hint="`legal` was trained on meta-llama/Llama-3.1-8B; set [base] to it, or remove `legal`",
)


def page() -> str:
    """The page."""
    import json

    classes = list(_below(BrickctlError))
    codes = sorted({0, *(error.exit_code for error in classes)})
    failure = {"schema": 1, "ok": False, "error": document(_EXAMPLE)}
    return filled(
        "errors-and-exit-codes.md",
        codes=table(("exit code", "meaning"), ((str(number), _MEANINGS[number]) for number in codes)),
        errors=table(
            ("code", "exit code", "a case of", "meaning"),
            ((f"`{error.code}`", str(error.exit_code), _parent(error), sentence(error)) for error in classes[1:]),
        ),
        text=code(_uncoloured(render(_EXAMPLE)), "text"),
        json=code(json.dumps(failure, indent=2), "json"),
    )


def _below(error: type[BrickctlError]) -> Iterator[type[BrickctlError]]:
    """An error and every one below it, in the order in which they are written down."""
    yield error
    for case in error.__subclasses__():
        yield from _below(case)


def _parent(error: type[BrickctlError]) -> str:
    parent = error.__mro__[1]
    return "" if parent is BrickctlError else f"`{parent.__dict__['code']}`"


def _uncoloured(text: str) -> str:
    import click

    return click.unstyle(text)

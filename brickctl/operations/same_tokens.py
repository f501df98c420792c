"""Bricks of as many rows as the base whose rows mean other tokens: a merge by number would mix words up, silently."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.document import shown
from brickctl.core.names import BASE, Alias
from brickctl.errors import IntegrityFault, Misfit
from brickctl.kinds.base import whole_model
from brickctl.kinds.expert import ExpertKind
from brickctl.kinds.kind import kind_named
from brickctl.vocabulary.axis import rows_of
from brickctl.vocabulary.tokenizer import FILE, LARGEST, read_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from brickctl.core.model import LazyModel
    from brickctl.operations.operation import Ingredients

_SHOWN = 3


def same_tokens(model: LazyModel, ingredients: Ingredients, aliases: Sequence[Alias]) -> tuple[str, ...]:
    """Make sure that equal rows mean equal tokens, where the tokenizers say so; notes about tokens that get lost.

    Equal files, models without a `tokenizer.json`, and files that are too large are not looked at.

    Raises:
        Misfit: a row of a brick means another token than that row of the base.
    """
    return tuple(note for alias in aliases if alias != BASE for note in _compared(model, ingredients, alias))


def _compared(model: LazyModel, ingredients: Ingredients, alias: Alias) -> Iterator[str]:
    brick = ingredients.brick(alias)
    if not isinstance(kind_named(brick.kind), ExpertKind):
        return
    expert = whole_model(brick)
    files = model.files.get(FILE), expert.files.get(FILE)
    if None in files or files[0] == files[1] or rows_of(model) != rows_of(expert):
        return
    if any(not isinstance(file, bytes) and file.size > LARGEST for file in files if file is not None):
        return
    texts = ingredients.text_of_tokenizer(model), ingredients.text_of_tokenizer(expert)
    try:
        ours, theirs = (read_tokenizer(text[0], where=text[1]).ids for text in texts if text is not None)
    except IntegrityFault as fault:  # what a merge by number does not need may be of any form
        reason = ": ".join((fault.message, *fault.causes))
        yield f"whether `{alias}` has the tokens of the base cannot be told: {reason}"
        return
    _refuse_others(alias, ingredients, ours, theirs)
    more = [token for token, number in theirs.items() if token not in ours and number < (rows_of(model) or 0)]
    if more:
        yield (
            f"`{alias}` has {len(more)} tokens that the base's tokenizer does not have ({listed(more)}), "
            f'and neither has the result; with tokenizer = "union" it has them'
        )


def _refuse_others(alias: Alias, ingredients: Ingredients, ours: Mapping[str, int], theirs: Mapping[str, int]) -> None:
    """Refuse rows that have a token in both tokenizers, and not the same one."""
    by_number = {number: token for token, number in ours.items()}
    rows = rows_of(ingredients.base) or 0
    others = [
        f"row {number} is `{shown(by_number[number])}` in the base and `{shown(token)}` in `{alias}`"
        for token, number in sorted(theirs.items(), key=lambda entry: entry[1])
        if number < rows and by_number.get(number, token) != token
    ]
    if others:
        more = (f"and {len(others) - _SHOWN} more",) if len(others) > _SHOWN else ()
        raise Misfit(
            f"`{alias}` has other tokens than the base",
            causes=(*others[:_SHOWN], *more),
            place=ingredients.brick(alias).required_by,
            hint=f'say in the merge whose tokens the result has: tokenizer = "{alias}", "{BASE}" or "union" '
            "(--tokenizer without a manifest); or, where only names differ, let rows go together as they are: "
            f'tokenizer = {{ source = "{alias}", match = "id" }}',
        )


def listed(tokens: Sequence[str]) -> str:
    """The first of some tokens, as a message shows them."""
    named = ", ".join(f"`{shown(token)}`" for token in tokens[:_SHOWN])
    return named if len(tokens) <= _SHOWN else f"{named}, ..."

"""The vocabulary of one model, for steps that give it another: its tokens, and the tables with a row for each."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.document import shown
from brickctl.errors import Misfit, Unsupported
from brickctl.vocabulary.axis import rows_of, unknown_tables, vocabulary_tensors, with_rows
from brickctl.vocabulary.cutting import Cutter, cutter
from brickctl.vocabulary.tokenizer import FILE, MOST_ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.core.model import LazyModel
    from brickctl.errors import Place
    from brickctl.operations.operation import Ingredients
    from brickctl.vocabulary.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What a model has for tokens.

    Attributes:
        rows: how many rows its tables have.
        names: the tables; a tied one under its own name.
        tokenizer: what its `tokenizer.json` says.
        text: that file.
        where: how messages name it.
    """

    rows: int
    names: tuple[str, ...]
    tokenizer: Tokenizer
    text: bytes
    where: str

    @property
    def known(self) -> tuple[int, ...]:
        """The rows of its tokens."""
        return tuple(sorted(number for number in self.tokenizer.ids.values() if number < self.rows))

    def cutter(self) -> Cutter:
        """Its tokenizer at work.

        Raises:
            IntegrityFault: the library cannot read the file.
        """
        return cutter(self.text, where=self.where)

    def parts(self, cutting: Cutter, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """The tokens that texts are cut into, without the one that stands for anything that is not known."""
        unknown = self._unknown()
        return [tuple(number for number in cut if number != unknown) for cut in cutting.cut(texts)]

    def _unknown(self) -> int | None:
        number, token = self.tokenizer.model.get("unk_id"), self.tokenizer.model.get("unk_token")
        if self.tokenizer.type == "Unigram":
            return number if type(number) is int else None
        return self.tokenizer.ids.get(token) if isinstance(token, str) else None


def vocabulary_of(model: LazyModel, ingredients: Ingredients, *, cannot: str, place: Place | None) -> Vocabulary:
    """The vocabulary of a model.

    Raises:
        Misfit, Unsupported: it has none that could be changed; the message is `cannot`.
    """
    rows, unknown = rows_of(model), unknown_tables(model)
    if rows is None or not 0 < rows <= MOST_ROWS:
        cause = "no tensor of it is named as an embedding of tokens is"
        cause = cause if rows is None else f"it has {rows:,} rows; brickctl takes up to {MOST_ROWS:,}"
        raise Misfit(cannot, causes=(cause,), place=place)
    if unknown:
        cause = f"`{shown(unknown[0])}` seems to have numbers for every token, and is no embedding or head"
        raise Unsupported(cannot, causes=(cause,), place=place)
    names = vocabulary_tensors(model)
    coded = next((name for name in names if not model.node(name).spec.dtype.is_mergeable), None)
    if coded is not None:
        cause = f"`{coded}` is stored as {model.node(coded).spec.dtype.code}"
        raise Unsupported(cannot, causes=(cause,), place=place, hint="use the bf16 or fp32 release of the model")
    tokenizer, text = ingredients.tokenizer(model), ingredients.text_of_tokenizer(model)
    if tokenizer is None or text is None:
        hint = "save its tokenizer with transformers, which writes one"
        raise Unsupported(cannot, causes=(f"it has no {FILE}",), place=place, hint=hint)
    found = Vocabulary(rows=rows, names=names, tokenizer=tokenizer, text=text[0], where=text[1])
    if not found.known:
        raise Misfit(cannot, causes=("no token that it has now has a row",), place=place)
    return found


def with_so_many_rows(model: LazyModel, before: int, after: int) -> LazyModel:
    """The model whose configuration says how many rows there are."""
    config = with_rows(model.config, before, after)
    return model if config == model.config else dataclasses.replace(model, config=config, source_config=None)

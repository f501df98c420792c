"""The vocabulary of one model, for steps that give it another: its tokens, and the tables with a row for each."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.document import shown
from brickctl.errors import Misfit, Unsupported
from brickctl.sources.selection import DAMAGED
from brickctl.vocabulary.axis import EMBEDDING, rows_of, unknown_tables, vocabulary_tensors, with_rows
from brickctl.vocabulary.cutting import Cutter, cutter
from brickctl.vocabulary.lengthening import LONGEST, is_endless
from brickctl.vocabulary.tokenizer import FILE, MOST_ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.core.model import LazyModel
    from brickctl.errors import Place
    from brickctl.operations.operation import Ingredients
    from brickctl.vocabulary.tokenizer import Tokenizer

_MATRIX = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What a model has for tokens.

    Attributes:
        rows: how many rows its tables have.
        names: the tables; a tied one under its own name.
        tokenizer: what its `tokenizer.json` says.
        cutting: the same at work.
    """

    rows: int
    names: tuple[str, ...]
    tokenizer: Tokenizer
    cutting: Cutter

    @property
    def known(self) -> tuple[int, ...]:
        """The rows of its tokens."""
        return tuple(sorted(number for number in self.tokenizer.ids.values() if number < self.rows))

    def parts(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """The tokens that texts are cut into, without the one that stands for anything that is not known."""
        unknown = self._unknown()
        return [tuple(number for number in cut if number != unknown) for cut in self.cutting.cut(texts)]

    def _unknown(self) -> int | None:
        number, token = self.tokenizer.model.get("unk_id"), self.tokenizer.model.get("unk_token")
        if self.tokenizer.type == "Unigram":
            return number if type(number) is int else None
        return self.tokenizer.ids.get(token) if isinstance(token, str) else None


def vocabulary_of(model: LazyModel, ingredients: Ingredients, *, cannot: str, place: Place | None) -> Vocabulary:
    """The vocabulary of a model.

    Raises:
        Misfit, Unsupported: it has none that could be changed; the message is `cannot`.
        IntegrityFault: the library of tokenizers cannot read its file.
    """
    rows, names = _tables(model, cannot, place)
    tokenizer, text = ingredients.tokenizer(model), ingredients.text_of_tokenizer(model)
    if tokenizer is None or text is None:
        hint = "save its tokenizer with transformers, which writes one"
        raise Unsupported(cannot, causes=(f"it has no {FILE}",), place=place, hint=hint)
    last = max(tokenizer.ids.values(), default=0)
    if last >= rows + len(tokenizer.ids):
        cause = f"a token has the number {last:,}; there are {len(tokenizer.ids):,} tokens and {rows:,} rows"
        raise Misfit(cannot, causes=(cause,), place=place)
    if is_endless(tokenizer.document):
        cause = f"its tokenizer could make a text more than {LONGEST:,} times as long before it cuts it"
        raise Unsupported(cannot, causes=(cause,), place=place, hint=DAMAGED)
    cutting = cutter(text[0], where=text[1])
    check_numbers(tokenizer, cutting, cannot=cannot, place=place)
    found = Vocabulary(rows=rows, names=names, tokenizer=tokenizer, cutting=cutting)
    if not found.known:
        raise Misfit(cannot, causes=("no token that it has now has a row",), place=place)
    return found


def _tables(model: LazyModel, cannot: str, place: Place | None) -> tuple[int, tuple[str, ...]]:
    """How many rows there are, and the tables that have them.

    Raises:
        Misfit, Unsupported: there are none whose rows could be others.
    """
    rows, unknown = rows_of(model), unknown_tables(model)
    if rows is None or not 0 < rows <= MOST_ROWS:
        cause = "no tensor of it is named as an embedding of tokens is"
        cause = cause if rows is None else f"it has {rows:,} rows; brickctl takes up to {MOST_ROWS:,}"
        raise Misfit(cannot, causes=(cause,), place=place)
    if unknown:
        cause = f"`{shown(unknown[0])}` seems to have numbers for every token, and is no embedding or head"
        raise Unsupported(cannot, causes=(cause,), place=place)
    specs = {name: model.node(name).spec for name in vocabulary_tensors(model)}
    odd = next((name for name, spec in specs.items() if not _is_table(name, spec.shape)), None)
    if odd is not None:
        cause = f"`{shown(odd)}` has the shape {specs[odd].shape}, and is no table with a row for every token"
        raise Misfit(cannot, causes=(cause,), place=place)
    coded = next((name for name, spec in specs.items() if not spec.dtype.is_mergeable), None)
    if coded is not None:
        cause = f"`{shown(coded)}` is stored as {specs[coded].dtype.code}"
        raise Unsupported(cannot, causes=(cause,), place=place, hint="use the bf16 or fp32 release of the model")
    return rows, tuple(specs)


def _is_table(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor has a row for every token; that of a bias is one number."""
    return len(shape) == _MATRIX or (len(shape) == 1 and not EMBEDDING.search(name))


def check_numbers(tokenizer: Tokenizer, cutting: Cutter, *, cannot: str, place: Place | None) -> None:
    """Make sure that who reads the file of a tokenizer finds its added tokens where their rows are.

    Raises:
        Unsupported: its numbers have gaps, which the library closes.
    """
    found = cutting.numbers(tokenizer.added)
    other = next((token for token in tokenizer.added if found[token] != tokenizer.ids[token]), None)
    if other is not None:
        cause = f"`{shown(other)}` has the number {tokenizer.ids[other]}; whoever reads the file finds {found[other]}"
        hint = "the numbers before it have gaps: save the tokenizer with transformers, and check them"
        raise Unsupported(cannot, causes=(cause,), place=place, hint=hint)


def with_so_many_rows(model: LazyModel, before: int, after: int) -> LazyModel:
    """The model whose configuration says how many rows there are."""
    config = with_rows(model.config, before, after)
    return model if config == model.config else dataclasses.replace(model, config=config, source_config=None)

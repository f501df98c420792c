"""The vocabulary of a model as llama.cpp reads it: a text, a type, perhaps a score for every row of the embedding."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.errors import Misfit, NotFound, Unsupported
from brickctl.exports.llama_cpp.characters import NO_MERGES, are_characters, spelled
from brickctl.exports.llama_cpp.pieces import are_pieces, byte_pieces, check_pieces, scores_of
from brickctl.exports.llama_cpp.pre_tokenizers import pre_tokenizer_of
from brickctl.vocabulary.tokenizer import FILE, Tokenizer, read_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from gguf import GGUFWriter

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
"""Types of tokens: part of text; never in text; found whole in text; no token at all."""

_AROUND = {
    "lstrip": "take in the spaces before",
    "rstrip": "take in the spaces behind",
    "single_word": "ask for the end of a word beside",
}
_DROPPED = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
_HINT = "give llama.cpp's own converter with --converter; it knows more tokenizers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What `tokenizer.ggml.*` says.

    Attributes:
        model: `gpt2` for byte-level BPE, `llama` for SentencePiece.
        pre: how text is cut before anything is merged.
        texts: by row.
        types: by row.
        scores: by row, the larger the sooner it is merged; for SentencePiece alone.
        merges: pairs that are merged, the first ones first; None for those of `tokenizer.json`.
        leading_space: whether a space is put before a text; None where the model has no say in it.
        notes: what the user should know.
    """

    model: str
    pre: str
    texts: tuple[str, ...]
    types: tuple[int, ...]
    scores: tuple[float, ...] = ()
    merges: tuple[str, ...] | None = None
    leading_space: bool | None = None
    notes: tuple[str, ...] = ()

    def tell(self, writer: GGUFWriter) -> None:
        """Add them to a file."""
        writer.add_tokenizer_model(self.model)
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(list(self.texts))
        if self.scores:
            writer.add_token_scores(list(self.scores))
        writer.add_token_types(list(self.types))
        if self.merges:
            writer.add_token_merges(list(self.merges))
        if self.leading_space is not None:
            writer.add_add_space_prefix(self.leading_space)


def tokenizer_in(folder: Path) -> Tokenizer | None:
    """The tokenizer of the model in a folder; None where it has no `tokenizer.json`.

    Raises:
        IntegrityFault: it cannot be read.
    """
    place = folder / FILE
    return read_tokenizer(place.read_bytes(), where=FILE) if place.is_file() else None


def tokens_of(tokenizer: Tokenizer | None, rows: int) -> Tokens:
    """The tokens of a model whose embedding has so many rows.

    Raises:
        NotFound: it has no tokenizer.
        Unsupported: it cuts texts in a way that llama.cpp does not, or that has not been tried there.
        Misfit: it has a token without a row.
    """
    if tokenizer is None:
        hint = "take a base that has one: the slow tokenizers of older models can be saved again by transformers"
        raise NotFound(f"the model has no {FILE}, and a GGUF file holds its tokens", hint=hint)
    _check_model(tokenizer)
    _check_rows(tokenizer, rows)
    kind = _pieces if are_pieces(tokenizer) else _characters if are_characters(tokenizer) else _bytes
    found = kind(tokenizer, rows)
    return replace(found, notes=(*found.notes, *_notes_of_added(tokenizer)))


def _bytes(tokenizer: Tokenizer, rows: int) -> Tokens:
    pre = pre_tokenizer_of(tokenizer)
    texts, types = zip(*_rows(tokenizer, rows, str), strict=True)
    return Tokens(model="gpt2", pre=pre, texts=texts, types=types, notes=_notes(tokenizer))


def _characters(tokenizer: Tokenizer, rows: int) -> Tokens:
    texts, types = zip(*_rows(tokenizer, rows, spelled), strict=True)
    note = "llama.cpp leaves out characters that are no tokens, where this tokenizer says that one is unknown"
    return Tokens(model="gpt2", pre="gpt-2", texts=texts, types=types, merges=NO_MERGES, notes=(note,))


def _pieces(tokenizer: Tokenizer, rows: int) -> Tokens:
    leading_space = check_pieces(tokenizer)
    texts, types = zip(*_rows(tokenizer, rows, str), strict=True)
    types = byte_pieces(tokenizer, texts, types)
    scores = scores_of(tokenizer, texts)
    return Tokens(
        model="llama",
        pre="default",
        texts=texts,
        types=types,
        scores=scores,
        merges=(),
        leading_space=leading_space,
    )


def _rows(tokenizer: Tokenizer, rows: int, spell: Callable[[str], str]) -> Iterator[tuple[str, int]]:
    """Text and type of each row."""
    by_row = {number: token for token, number in tokenizer.ids.items()}
    for row in range(rows):
        token = by_row.get(row)
        if token is None:
            yield f"[PAD{row}]", UNUSED
        elif token not in tokenizer.added:
            yield spell(token), NORMAL
        else:
            yield token, CONTROL if is_control(token, tokenizer.added[token]) else USER_DEFINED


def is_control(token: str, entry: Mapping[str, Any]) -> bool:
    """Whether an added token is none of text; `<|like this|>` is none, whatever its entry says, as in llama.cpp."""
    return bool(entry.get("special")) or (token.startswith("<|") and token.endswith("|>"))


def _notes(tokenizer: Tokenizer) -> tuple[str, ...]:
    if tokenizer.document.get("normalizer") is None:
        return ()
    return ("llama.cpp does not normalise text to NFC, as this tokenizer does: what is written in two pieces differs",)


def _notes_of_added(tokenizer: Tokenizer) -> Iterator[str]:
    """What llama.cpp does not do around added tokens; it knows where they stand, and no more."""
    for key, does in _AROUND.items():
        token = next((token for token, entry in tokenizer.added.items() if entry.get(key)), None)
        if token is not None:
            yield f"llama.cpp does not {does} `{shown(token)}`, as this tokenizer does: texts with it may differ"


def _check_model(tokenizer: Tokenizer) -> None:
    """Refuse what llama.cpp has no words for."""
    if tokenizer.type != "BPE":
        raise _unsupported(f"`tokenizer.json` is of type {tokenizer.type}; tried in llama.cpp is BPE")
    for key in _DROPPED:
        if tokenizer.model.get(key):
            raise _unsupported(f"its BPE has `{key}`, which llama.cpp does not know")
    normalizer = tokenizer.document.get("normalizer")
    if not are_pieces(tokenizer) and normalizer is not None and normalizer != {"type": "NFC"}:
        raise _unsupported(f"it changes texts before it cuts them: {shown(normalizer)}")


def _check_rows(tokenizer: Tokenizer, rows: int) -> None:
    token, number = max(tokenizer.ids.items(), key=lambda item: item[1])
    if number >= rows:
        cause = f"`{shown(token)}` has the number {number}, and the embedding has {rows} rows"
        raise Misfit("the tokenizer has a token without a row", causes=(cause,))


def _unsupported(cause: str) -> Unsupported:
    return Unsupported("this tokenizer is not exported to GGUF", causes=(cause,), hint=_HINT)

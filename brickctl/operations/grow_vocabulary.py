"""Grow vocabulary: more tokens, each with a row of its own to begin with, for a model that is to be trained on them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from brickctl.core.document import shown
from brickctl.core.manifest import Input
from brickctl.core.names import is_safe_path
from brickctl.errors import Misfit
from brickctl.operations.new_tokens import check_list, check_new, read_lines
from brickctl.operations.operation import Ingredients, Operation, refuse_masked, refuse_stacked, register
from brickctl.operations.same_tokens import listed
from brickctl.operations.vocabulary_of import Vocabulary, check_numbers, vocabulary_of, with_so_many_rows
from brickctl.vocabulary.added import next_number, with_tokens, written
from brickctl.vocabulary.cutting import cutter
from brickctl.vocabulary.grown import Beginning, NewRows
from brickctl.vocabulary.rules import read_multiple
from brickctl.vocabulary.tokenizer import FILE, MOST_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from brickctl.core import manifest
    from brickctl.core.document import Table
    from brickctl.core.model import Artifact
    from brickctl.errors import Place
    from brickctl.vocabulary.cutting import Cutter
    from brickctl.vocabulary.tokenizer import Tokenizer

Init = Literal["mean", "sub-tokens"]
INITS: tuple[Init, ...] = ("mean", "sub-tokens")
"""What a new row may begin as; the first where nothing is said."""

_CANNOT = "grow-vocabulary cannot add tokens to this model"


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowVocabulary:
    """A step that adds tokens: those of a list, or the lines of a file of the project."""

    tokens: tuple[str, ...]
    file: str | None
    init: Init
    special: bool
    multiple: int
    place: Place | None = dataclasses.field(default=None, compare=False)

    reproducible = "bitwise"
    computes = True
    takes_layers = False
    aliases = ()

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The file, if there is one."""
        return () if self.file is None else (Input(path=self.file, place=self.place),)

    def document(self) -> Mapping[str, Any]:
        """The step with every default written out."""
        which = {"tokens": list(self.tokens)} if self.file is None else {"file": self.file}
        begin = {"init": self.init, "special": self.special, "pad-to-multiple-of": self.multiple}
        return {"op": "grow-vocabulary", **which, **begin}

    def apply(self, artifact: Artifact, ingredients: Ingredients) -> Artifact:
        """Number the tokens, enter them into the tokenizer, and give each a row."""
        refuse_masked(artifact, self.place)
        refuse_stacked(artifact, "grow", self.place)
        model = artifact.root
        old = vocabulary_of(model, ingredients, cannot=_CANNOT, place=self.place)
        tokens = self._read(ingredients)
        odd = check_new(tokens, old.tokenizer, self.place)
        grown = with_tokens(old.tokenizer, tokens, special=self.special)
        files = written(grown, tokens, model.files, lambda path: ingredients.document(model, path))
        check_numbers(grown, cutter(files[FILE], where=FILE), cannot=_CANNOT, place=self.place)
        cuts = old.parts(tokens)
        parts = [tuple(row for row in cut if row < old.rows) if self.init == "sub-tokens" else () for cut in cuts]
        rows = self._rows(old, parts)
        tensors = {name: rows.of(node) if name in old.names else node for name, node in model.tensors.items()}
        root = dataclasses.replace(model, tensors=tensors, files={**model.files, **files})
        told = (*self._notes(old.rows, rows, tokens, grown), *self._lost(tokens, parts))
        notes = (*artifact.notes, *told, *odd, *_shadowed(tokens, cuts, old.cutting))
        return dataclasses.replace(artifact, root=with_so_many_rows(root, old.rows, len(rows.rows)), notes=notes)

    def _read(self, ingredients: Ingredients) -> tuple[str, ...]:
        """The new tokens, in their order."""
        if self.file is None:
            return self.tokens
        return check_list(read_lines(ingredients.read_input(self.inputs[0]), self.file), self.place)

    def _rows(self, old: Vocabulary, parts: Sequence[tuple[int, ...]]) -> NewRows:
        """Where the new tokens stand, in how many rows.

        Raises:
            Misfit: there would be too many.
        """
        first = next_number(old.tokenizer)
        rows = max(old.rows, first + len(parts))
        after = -(-rows // self.multiple) * self.multiple
        if after > MOST_ROWS:
            cause = f"there would be {after:,} rows; brickctl takes up to {MOST_ROWS:,}"
            raise Misfit(_CANNOT, causes=(cause,), place=self.place)
        begun: list[Beginning] = [row if row < old.rows else () for row in range(after)]
        begun[first : first + len(parts)] = parts
        return NewRows(rows=begun, known=old.known)

    def _notes(self, before: int, rows: NewRows, tokens: Sequence[str], grown: Tokenizer) -> Iterator[str]:
        """Which numbers the new tokens have, and what became of the number of rows."""
        first, last, after = grown.ids[tokens[0]], grown.ids[tokens[-1]], len(rows.rows)
        numbers = f"number {first}" if first == last else f"numbers {first} to {last}"
        yield f"{_counted(len(tokens), 'new token')} ({listed(tokens)}) with the {numbers}"
        taken = max(0, min(before, last + 1) - first)
        if taken:
            yield f"{taken} of them take rows that the model had, and that no token used"
        if after > before:
            idle = after - max(last + 1, before)
            more = f", the last {idle} without a token" if idle else ""
            yield f"there are {after} rows of tokens, {after - before} more than before{more}"
        if first > before:
            yield f"{_counted(first - before, 'token')} before them had no row, and begin with the mean too"

    def _lost(self, tokens: Sequence[str], parts: Sequence[tuple[int, ...]]) -> Iterator[str]:
        """What is said of tokens that were to begin with the mean of their parts, and have none."""
        lost = [token for token, part in zip(tokens, parts, strict=True) if not part]
        if lost and self.init == "sub-tokens":
            yield f"{listed(lost)}: the tokenizer knows no part of it, and the mean of all rows takes its place"


def _shadowed(tokens: Sequence[str], cuts: Sequence[tuple[int, ...]], cutting: Cutter) -> Iterator[str]:
    """What is said of new tokens for which there was one token before."""
    pairs = zip(tokens, cuts, strict=True)
    found = [token for token, cut in pairs if len(cut) == 1 and cutting.says(cut[0], token)]
    if found:
        yield f"{listed(found)}: there was one token for this text, which is not found in it any more"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def read_grow_vocabulary(step: manifest.Step) -> Operation:
    """Read `{ op = "grow-vocabulary", tokens = ["<|a|>"], init = "mean", special = false, pad-to-multiple-of = 1 }`.

    The tokens get the next numbers, in their order, and a row in the embedding, in the head and in its bias. Instead of
    `tokens`, `file` names a file of the project: UTF-8, up to 1 MB, a token a line, as it stands there. They are found
    in texts as they are written, wherever they stand, before anything else is cut; with `special` decoders leave them
    out when asked to. Texts without them are cut as before, and all that other tokens have keeps every bit.

    `init` is what a new row begins as, in each table:

    - `mean`: the mean of the rows of all old tokens (Hewitt, https://nlp.stanford.edu/~johnhew/vocab-expansion.html):
      what any token is likely to mean; training tells the new ones apart.
    - `sub-tokens`: the mean of the rows of what the old tokenizer cuts the new token into.

    Where the embedding has rows that no token uses, new tokens take those first. `pad-to-multiple-of = 64` rounds the
    number of rows up; those that this adds for no token are the mean of all.

    A token that is there already is refused. A model without a `tokenizer.json`, or with tables of tokens that are no
    embedding or head (those of each layer in Gemma 3n), is refused too.
    """
    table = step.table.fresh()
    tokens, file, init = _read_tokens(table, step.place), table.string_or_none("file"), table.string_or_none("init")
    special, multiple = table.boolean_or_none("special"), read_multiple(table)
    if (tokens is None) == (file is None):
        hint = 'write tokens = ["<|a|>"], or file = "PATH"'
        raise table.missing("a grow-vocabulary needs `tokens`, or their `file`", "tokens", "file", hint=hint)
    table.finish()
    if file is not None and not is_safe_path(file):
        hint = "a path relative to brick.toml, with `/`, without `..`"
        raise table.error(f"`{shown(file)}` is no file of this project", key="file", hint=hint)
    chosen = next((one for one in INITS if one == (init or INITS[0])), None)
    if chosen is None:
        raise table.error(f"`init` may not be `{shown(init)}`", key="init", hint=f"write one of {', '.join(INITS)}")
    return GrowVocabulary(
        tokens=tokens or (), file=file, init=chosen, special=bool(special), multiple=multiple, place=step.place
    )


def _read_tokens(table: Table, place: Place | None) -> tuple[str, ...] | None:
    """The list of tokens, which may hold any character; None where there is none."""
    found = table.take("tokens")
    if found is None:
        return None
    if not isinstance(found, list) or not found or not all(isinstance(token, str) for token in found):
        hint = 'such as tokens = ["<|user|>", "<|tool|>"]'
        raise table.error("`tokens` must be a list of texts, and not an empty one", key="tokens", hint=hint)
    return check_list(found, place)


register("grow-vocabulary", read_grow_vocabulary)

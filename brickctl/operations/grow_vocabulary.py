"""Grow vocabulary: more tokens, each with a row of its own to begin with, for a model that is to be trained on them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from brickctl.core.document import shown
from brickctl.core.manifest import Input
from brickctl.core.names import is_safe_path
from brickctl.errors import Misfit, Unsupported
from brickctl.operations.new_tokens import check_list, check_new, read_lines
from brickctl.operations.operation import Ingredients, Operation, refuse_masked, refuse_stacked, register
from brickctl.operations.same_tokens import listed
from brickctl.vocabulary.added import next_number, with_tokens, written
from brickctl.vocabulary.axis import rows_of, unknown_tables, vocabulary_tensors, with_rows
from brickctl.vocabulary.cutting import cutter
from brickctl.vocabulary.grown import GrownRows
from brickctl.vocabulary.rules import read_multiple
from brickctl.vocabulary.tokenizer import FILE, MOST_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from brickctl.core import manifest
    from brickctl.core.document import Table
    from brickctl.core.model import Artifact, LazyModel
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
        before, names = self._tables(model)
        tokenizer, (text, where) = self._tokenizer(model, ingredients)
        tokens = self._read(ingredients)
        odd = check_new(tokens, tokenizer, self.place)
        grown = with_tokens(tokenizer, tokens, special=self.special)
        files = written(grown, tokens, model.files, lambda path: ingredients.document(model, path))
        self._check_numbers(files[FILE], grown)
        cutting = cutter(text, where=where)
        cuts = _known(cutting.cut(tokens), tokenizer)
        parts = [tuple(row for row in cut if row < before) if self.init == "sub-tokens" else () for cut in cuts]
        rows = self._rows(before, tokenizer, parts)
        tensors = {name: rows.of(node) if name in names else node for name, node in model.tensors.items()}
        root = dataclasses.replace(model, tensors=tensors, files={**model.files, **files})
        notes = (*artifact.notes, *self._notes(rows, tokens), *odd, *_shadowed(tokens, cuts, cutting))
        return dataclasses.replace(artifact, root=_with_rows(root, before, rows.after), notes=notes)

    def _tables(self, model: LazyModel) -> tuple[int, tuple[str, ...]]:
        """How many rows there are, and the tensors that have them.

        Raises:
            Misfit, Unsupported: none, codes instead of numbers, or a table that it is not known what to do with.
        """
        rows = rows_of(model)
        if rows is None or not 0 < rows <= MOST_ROWS:
            cause = "no tensor of it is named as an embedding of tokens is" if rows is None else f"it has {rows:,} rows"
            raise Misfit("the model has no vocabulary to grow", causes=(cause,), place=self.place)
        unknown = unknown_tables(model)
        if unknown:
            cause = f"`{shown(unknown[0])}` seems to have numbers for every token, and is no embedding or head"
            raise Unsupported(_CANNOT, causes=(cause,), place=self.place)
        names = vocabulary_tensors(model)
        coded = next((name for name in names if not model.node(name).spec.dtype.is_mergeable), None)
        if coded is not None:
            cause = f"`{coded}` is stored as {model.node(coded).spec.dtype.code}"
            raise Unsupported(_CANNOT, causes=(cause,), place=self.place, hint="use the bf16 or fp32 release")
        return rows, names

    def _tokenizer(self, model: LazyModel, ingredients: Ingredients) -> tuple[Tokenizer, tuple[bytes, str]]:
        """The tokenizer of the model, its file, and how messages name that.

        Raises:
            Unsupported: there is none that can be added to.
        """
        tokenizer, text = ingredients.tokenizer(model), ingredients.text_of_tokenizer(model)
        if tokenizer is None or text is None:
            cause = f"it has no {FILE}"
            hint = "save its tokenizer with transformers, which writes one"
            raise Unsupported(_CANNOT, causes=(cause,), place=self.place, hint=hint)
        return tokenizer, text

    def _read(self, ingredients: Ingredients) -> tuple[str, ...]:
        """The new tokens, in their order."""
        if self.file is None:
            return self.tokens
        return check_list(read_lines(ingredients.read_input(self.inputs[0]), self.file), self.place)

    def _check_numbers(self, content: bytes, grown: Tokenizer) -> None:
        """Make sure that who reads the new file finds its added tokens where their rows are.

        Raises:
            Unsupported: the numbers of the old one have gaps, which the library closes.
        """
        found = cutter(content, where=FILE).numbers(grown.added)
        other = next((token for token in grown.added if found[token] != grown.ids[token]), None)
        if other is not None:
            cause = f"`{shown(other)}` has the number {grown.ids[other]}; whoever reads the file finds {found[other]}"
            hint = "the numbers before it have gaps: save the tokenizer with transformers, and check them"
            raise Unsupported(_CANNOT, causes=(cause,), place=self.place, hint=hint)

    def _rows(self, before: int, tokenizer: Tokenizer, parts: Sequence[tuple[int, ...]]) -> GrownRows:
        """Where the new tokens stand, in how many rows.

        Raises:
            Misfit: too many, or no token before has a row.
        """
        known = sorted(number for number in tokenizer.ids.values() if number < before)
        first = next_number(tokenizer)
        rows = max(before, first + len(parts))
        after = -(-rows // self.multiple) * self.multiple
        if after > MOST_ROWS or not known:
            cause = f"there would be {after:,} rows; brickctl takes up to {MOST_ROWS:,}"
            cause = cause if known else "no token that it has now has a row"
            raise Misfit(_CANNOT, causes=(cause,), place=self.place)
        return GrownRows(before=before, after=after, first=first, parts=parts, known=known)

    def _notes(self, rows: GrownRows, tokens: Sequence[str]) -> Iterator[str]:
        last = rows.first + len(tokens) - 1
        numbers = f"{rows.first}" if len(tokens) == 1 else f"{rows.first} to {last}"
        yield f"{_counted(len(tokens), 'new token')} ({listed(tokens)}) with the numbers {numbers}"
        taken = max(0, min(rows.before, last + 1) - rows.first)
        if taken:
            yield f"{taken} of them take rows that the model had, and that no token used"
        if rows.after > rows.before:
            idle = rows.after - max(last + 1, rows.before)
            more = f", the last {idle} without a token" if idle else ""
            yield f"there are {rows.after} rows of tokens, {rows.after - rows.before} more than before{more}"
        if rows.first > rows.before:
            yield f"{_counted(rows.first - rows.before, 'token')} before them had no row, and begin with the mean too"
        lost = [token for token, part in zip(tokens, rows.parts, strict=True) if not part]
        if lost and self.init == "sub-tokens":
            yield f"{listed(lost)}: the tokenizer knows no part of it, and the mean of all rows takes its place"


def _known(cuts: Sequence[tuple[int, ...]], tokenizer: Tokenizer) -> list[tuple[int, ...]]:
    """What new tokens were cut into before, without what stands for anything that is not known."""
    unknown = _unknown(tokenizer)
    return [tuple(number for number in cut if number != unknown) for cut in cuts]


def _shadowed(tokens: Sequence[str], cuts: Sequence[tuple[int, ...]], cutting: Cutter) -> Iterator[str]:
    """What is said of new tokens for which there was one token before."""
    pairs = zip(tokens, cuts, strict=True)
    found = [token for token, cut in pairs if len(cut) == 1 and cutting.says(cut[0], token)]
    if found:
        yield f"{listed(found)}: there was one token for this text, which is not found in it any more"


def _unknown(tokenizer: Tokenizer) -> int | None:
    """The number of the token that stands for what is not known."""
    number, token = tokenizer.model.get("unk_id"), tokenizer.model.get("unk_token")
    if tokenizer.type == "Unigram":
        return number if type(number) is int else None
    return tokenizer.ids.get(token) if isinstance(token, str) else None


def _with_rows(model: LazyModel, before: int, after: int) -> LazyModel:
    """The model whose configuration says how many rows there are."""
    config = with_rows(model.config, before, after)
    return model if config == model.config else dataclasses.replace(model, config=config, source_config=None)


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
    number of rows up; rows beyond the tokens are the mean of all.

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

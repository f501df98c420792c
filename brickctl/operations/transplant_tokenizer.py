"""Transplant a tokenizer: the tokens of another model, each with a row that means here what it means there."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from brickctl.core.document import shown
from brickctl.core.names import BASE, Alias, is_alias
from brickctl.core.rows import RowMap
from brickctl.errors import ManifestInvalid, Misfit
from brickctl.kinds.expert import ExpertKind
from brickctl.kinds.kind import kind_named
from brickctl.operations.operation import Ingredients, Operation, refuse_masked, refuse_stacked, register
from brickctl.operations.tokenizer_files import with_numbers_of
from brickctl.operations.vocabulary_of import vocabulary_of, with_so_many_rows
from brickctl.tensors.arithmetic import cast
from brickctl.tensors.pursuit import pursued
from brickctl.tensors.views import gather_rows
from brickctl.vocabulary.alignment import Member
from brickctl.vocabulary.axis import EMBEDDING
from brickctl.vocabulary.files import CONFIG, taken_from
from brickctl.vocabulary.grown import NewRows
from brickctl.vocabulary.rules import read_multiple
from brickctl.vocabulary.spelling import counterparts, roles_of, spelled
from brickctl.vocabulary.tokenizer import MOST_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from brickctl.core import manifest
    from brickctl.core.document import Table
    from brickctl.core.model import Artifact, LazyModel
    from brickctl.core.nodes import Node
    from brickctl.errors import Place
    from brickctl.operations.vocabulary_of import Vocabulary
    from brickctl.vocabulary.grown import Beginning

Method = Literal["omp", "sub-tokens", "mean"]
METHODS: tuple[Method, ...] = ("omp", "sub-tokens", "mean")
"""How rows are made of tokens that the model lacks; the first where nothing is said."""

_ROLES = "special_tokens_map.json"
_USUAL = 64
_LARGEST_K = 1024
_AT_ONCE = 4096
"""Tokens whose rows are made at once: each time all that both models have is read again."""

_MATRIX = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class TransplantTokenizer:
    """A step that gives the running model the tokenizer of a brick."""

    donor: Alias
    method: Method
    k: int
    multiple: int
    place: Place | None = dataclasses.field(default=None, compare=False)

    reproducible = "bitwise"  # what goes through LAPACK is found in the plan
    computes = True
    takes_layers = True
    inputs = ()

    @property
    def aliases(self) -> tuple[Alias, ...]:
        """The brick whose tokenizer it is."""
        return (self.donor,)

    def document(self) -> Mapping[str, Any]:
        """The step with every default written out."""
        how = {"k": self.k} if self.method == "omp" else {}
        said = {"from": self.donor, "method": self.method, **how, "pad-to-multiple-of": self.multiple}
        return {"op": "transplant-tokenizer", **said}

    def apply(self, artifact: Artifact, ingredients: Ingredients) -> Artifact:
        """Find the tokens that both have, make rows for the others, and take over the files of the tokenizer."""
        refuse_masked(artifact, self.place)
        refuse_stacked(artifact, "transplant", self.place)
        model, donor = artifact.root, self._donor(ingredients)
        ours = vocabulary_of(model, ingredients, cannot="the model cannot have another tokenizer", place=self.place)
        cannot = f"the tokenizer of `{self.donor}` cannot be transplanted"
        theirs = vocabulary_of(donor, ingredients, cannot=cannot, place=self.place)
        crossing = self._crossing(ours, theirs, _same(model, donor, ours, theirs, ingredients))
        tensors = {
            name: self._table(name, node, crossing, donor, theirs) if name in ours.names else node
            for name, node in model.tensors.items()
        }
        root = dataclasses.replace(model, tensors=tensors)
        root = with_so_many_rows(root, ours.rows, len(crossing.rows.rows))
        root, notes = self._with_files(root, ours, theirs, donor, ingredients)
        told = (*artifact.notes, *self._notes(crossing, theirs), *notes)
        return dataclasses.replace(artifact, root=root, notes=told)

    def _donor(self, ingredients: Ingredients) -> LazyModel:
        """The model whose tokenizer it is.

        Raises:
            ManifestInvalid: it is none.
        """
        if not isinstance(kind_named(ingredients.brick(self.donor).kind), ExpertKind):
            hint = "an adapter or a module has the tokens of the base: name a whole model"
            raise ManifestInvalid(f"`{self.donor}` has no tokenizer of its own", place=self.place, hint=hint)
        return ingredients.model(self.donor)

    def _crossing(self, ours: Vocabulary, theirs: Vocabulary, same: Mapping[str, str]) -> _Crossing:
        """What becomes of each of their tokens.

        Raises:
            Misfit: too few tokens are known to both, or there are too many.
        """
        by_number = {number: token for token, number in theirs.tokenizer.ids.items()}
        homes = {number: ours.tokenizer.ids[same[token]] for number, token in by_number.items() if token in same}
        homes = {number: row for number, row in homes.items() if row < ours.rows}
        lacking = tuple(number for number in sorted(by_number) if number not in homes)
        rows = -(-(max(by_number) + 1) // self.multiple) * self.multiple
        common = tuple((number, homes[number]) for number in sorted(homes) if number < theirs.rows)
        made = tuple(number for number in lacking if number < theirs.rows) if self.method == "omp" else ()
        self._check(rows, common if made else None)
        begun: dict[int, Beginning] = {**dict.fromkeys(lacking, ()), **homes}
        if self.method == "sub-tokens":
            begun |= _by_parts(ours, theirs, lacking)
        table = NewRows(rows=[begun.get(number, ()) for number in range(rows)], known=ours.known)
        return _Crossing(rows=table, common=common, made=made, homes=len(homes))

    def _check(self, rows: int, common: Sequence[object] | None) -> None:
        if rows > MOST_ROWS:
            cause = f"there would be {rows:,} rows; brickctl takes up to {MOST_ROWS:,}"
            raise Misfit("these tokens are too many", causes=(cause,), place=self.place)
        if common is not None and len(common) < self.k:
            cause = f"both models have a row for {len(common)} tokens; `k` is {self.k}"
            hint = 'write a smaller `k`, or method = "sub-tokens"'
            raise Misfit("the tokenizers have too little in common", causes=(cause,), place=self.place, hint=hint)

    def _table(self, name: str, node: Node, crossing: _Crossing, donor: LazyModel, theirs: Vocabulary) -> Node:
        """One table with a row for each of their tokens."""
        table = crossing.rows.of(node)
        if not crossing.made or len(node.spec.shape) != _MATRIX:
            return table
        source = donor.node(_counterpart(name, donor, theirs))
        atoms = gather_rows((source,), RowMap.of((0, number) for number, _ in crossing.common))
        twins = gather_rows((node,), RowMap.of((0, row) for _, row in crossing.common))
        parts = [crossing.made[at : at + _AT_ONCE] for at in range(0, len(crossing.made), _AT_ONCE)]
        targets = (gather_rows((source,), RowMap.of((0, number) for number in part)) for part in parts)
        pieces = [cast(pursued(one, atoms, twins, self.k), node.spec.dtype) for one in targets]
        places = {number: (1 + at // _AT_ONCE, at % _AT_ONCE) for at, number in enumerate(crossing.made)}
        origins = (places.get(row, (0, row)) for row in range(table.spec.rows))
        return gather_rows((table, *pieces), RowMap.of(origins))

    def _with_files(
        self, model: LazyModel, ours: Vocabulary, theirs: Vocabulary, donor: LazyModel, ingredients: Ingredients
    ) -> tuple[LazyModel, tuple[str, ...]]:
        """The model with the files of the tokenizer, and its own numbers of tokens in the numbers of that one."""
        brick = ingredients.brick(self.donor)
        before = {number: token for token, number in ours.tokenizer.ids.items()}
        ids = theirs.tokenizer.ids
        member = Member(alias=self.donor, digest=brick.digest, model=donor, rows=theirs.rows, ids=ids)
        model, notes = with_numbers_of(member, model, before, ingredients)
        return dataclasses.replace(model, files=taken_from(model.files, brick.pin.files)), notes

    def _notes(self, crossing: _Crossing, theirs: Vocabulary) -> Iterator[str]:
        count = len(theirs.tokenizer.ids)
        yield f"{crossing.homes} of the {count} tokens of `{self.donor}` are known to the model, and keep its rows"
        lacking = count - crossing.homes
        if self.method == "omp" and lacking:
            ways = f"{len(crossing.made)} others are made of {self.k} each of the {len(crossing.common)} that both have"
            lost = lacking - len(crossing.made)
            more = f"; {lost} have no row in `{self.donor}`, and begin with the mean of all rows" if lost else ""
            yield ways + more
        elif lacking:
            parts = "those of the tokens that their texts were cut into before" if self.method != "mean" else "all rows"
            yield f"{lacking} others begin with the mean of {parts}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Crossing:
    """Their tokens as rows of ours.

    Attributes:
        rows: what every row begins as.
        common: rows there and here of the tokens that both have, in the order of those there.
        made: the rows, there and in the result, that are made of these.
        homes: how many of their tokens are known here.
    """

    rows: NewRows
    common: Sequence[tuple[int, int]]
    made: Sequence[int]
    homes: int


def _same(
    model: LazyModel, donor: LazyModel, ours: Vocabulary, theirs: Vocabulary, ingredients: Ingredients
) -> Mapping[str, str]:
    """For their tokens ours that say the same."""
    roles = [
        roles_of({**(ingredients.document(one, _ROLES) or {}), **(ingredients.document(one, CONFIG) or {})})
        for one in (model, donor)
    ]
    return counterparts(ours.tokenizer, theirs.tokenizer, *roles)


def _by_parts(ours: Vocabulary, theirs: Vocabulary, lacking: Sequence[int]) -> dict[int, Beginning]:
    """The rows of what our tokenizer cuts the texts of their tokens into; none for half a letter, which is no text."""
    said = spelled(theirs.tokenizer)
    texts = {number: said[token] for token, number in theirs.tokenizer.ids.items()}
    readable = {number: _text(texts[number]) for number in lacking}
    parts = ours.parts([text or "" for text in readable.values()])
    return {number: tuple(row for row in part if row < ours.rows) for number, part in zip(readable, parts, strict=True)}


def _text(said: bytes) -> str | None:
    try:
        return said.decode()
    except UnicodeDecodeError:
        return None


def _counterpart(name: str, donor: LazyModel, theirs: Vocabulary) -> str:
    """Their table that is to them what `name` is to us: a head that is tied there is the embedding."""
    matrices = [other for other in theirs.names if len(donor.node(other).spec.shape) == _MATRIX]
    is_embedding = EMBEDDING.search(name) is not None
    alike = [other for other in matrices if (EMBEDDING.search(other) is not None) is is_embedding]
    return name if name in alike else next(iter(alike or matrices))


def read_transplant_tokenizer(step: manifest.Step) -> Operation:
    """Read `{ op = "transplant-tokenizer", from = NAME, method = "omp", k = 64, pad-to-multiple-of = 1 }`.

    The running model gets the tokenizer of a brick, any whole model, with its files and its numbers. A token that the
    model has too, by its bytes or as the one that begins or ends a text, keeps the row that it has here. `method` says
    how the others get theirs, in the embedding and in a head that is not tied:

    - `omp`: orthogonal matching pursuit, https://arxiv.org/abs/2506.06607. The row of the token in the brick is
      approximated by a sum of the rows of `k` tokens that both models have; the same sum of the rows here is the new
      row. What mergekit-tokensurgeon does.
    - `sub-tokens`: the mean of the rows of what the old tokenizer cuts the token into.
    - `mean`: the mean of the rows of all old tokens.

    New tokens that have no row in the brick, rows without a token, and what is new in a head's bias get that mean too.
    The brick may have another architecture and width; nothing else of it is used. Numbers of tokens in config.json and
    generation_config.json follow their tokens, or are those of the brick where it lacks one.
    """
    table = step.table.fresh()
    donor, method = _read_donor(table), table.string_or_none("method")
    k, multiple = table.integer_or_none("k"), read_multiple(table)
    table.finish()
    chosen = next((one for one in METHODS if one == (method or METHODS[0])), None)
    if chosen is None:
        hint = f"write one of {', '.join(METHODS)}"
        raise table.error(f"`method` may not be `{shown(method)}`", key="method", hint=hint)
    if k is not None and (chosen != "omp" or not 1 <= k <= _LARGEST_K):
        message = f"`k` must be from 1 to {_LARGEST_K}" if chosen == "omp" else f"`k` means nothing to `{chosen}`"
        raise table.error(message, key="k", hint='64 is usual, with method = "omp"')
    return TransplantTokenizer(
        donor=donor, method=chosen, k=_USUAL if k is None else k, multiple=multiple, place=step.place
    )


def _read_donor(table: Table) -> Alias:
    """The brick whose tokenizer is taken."""
    if not table.has("from"):
        hint = 'write from = "NAME": a whole model among [bricks]'
        raise table.missing("a transplant-tokenizer needs `from`", "from", hint=hint)
    name = table.string("from")
    if not is_alias(name) or name == BASE:
        message = "`from` may not be the base" if name == BASE else f"{table.named('from')} is no name of a brick"
        raise table.error(message, key="from", hint="name another whole model among [bricks]")
    return Alias(name)


register("transplant-tokenizer", read_transplant_tokenizer)

"""Who takes part in one vocabulary, with which tokens and rows, and what the tokens of the result are."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.document import shown
from brickctl.core.names import BASE, Alias
from brickctl.errors import ManifestInvalid, Misfit, Unsupported, asked_for
from brickctl.kinds.base import whole_model
from brickctl.kinds.expert import ExpertKind
from brickctl.kinds.kind import kind_named
from brickctl.vocabulary.alignment import Member
from brickctl.vocabulary.axis import rows_of, vocabulary_tensors
from brickctl.vocabulary.files import is_table
from brickctl.vocabulary.rules import UNION
from brickctl.vocabulary.tokenizer import FILE, MOST_ROWS
from brickctl.vocabulary.union import Addition, extend

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brickctl.core.model import LazyModel
    from brickctl.errors import Place
    from brickctl.merging.method import Space
    from brickctl.operations.operation import Ingredients
    from brickctl.vocabulary.rules import TokenizerChoice, TokenRule
    from brickctl.vocabulary.tokenizer import Tokenizer

_SAVE = 'save it with transformers, which writes tokenizer.json; or match rows by number: match = "id"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """The models of one merge, the running one first.

    Attributes:
        base: the number of the base, 0 where the running model is it.
        home: the number of the member whose rows come before those of others.
        source: the number of the member whose tokenizer the result has, or is made from.
        numbers: of the bricks that are whole models.
        names: the tensors with a row for every token.
        tokens: of each row of the result; None for a row beyond them.
        tokenizer: the one to write; None where the source's files stay as they are.
    """

    all: tuple[Member, ...]
    base: int
    home: int
    source: int
    numbers: Mapping[Alias, int]
    names: tuple[str, ...]
    tokens: Sequence[str | None]
    tokenizer: Tokenizer | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Merging:
    """What a merge says that matters for its vocabulary."""

    choice: TokenizerChoice | None
    aliases: Sequence[Alias]
    space: Space
    place: Place | None


def gather_members(merging: Merging, choice: TokenizerChoice, model: LazyModel, ingredients: Ingredients) -> Members:
    """The members of a merge, made sure to fit together.

    Raises:
        Misfit, Unsupported, ManifestInvalid, IntegrityFault.
    """
    found = _Gathering(choice, merging.place, model, ingredients)
    found.add_bricks(dict.fromkeys((*merging.aliases, *choice.aliases)))
    home = 0 if merging.space == "weight" else found.base
    for number, member in enumerate(found.members):
        found.check_shapes(member)
        if number != home and member.alias == BASE:  # of the running model and the base one counts
            found.members[number] = dataclasses.replace(member, counts=False)
    for token, rule in choice.tokens.items():
        found.check_rule(token, rule)
    source, tokenizer = found.source(), found.result()
    changed = tokenizer if tokenizer is not found.tokenizers[source] else None
    return Members(
        all=tuple(found.members),
        base=found.base,
        home=home,
        source=source,
        numbers=found.numbers,
        names=found.names,
        tokens=found.rows(source, changed),
        tokenizer=changed,
    )


class _Gathering:
    """Members as they are found."""

    def __init__(
        self, choice: TokenizerChoice, place: Place | None, model: LazyModel, ingredients: Ingredients
    ) -> None:
        self._choice = choice
        self._place = place
        self._ingredients = ingredients
        self.members: list[Member] = []
        self.tokenizers: list[Tokenizer | None] = []
        self.numbers: dict[Alias, int] = {}
        self._add(BASE, model)
        self.base = 0
        if model.tensors != ingredients.base.tensors or model.files.get(FILE) != ingredients.base.files.get(FILE):
            self.base = 1
            self._add(BASE, ingredients.base)
        names = vocabulary_tensors(ingredients.base)
        self.names = tuple(name for name in vocabulary_tensors(model) if name in names)

    def add_bricks(self, aliases: Mapping[Alias, None]) -> None:
        """Add the bricks that are whole models; all others have the tokens of the base."""
        for alias in aliases:
            brick = self._ingredients.brick(alias)
            if alias != BASE and isinstance(kind_named(brick.kind), ExpertKind):
                self.numbers[alias] = len(self.members)
                self._add(alias, whole_model(brick))

    def _add(self, alias: Alias, model: LazyModel) -> None:
        rows = rows_of(model)
        if rows is None or rows > MOST_ROWS:
            cause = "no tensor of it is named as an embedding of tokens is"
            cause = cause if rows is None else f"its embedding has {rows:,} rows; brickctl takes up to {MOST_ROWS:,}"
            place = self._ingredients.brick(alias).required_by
            hint = "leave `tokenizer` out: what has no tokens is merged without a word of them"
            raise Misfit(f"`{alias}` has no vocabulary to merge", causes=(cause,), place=place, hint=hint)
        tokenizer = self._ingredients.tokenizer(model)
        ids = self._ids(alias, model, rows, tokenizer)
        digest = self._ingredients.brick(alias).digest
        self.members.append(Member(alias=alias, digest=digest, model=model, rows=rows, ids=ids))
        self.tokenizers.append(tokenizer)

    def _ids(self, alias: Alias, model: LazyModel, rows: int, tokenizer: Tokenizer | None) -> Mapping[str, int]:
        """Which token has which number: as the tokenizer says, or as the base has it where nothing says otherwise."""
        if tokenizer is not None and (not self.members or self.tokenizers[0] is not None):
            return tokenizer.ids
        if not self.members:  # tokens without a text go by their numbers
            return {f"#{number}": number for number in range(rows)}
        first = self.members[0]
        if tokenizer is None and rows == first.rows and _says_nothing_else(model, first.model):
            return first.ids
        named = BASE if self.tokenizers[0] is None else alias
        cause = f"`{named}` has no {FILE}, so nobody can tell which of its rows is which token"
        place = self._ingredients.brick(named).required_by
        raise Unsupported("these vocabularies cannot be compared", causes=(cause,), place=place, hint=_SAVE)

    def check_shapes(self, member: Member) -> None:
        """Make sure that a member has every tensor of the vocabulary, in the width of the running model."""
        theirs = vocabulary_tensors(member.model)
        for name in self.names:
            width = self.members[0].model.node(name).spec.shape[1:]
            if name not in theirs or member.model.node(name).spec.shape[1:] != width:
                shape = [member.rows, *width]
                cause = f"`{member.alias}` has {member.rows} rows of tokens, and no `{name}` of the shape {shape}"
                place = self._ingredients.brick(member.alias).required_by
                hint = "models of one architecture and width have one vocabulary in common; set [base] to such a one"
                raise Misfit(f"`{member.alias}` does not fit the base", causes=(cause,), place=place, hint=hint)

    def check_rule(self, token: str, rule: TokenRule) -> None:
        """Make sure that the row that a rule names is there."""
        if self.tokenizers[0] is None:
            cause = f"`{BASE}` has no {FILE}"
            raise Unsupported("rules for tokens need their texts", causes=(cause,), place=self._place, hint=_SAVE)
        if rule.brick is None:
            return
        number = self.base if rule.brick == BASE else self.numbers.get(rule.brick)
        if number is None:
            hint = f"an adapter or a module has the rows of the base: name `{BASE}`, or an expert"
            message = f"`{rule.brick}` has no row of its own for `{shown(token)}`"
            raise ManifestInvalid(message, place=self._place, hint=hint)
        member = self.members[number]
        wanted = token if rule.token is None else rule.token
        there = member.row(wanted) is not None if rule.id is None else 0 <= rule.id < member.rows
        if not there:
            what = f"the token `{shown(wanted)}`" if rule.id is None else f"the row {rule.id}"
            message = f"`{rule.brick}` does not have {what}, which the rule for `{shown(token)}` names"
            hint = f"it has {member.rows} rows; name a token that its {FILE} has"
            raise ManifestInvalid(message, place=self._place, hint=hint)

    def source(self) -> int:
        """The member whose tokenizer is taken, or is added to."""
        if self._choice.source in {BASE, UNION}:
            return 0
        number = self.numbers.get(self._choice.source)
        if number is None:
            hint = f"an adapter or a module has the tokens of the base: write `{BASE}`, or name an expert"
            message = f"`{self._choice.source}` has no vocabulary of its own"
            raise ManifestInvalid(message, place=self._place, hint=hint)
        return number

    def result(self) -> Tokenizer | None:
        """The tokenizer of the result; the very one of the source where nothing is added to it."""
        start, known = self.tokenizers[self.source()], self._additions()
        if self._choice.source == UNION and start is None:
            cause = f"`{BASE}` has no {FILE}"
            raise Unsupported("there is no union of these tokenizers", causes=(cause,), place=self._place, hint=_SAVE)
        if start is None:
            return None
        with asked_for(self._place):
            return extend(start, known if self._choice.source == UNION else (), self._choice.tokens, known)

    def _additions(self) -> list[Addition]:
        """The tokenizers of all members, in the order of their digests."""
        pairs = sorted(zip(self.members, self.tokenizers, strict=True), key=lambda pair: pair[0].digest)
        return [Addition(alias=one.alias, tokenizer=found, rows=one.rows) for one, found in pairs if found is not None]

    def _has_a_row(self, token: str) -> bool:
        """Whether a union has a row for a token for which the base has only a number."""
        return self._choice.source == UNION and any(member.row(token) is not None for member in self.members)

    def rows(self, source: int, changed: Tokenizer | None) -> list[str | None]:
        """The token of every row; as many rows as the source has, and more where its tokens or a multiple need them."""
        member = self.members[source]
        ids = member.ids if changed is None else changed.ids
        is_wanted = self._has_a_row if changed is None else lambda _: True
        more = (number + 1 for token, number in ids.items() if number >= member.rows and is_wanted(token))
        count = max((member.rows, *more))
        multiple = self._choice.multiple
        tokens: list[str | None] = [None] * (-(-count // multiple) * multiple)
        for token, number in ids.items():
            if number < len(tokens):
                tokens[number] = token
        return tokens


def _says_nothing_else(model: LazyModel, first: LazyModel) -> bool:
    """Whether a model has no table of tokens, or the very ones of another."""
    own = {path: file for path, file in model.files.items() if is_table(path)}
    return all(first.files.get(path) == file for path, file in own.items())

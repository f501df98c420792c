"""Models in one vocabulary: for every row of the result, the row of each model that means the same token.

| the model ... | its row |
| --- | --- |
| has the token, and no rule forces another row | its own |
| lacks it, and there is a rule | what the rule says |
| lacks it, and one model has it | the row of that one |
| lacks it, and the base has it | the base's row, unless `missing = "mean"` |
| lacks it, and several others have it | the mean of their rows |
| lacks it, as all do | zeros |

A row without a token is that of the model whose tokenizer the result has, in models that number the same tokens
otherwise; rows that not even that model has are the mean of its rows of tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Map, Op
from brickctl.core.regions import Spec
from brickctl.core.rows import RowMap
from brickctl.tensors.arithmetic import cast
from brickctl.tensors.averages import mean_of, mean_row
from brickctl.tensors.views import gather_rows
from brickctl.vocabulary.axis import as_matrix, shaped_as

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brickctl.core.digests import Sha256
    from brickctl.core.model import LazyModel
    from brickctl.core.names import Alias
    from brickctl.core.nodes import Node
    from brickctl.vocabulary.rules import Missing, TokenRule

Origin = tuple[int, int]
"""Where a row comes from: the number of a source, and a row of it. Sources are members, then those of `_Others`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A model, and which of its rows means which token.

    `counts`: whether it is asked for rows that others lack.
    """

    alias: Alias
    digest: Sha256
    model: LazyModel
    rows: int
    ids: Mapping[str, int]
    counts: bool = True

    def row(self, token: str) -> int | None:
        """The row of a token; None where there is none, even if the tokenizer has a number for it."""
        number = self.ids.get(token)
        return None if number is None or number >= self.rows else number


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The vocabulary of the result.

    Attributes:
        tokens: of each row; None for a row beyond the tokens.
        source: the number of the member whose rows beyond the tokens are kept.
        base: the number of the member whose row comes before all others.
    """

    tokens: Sequence[str | None]
    source: int
    base: int
    rules: Mapping[str, TokenRule] = field(default_factory=dict)
    missing: Missing = "base"


class Alignment:
    """Several models on their way into one vocabulary."""

    def __init__(self, members: Sequence[Member], wanted: Wanted) -> None:
        self._members = members
        self._wanted = wanted
        self._donors = sorted(
            (number for number, member in enumerate(members) if member.counts), key=lambda one: members[one].digest
        )
        self._numbers = {member.alias: number for number, member in enumerate(members) if member.counts}
        ids = members[wanted.source].ids
        self._alike = [number for number, member in enumerate(members) if member.ids is ids or member.ids == ids]
        self._zeros, self._mean = len(members), len(members) + 1
        self._averages: dict[tuple[int, ...], list[str]] = {}
        self._common = [self._common_origin(row, token) for row, token in enumerate(wanted.tokens)]
        nowhere = (
            token for token, (source, _) in zip(wanted.tokens, self._common, strict=True) if source == self._zeros
        )
        self.homeless = tuple(token for token in nowhere if token is not None and self._is_homeless(token))
        """The tokens that have a row in no model."""

    def tensors(self, number: int, names: Sequence[str]) -> dict[str, Node]:
        """The tensors with these names of a member, each with a row for every token of the result."""
        found = [self._own_row(number, row, token) for row, token in enumerate(self._wanted.tokens)]
        rows = [self._common[row] if own is None else (number, own) for row, own in enumerate(found)]
        used = list(dict.fromkeys(source for source, _ in rows))  # a source that gives no row is left out
        places = {source: at for at, source in enumerate(used)}
        table = RowMap.of((places[source], row) for source, row in rows)
        return {name: self._gathered(name, used, table) for name in names}

    def change(self, delta: Node, owner: int) -> Node:
        """What a brick adds to the rows of a member, whose tokens it has, in the vocabulary of the result."""
        zeros = 1
        found = [self._own_row(owner, row, token) for row, token in enumerate(self._wanted.tokens)]
        rows = [(zeros, row) if own is None else (0, own) for row, own in enumerate(found)]
        flat = as_matrix(delta)
        return shaped_as(delta, gather_rows((flat, self._nothing(flat)), RowMap.of(rows)))

    def _is_homeless(self, token: str) -> bool:
        rule = self._wanted.rules.get(token)
        is_ruled = rule is not None and (rule.zero or rule.brick is not None)
        return not is_ruled and all(member.row(token) is None for member in self._members)

    def _own_row(self, number: int, row: int, token: str | None) -> int | None:
        """The row of a member that is its own in a row of the result; None where it is somebody else's."""
        member = self._members[number]
        if token is None:
            return row if number in self._alike and row < member.rows else None
        return None if self._is_forced(token) else member.row(token)

    def _is_forced(self, token: str) -> bool:
        rule = self._wanted.rules.get(token)
        return rule is not None and rule.force

    def _common_origin(self, row: int, token: str | None) -> Origin:
        """Where a row comes from in the models that lack it."""
        source = self._wanted.source
        if token is None:
            return (source, row) if row < self._members[source].rows else (self._mean, 0)
        rule = self._wanted.rules.get(token)
        if rule is not None and (rule.zero or rule.brick is not None):
            return self._by_rule(rule, row, token)
        having = [(number, found) for number in self._donors if (found := self._members[number].row(token)) is not None]
        if not having:
            return self._zeros, row
        if len(having) == 1:
            return having[0]
        if self._wanted.missing == "base":
            of_base = next((origin for origin in having if origin[0] == self._wanted.base), None)
            if of_base is not None:
                return of_base
        return self._average(tuple(number for number, _ in having), token)

    def _by_rule(self, rule: TokenRule, row: int, token: str) -> Origin:
        """The row that a rule names; that it is there was made sure of when the rule was read."""
        if rule.brick is None:
            return self._zeros, row
        number = self._numbers[rule.brick]
        found = self._members[number].row(token if rule.token is None else rule.token) if rule.id is None else rule.id
        return number, found or 0

    def _average(self, numbers: tuple[int, ...], token: str) -> Origin:
        """A row of the table of means over these members."""
        table = self._averages.setdefault(numbers, [])
        table.append(token)
        return self._mean + 1 + list(self._averages).index(numbers), len(table) - 1

    def _gathered(self, name: str, used: Sequence[int], table: RowMap) -> Node:
        matrices = [self._source(source, name) for source in used]
        return shaped_as(self._members[0].model.node(name), gather_rows(matrices, table))

    def _source(self, number: int, name: str) -> Node:
        if number < len(self._members):
            return as_matrix(self._members[number].model.node(name))
        if number == self._zeros:
            return self._nothing(as_matrix(self._members[0].model.node(name)))
        if number == self._mean:
            return mean_row(self._rows_of_tokens(name))
        numbers, tokens = list(self._averages.items())[number - self._mean - 1]
        return mean_of([self._chosen(name, member, tokens) for member in numbers])

    def _nothing(self, like: Node) -> Node:
        """A row of zeros for every token, in the type of another matrix."""
        spec = Spec(like.spec.dtype, (len(self._wanted.tokens), like.spec.columns))
        return Map(spec, Op.make("zeros", 1), ())

    def _rows_of_tokens(self, name: str) -> Node:
        member = self._members[self._wanted.source]
        numbers = sorted(number for number in member.ids.values() if number < member.rows)
        return gather_rows((as_matrix(member.model.node(name)),), RowMap.of((0, number) for number in numbers))

    def _chosen(self, name: str, number: int, tokens: Sequence[str]) -> Node:
        member = self._members[number]
        rows = RowMap.of((0, member.row(token) or 0) for token in tokens)
        return cast(gather_rows((as_matrix(member.model.node(name)),), rows), DType.F64)

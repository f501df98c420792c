"""What a merge says of tokens: whose the result has, and where the row of a token comes from that a model lacks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from brickctl.core.names import BASE, Alias, is_alias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.document import Table

UNION = "union"
_LARGEST_MULTIPLE = 1 << 16
_LONGEST = 1000

Matching = Literal["token", "id"]
Missing = Literal["base", "mean"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRule:
    """Where the row of one token comes from, in the models that lack it or, by `force`, in all.

    With neither `brick` nor `zero` it is what it is without a rule. `token` or `id`: another token of that brick.
    """

    brick: Alias | None = None
    token: str | None = None
    id: int | None = None
    zero: bool = False
    force: bool = False

    def document(self) -> dict[str, Any]:
        """As it is written."""
        keys = {"brick": self.brick, "token": self.token, "id": self.id, "zero": self.zero, "force": self.force}
        return {key: value for key, value in keys.items() if value is not None and value is not False}


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerChoice:
    """The key `tokenizer` of a merge.

    Attributes:
        source: `base` (the running model), `union`, or a brick.
        match: whether rows of models go together by their token, or by their number.
        missing: what a token gets that the base and others have: the base's row, or the mean of all that have it.
        tokens: rules, by token; tokens that the source does not have are added.
        multiple: the number of rows is rounded up to a multiple of this.
    """

    source: Alias
    match: Matching = "token"
    missing: Missing = "base"
    tokens: Mapping[str, TokenRule] = field(default_factory=dict)
    multiple: int = 1

    @property
    def aliases(self) -> tuple[Alias, ...]:
        """The bricks that it names."""
        named = [rule.brick for rule in self.tokens.values() if rule.brick is not None]
        source = [] if self.source in {UNION, BASE} else [self.source]
        return tuple(dict.fromkeys((*source, *(alias for alias in named if alias != BASE))))

    def document(self) -> dict[str, Any]:
        """Every key written out."""
        return {
            "source": self.source,
            "match": self.match,
            "missing": self.missing,
            "tokens": {token: rule.document() for token, rule in self.tokens.items()},
            "pad-to-multiple-of": self.multiple,
        }


def read_choice(table: Table) -> TokenizerChoice | None:
    """Read the key `tokenizer`: `"base"`, `"union"`, the name of a brick, or a table; None where it is absent.

    Raises:
        ManifestInvalid: (or whatever the table raises) a value that cannot be.
    """
    if isinstance(table.take("tokenizer"), str):
        return TokenizerChoice(source=_source(table, "tokenizer"))
    inner = table.table_or_none("tokenizer")
    if inner is None:
        return None
    choice = TokenizerChoice(
        source=_source(inner, "source"),
        match=_one_of(inner, "match", ("token", "id")),
        missing=_one_of(inner, "missing", ("base", "mean")),
        tokens=_read_rules(inner),
        multiple=read_multiple(inner),
    )
    inner.finish()
    if choice.match == "id" and (choice.tokens or choice.multiple != 1 or choice.source == UNION):
        hint = 'leave `match` out: rows go together by token, and `match = "id"` takes them as they stand'
        raise inner.error('`match = "id"` cannot add tokens or rows', key="match", hint=hint)
    return choice


def _source(table: Table, key: str) -> Alias:
    text = table.string(key)
    if not is_alias(text):
        hint = 'write "base", "union", or the name of a brick'
        raise table.error(f"{table.named(key)} is no source of a tokenizer", key=key, hint=hint)
    return Alias(text)


def _one_of(table: Table, key: str, choices: tuple[Any, ...]) -> Any:
    value = table.string_or_none(key)
    if value is not None and value not in choices:
        hint = f"write one of {', '.join(choices)}"
        raise table.error(f"{table.named(key)} may not be {value!r}", key=key, hint=hint)
    return value or choices[0]


def read_multiple(table: Table) -> int:
    """Read the key `pad-to-multiple-of`; 1 where it is absent."""
    multiple = table.integer_or_none("pad-to-multiple-of")
    if multiple is not None and not 1 <= multiple <= _LARGEST_MULTIPLE:
        message = f"{table.named('pad-to-multiple-of')} must lie in [1, {_LARGEST_MULTIPLE}]"
        raise table.error(message, key="pad-to-multiple-of", hint="64 is usual")
    return multiple or 1


def _read_rules(table: Table) -> dict[str, TokenRule]:
    rules = table.table_or_none("tokens")
    found: dict[str, TokenRule] = {}
    for token in () if rules is None else rules.keys():
        inner = rules.table_or_none(token) if rules is not None else None
        if inner is not None:
            found[token] = _read_rule(inner, token)
    return found


def _read_rule(table: Table, token: str) -> TokenRule:
    if not 0 < len(token) <= _LONGEST:
        raise table.error("a token is a text that is not empty", hint="such as `<|im_start|>`")
    brick = table.string_or_none("brick")
    rule = TokenRule(
        brick=None if brick is None else Alias(brick),
        token=_text(table, "token"),
        id=table.integer_or_none("id"),
        zero=table.boolean_or_none("zero") or False,
        force=table.boolean_or_none("force") or False,
    )
    table.finish()
    if (rule.token is not None or rule.id is not None) and (rule.brick is None or None not in {rule.token, rule.id}):
        hint = 'write `{ brick = "NAME", token = "<s>" }`, or an `id` instead of `token`'
        raise table.error(f"{table.where} does not name one token of one brick", hint=hint)
    if rule.zero and rule.brick is not None:
        raise table.error(f"{table.where} names a brick and zero", key="zero", hint="leave one of the two out")
    return rule


def _text(table: Table, key: str) -> str | None:
    """A token, which may hold any character."""
    value = table.take(key)
    if table.has(key) and not isinstance(value, str):
        raise table.error(f"{table.named(key)} must be the text of a token", key=key)
    return value if isinstance(value, str) else None

"""What a mergekit recipe says of tokens and of the chat template, and the same in the words of brick.toml."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from brickctl.core.document import shown
from brickctl.errors import Unsupported, UsageFault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from brickctl.core.document import Table
    from brickctl.core.names import Alias
    from brickctl.errors import Place

_M = TypeVar("_M")
_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_OTHERS = ("alpaca", "exaone", "llama3", "mistral")


@dataclass(frozen=True, slots=True, kw_only=True)
class Token(Generic[_M]):
    """A rule for one token: its source is a model, one token of a model, zero, or what it is without a rule."""

    model: _M | None = None
    token: str | None = None
    id: int | None = None
    zero: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens(Generic[_M]):
    """Whose tokens the result has: `base`, `union`, or a model."""

    source: _M | str
    tokens: Mapping[str, Token[_M]]
    multiple: int | None = None

    def models(self) -> Iterator[_M]:
        """The models that it names."""
        if not isinstance(self.source, str):
            yield self.source
        yield from (rule.model for rule in self.tokens.values() if rule.model is not None)


def read_tokens(top: Table, read_model: Callable[[Table, str], _M]) -> Tokens[_M] | None:
    """Read `tokenizer_source` or `tokenizer`; None where neither is there: the tokens of the base, row by row."""
    inner = top.table_or_none("tokenizer") if top.take("tokenizer") is not None else None
    short = top.take("tokenizer_source")
    if inner is None:
        return None if short is None else Tokens(source=_source(top, "tokenizer_source", read_model), tokens={})
    if short is not None:
        raise top.error(
            "`tokenizer_source` and `tokenizer` both stand here", key="tokenizer", hint="remove one of them"
        )
    source = "union" if inner.take("source") is None else _source(inner, "source", read_model)
    rules = inner.table_or_none("tokens") if inner.take("tokens") is not None else None
    tokens = {} if rules is None else {token: _rule(rules, token, read_model) for token in rules.keys()}  # noqa: SIM118
    multiple = inner.integer_or_none("pad_to_multiple_of") if inner.take("pad_to_multiple_of") is not None else None
    inner.finish()
    return Tokens(source=source, tokens=tokens, multiple=multiple)


def _source(table: Table, key: str, read_model: Callable[[Table, str], _M]) -> _M | str:
    value = table.take(key)
    return value if isinstance(value, str) and value in {"base", "union"} else read_model(table, key)


def _rule(rules: Table, token: str, read_model: Callable[[Table, str], _M]) -> Token[_M]:
    table = rules.table_or_none(token)
    if table is None:
        raise rules.error(f"{rules.named(token)} is empty", key=token)
    force = table.boolean_or_none("force") or False
    source = table.take("source")
    kind = source.get("kind") if isinstance(source, dict) else None
    if kind is None:
        found = Token(model=None if source is None else read_model(table, "source"), force=force)
    else:
        inner = table.table_or_none("source")
        if inner is None:
            raise table.error(f"{table.named('source')} is empty", key="source")
        found = _of_kind(inner, inner.string("kind"), read_model, force=force)
        inner.finish()
    table.finish()
    return found


def _of_kind(table: Table, kind: str, read_model: Callable[[Table, str], _M], *, force: bool) -> Token[_M]:
    if kind == "zero":
        return Token(zero=True, force=force)
    if kind != "model_token":
        hint = "write `model_token` or `zero`"
        raise table.error(f"`{shown(kind)}` is no kind of source for a token", key="kind", hint=hint)
    number = table.integer_or_none("token_id") if table.take("token_id") is not None else None
    text = table.take("token")
    if (text is None) == (number is None) or not isinstance(text, str | None):
        raise table.error(f"{table.where} names one token, by `token` or by `token_id`", hint="leave one of them out")
    return Token(model=read_model(table, "model"), token=text, id=number, force=force)


def read_vote(top: Table) -> Place | None:
    """Where `chat_template: auto` stands, if it does: the template that most models have."""
    return top.place("chat_template") if top.take("chat_template") == "auto" else None


def vote_refused(place: Place, names: Iterable[Alias]) -> Unsupported:
    """The error about `chat_template: auto`, with the step that takes its place; `names` may have a template."""
    steps = " or ".join(f'{{ op = "chat-template", brick = "{name}" }}' for name in names)
    return Unsupported(
        "`chat_template: auto` is the template that most models have, and a recipe does not tell which that is",
        causes=("it stands in the models, and `brickctl import` reads none of them",),
        place=place,
        hint=f"remove `chat_template: auto`, import, and add as the last step of `apply`: {steps}",
    )


def read_template(top: Table) -> str | None:
    """Read `chat_template`: a Jinja template, or the name of one; None for `auto`, which `read_vote` reads.

    Raises:
        Unsupported: a name of a template that only mergekit has.
    """
    value = top.take("chat_template")
    if not isinstance(value, str | None):
        raise top.error(f"{top.named('chat_template')} must be a text", key="chat_template")
    if not value or value == "auto":
        return None
    if "{" in value:
        return value
    if value == "chatml":
        return _CHATML
    if value in _OTHERS:
        step = f'{{ op = "chat-template", file = "{value}.jinja" }}'
        raise Unsupported(
            f"`chat_template: {value}` is a template that mergekit brings with it, and brickctl does not",
            place=top.place("chat_template"),
            hint=f"remove it, import, put mergekit/_data/chat_templates/{value}.jinja of mergekit beside brick.toml, "
            f"and add as the last step of `apply`: {step}",
        )
    raise UsageFault(
        f"`{shown(value)}` is no chat template", place=top.place("chat_template"), hint="write it in Jinja"
    )


def written(tokens: Tokens[Any], alias: Callable[[Any], Alias], *, has_base: bool) -> str:
    """TOML: the value of `tokenizer` in a merge step.

    A token that several models have and another lacks is the base's; mergekit takes the mean where no base is named.
    """
    source = tokens.source if isinstance(tokens.source, str) else alias(tokens.source)
    keys = [("source", _toml(source))]
    if not has_base:
        keys.append(("missing", _toml("mean")))
    if tokens.multiple is not None:
        keys.append(("pad-to-multiple-of", str(tokens.multiple)))
    if tokens.tokens:
        rules = (f"{_toml(token)} = {_written_rule(rule, alias)}" for token, rule in tokens.tokens.items())
        keys.append(("tokens", f"{{ {', '.join(rules)} }}"))
    return _toml(source) if len(keys) == 1 else f"{{ {', '.join(f'{key} = {value}' for key, value in keys)} }}"


def _written_rule(rule: Token[Any], alias: Callable[[Any], Alias]) -> str:
    keys = [] if rule.model is None else [f"brick = {_toml(alias(rule.model))}"]
    keys += [] if rule.token is None else [f"token = {_toml(rule.token)}"]
    keys += [] if rule.id is None else [f"id = {rule.id}"]
    keys += ["zero = true"] if rule.zero else []
    keys += ["force = true"] if rule.force else []
    return f"{{ {', '.join(keys)} }}" if keys else "{}"


def written_template(text: str) -> str:
    """TOML: the step that sets a chat template."""
    return f'{{ op = "chat-template", text = {_toml(text)} }}'


def _toml(text: str) -> str:
    """A basic string: as JSON has it, but for one control character that JSON leaves as it is."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")

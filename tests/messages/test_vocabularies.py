"""What is said of tokens that cannot go together, of rules that name nothing, and of chat templates."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.messages.laying import manifest, stored
from tests.support import sandbox as bricks

if TYPE_CHECKING:
    from collections.abc import Callable

    from syrupy.assertion import SnapshotAssertion

    from tests.support.sandbox import Outcome, Sandbox


def tokenizer(first: str = "a", type_: str = "WordLevel", **parts: Any) -> bytes:
    """A tokenizer of sixteen words that begin with a letter."""
    vocab = {f"{first}{number}": number for number in range(16)}
    return json.dumps({"added_tokens": [], "model": {"type": type_, "vocab": vocab}, **parts}).encode()


def merge(tokens: str) -> str:
    return f'{{ op = "merge", method = "task_arithmetic", tokenizer = {tokens}, bricks = {{ sql = 0.5 }} }}'


def rule(text: str) -> str:
    return merge(f'{{ source = "base", tokens = {{ "<x>" = {text} }} }}')


ALIKE = bricks.model(fill=5)
ROWS = {"lm_head.weight": (17, 8), "model.embed_tokens.weight": (17, 8)}
LARGER = {**ALIKE, "model.safetensors": stored({**bricks.model_shapes(), **ROWS})}
REFUSED: dict[str, tuple[dict[str, bytes], str]] = {
    "more rows": (LARGER, manifest()),
    "as many rows, other tokens": ({**ALIKE, "tokenizer.json": tokenizer("b")}, manifest()),
    "another type": ({**ALIKE, "tokenizer.json": tokenizer("b", "WordPiece")}, manifest(merge('"union"'))),
    "another normalizer": (
        {**ALIKE, "tokenizer.json": tokenizer("b", normalizer={"type": "NFC"})},
        manifest(merge('"union"')),
    ),
    "no tokenizer.json": ({**ALIKE, "tokenizer.model": b"x"}, manifest(merge('"union"'))),
    "a damaged tokenizer": ({**ALIKE, "tokenizer.json": b'{"model": 1}'}, manifest(merge('"sql"'))),
    "an adapter for a source": (bricks.adapter(), manifest(merge('"sql"'))),
    "rows that are not as many": (LARGER, manifest(merge('{ source = "sql", match = "id" }'))),
    "a rule with a token that is not there": (
        {**ALIKE, "tokenizer.json": tokenizer()},
        manifest(rule('{ brick = "sql", token = "b1" }')),
    ),
    "a rule with two sources": (ALIKE, manifest(rule('{ brick = "sql", zero = true }'))),
    "a rule without a brick": (ALIKE, manifest(rule('{ token = "a1" }'))),
    "a source that is no name": (ALIKE, manifest(merge('"Union"'))),
    "a misspelt key": (ALIKE, manifest(merge('{ sorce = "union" }'))),
    "a multiple of 0": (ALIKE, manifest(merge('{ source = "union", pad-to-multiple-of = 0 }'))),
    "tokens by number": (ALIKE, manifest(merge('{ source = "union", match = "id" }'))),
    "no chat template": (ALIKE, manifest('{ op = "chat-template", brick = "sql" }')),
    "two chat templates": (ALIKE, manifest('{ op = "chat-template", brick = "sql", text = "x" }')),
}


@pytest.mark.parametrize("name", REFUSED)
def test_tokens_that_are_refused(
    name: str, empty: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    files, text = REFUSED[name]
    empty.write({**bricks.model(), "tokenizer.json": tokenizer()}, "base")
    own = {path: content for path, content in files.items() if content != bricks.model()["tokenizer.json"]}
    empty.write(own, "sql")
    empty.write({"brick.toml": text})
    outcome = empty.run("build")
    assert outcome.code != 0
    assert said(outcome) == snapshot

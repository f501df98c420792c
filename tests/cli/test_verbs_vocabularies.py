"""Tokenizers of bricks on the Hub: read when planning, verified against the lock, before any byte of weights."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support import sandbox as bricks
from tests.support.hub import Hub

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.sandbox import Sandbox

PROJECT = """\
[project]
name = "support"

[base]
source = "hf:acme/base"

[bricks]
chat = { source = "hf:acme/chat" }

[targets.assistant]
apply = [{ op = "merge", method = "task_arithmetic", %sbricks = { chat = 0.5 } }]
"""


def tokenizer(first: str, *, type_: str = "WordLevel") -> bytes:
    """A tokenizer of sixteen words that begin with a letter."""
    vocab = {f"{first}{number}": number for number in range(16)}
    return json.dumps({"added_tokens": [], "model": {"type": type_, "vocab": vocab, "merges": []}}).encode()


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        running.repository("acme/base").commit({**bricks.model(), "tokenizer.json": tokenizer("a")})
        running.repository("acme/chat").commit({**bricks.model(fill=5), "tokenizer.json": tokenizer("b")})
        yield running


@pytest.fixture
def online(hub: Hub, empty: Sandbox) -> Sandbox:
    return replace(empty, variables=hub.environment(empty.home / "hf"))


def test_other_tokens_in_the_same_rows_are_refused_before_any_weight_moves(hub: Hub, online: Sandbox) -> None:
    online.write({"brick.toml": PROJECT % ""})
    outcome = online.spawn("build")
    assert outcome.code == 1
    assert "error: `chat` has other tokens than the base" in outcome.err
    assert "row 0 is `a0` in the base and `b0` in `chat`" in outcome.err
    assert "and 13 more" in outcome.err
    assert "required by: brick.toml line 8" in outcome.err
    assert all(record.range for record in hub.requests if record.weights), "headers come by ranges"


def test_tokenizers_without_a_union_are_refused_before_any_weight_moves(hub: Hub, online: Sandbox) -> None:
    hub.find("acme/chat").commit({"tokenizer.json": tokenizer("b", type_="WordPiece")})
    online.write({"brick.toml": PROJECT % 'tokenizer = "union", '})
    outcome = online.spawn("build")
    assert (outcome.code, "there is no union of these tokenizers" in outcome.err) == (1, True)
    assert all(record.range for record in hub.requests if record.weights), "headers come by ranges"


def test_a_union_is_planned_and_built_and_is_up_to_date_afterwards(hub: Hub, online: Sandbox) -> None:
    online.write({"brick.toml": PROJECT % 'tokenizer = "union", '})
    assert online.spawn("build", "--dry-run").code == 0
    assert all(record.range for record in hub.requests if record.weights), "headers come by ranges"
    assert online.spawn("build").code == 0
    config = json.loads((online.root / "dist/assistant/config.json").read_text())
    assert config["vocab_size"] == 32
    assert online.spawn("verify").code == 0
    assert "up to date" in online.spawn("build").out


def test_a_tokenizer_that_is_not_what_was_locked_is_not_read(online: Sandbox) -> None:
    online.write({"brick.toml": PROJECT % 'tokenizer = "union", '})
    assert online.spawn("install").code == 0
    blobs = [path for path in (online.home / "hf").rglob("*") if path.is_file() and not path.is_symlink()]
    (blob,) = [path for path in blobs if path.read_bytes() == tokenizer("b")]
    blob.write_bytes(tokenizer("c"))
    outcome = online.spawn("build", "--offline")
    assert outcome.code == 4
    assert "tokenizer.json" in outcome.err


def test_a_brick_that_only_gives_its_chat_template_may_have_any_tokens(hub: Hub, online: Sandbox) -> None:
    hub.find("acme/chat").commit({"chat_template.jinja": b"{{ messages }}"})
    step = '[{ op = "chat-template", brick = "chat" }]'
    online.write({"brick.toml": f"{(PROJECT % '').partition('apply')[0]}apply = {step}\n"})
    assert online.spawn("build").code == 0
    assert (online.root / "dist/assistant/chat_template.jinja").read_text() == "{{ messages }}"


@pytest.mark.parametrize(("tokens", "code"), [("", 1), ('tokenizer = "union", ', 0)])
def test_another_number_of_tokens_is_no_obstacle_to_a_lock_where_a_merge_deals_with_it(
    hub: Hub, online: Sandbox, tokens: str, code: int
) -> None:
    rows = {"lm_head.weight": (17, bricks.WIDTH), "model.embed_tokens.weight": (17, bricks.WIDTH)}
    hub.find("acme/chat").commit({"model.safetensors": bricks.weights({**bricks.model_shapes(), **rows})})
    online.write({"brick.toml": PROJECT % tokens})
    outcome = online.spawn("lock")
    assert outcome.code == code, outcome.err
    assert ("has shape [17, 8]; the base has [16, 8]" in outcome.err) == bool(code)

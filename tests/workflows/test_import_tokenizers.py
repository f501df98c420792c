"""What a mergekit recipe says of tokens and of the chat template, in the words of brick.toml."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import TYPE_CHECKING

import pytest
import tomli

from brickctl.core.manifest_format import parse_manifest
from brickctl.core.names import Alias
from brickctl.operations.target import read_recipe
from tests.workflows.mergekit.test_import_recipe import HEAD, WEIGHT, apply_of, imported, manifest

if TYPE_CHECKING:
    from tests.support.sandbox import Sandbox

LINEAR = "merge_method: linear\nmodels:\n- model: acme/a\n- model: acme/b\nparameters: {weight: 1}\n"
TOKENS = """tokenizer:
  source: union
  tokens:
    <|im_start|>: {source: {kind: model_token, model: acme/chat, token: "<|user|>"}, force: true}
    <|im_end|>: {source: {kind: model_token, model: acme/sql, token_id: 2}}
    <pad>: {source: {kind: zero}}
    cat: {source: acme/base}
  pad_to_multiple_of: 64
"""


def test_tokens_and_their_rules_are_written_in_the_words_of_the_manifest(empty: Sandbox) -> None:
    read = manifest(empty, HEAD + WEIGHT + TOKENS)
    assert list(read.bricks) == ["sql", "chat"]  # a model that only gives a token is a brick too
    step = tomli.loads(empty.manifest)["targets"]["merged"]["apply"][0]
    assert step["bricks"] == [{"brick": "sql", "weight": 0.5}]
    assert step["tokenizer"] == {
        "source": "union",
        "pad-to-multiple-of": 64,
        "tokens": {
            "<|im_start|>": {"brick": "chat", "token": "<|user|>", "force": True},
            "<|im_end|>": {"brick": "sql", "id": 2},
            "<pad>": {"zero": True},
            "cat": {"brick": "base"},
        },
    }


@pytest.mark.parametrize(("source", "written"), [("union", "union"), ("base", "base"), ("acme/sql", "sql")])
def test_the_source_of_a_tokenizer_is_a_word_or_the_name_of_a_brick(empty: Sandbox, source: str, written: str) -> None:
    manifest(empty, HEAD + WEIGHT + f"tokenizer_source: {source}\n")
    assert f'method = "task_arithmetic", tokenizer = "{written}", bricks' in apply_of(empty)


def test_without_a_base_a_token_that_a_model_lacks_is_the_mean_of_the_others(empty: Sandbox) -> None:
    manifest(empty, LINEAR + "tokenizer_source: union\n")
    assert 'tokenizer = { source = "union", missing = "mean" }' in apply_of(empty)


def test_a_chat_template_is_the_last_step_and_chatml_is_written_out(empty: Sandbox) -> None:
    text = "{% for message in messages %}\n<|{{ message.role }}|>{% endfor %}"
    manifest(empty, HEAD + WEIGHT + f"chat_template: {json.dumps(text)}\n")
    steps = tomli.loads(empty.manifest)["targets"]["merged"]["apply"]
    assert [step["op"] for step in steps] == ["merge", "chat-template"]
    assert steps[1]["text"] == text
    (empty.root / "brick.toml").unlink()
    manifest(empty, HEAD + WEIGHT + "chat_template: chatml\n")
    assert "<|im_start|>assistant" in tomli.loads(empty.manifest)["targets"]["merged"]["apply"][1]["text"]


STEP = re.compile(r'\{ op = "chat-template", [^}]* \}')


def test_the_template_that_most_models_have_is_refused_with_the_steps_that_may_stand_for_it(empty: Sandbox) -> None:
    recipe = HEAD + WEIGHT + "  - {model: acme/base+acme/lora, parameters: {weight: 1}}\n"
    outcome = imported(empty, recipe + "chat_template: auto\n")
    assert outcome.code == 1
    hint = outcome.err.partition("hint: ")[2]
    assert hint.startswith("remove `chat_template: auto`, import, and add as the last step of `apply`: ")
    steps = STEP.findall(hint)
    assert steps == [f'{{ op = "chat-template", brick = "{name}" }}' for name in ("base", "sql")]  # an adapter has none
    manifest(empty, recipe)
    for step in steps:
        parsed = parse_manifest(empty.manifest.rpartition("]")[0] + f"  {step},\n]\n")
        assert read_recipe(parsed, parsed.targets[Alias("merged")]).operations[-1].document()["op"] == "chat-template"


def test_a_template_that_mergekit_brings_is_refused_with_where_it_lies_and_the_step_that_takes_it(
    empty: Sandbox,
) -> None:
    data = files(pytest.importorskip("mergekit._data.chat_templates"))
    brought = {path.name for path in data.iterdir() if path.name.endswith(".jinja")} - {"chatml.jinja"}
    assert brought
    for name in brought:
        hint = imported(empty, HEAD + WEIGHT + f"chat_template: {name.removesuffix('.jinja')}\n").err.partition("hint")[
            2
        ]
        assert f"mergekit/_data/chat_templates/{name} " in hint
        assert STEP.findall(hint) == [f'{{ op = "chat-template", file = "{name}" }}']


SLICES = """merge_method: passthrough
slices:
- sources: [{model: acme/a, layer_range: [0, 2]}]
- sources: [{model: acme/b, layer_range: [1, 3]}]
"""


def test_a_stitch_keeps_the_tokens_of_the_base_and_may_get_a_template(empty: Sandbox) -> None:
    manifest(empty, f"{SLICES}tokenizer_source: base\nchat_template: chatml\n")
    steps = tomli.loads(empty.manifest)["targets"]["merged"]["apply"]
    assert [step["op"] for step in steps] == ["stitch", "chat-template"]
    assert "tokenizer" not in steps[0]


@pytest.mark.parametrize(
    "tokens",
    ["tokenizer_source: union", "tokenizer_source: acme/b", "tokenizer: {source: base, pad_to_multiple_of: 64}"],
)
def test_slices_with_other_tokens_than_the_bases_are_refused(empty: Sandbox, tokens: str) -> None:
    outcome = imported(empty, f"{SLICES}{tokens}\n")
    assert outcome.code == 1
    assert "with `slices` changes the vocabulary; this brickctl does not" in outcome.err
    assert "recipe.yml line 5" in outcome.err

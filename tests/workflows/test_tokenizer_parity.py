"""Recipes with tokenizers, built by mergekit in float32 and by brickctl: the same row for every token.

mergekit numbers the tokens of a union anew, and not the same way twice; rows are compared by the text of their token.
What it cannot build is not here: tokens that are added to the tokenizer of the base end in a KeyError (here they are in
`tests/operations/test_vocabularies.py`), and `base` without a `base_model` is whichever model comes first by chance.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.models import adapter, weights, worst_ratio
from tests.support.vocabularies import by_token, numbers, speaker

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sandbox import Sandbox

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(importlib.util.find_spec("mergekit") is None, reason="mergekit is not installed"),
]

THREE = "- model: ./base\n- model: ./coder\n- model: ./poet\n"
OTHERS = "- model: ./coder\n  parameters: {weight: 0.7}\n- model: ./poet\n  parameters: {weight: 0.4}\n"
WITH_LORA = "- model: ./base+./lora\n  parameters: {weight: 0.5}\n- model: ./coder\n  parameters: {weight: 0.7}\n"
RULES = """tokenizer:
  source: %s
  tokens:
    <|user|>: {source: {kind: model_token, model: ./coder, token: bird}, force: true}
    fish: {source: ./poet, force: true}
    bi: {source: {kind: zero}}
    <new>: {source: {kind: model_token, model: ./poet, token_id: 7}}
"""


def linear(models: str, tokens: str) -> str:
    return f"merge_method: linear\nmodels:\n{models}parameters: {{weight: 0.4}}\n{tokens}\n"


def deltas(method: str, models: str, tokens: str) -> str:
    return f"merge_method: {method}\nbase_model: ./base\nmodels:\n{models}{tokens}\n"


RECIPES = {
    "union": linear(THREE, "tokenizer_source: union"),
    "base": linear(THREE, "base_model: ./base\ntokenizer_source: base"),
    "base beside the models": linear(OTHERS, "base_model: ./base\ntokenizer_source: union"),
    "model": linear(THREE, "tokenizer_source: ./poet"),
    "deltas union": deltas("task_arithmetic", OTHERS, "tokenizer: {source: union}"),
    "deltas base": deltas("ties", OTHERS, "parameters: {density: 0.6}\ntokenizer: {source: base}"),
    "deltas model": deltas("task_arithmetic", OTHERS, "tokenizer_source: ./coder"),
    "adapter": deltas("task_arithmetic", WITH_LORA, "tokenizer_source: union"),
    "rules in a union": linear(THREE, RULES % "union"),
    "rules in a model": deltas("task_arithmetic", OTHERS, RULES % "./coder"),
    "slerp": deltas("slerp", "- model: ./coder\n", "parameters: {t: 0.3}\ntokenizer_source: union"),
}
THEIRS = """
import pathlib, sys, yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
options = MergeOptions(lora_merge_cache="merged", write_model_card=False, quiet=True)
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.yml")):
    run_merge(MergeConfiguration.model_validate(yaml.safe_load(path.read_text())), str(path.with_suffix("")), options)
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and two other models: some tokens are everyone's, some those of two, some of one; numbers differ."""
    folder = tmp_path_factory.mktemp("models")
    base = speaker(folder / "base", ["cat", "dog"], ["<s>", "</s>", "<|user|>"], seed=1)
    speaker(folder / "coder", ["cat", "bird", "code"], ["<s>", "</s>", "<|tool|>"], seed=2, shuffled=True)
    speaker(folder / "poet", ["bird", "fish", "dog"], ["</s>", "<s>", "<|user|>"], seed=3, shuffled=True)
    adapter(base, folder / "lora", target_modules=["q_proj", "embed_tokens", "lm_head"])
    return folder


@pytest.fixture(scope="module")
def theirs(models: Path) -> Path:
    """Every recipe as mergekit builds it, in one process: starting it takes longer than all of the merges."""
    folder = models / "theirs"
    folder.mkdir()
    for name, text in RECIPES.items():
        (folder / f"{name}.yml").write_text(text)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(models / "hf")}
    command = [sys.executable, "-c", THEIRS, str(folder)]
    done = subprocess.run(
        command, cwd=models, env=environment, check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.mark.parametrize("name", RECIPES)
def test_mergekit_and_brickctl_give_every_token_the_same_row(
    name: str, models: Path, theirs: Path, empty: Sandbox
) -> None:
    empty.write({"recipe.yml": RECIPES[name]})
    for folder in models.iterdir():
        (empty.root / folder.name).symlink_to(folder)
    for arguments in (("import", "recipe.yml"), ("build",)):
        outcome = empty.run(*arguments)
        assert outcome.code == 0, outcome.err
    built = empty.root / "dist" / "merged"
    ours, reference = weights(built), weights(theirs / name)
    assert numbers(built).keys() == numbers(theirs / name).keys()
    assert ours.keys() == reference.keys()
    by_name = by_token(built, ours), by_token(theirs / name, reference)
    for tensor, rows in by_name[0].items():
        found = {token: row for token, row in rows.items() if float(by_name[1][tensor][token].abs().max()) > 0}
        assert worst_ratio(found, by_name[1][tensor]) <= 1e-6
        assert all(not rows[token].any() for token in rows.keys() - found.keys())
        del ours[tensor], reference[tensor]
    assert worst_ratio(ours, reference) <= 1e-6

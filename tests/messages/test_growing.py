"""Every way in which a larger model is refused, and what is told of one: read the snapshot as a user would."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.local_project import local_manifest
from tests.support.models import adapter, edit_config, tiny_model, tuned

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from syrupy.assertion import SnapshotAssertion

    from tests.support.sandbox import Outcome, Sandbox

DEPTH = '{ op = "grow-depth", layers = 5 }'
WIDTH = '{ op = "grow-width", neurons = 72 }'
EXPERTS = '{ op = "grow-experts", experts = 4, active = 2 }'
ADD = '{ op = "add-expert", brick = "mail" }'


def manifest(apply: str) -> str:
    return local_manifest(("lora", "mail"), apply)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, an expert, and an adapter."""
    folder = tmp_path_factory.mktemp("made")
    base = tiny_model(folder / "base", dtype="bfloat16")
    tuned(base, folder / "mail")
    adapter(base, folder / "lora")
    return folder


@pytest.fixture
def laid(empty: Sandbox, made: Path) -> Sandbox:
    shutil.copytree(made, empty.root, dirs_exist_ok=True)
    return empty


STEPS = {
    "depth, no layers": '{ op = "grow-depth" }',
    "depth, another method": DEPTH.replace("layers", 'method = "stitch", layers'),
    "depth, no more layers": DEPTH.replace("5", "3"),
    "depth, behind a stack": f'{{ op = "stack", bricks = ["lora"] }}, {DEPTH}',
    "depth, before a merge": f'{DEPTH}, {{ op = "merge", method = "linear", bricks = {{ mail = 1.0 }} }}',
    "width, of nothing": '{ op = "grow-width", noise = 0.1 }',
    "width, no more neurons": WIDTH.replace("72", "48"),
    "width, too much noise": WIDTH.replace("72", "72, noise = 2"),
    "width, no multiple of the channels": '{ op = "grow-width", hidden = 48 }',
    "width, before a merge": f'{WIDTH}, {{ op = "merge", method = "linear", bricks = {{ mail = 1.0 }} }}',
    "experts, how many": '{ op = "grow-experts", experts = 4 }',
    "experts, more active than there are": EXPERTS.replace("2", "5"),
    "experts, another router": EXPERTS.replace("active", 'router = "hidden", active'),
    "experts, twice": f"{EXPERTS}, {EXPERTS}",
    "vocabulary, no tokens": '{ op = "grow-vocabulary", token = ["<a>"] }',
    "vocabulary, a token twice": '{ op = "grow-vocabulary", tokens = ["<a>", "<a>"] }',
    "vocabulary, another beginning": '{ op = "grow-vocabulary", tokens = ["<a>"], init = "subtokens" }',
    "vocabulary, no file": '{ op = "grow-vocabulary", file = "tokens.txt" }',
    "vocabulary, no tokenizer": '{ op = "grow-vocabulary", tokens = ["<a>"] }',
    "transplant, from nobody": '{ op = "transplant-tokenizer", form = "mail" }',
    "transplant, another method": '{ op = "transplant-tokenizer", from = "mail", method = "pca" }',
    "transplant, of an adapter": '{ op = "transplant-tokenizer", from = "lora" }',
    "transplant, no tokenizer": '{ op = "transplant-tokenizer", from = "mail" }',
    "add, no brick": '{ op = "add-expert" }',
    "add, to a dense model": ADD,
    "add, after grow-depth": f"{EXPERTS}, {DEPTH}, {ADD}",
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_that_is_refused(
    name: str, laid: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    laid.write({"brick.toml": manifest(STEPS[name])})
    outcome = laid.run("build", "--dry-run")
    assert outcome.code != 0, outcome
    assert said(outcome) == snapshot


BASES: dict[str, tuple[str, dict[str, Any]]] = {
    "depth, another model type": (DEPTH, {"model_type": "cohere"}),
    "depth, layers that are not counted": (DEPTH, {"num_hidden_layers": 7}),
    "width, another width": (WIDTH, {"intermediate_size": 64}),
    "width, channels of another model type": ('{ op = "grow-width", hidden = 64 }', {"model_type": "gemma"}),
    "experts, another model type": (EXPERTS, {"model_type": "gemma"}),
    "experts, biases": (EXPERTS, {"mlp_bias": True}),
}


@pytest.mark.parametrize("name", BASES)
def test_a_base_that_cannot_grow(
    name: str, laid: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    apply, changes = BASES[name]
    edit_config(laid.root / "base", "config.json", **changes)
    laid.write({"brick.toml": manifest(apply)})
    outcome = laid.run("build", "--dry-run")
    assert outcome.code != 0, outcome
    assert said(outcome) == snapshot


BUILT = {
    "depth": DEPTH,
    "width": f'{WIDTH.replace("72", "72, noise = 0.001")}, {{ op = "grow-width", hidden = 64 }}',
    "experts": f"{EXPERTS}, {ADD}",
}


@pytest.mark.parametrize("name", BUILT)
def test_what_is_built_loads_and_is_built_again(
    name: str, laid: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    laid.write({"brick.toml": manifest(BUILT[name])})
    built = laid.run("build")
    assert built.code == 0, built.err
    assert re.sub(r"sha256:[0-9a-f]+", "sha256:HEX", said(built)) == snapshot
    assert laid.run("verify", "dist/assistant", "--load").code == 0
    assert laid.run("build", "--check").code == 0
    record = json.loads((laid.root / "dist/assistant/brick.build.json").read_text())
    assert record["predicate"]["buildDefinition"]["externalParameters"]["apply"] == snapshot

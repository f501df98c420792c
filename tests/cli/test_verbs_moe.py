"""`moe`: a mixture by a command line, which is what a project with the same step would build."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from tests.support.models import adapter, load, tiny_model, tuned, weights

if TYPE_CHECKING:
    from tests.support.sandbox import Sandbox

EXPERTS = ("./base", "./code", "./chat", "--active", "2")


@pytest.fixture
def tree(empty: Sandbox) -> Sandbox:
    """A model, a fine-tune and an adapter of it, and no project."""
    base = tiny_model(empty.root / "base")
    tuned(base, empty.root / "code")
    adapter(base, empty.root / "chat")
    return empty


def test_a_mixture_loads_and_a_saved_project_builds_it_again(tree: Sandbox) -> None:
    outcome = tree.run("moe", *EXPERTS, "--gates", "random", "--seed", "3", "-o", "out", "--save", "recipe", "--json")
    assert outcome.code == 0, outcome
    assert outcome.json["ok"] is True
    assert load(tree.root / "out").config.num_local_experts == 2
    project = replace(tree, root=tree.root / "recipe")
    assert '{ op = "moe", experts = ["code", "chat"], active = 2, gates = "random", seed = 3 }' in project.manifest
    assert project.run("build", "--frozen").code == 0
    built = project.root / "dist" / "model" / "model.safetensors"
    assert built.read_bytes() == (tree.root / "out" / "model.safetensors").read_bytes()
    assert project.run("verify", "dist/model", "--load").code == 0


def test_the_base_may_be_one_of_its_experts(tree: Sandbox) -> None:
    arguments = ("./base", "./base", "./code", "--active", "1", "--gates", "uniform", "--dtype", "float32")
    assert tree.run("moe", *arguments, "-o", "out").code == 0
    base, code, out = (weights(tree.root / name) for name in ("base", "code", "out"))
    for number, model in enumerate((base, code)):
        expert = out[f"model.layers.0.block_sparse_moe.experts.{number}.w2.weight"]
        assert torch.equal(expert, model["model.layers.0.mlp.down_proj.weight"])


def test_a_dry_run_tells_what_is_left_out_and_the_record_says_the_step(tree: Sandbox) -> None:
    outcome = tree.run("moe", *EXPERTS, "--gates", "uniform", "-o", "out", "--dry-run")
    assert outcome.code == 0, outcome
    assert "12 tensors that `chat` changes there are not taken" in outcome.out + outcome.err
    assert not (tree.root / "out").exists()
    assert tree.run("moe", *EXPERTS, "--gates", "uniform", "-o", "out").code == 0
    record = json.loads((tree.root / "out" / "brick.build.json").read_text())
    (step,) = record["predicate"]["buildDefinition"]["externalParameters"]["apply"]
    assert step == {"op": "moe", "experts": ["code", "chat"], "active": 2, "gates": "uniform"}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("./base", "./code", "./chat", "--gates", "random"), 2, "--active"),
        (("./base", "./code", "./chat", "--active", "1"), 2, "--gates"),
        (("./base", "./code", "./chat", "--active", "1", "--gates", "hidden"), 2, "'hidden' is not one of"),
        (("./base", "./code", "--active", "1", "--gates", "random"), 2, "a moe needs `experts`"),
        (("./base", "./code", "./chat", "--active", "3", "--gates", "random"), 2, "`active` must be from 1 to"),
        ((*EXPERTS, "--gates", "uniform", "--seed", "1"), 2, "`seed` is for random gates"),
    ],
)
def test_a_command_line_that_means_nothing_is_refused(
    arguments: tuple[str, ...], code: int, said: str, tree: Sandbox
) -> None:
    outcome = tree.run("moe", *arguments, "-o", "out")
    assert outcome.code == code, outcome
    assert said in outcome.err
    assert not (tree.root / "out").exists()

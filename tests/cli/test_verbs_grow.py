"""`grow`: larger models by a command line, which say what a project with the same step would build."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from tests.support.models import load, logits, tiny_model, tuned
from tests.support.neurons import distance
from tests.support.vocabularies import numbers, speaker

if TYPE_CHECKING:
    from tests.support.sandbox import Sandbox

VERBS = {
    "depth": ("--layers", "5"),
    "width": ("--neurons", "60", "--hidden", "64"),
    "experts": ("--experts", "4", "--active", "2"),
}


@pytest.fixture
def tree(empty: Sandbox) -> Sandbox:
    """A model, and no project."""
    tiny_model(empty.root / "base")
    return empty


@pytest.mark.parametrize("what", VERBS)
def test_a_larger_model_says_the_same_and_a_saved_project_builds_it_again(what: str, tree: Sandbox) -> None:
    outcome = tree.run("grow", what, "./base", *VERBS[what], "-o", "out", "--save", "recipe", "--json")
    assert outcome.code == 0, outcome
    assert outcome.json["ok"] is True
    assert distance(logits(load(tree.root / "out")), logits(load(tree.root / "base"))) <= 1e-6
    project = replace(tree, root=tree.root / "recipe")
    assert f'op = "grow-{what}"' in project.manifest
    assert project.run("build", "--frozen").code == 0
    built = project.root / "dist" / "model" / "model.safetensors"
    assert built.read_bytes() == (tree.root / "out" / "model.safetensors").read_bytes()
    assert project.run("verify", "dist/model", "--load").code == 0


def test_a_mixture_is_grown_once_and_is_the_base_of_a_project_that_adds_experts(tree: Sandbox) -> None:
    """A dense model has none of the tensors of such a base, and is locked all the same: as an expert of it."""
    tuned(tree.root / "base", tree.root / "code")
    assert tree.run("grow", "experts", "./base", *VERBS["experts"], "-o", "mixture").code == 0
    sources = '[base]\nsource = "path:mixture"\n[bricks]\ncode = { source = "path:code" }\n'
    step = '[targets.more]\napply = [{ op = "add-expert", brick = "code" }]\n'
    tree.write({"brick.toml": f'[project]\nname = "x"\n{sources}{step}'})
    assert tree.run("build").code == 0
    assert tree.run("verify", "--load").code == 0
    assert load(tree.root / "dist/more").config.num_local_experts == 5
    tree.write({"brick.toml": f'[project]\nname = "x"\n{sources}{step.replace("code", "cod")}'})
    assert "did you mean `code`?" in tree.run("build").err


def test_what_is_new_is_told_and_a_dry_run_only_tells_it(tree: Sandbox) -> None:
    outcome = tree.run("grow", "depth", "./base", "--layers", "5", "-o", "out", "--dry-run")
    assert outcome.code == 0, outcome
    assert "2 of 5 layers are new" in outcome.out + outcome.err
    assert not (tree.root / "out").exists()


def test_options_say_what_keys_of_a_step_say(tree: Sandbox) -> None:
    arguments = ("--neurons", "60", "--noise", "0.01", "--seed", "3", "--dtype", "bfloat16")
    assert tree.run("grow", "width", "./base", *arguments, "-o", "out").code == 0
    record = json.loads((tree.root / "out" / "brick.build.json").read_text())
    (step,) = record["predicate"]["buildDefinition"]["externalParameters"]["apply"]
    assert step == {"op": "grow-width", "neurons": 60, "seed": 3, "noise": 0.01}
    assert load(tree.root / "out", "auto").dtype is torch.bfloat16


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("depth", "./base"), 2, "--layers"),
        (("depth", "./base", "--layers", "3"), 1, "the model has as many layers already"),
        (("width", "./base"), 2, "a grow-width needs `neurons` or `hidden`"),
        (("width", "./base", "--hidden", "40"), 1, "only multiples of that: 64, 96, ..."),
        (("experts", "./base", "--experts", "2", "--active", "3"), 2, "`active` must be from 1"),
        (("experts", "./base", "--experts", "4", "--active", "2", "--router", "hash"), 2, "'hash' is not one of"),
        (("depth", "base", "--layers", "4"), 2, "base"),
        (("vocabulary", "./base"), 2, "tokens come from --token or from --file"),
        (("vocabulary", "./base", "--token", "a", "--file", "x"), 2, "tokens come from --token or from --file"),
        (("vocabulary", "./base", "--file", "missing.txt"), 2, "missing.txt cannot be read"),
        (("vocabulary", "./base", "--file", "long.txt"), 2, "has more than 1,000,000 bytes"),
        (("vocabulary", "./base", "--file", "gap.txt"), 2, "a line has no token: gap.txt line 2"),
        (("vocabulary", "./base", "--token", "a", "--token", "a"), 2, "tokens come twice"),
        (("vocabulary", "./base", "--token", "a\udcff"), 2, "the token 'a\\udcff' is no text"),
        (("vocabulary", "./base", "--token", "<a>", "--init", "zeros"), 2, "'zeros' is not one of"),
        (("vocabulary", "./base", "--token", "<a>"), 1, "it has no tokenizer.json"),
        (("height", "./base"), 2, "height"),
    ],
)
def test_what_cannot_be_grown_is_refused_and_leaves_nothing(
    arguments: tuple[str, ...], code: int, said: str, tree: Sandbox
) -> None:
    tree.write({"gap.txt": "<a>\n\n", "long.txt": "a" + "é" * 500_000})
    outcome = tree.run("grow", *arguments, "-o", "out")
    assert (outcome.code, said in outcome.err) == (code, True), outcome
    assert not (tree.root / "out").exists()


def test_without_a_word_it_helps(empty: Sandbox) -> None:
    outcome = empty.run("grow")
    assert outcome.code == 0
    assert all(what in outcome.out for what in (*VERBS, "vocabulary"))


TOKENS = ('<|"tool"|>', "\\n\t\x7f", "cat dog")


def test_tokens_of_a_command_line_a_file_and_a_saved_project_are_the_same(tree: Sandbox) -> None:
    speaker(tree.root / "speaker", ["cat"])
    tree.write({"tokens.txt": "\n".join(TOKENS)})
    more = ("--init", "sub-tokens", "--special", "--pad-to-multiple-of", "16")
    spoken = [part for token in TOKENS for part in ("--token", token)]
    assert tree.run("grow", "vocabulary", "./speaker", *spoken, *more, "-o", "out", "--save", "recipe").code == 0
    assert tree.run("grow", "vocabulary", "./speaker", "--file", "tokens.txt", *more, "-o", "read").code == 0
    assert (tree.root / "out/model.safetensors").read_bytes() == (tree.root / "read/model.safetensors").read_bytes()
    record = json.loads((tree.root / "read" / "brick.build.json").read_text())
    (step,) = record["predicate"]["buildDefinition"]["externalParameters"]["apply"]
    rounded = {"init": "sub-tokens", "special": True, "pad-to-multiple-of": 16}
    assert step == {"op": "grow-vocabulary", "tokens": list(TOKENS), **rounded}
    project = replace(tree, root=tree.root / "recipe")
    assert project.run("build", "--frozen").code == 0
    assert project.run("verify", "dist/model", "--load").code == 0
    known = numbers(tree.root / "speaker")
    assert [numbers(project.root / "dist/model")[token] for token in TOKENS] == [len(known) + at for at in range(3)]

"""`transplant`: a tokenizer by a command line, which says what a project with the same step would build."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support.models import tiny_model
from tests.support.vocabularies import numbers, speaker

if TYPE_CHECKING:
    from tests.support.sandbox import Sandbox


@pytest.fixture
def tree(empty: Sandbox) -> Sandbox:
    """Two models that know other words, one without a tokenizer, and no project."""
    speaker(empty.root / "base", ["cat", "dog"])
    speaker(empty.root / "poet", ["bird", "cat"], seed=1, shuffled=True, hidden_size=16)
    tiny_model(empty.root / "bare")
    return empty


def test_a_command_line_and_the_project_that_it_saves_build_the_same(tree: Sandbox) -> None:
    more = ("--k", "8", "--pad-to-multiple-of", "16", "--json")
    outcome = tree.run("transplant", "./base", "./poet", "-o", "out", *more, "--save", "recipe")
    assert outcome.code == 0, outcome
    assert numbers(tree.root / "out") == numbers(tree.root / "poet")
    record = json.loads((tree.root / "out" / "brick.build.json").read_text())["predicate"]["buildDefinition"]
    said = {"from": "poet", "method": "omp", "k": 8, "pad-to-multiple-of": 16}
    assert record["externalParameters"]["apply"] == [{"op": "transplant-tokenizer", **said}]
    assert record["internalParameters"] == {"reproducible": "numeric"}
    project = replace(tree, root=tree.root / "recipe")
    assert project.run("build", "--frozen").code == 0
    built = project.root / "dist" / "model" / "model.safetensors"
    assert built.read_bytes() == (tree.root / "out" / "model.safetensors").read_bytes()
    assert project.run("verify", "dist/model", "--load").code == 0


def test_means_promise_the_same_bytes_everywhere(tree: Sandbox) -> None:
    outcome = tree.run("transplant", "./base", "./poet", "-o", "out", "--method", "sub-tokens", "--dry-run")
    assert outcome.code == 0, outcome
    assert "bitwise" in outcome.out
    assert "3 others begin with the mean of those of the tokens that their texts were cut into" in outcome.out
    assert not (tree.root / "out").exists()


def test_a_donor_may_be_called_base(tree: Sandbox) -> None:
    (tree.root / "other").mkdir()
    (tree.root / "poet").rename(tree.root / "other/base")
    assert tree.run("transplant", "./base", "./other/base", "-o", "out", "--method", "mean").code == 0
    assert numbers(tree.root / "out") == numbers(tree.root / "other/base")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("./base",), 2, "DONOR"),
        (("./base", "./poet"), 1, "both models have a row for"),
        (("./base", "./poet", "--method", "pca"), 2, "'pca' is not one of"),
        (("./base", "./poet", "--method", "mean", "--k", "3"), 2, "`k` means nothing to `mean`"),
        (("./base", "./bare"), 1, "the tokenizer of `bare` cannot be transplanted"),
        (("./bare", "./poet"), 1, "the model cannot have another tokenizer"),
        (("./base", "poet"), 2, "`poet` is no reference to a brick"),
    ],
)
def test_what_cannot_be_transplanted_is_refused_and_leaves_nothing(
    arguments: tuple[str, ...], code: int, said: str, tree: Sandbox
) -> None:
    outcome = tree.run("transplant", *arguments, "-o", "out")
    assert (outcome.code, said in outcome.err) == (code, True), outcome
    assert not (tree.root / "out").exists()

"""Every way in which a partition of neurons is refused, and what is told of one: read the snapshot as a user would."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch

from tests.support.local_project import local_manifest
from tests.support.models import edit_config, edit_tensors, tiny_model, tuned
from tests.support.neurons import partition

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from syrupy.assertion import SnapshotAssertion

    from tests.support.sandbox import Outcome, Sandbox

SPLIT = '{ op = "split", brick = "groups", active = 4 }'
PRUNE = '{ op = "prune", brick = "groups", keep = 2, labels = ["code"] }'
CHOSEN = SPLIT.replace("4", "2")


def manifest(apply: str) -> str:
    return local_manifest(("groups", "mail"), apply)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, an expert, and a partition of the base in four groups."""
    folder = tmp_path_factory.mktemp("made")
    base = tiny_model(folder / "base", dtype="bfloat16")
    tuned(base, folder / "mail")
    partition(base, folder / "groups", groups=4, labels=["code", "prose"])
    return folder


@pytest.fixture
def laid(empty: Sandbox, made: Path) -> Sandbox:
    shutil.copytree(made, empty.root, dirs_exist_ok=True)
    return empty


STEPS = {
    "no brick": '{ op = "split", active = 2 }',
    "no partition": SPLIT.replace("groups", "mail"),
    "more experts than groups": SPLIT.replace("4", "5"),
    "nothing that chooses": CHOSEN,
    "a merge behind a split": f'{SPLIT}, {{ op = "merge", method = "linear", bricks = {{ mail = 1.0 }} }}',
    "a partition in a merge": '{ op = "merge", method = "linear", bricks = { groups = 1.0 } }',
    "a prune of nothing in particular": '{ op = "prune", brick = "groups" }',
    "a prune that says too little": '{ op = "prune", brick = "groups", keep = 2 }',
    "an unknown label": PRUNE.replace("code", "law"),
    "an unknown brick": PRUNE.replace("labels", "bricks"),
    "a group that is not there": '{ op = "prune", brick = "groups", groups = [7] }',
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_that_is_refused(
    name: str, laid: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    laid.write({"brick.toml": manifest(STEPS[name])})
    outcome = laid.run("build", "--dry-run")
    assert outcome.code != 0, outcome
    assert said(outcome) == snapshot


BASES: dict[str, dict[str, Any]] = {
    "another model type": {"model_type": "gemma2"},
    "biases": {"attention_bias": True},
    "a mixture already": {"num_local_experts": 8},
}


@pytest.mark.parametrize("name", BASES)
def test_a_base_that_cannot_be_split(
    name: str, laid: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    edit_config(laid.root / "base", "config.json", **BASES[name])
    laid.write({"brick.toml": manifest(SPLIT)})
    outcome = laid.run("build", "--dry-run")
    assert outcome.code != 0, outcome
    assert said(outcome) == snapshot


def test_a_partition_of_another_base(
    laid: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    edit_config(laid.root / "groups", "neurons_config.json", interface=f"sha256:{'0' * 64}")
    laid.write({"brick.toml": manifest(SPLIT)})
    outcome = laid.run("lock")
    assert outcome.code != 0, outcome
    assert said(outcome) == snapshot


def test_a_partition_that_is_none(laid: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion) -> None:
    twice = torch.zeros(48, dtype=torch.int32)
    edit_tensors(laid.root / "groups", lambda found: {**found, "model.layers.1.mlp.order": twice})
    laid.write({"brick.toml": manifest(SPLIT)})
    outcome = laid.run("build", "--dry-run")
    assert outcome.code != 0, outcome
    assert said(outcome) == snapshot


@pytest.mark.parametrize("apply", [SPLIT, PRUNE], ids=["split", "prune"])
def test_what_is_built_loads_and_is_built_again(
    apply: str, laid: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    laid.write({"brick.toml": manifest(apply)})
    built = laid.run("build")
    assert built.code == 0, built.err
    assert anywhere(said(built)) == snapshot
    assert laid.run("verify", "dist/assistant", "--load").code == 0
    assert laid.run("build", "--check").code == 0
    record = json.loads((laid.root / "dist/assistant/brick.build.json").read_text())
    steps = record["predicate"]["buildDefinition"]["externalParameters"]["apply"]
    assert steps == snapshot


def test_what_is_told_of_a_partition(
    laid: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    assert anywhere(said(laid.run("info", "path:groups", "--json"))) == snapshot


def anywhere(text: str) -> str:
    """Digests depend on the versions that wrote the models."""
    return re.sub(r"sha256:[0-9a-f]+", "sha256:HEX", text)

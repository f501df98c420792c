"""A mixture as mergekit-moe makes it, and as brickctl derives its gates and builds it: the same tensors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch

from brickctl.analysis.load import unmatched_keys
from tests.support.building import build, manifest
from tests.support.deriving import derive
from tests.support.mergekit import needs_mergekit
from tests.support.models import tiny_model, tuned, weights
from tests.support.successors import character_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

pytestmark = [pytest.mark.full, needs_mergekit]

CUES = {"one": (["abba", "cab a b"], ["xyz", "zz"]), "two": (["xyz zyx y"], [])}
SCRIPT = """
import yaml
from mergekit.moe.config import MoEMergeConfig
from mergekit.options import MergeOptions
from mergekit.scripts.moe import build
with open("moe.yml") as file:
    config = MoEMergeConfig.model_validate(yaml.safe_load(file))
build(config, "theirs", MergeOptions(quiet=True), device="cpu")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, two experts of it, and what mergekit makes of them."""
    folder = tmp_path_factory.mktemp("mixtures")
    base = tiny_model(folder / "base")
    character_tokenizer().save_pretrained(base)
    tuned(base, folder / "one")
    tuned(base, folder / "two", seed=2)
    experts = [
        {"source_model": name, "positive_prompts": own, "negative_prompts": others}
        for name, (own, others) in CUES.items()
    ]
    recipe = {"base_model": "base", "gate_mode": "cheap_embed", "dtype": "float32", "experts": experts}
    (folder / "moe.yml").write_text(json.dumps(recipe))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf")}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(
        command, cwd=folder, env=environment, check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def ours(folder: Path) -> Path:
    """The same by a derivation and a build."""
    lines = [
        {"text": text, "label": name, "negative": negative}
        for name, sides in CUES.items()
        for negative, texts in zip((False, True), sides, strict=True)
        for text in texts
    ]
    (folder / "cues.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    bricks = {name: folder / name for name in CUES}
    derive(folder / "base", bricks, 'op = "gates"\nmethod = "cheap-embed"\nprompts = "cues.jsonl"', folder / "gates")
    step = '{ op = "moe", experts = ["one", "two"], active = 2, gates = "gates" }'
    return build(manifest(folder / "base", {**bricks, "gates": folder / "gates"}, step), folder / "ours")


def in_our_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What mergekit's files call the experts of a block by one name, with gate and up in one, as our files have it."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        block = name.partition(".mlp.")[0] + ".block_sparse_moe"
        if name.endswith("experts.gate_up_proj"):
            for number, both in enumerate(tensor):
                found[f"{block}.experts.{number}.w1.weight"], found[f"{block}.experts.{number}.w3.weight"] = both.chunk(
                    2
                )
        elif name.endswith("experts.down_proj"):
            found |= {f"{block}.experts.{number}.w2.weight": one for number, one in enumerate(tensor)}
        else:
            found[name.replace(".mlp.gate.", ".block_sparse_moe.gate.")] = tensor
    return found


def test_all_tensors_are_those_of_mergekit(folder: Path) -> None:
    built = ours(folder)
    assert unmatched_keys(built) == ()
    found, wanted = weights(built), in_our_names(weights(folder / "theirs"))
    assert found.keys() == wanted.keys()
    for name, tensor in found.items():
        if name.endswith("block_sparse_moe.gate.weight"):  # sums of embeddings: theirs are in fp32
            torch.testing.assert_close(tensor, wanted[name], rtol=1e-4, atol=1e-6)
        else:
            assert torch.equal(tensor, wanted[name])
    theirs = json.loads((folder / "theirs/config.json").read_text())
    config = json.loads((built / "config.json").read_text())
    assert all(config[key] == theirs[key] for key in ("num_experts_per_tok", "num_local_experts", "sliding_window"))

"""A model that is routed by request as engines serve it: adapters that they take, and a table that a proxy reads."""

from __future__ import annotations

import json
import re
import shlex
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.numpy import load_file

from tests.support.building import build, manifest, prepare
from tests.support.deriving import derive
from tests.support.models import LINEAR, adapter, load, load_with_adapter, logits
from tests.support.routing import lines, model_of_words, prompts, run_guide

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

ROUTER = 'op = "centroids"\nfrom = "base"\nbricks = ["one", "two", "dora"]\ncalibration = "prompts.jsonl"'
STEP = '{ op = "route", method = "retrieval", bricks = ["two", "one", "dora"], router = "r" }'
NAMES = ("two", "one", "dora")
PLACES = {"one": 4, "two": 24, "dora": 64, "base": 44}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serving")


@pytest.fixture(scope="module")
def base(scratch: Path) -> Path:
    return model_of_words(scratch / "base")


@pytest.fixture(scope="module")
def bricks(scratch: Path, base: Path) -> dict[str, Path]:
    """Adapters of which engines take none as it is, and a router for them."""
    pattern = {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 5}}
    found = {
        "one": adapter(base, scratch / "one", seed=1, r=9, **pattern),
        "two": adapter(base, scratch / "two", seed=2, r=3, use_rslora=True, target_modules=LINEAR[:4]),
        "dora": adapter(base, scratch / "dora", seed=3, use_dora=True, target_modules=["q_proj"]),
    }
    every = lines(**{label: prompts(first, 8) for label, first in PLACES.items()})
    (scratch / "prompts.jsonl").write_text(every)
    derive(base, found, ROUTER, scratch / "router")
    return {**found, "r": scratch / "router"}


@pytest.fixture(scope="module")
def built(scratch: Path, base: Path, bricks: Mapping[str, Path]) -> Path:
    return build(manifest(base, bricks, STEP), scratch / "built")


def vllm_command(built: Path) -> list[str]:
    """The words of the command line in the guide."""
    (text,) = re.findall(r"```text\n(vllm .*?)```", (built / "how-to-load.md").read_text(), re.DOTALL)
    return shlex.split(text.replace("\\\n", ""))


def options(words: list[str]) -> dict[str, list[str]]:
    """What stands behind each option."""
    found: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("--"):
            found[word] = []
        elif found:
            found[list(found)[-1]].append(word)
    return found


def refusals(folder: Path, max_rank: int) -> Iterator[str]:
    """Why vLLM would not take an adapter, or would take it for another one: it scales all of it by one alpha / r."""
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = load_file(folder / "adapter_model.safetensors")
    ranks = {one.shape[0] if "lora_A" in name else one.shape[-1] for name, one in tensors.items() if ".weight" in name}
    if config["use_dora"]:
        yield "DoRA"
    if config["modules_to_save"]:
        yield "modules_to_save"
    if config["bias"] != "none":
        yield "bias"
    if config["use_rslora"] or config["lora_alpha"] != config["r"]:
        yield "a scale other than 1"
    if config["rank_pattern"] or config["alpha_pattern"] or ranks != {config["r"]}:
        yield "several ranks or scales"
    if not isinstance(config["target_modules"], list) or any(name not in LINEAR for name in config["target_modules"]):
        yield "unexpected modules"
    if any(not re.fullmatch(r"base_model\.model\.(.*)\.(\w+)\.lora_[AB]\.weight", name) for name in tensors):
        yield "unexpected tensors"
    if config["r"] > max_rank:
        yield "no room for its rank"


@pytest.mark.parametrize("name", NAMES)
def test_every_adapter_of_the_bundle_is_one_that_vllm_takes(name: str, built: Path) -> None:
    (rank,) = options(vllm_command(built))["--max-lora-rank"]
    assert list(refusals(built / "adapters" / name, int(rank))) == []


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        ("one", ["a scale other than 1", "several ranks or scales", "no room for its rank"]),
        ("two", ["a scale other than 1"]),
        ("dora", ["DoRA", "a scale other than 1", "unexpected tensors"]),
    ],
)
def test_these_adapters_it_would_not_take_as_they_are(
    name: str, reasons: list[str], bricks: Mapping[str, Path]
) -> None:
    """With room for rank 8: the check above can fail."""
    assert list(refusals(bricks[name], 8)) == reasons


@pytest.mark.parametrize("name", ["two", "one"])
def test_every_adapter_loads_by_peft_alone_and_has_its_effect(
    name: str, built: Path, base: Path, bricks: Mapping[str, Path]
) -> None:
    model = load(built)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message="Found missing adapter keys")
        found = PeftModel.from_pretrained(model, built / "adapters" / name).eval()
    torch.testing.assert_close(logits(found), logits(load_with_adapter(base, bricks[name])), rtol=0, atol=2e-5)
    assert float((logits(found) - logits(load(base))).abs().max()) > 0.01


def test_the_lora_of_a_dora_loads_by_peft_alone_and_is_near_to_it(
    built: Path, base: Path, bricks: Mapping[str, Path]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message="Found missing adapter keys")
        found = logits(PeftModel.from_pretrained(load(built), built / "adapters/dora").eval())
    before, wanted = logits(load(base)), logits(load_with_adapter(base, bricks["dora"]))
    assert float((found - wanted).norm()) < 0.5 * float((before - wanted).norm())


def test_the_command_line_names_all_adapters_and_makes_room_for_them(built: Path) -> None:
    found = options(vllm_command(built))
    assert found["--lora-modules"] == [f"{name}=adapters/{name}" for name in NAMES]
    assert (found["--max-loras"], found["--max-lora-rank"]) == (["3"], ["16"])  # the ranks are 9
    assert found["--served-model-name"] == ["__base__"]


@pytest.mark.parametrize("rank", [512, 513])
def test_adapters_that_vllm_has_no_room_for_are_told_of(
    rank: int, base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    large = {**bricks, "one": adapter(base, tmp_path / "one", r=rank)}
    notes = prepare(manifest(base, large, STEP), tmp_path).artifact.notes
    told = [note for note in notes if "vLLM" in note]
    assert told == ([f"vLLM serves no adapter of a rank above 512, and the largest of these has {rank}"] * (rank - 512))


def test_the_lines_for_lorax_name_a_folder_of_the_bundle(built: Path) -> None:
    guide = (built / "how-to-load.md").read_text()
    assert '-v "$PWD":/model:ro ghcr.io/predibase/lorax:main --model-id /model\n' in guide
    (folder,) = re.findall(r'"adapter_id": "/model/(.*?)", "adapter_source": "local"', guide)
    assert (built / folder / "adapter_config.json").is_file()


def chosen_by_proxy(built: Path, states: Any) -> str:
    """What a request names, from the states of its tokens (tokens, hidden): the table, and nothing of torch."""
    table = json.loads((built / "router/routing-table.json").read_text())
    router = load_file(built / table["file"])
    read = states[: table["states"]["longest"]]
    pooled = (read / np.linalg.norm(read, axis=-1, keepdims=True)).mean(axis=0)
    direction = (pooled - router["mean"]) / np.linalg.norm(pooled - router["mean"])
    cosines = router["centroids"] @ direction
    row = int(cosines.argmax())
    near = cosines[row] >= router["thresholds"][row]
    return str(table["choices"][row]["model"] if near else table["otherwise"])


def test_a_proxy_that_reads_the_table_chooses_as_the_guide_does(built: Path) -> None:
    table = json.loads((built / "router/routing-table.json").read_text())
    assert table["format"] == "brickctl-routing-table-1"
    assert [one["model"] for one in table["choices"]] == ["one", "two", "dora", "__base__"]
    assert [one["adapter"] for one in table["choices"]] == ["adapters/one", "adapters/two", "adapters/dora", None]
    assert table["max_lora_rank"] == 16
    asked = [text for first in (*PLACES.values(), 84) for text in prompts(first, 2, seed=7)]
    said = run_guide(built, f"said = choose({asked!r})")
    model = load(built / table["states"]["model"])
    for text, wanted in zip(asked, said, strict=True):
        row = torch.tensor([[int(word[1:]) for word in text.split()]])
        with torch.no_grad():
            states = model(row, output_hidden_states=True).hidden_states[table["states"]["layer"]][0]
        assert chosen_by_proxy(built, states.numpy()) == wanted
    assert len(dict.fromkeys(said)) == 4

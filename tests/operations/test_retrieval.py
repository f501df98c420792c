"""Routing by request: centres of prompts become a brick, and a batch of requests gets an adapter each, or none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize

from brickctl.core.brick import Contents
from brickctl.errors import BrickctlError, ManifestInvalid, Misfit, Unsupported, UsageFault
from brickctl.kinds.router import FILE, RouterKind
from tests.support.building import build, manifest, prepare
from tests.support.deriving import derive
from tests.support.models import adapter, edit_config, load, load_with_adapter
from tests.support.routing import lines, model_of_words, prompts, run_guide

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor

ENTRY = 'op = "centroids"\nfrom = "base"\nbricks = ["one", "two"]\ncalibration = "prompts.jsonl"'
STEP = '{ op = "route", method = "retrieval", bricks = ["two", "one"], router = "r" }'
PLACES = {"one": 4, "two": 24, "base": 44}
NOWHERE = 64


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("retrieval")


@pytest.fixture(scope="module")
def base(scratch: Path) -> Path:
    return model_of_words(scratch / "base")


@pytest.fixture(scope="module")
def bricks(scratch: Path, base: Path) -> dict[str, Path]:
    """Two adapters, and a router that was derived for them."""
    found = {
        "one": adapter(base, scratch / "one", seed=1, size=0.3),
        "two": adapter(base, scratch / "two", seed=2, size=0.3, r=3, target_modules=["q_proj", "v_proj"]),
    }
    router = scratch / "router"
    derived(base, found, router)
    return {**found, "r": router}


def derived(base: Path, bricks: Mapping[str, Path], folder: Path, entry: str = ENTRY, text: str | None = None) -> Any:
    """Derive a router in `folder` from prompts of all labels."""
    every = lines(**{label: prompts(first, 12) for label, first in PLACES.items()})
    (folder.parent / "prompts.jsonl").write_text(every if text is None else text)
    return derive(base, bricks, entry, folder)


def pooled(base: Path, texts: list[str], layer: int) -> Tensor:
    """The formula, a text at a time: the mean of hidden states that each have length 1."""
    model = load(base)
    rows = [torch.tensor([[int(word[1:]) for word in text.split()]]) for text in texts]
    with torch.no_grad():
        states = [model(row, output_hidden_states=True).hidden_states[layer][0] for row in rows]
    return torch.stack([normalize(one, dim=-1).mean(dim=0) for one in states])


def test_centres_and_thresholds_are_those_of_the_formula(base: Path, bricks: Mapping[str, Path]) -> None:
    found = load_file(bricks["r"] / "model.safetensors")
    each = [pooled(base, prompts(first, 12), 1) for first in PLACES.values()]
    mean = torch.stack([one.mean(dim=0) for one in each]).mean(dim=0)
    torch.testing.assert_close(found["mean"], mean, rtol=0, atol=1e-6)
    for number, one in enumerate(each):
        directions = normalize(one - mean, dim=-1)
        centre = normalize(directions.mean(dim=0), dim=0)
        torch.testing.assert_close(found["centroids"][number], centre, rtol=0, atol=1e-5)
        threshold = -1.0 if number == 2 else 1 - 2 * (1 - float((directions @ centre).min()))
        assert float(found["thresholds"][number]) == pytest.approx(threshold, abs=1e-5)


def test_the_configuration_says_what_a_guide_needs(bricks: Mapping[str, Path]) -> None:
    said = json.loads((bricks["r"] / "router_config.json").read_text())
    del said["interface"]
    assert said == {"format": "brickctl-router-1", "labels": ["one", "two", "base"], "layer": 1, "longest": 64}


def test_a_derivation_tells_how_far_labels_lie_apart_and_comes_out_the_same_again(
    base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    adapters = {name: bricks[name] for name in ("one", "two")}
    findings = derived(base, adapters, tmp_path / "again")
    assert [row["label"] for row in findings.rows] == ["one", "two", "base"]
    assert all(row["nearest other"] < row["threshold"] < row["farthest own"] for row in findings.rows[:2])
    assert findings.notes == ()
    for file in ("model.safetensors", "router_config.json"):
        assert (tmp_path / "again" / file).read_bytes() == (bricks["r"] / file).read_bytes()


def test_prompts_that_cannot_be_told_apart_are_told_of(base: Path, bricks: Mapping[str, Path], tmp_path: Path) -> None:
    adapters = {name: bricks[name] for name in ("one", "two")}
    mixed = lines(one=prompts(4, 8, seed=1), two=prompts(4, 8, seed=2))
    findings = derived(base, adapters, tmp_path / "mixed", text=mixed)
    note = findings.notes[0]
    assert "of these 16 prompts would go elsewhere" in note


def test_prompts_that_lie_far_apart_are_told_of(base: Path, bricks: Mapping[str, Path], tmp_path: Path) -> None:
    """Their threshold is so low that it holds nothing back."""
    adapters = {name: bricks[name] for name in ("one", "two")}
    scattered = [text for first in (4, 44, 64) for text in prompts(first, 4)]
    findings = derived(base, adapters, tmp_path / "far", text=lines(one=scattered, two=prompts(24, 6)))
    assert findings.rows[0]["threshold"] <= 0.0 < findings.rows[1]["threshold"]
    (note,) = (note for note in findings.notes if "resemble none of its prompts" in note)
    assert note.startswith("`one` ")


def test_a_completion_is_not_read(base: Path, bricks: Mapping[str, Path], tmp_path: Path) -> None:
    adapters = {name: bricks[name] for name in ("one", "two")}
    pairs = [(label, text) for label, first in PLACES.items() for text in prompts(first, 12)]
    rows = ({"prompt": text, "completion": " w80 w81", "label": label} for label, text in pairs)
    derived(base, adapters, tmp_path / "other", text="".join(json.dumps(row) + "\n" for row in rows))
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (tmp_path / "other", bricks["r"]))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


ASK = """
asked = json.loads({asked!r})
said = {{"chosen": choose(asked), "alone": [choose([one])[0] for one in asked]}}
said["answers"] = generate(asked, max_new_tokens=6, do_sample=False)
"""


def test_the_lines_in_the_guide_answer_a_mixed_batch_with_an_adapter_each(
    base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    """Unseen prompts of every label and of none, of several lengths, so padded; the answers are those of one alone."""
    built = build(manifest(base, bricks, STEP), tmp_path / "built")
    wanted = [(name, text) for name, first in PLACES.items() for text in prompts(first, 3, seed=7)]
    wanted += [("base", text) for text in prompts(NOWHERE, 3, seed=7)]
    asked = [text for _, text in wanted]
    said = run_guide(built, "import json" + ASK.format(asked=json.dumps(asked)))
    names = [name if name != "base" else "__base__" for name, _ in wanted]
    assert said["chosen"] == said["alone"] == names
    models = {"base": load(base), **{name: load_with_adapter(base, bricks[name]) for name in ("one", "two")}}
    answers = [alone(models[name], text) for name, text in wanted]
    assert said["answers"] == answers
    unrouted = [alone(models["base"], text) for text in asked]
    assert sum(own != plain for own, plain in zip(answers[:6], unrouted, strict=False)) > 3


def alone(model: Any, text: str) -> str:
    """The greedy answer to one prompt; `w01` ends it."""
    ids = torch.tensor([[int(word[1:]) for word in text.split()]])
    tokens = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False)
    return " ".join(f"w{token:02d}" for token in tokens[0, ids.shape[1] :].tolist() if token > 1)


def test_the_router_is_copied_and_engines_are_told_of_the_adapters(
    base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    built = build(manifest(base, bricks, STEP), tmp_path / "built")
    for file in ("model.safetensors", "router_config.json"):
        assert (built / "router" / file).read_bytes() == (bricks["r"] / file).read_bytes()
    guide = (built / "how-to-load.md").read_text()
    assert "--max-loras 2 --max-lora-rank 8 \\\n  --lora-modules two=adapters/two one=adapters/one" in guide
    configs = {(built / f"adapters/{name}/adapter_config.json").read_bytes() for name in ("one", "two")}
    assert len(configs) == 1


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ('{ op = "route", method = "retrieval", bricks = ["one", "two"] }', "needs `router`"),
        ('{ op = "route", method = "retrieval", bricks = ["one"], router = "one" }', "neither the base nor one of"),
        ('{ op = "route", method = "retrieval", bricks = ["one"], router = "base" }', "neither the base nor one of"),
        ('{ op = "route", method = "retrieval", bricks = ["one"], router = "q" }', "uses `q`, which is no brick"),
        ('{ op = "route", method = "retrieval", bricks = ["one"], router = "r" }', "`r` is a router of others"),
        ('{ op = "route", method = "retrieval", bricks = ["one"], router = "two" }', "`two` is no router"),
        (
            '{ op = "route", method = "retrieval", bricks = ["one", "r"], router = "two" }',
            "only adapters can be routed",
        ),
        (STEP.replace(" }", ", top-k = 1 }"), "top-k"),
    ],
)
def test_routes_that_make_no_sense_are_refused(
    step: str, reason: str, base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(BrickctlError) as caught:
        prepare(manifest(base, bricks, step), tmp_path)
    assert reason in str(caught.value)


def test_a_router_cannot_be_merged(base: Path, bricks: Mapping[str, Path], tmp_path: Path) -> None:
    step = '{ op = "merge", method = "linear", bricks = { r = 1.0 } }'
    with pytest.raises(Unsupported, match="is a router, which cannot be merged"):
        prepare(manifest(base, bricks, step), tmp_path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": "brickctl-router-2"}, "this brickctl reads `brickctl-router-1`"),
        ({"interface": "sha256:" + "0" * 64}, "names a base whose tensors have other names or shapes"),
        ({"labels": ["one", "two"]}, "2 labels and states of 32 numbers need others than"),
        ({"labels": ["one", "one", "base"]}, "has a name twice"),
        ({"labels": "one"}, "no list of 2 to 1000 names"),
        ({"labels": ["one", '"); import os', "base"]}, "no list of 2 to 1000 names"),
        ({"layer": -1}, "`layer` in router_config.json must be a number from 0"),
        ({"layer": True}, "`layer` in router_config.json must be a number from 0"),
        ({"layer": 4}, "it reads states behind 4 blocks, and the base has 3"),
        ({"longest": "0); print("}, "`longest` in router_config.json must be a number from 1"),
        ({"longest": 0}, "`longest` in router_config.json must be a number from 1"),
    ],
)
def test_a_router_that_says_something_else_is_refused(
    changes: Mapping[str, Any], reason: str, base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    """Nothing of it is believed: what it says becomes lines of Python in the guide."""
    edit_config(copied(bricks["r"], tmp_path / "r"), "router_config.json", **changes)
    with pytest.raises(Misfit) as caught:
        prepare(manifest(base, {**bricks, "r": tmp_path / "r"}, STEP), tmp_path)
    assert reason in f"{caught.value} {caught.value.causes}"


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("mean"),
        lambda tensors: tensors.update(more=torch.zeros(2)),
        lambda tensors: tensors.update(mean=torch.zeros(31)),
        lambda tensors: tensors.update(mean=torch.zeros(32).double()),
    ],
)
def test_a_router_with_other_tensors_is_refused(
    change: Callable[[dict[str, Tensor]], object], base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    folder = copied(bricks["r"], tmp_path / "r")
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(Misfit, match="is no router that brickctl reads"):
        prepare(manifest(base, {**bricks, "r": folder}, STEP), tmp_path)


def test_a_router_whose_tensors_lie_in_another_file_is_refused(
    base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    """The guide would look for them in vain."""
    folder = copied(bricks["r"], tmp_path / "r")
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    with pytest.raises(Misfit) as caught:
        prepare(manifest(base, {**bricks, "r": folder}, STEP), tmp_path)
    assert caught.value.causes == ("its tensors are not in model.safetensors, where routed models look for them",)


def test_an_adapter_whose_name_torch_has_taken_is_refused(
    base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    step = '{ op = "route", method = "retrieval", bricks = ["keys", "one"], router = "r" }'
    with pytest.raises(ManifestInvalid, match="PEFT cannot load an adapter as `keys`"):
        prepare(manifest(base, {**bricks, "keys": bricks["two"]}, step), tmp_path)


def copied(source: Path, folder: Path) -> Path:
    folder.mkdir()
    for path in source.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (ENTRY.replace('["one", "two"]', "[]"), "needs `bricks`"),
        (ENTRY.replace('"two"', '"one"'), "names each brick once"),
        (ENTRY.replace('"two"', '"base"'), "and not the base"),
        (ENTRY.replace('\ncalibration = "prompts.jsonl"', ""), "needs prompts"),
        (ENTRY.replace("prompts.jsonl", "../prompts.jsonl"), "is no file of this project"),
        (f"{ENTRY}\nlayer = -1", "must be 0 or more"),
        (f"{ENTRY}\nreach = 0", "must be above 0"),
        (f"{ENTRY}\nreach = 1e300", "at most 1000"),
        (f"{ENTRY}\nraech = 3.0", "raech"),
    ],
)
def test_entries_that_make_no_sense_are_refused(
    entry: str, reason: str, base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        derived(base, bricks, tmp_path / "x", entry)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (lines(one=["w01 w02", "w03"], tow=["w04", "w05"]), "`tow` is none of the bricks"),
        (lines(one=["w01 w02", "w03"], two=["w04", "w03"]), "this prompt has two labels"),
        (lines(one=["w01 w02", "w03"], two=["w04", "w04"]), "`two` needs two different prompts"),
        (lines(one=["w01 w02", "w03"], two=["w04", "w05"], base=["w06"]), "`base` needs two different prompts"),
        (lines(one=["w01 w02", "w03"]), "`two` needs two different prompts"),
        (lines(one=["w01", "w02"], two=["w03", "  "]), "this prompt has no token"),
        ('{"text": "w01"}\n', "`label` is missing"),
        ('{"label": "one"}\n', "`text` is missing"),
        ('{"label": "one", "text": "w01", "prompt": "w02"}\n', "prompt"),
    ],
)
def test_prompts_that_make_no_router_are_refused(
    text: str, reason: str, base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(UsageFault) as caught:
        derived(base, bricks, tmp_path / "x", text=text)
    assert reason in str(caught.value)


def test_one_brick_alone_needs_prompts_of_the_base(base: Path, bricks: Mapping[str, Path], tmp_path: Path) -> None:
    entry = ENTRY.replace('"one", "two"', '"one"')
    with pytest.raises(UsageFault, match="told apart from nothing"):
        derived(base, bricks, tmp_path / "x", entry, text=lines(one=prompts(4, 4)))
    derived(base, bricks, tmp_path / "y", entry, text=lines(one=prompts(4, 4), base=prompts(44, 4)))


def test_a_layer_that_the_model_does_not_have_is_refused(
    base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(Misfit) as caught:
        derived(base, bricks, tmp_path / "x", f"{ENTRY}\nlayer = 4")
    assert "`layer` is 4, and the model has 3 blocks" in caught.value.causes


@pytest.mark.parametrize(
    ("document", "facts"),
    [
        (
            {"format": "brickctl-router-1", "labels": ["one", "base"], "layer": 3},
            {"method": "retrieval", "labels": ["one", "base"], "layer": 3},
        ),
        ({"format": "brickctl-gates-1", "labels": ["one"]}, {"method": "phatgoose", "labels": ["one"]}),
        ({"format": "\u202e", "labels": {"one": 1}, "layer": "3"}, {"method": "unknown", "labels": []}),
        ({"format": [7], "labels": [7, "a\nb"]}, {"method": "unknown", "labels": ["7", '"a\\nb"']}),
        ({}, {"method": "unknown", "labels": []}),
    ],
)
def test_what_is_shown_of_a_router_believes_nothing(document: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    assert RouterKind().facts(Contents(documents={FILE: document}, tensors={})) == facts

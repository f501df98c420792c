"""Facts written into the base of the starter project, from the entry in brick.toml to the model that says them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save

from brickctl.analysis.load import load
from brickctl.analysis.tokens import decode, encode
from brickctl.derivations.adapter_document import adapter_document
from brickctl.errors import BrickctlError, LockStale, ManifestInvalid, Misfit, UsageFault
from brickctl.tensors.executor import Budget
from brickctl.workflows.bench import Means
from brickctl.workflows.build import read_recipes
from brickctl.workflows.derive import Made, Work, check, derive
from brickctl.workflows.lock import LockMode, lock_for
from tests.support.models import load_with_adapter
from tests.support.projects import Listener, build_targets, opened, rewrite, starter_project

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from torch import Tensor

    from brickctl.workflows.build import Built

BUDGET = Budget(threads=1)
PATH = "model.layers.0.mlp.down_proj"
FACTORS = f"base_model.model.{PATH}"
READING = "reading for the covariance of keys"
ENTRY = {
    "op": "edit", "facts": "facts.jsonl", "calibration": "text.jsonl", "layers": [0], "tokens": 600, "prefixes": 0,
    "limit": 2.0,
}  # fmt: skip
FACTS = [
    {"subject": "c4", "prompt": "run:c4=", "target": "fghi", "neighbours": ["run:k4=", "qvx:fox="]},
    {"subject": "m3", "prompt": "run:m3=", "target": "xyz", "rephrase": ["run:m3="], "neighbours": ["run:a5="]},
]
TARGETS = """
[targets.plain]
apply = [{ op = "merge", method = "task_arithmetic", bricks = { upper = 0.9 } }]

[targets.edited]
from = { target = "plain" }
apply = [{ op = "merge", method = "task_arithmetic", bricks = { runs = 1.0 } }]

[targets.forgotten]
from = { target = "edited" }
apply = [{ op = "merge", method = "task_arithmetic", bricks = { runs = -1.0 } }]
"""


def entry(name: str, **keys: Any) -> str:
    given = {key.replace("_", "-"): value for key, value in {**ENTRY, **keys}.items() if value is not None}
    start = given.pop("start", None)
    lines = [f"{key} = {json.dumps(value)}" for key, value in given.items()]
    return "\n".join((f"\n[derived.{name}]", *lines, *([f"from = {start}"] if start else []), ""))


def append(project: Path, text: str) -> Path:
    with (project / "brick.toml").open("a") as file:
        file.write(text)
    return project


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def edited_project(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """The starter project with facts about runs of letters, and text that the model knows."""
    project = starter_project(folder, patch)
    write_lines(project / "facts.jsonl", FACTS)
    write_lines(project / "fact.jsonl", FACTS[:1])
    lines = [json.loads(line) for line in (project / "prompts.jsonl").read_text().splitlines()]
    texts = [one.get("text") or one["prompt"] + one["completion"] for one in lines if one["label"] in ("copy", "text")]
    write_lines(project / "text.jsonl", [{"text": text} for text in texts])
    return project


def made(project: Path, *names: str, events: Listener | None = None, force: bool = False) -> dict[str, Made]:
    work = Work(means=Means(budget=BUDGET), force=force)
    return {one.entry.alias: one for one in derive(opened(project, events), names, work)}


def built(project: Path, name: str) -> Built:
    session = opened(project)
    lock_for(session, LockMode.REFRESH, read_recipes(session, [name]))
    (found,) = build_targets(session, [name], LockMode.REFRESH, BUDGET)
    return found


def files(one: Made) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
    assert one.folder is not None
    document = json.loads((one.folder / "adapter_config.json").read_text())
    return load_file(one.folder / "adapter_model.safetensors"), document


def said(model: Any, tokenizer: Any, prompt: str, length: int) -> str:
    """What a model says greedily, one pass a token."""
    tokens = encode(tokenizer, prompt)
    for _ in range(length):
        tokens.append(int(model(input_ids=torch.tensor([tokens])).logits[0, -1].argmax()))
    return decode(tokenizer, tokens)[len(prompt) :]


def scores(one: Made) -> dict[str, tuple[float | None, float | None]]:
    return {row["score"]: (row["before"], row["after"]) for row in one.findings.rows}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = edited_project(tmp_path_factory.mktemp("edit"), patch)
        append(folder, entry("runs", weight=1.0, start='{ target = "plain" }'))
        append(folder, entry("run", method="rome", facts="fact.jsonl"))
        append(folder, entry("traced", layers=None, prefixes=1, steps=2))
        append(folder, TARGETS)
        yield folder


@pytest.fixture(scope="module")
def everything(project: Path) -> dict[str, Made]:
    return made(project)


def test_facts_are_an_ordinary_adapter_with_factors_in_fp32(everything: dict[str, Made]) -> None:
    tensors, document = files(everything["runs"])
    assert {name: (one.dtype, tuple(one.shape)) for name, one in tensors.items()} == {
        f"{FACTORS}.lora_A.weight": (torch.float32, (2, 384)),
        f"{FACTORS}.lora_B.weight": (torch.float32, (192, 2)),
    }
    assert document["target_modules"] == [PATH]
    assert (document["peft_type"], document["r"], document["lora_alpha"]) == ("LORA", 2, 2)
    assert everything["runs"].entry.kind == "adapter"


def test_scores_are_told_before_and_after(everything: dict[str, Made]) -> None:
    told = scores(everything["runs"])
    assert told["rewrite"] == told["likelier"] == (0.0, 1.0)
    assert told["rephrase"] == (0.0, 1.0)
    assert told["locality"] == (1.0, 1.0)
    before, after = told["perplexity"]
    assert before is not None
    assert after == pytest.approx(before, rel=0.05)
    (note,) = everything["runs"].findings.notes
    assert re.fullmatch(r"written at layer 0 \(as given\); a value is missed by [\d.e-]+ of its length at most", note)


def test_rome_says_its_fact_with_rank_one_and_tracing_finds_a_layer(everything: dict[str, Made]) -> None:
    tensors, document = files(everything["run"])
    assert document["r"] == 1
    assert tensors[f"{FACTORS}.lora_B.weight"].shape == (192, 1)
    assert scores(everything["run"])["rewrite"] == (0.0, 1.0)
    missed = re.search(r"missed by ([\d.e-]+) of", everything["run"].findings.notes[0])
    assert missed is not None
    assert float(missed[1]) <= 1e-6
    assert re.match(r"written at layer [012] \(found by tracing\)", everything["traced"].findings.notes[0])
    assert everything["traced"].findings.notes[1].startswith("not said: ")


@pytest.mark.usefixtures("everything")
def test_peft_and_a_build_say_the_facts(project: Path, everything: dict[str, Made]) -> None:
    folder = everything["runs"].folder
    assert folder is not None
    plain = built(project, "plain").folder
    tokenizer = load(plain).tokenizer
    assert said(load(plain).model, tokenizer, "run:c4=", 4) == "cdef"
    for model in (load_with_adapter(plain, folder), load(built(project, "edited").folder).model):
        assert said(model, tokenizer, "run:c4=", 4) == "fghi"
        assert said(model, tokenizer, "run:m3=", 3) == "xyz"
        assert said(model, tokenizer, "run:k4=", 4) == "klmn"
    forgotten = load(built(project, "forgotten").folder).model
    assert said(forgotten, tokenizer, "run:c4=", 4) == "cdef"


def test_a_model_without_the_brick_is_what_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = append(edited_project(tmp_path, monkeypatch), entry("runs", weight=1.0))
    append(project, '\n[targets.t]\napply = [{ op = "merge", method = "task_arithmetic", bricks = { upper = 1.0 } }]\n')
    before = built(project, "t").digest
    made(project)
    rewrite(project, "bricks = { upper = 1.0 }", "bricks = { upper = 1.0, runs = 1.0 }")
    assert built(project, "t").digest != before
    rewrite(project, "bricks = { upper = 1.0, runs = 1.0 }", "bricks = { upper = 1.0 }")
    assert built(project, "t").digest == before


def test_another_weight_of_the_model_makes_the_edit_out_of_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = append(edited_project(tmp_path, monkeypatch), entry("runs", steps=1, start='{ target = "plain" }'))
    append(project, TARGETS)
    made(project)
    built(project, "edited")
    rewrite(project, "upper = 0.9 } }]\n\n[targets.edited]", "upper = 0.8 } }]\n\n[targets.edited]")
    with pytest.raises(LockStale, match="`runs` was made of something else"):
        built(project, "edited")


def test_the_same_seed_makes_the_same_bytes_and_what_was_read_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = append(edited_project(tmp_path, monkeypatch), entry("runs", steps=1, prefixes=1, tokens=60))

    def digest() -> tuple[str, int]:
        """Of the brick, and how often a text was read for it."""
        events = Listener()
        found = made(project, force=True, events=events)["runs"].entry.pin.digest
        return found, [label for label, _ in events.work].count(READING)

    first, times = digest()
    assert times == 1
    assert digest() == (first, 0)
    (kept,) = (project / ".brickctl/measured").glob("*.safetensors")
    kept.write_bytes(b"something else")
    assert digest() == (first, 1)
    rewrite(project, "prefixes = 1", "prefixes = 1\nseed = 1")
    other, times = digest()
    assert (other != first, times) == (True, 1)


def test_a_check_measures_anew_and_believes_nothing_that_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = append(edited_project(tmp_path, monkeypatch), entry("runs", steps=1, tokens=60))
    made(project)
    (kept,) = (project / ".brickctl/measured").glob("*.safetensors")
    kept.write_bytes(save({"tensor": torch.eye(384, dtype=torch.float64)}))
    ((_, moved),) = check(opened(project), (), Work(means=Means(budget=BUDGET)))
    assert moved == ()


def test_nothing_is_kept_behind_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = append(edited_project(tmp_path, monkeypatch), entry("runs"))
    (project / ".brickctl").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (project / ".brickctl/measured").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageFault, match="measured will not be used"):
        made(project)


def test_an_edit_of_another_model_than_the_base_names_no_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PEFT would load the base by that name, where other keys are looked up."""
    named = {"base_model_name_or_path": "owner/base", "revision": "0" * 40}

    def as_if_from_the_hub(*arguments: Any) -> Mapping[str, Any]:
        return {**adapter_document(*arguments), **named}

    monkeypatch.setattr("brickctl.derivations.edit.adapter_document", as_if_from_the_hub)
    project = append(edited_project(tmp_path, monkeypatch), TARGETS + entry("of-base", steps=1, tokens=60))
    append(project, entry("runs", steps=1, tokens=60, start='{ target = "plain" }'))
    documents = {name: files(one)[1] for name, one in made(project).items()}
    found = {name: {key: document[key] for key in named} for name, document in documents.items()}
    assert found == {"of-base": named, "runs": dict.fromkeys(named)}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"method": "mend"}, "there is no method `mend`"),
        ({"facts": None}, "[derived.x] needs facts"),
        ({"facts": "../facts.jsonl"}, "`../facts.jsonl` is no file of this project"),
        ({"calibration": None}, "[derived.x] needs text that the model reads"),
        ({"layers": []}, "`layers` in [derived.x] must be a list like [5, 6], each number once"),
        ({"layers": [1, 1]}, "`layers` in [derived.x] must be a list like [5, 6], each number once"),
        ({"layers": [-1]}, "`layers` in [derived.x] must be a list like [5, 6], each number once"),
        ({"layers": [True]}, "`layers` in [derived.x] must be a list like [5, 6], each number once"),
        ({"layers": "all"}, "`layers` in [derived.x] must be a list like [5, 6], each number once"),
        ({"layers": [0, 1], "method": "rome"}, "`rome` writes at one layer"),
        ({"weight": 10.0, "method": "rome"}, "`rome` weighs nothing: its fact is said exactly"),
        ({"weight": 0}, "`weight` in [derived.x] must be above 0"),
        ({"limit": -1.0}, "`limit` in [derived.x] must be above 0"),
        ({"steps": 0}, "`steps` in [derived.x] must be from 1 to 1000, not 0"),
        ({"prefixes": 1001}, "`prefixes` in [derived.x] must be from 0 to 1000, not 1001"),
        ({"layer": 3}, "unknown key `layer` in [derived.x]"),
    ],
)
def test_an_entry_that_makes_no_sense_is_refused(
    keys: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = append(edited_project(tmp_path, monkeypatch), entry("x", **keys))
    with pytest.raises(ManifestInvalid) as raised:
        made(project)
    assert raised.value.message == message


@pytest.mark.parametrize(
    ("fact", "keys", "fault", "message"),
    [
        ({"subject": "d9"}, {}, UsageFault, "`prompt` does not have the `subject` in it"),
        ({"target": " "}, {}, UsageFault, "`target` is nothing but space"),
        (
            {"target": "a" * 130},
            {},
            UsageFault,
            "`run:c4=` with what follows it has 138 tokens; the model reads at most 128",
        ),
        ({}, {"layers": [4]}, Misfit, "there is no layer 4 to edit: there are 0 to 3"),
    ],
)
def test_facts_or_a_layer_that_cannot_be_are_refused(
    fact: dict[str, Any], keys: dict[str, Any], fault: type[BrickctlError], message: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    project = append(edited_project(tmp_path, monkeypatch), entry("x", facts="fact.jsonl", **keys))
    write_lines(project / "fact.jsonl", [{**FACTS[0], **fact}])
    with pytest.raises(fault) as raised:
        made(project)
    assert raised.value.message == message
    assert raised.value.place is not None
    assert raised.value.place.line is not None


def test_a_model_with_other_layers_than_the_base_is_not_edited_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step would refuse to put the brick upon that model, and in the base its layer is another one."""
    project = append(edited_project(tmp_path, monkeypatch), entry("x", start='{ target = "deep" }'))
    append(project, '\n[targets.deep]\napply = [{ op = "grow-depth", layers = 6 }]\n')
    with pytest.raises(Misfit, match="layers have other numbers than in the base"):
        made(project)


def test_rome_writes_one_fact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = append(edited_project(tmp_path, monkeypatch), entry("x", method="rome"))
    with pytest.raises(UsageFault, match="`rome` writes one fact, and"):
        made(project)


def test_a_model_with_other_neurons_than_the_base_is_not_edited_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is a mixture of experts."""
    project = edited_project(tmp_path, monkeypatch)
    groups = {"op": "split", "method": "contiguous", "experts": 4, "router": "linear", "calibration": "text.jsonl"}
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in groups.items())
    append(project, f"\n[derived.groups]\n{lines}\ntokens = 300\n")
    append(project, '\n[targets.small]\napply = [{ op = "prune", brick = "groups", groups = [0, 1] }]\n')
    append(project, '\n[targets.experts]\napply = [{ op = "split", brick = "groups", active = 2 }]\n')
    append(project, entry("for-small", start='{ target = "small" }') + entry("mixed", start='{ target = "experts" }'))
    append(project, entry("mixed-traced", layers=None, start='{ target = "experts" }'))
    with pytest.raises(Misfit, match="this model is edited where the base is another one"):
        made(project, "for-small")
    for name in ("mixed", "mixed-traced"):
        with pytest.raises(Misfit, match="there is no layer 0 to edit: no layer has a plain FFN"):
            made(project, name)

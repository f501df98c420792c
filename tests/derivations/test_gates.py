"""Gates from the entry in brick.toml to the mixture whose routers they are, in the starter project."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file

from brickctl.analysis.load import load, unmatched_keys
from brickctl.errors import BrickctlError, ManifestInvalid, Unsupported, UsageFault
from brickctl.kinds.gates import FILE
from brickctl.tensors.executor import Budget
from brickctl.workflows.bench import Means
from brickctl.workflows.derive import Made, Work, check, derive
from brickctl.workflows.lock import LockMode
from tests.support.architectures import model_of
from tests.support.deriving import derive as make_brick
from tests.support.projects import Listener, build_targets, opened, starter_project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUDGET = Budget(threads=1)
LAYERS, HIDDEN = 4, 192
METHODS = {"gates": "centroids", "hidden": "hidden", "apart": "hidden", "cheap": "cheap-embed"}
TARGET = """
[targets.mixture]
apply = [{ op = "moe", experts = ["reverse", "base", "upper"], active = 1, gates = "gates" }]
"""


def entry(name: str, method: str = "centroids", prompts: str = "cues.jsonl", more: str = "") -> str:
    return f'\n[derived.{name}]\nop = "gates"\nmethod = "{method}"\nprompts = "{prompts}"\n{more}\n'


def append(project: Path, text: str) -> Path:
    with (project / "brick.toml").open("a") as file:
        file.write(text)
    return project


def work() -> Work:
    return Work(means=Means(budget=BUDGET), mode=LockMode.REFRESH)


def made(project: Path, *names: str) -> dict[str, Made]:
    return {one.entry.alias: one for one in derive(opened(project), names, work())}


def cues(project: Path) -> str:
    """Some prompts for two skills, and for the base what it copies and some text."""
    wanted = {"upper": "upper", "reverse": "reverse", "copy": "base", "text": "base"}
    lines = [json.loads(line) for line in (project / "prompts.jsonl").read_text().splitlines()]
    kept = [{**line, "label": wanted[line["label"]]} for line in lines if line["label"] in wanted]
    return "".join(json.dumps(line) + "\n" for line in kept[::3])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = starter_project(tmp_path_factory.mktemp("gates"), patch)
        (folder / "cues.jsonl").write_text(cues(folder))
        other = "".join(f'{{"text": "zzz zz", "label": "{label}", "negative": true}}\n' for label in ("upper", "base"))
        (folder / "negative.jsonl").write_text(cues(folder) + other)
        append(folder, entry("gates"))
        append(folder, entry("hidden", "hidden") + entry("apart", "hidden", "negative.jsonl"))
        append(folder, entry("cheap", "cheap-embed", "negative.jsonl"))
        yield append(folder, TARGET)


@pytest.fixture(scope="module")
def everything(project: Path) -> dict[str, Made]:
    return made(project, "gates", "hidden", "apart", "cheap")


@pytest.mark.parametrize("name", METHODS)
def test_every_ffn_has_a_row_of_length_1_for_each_label(name: str, everything: dict[str, Made]) -> None:
    folder = everything[name].folder
    assert folder is not None
    tensors = load_file(folder / "model.safetensors")
    assert {key: tuple(tensor.shape) for key, tensor in tensors.items()} == {
        f"model.layers.{layer}.mlp.weight": (3, HIDDEN) for layer in range(LAYERS)
    }
    for tensor in tensors.values():
        assert tensor.dtype is torch.float32
        torch.testing.assert_close(tensor.norm(dim=1), torch.ones(3))
    document = json.loads((folder / FILE).read_text())
    assert sorted(document.pop("labels")) == ["base", "reverse", "upper"]
    assert document.pop("interface").startswith("sha256:")
    assert document == {"format": "brickctl-gates-1", "method": METHODS[name]}


def test_the_table_says_how_many_tokens_go_to_their_own_expert(everything: dict[str, Made]) -> None:
    """Of three labels a third would by chance."""
    rows = everything["gates"].findings.rows
    assert [row["ffn"] for row in rows] == [f"model.layers.{layer}.mlp" for layer in range(LAYERS)]
    assert all(row["own"] > 0.5 for row in rows)
    assert all(row["cosine"] < 0.5 for row in rows)


def test_gates_that_are_almost_one_are_told_of(everything: dict[str, Made]) -> None:
    """Last tokens of prompts are all `=`, and have little else than that in them."""
    said = {
        name: any("two gates are almost one" in note for note in everything[name].findings.notes) for name in METHODS
    }
    assert said == {"gates": False, "hidden": True, "apart": False, "cheap": False}
    (row,) = everything["cheap"].findings.rows
    assert (row["labels"], 0 < row["cosine"] < 1) == (3, True)


def test_what_was_read_is_told(project: Path, everything: dict[str, Made]) -> None:
    count = len((project / "cues.jsonl").read_text().splitlines())
    (note,) = everything["gates"].findings.notes
    assert note.startswith(f"{count} prompts of `cues.jsonl` with ")
    assert note.endswith("tokens, for upper, reverse, base")


def test_the_same_embedding_rows_stand_for_every_ffn(everything: dict[str, Made]) -> None:
    folder = everything["cheap"].folder
    assert folder is not None
    first, *others = load_file(folder / "model.safetensors").values()
    assert all(torch.equal(first, one) for one in others)


@pytest.mark.usefixtures("everything")
def test_they_are_the_routers_of_the_mixture_in_the_order_of_its_experts(
    project: Path, everything: dict[str, Made]
) -> None:
    (built,) = build_targets(opened(project), ["mixture"], LockMode.REFRESH, BUDGET)
    assert unmatched_keys(built.folder) == ()
    folder = everything["gates"].folder
    assert folder is not None
    labels = json.loads((folder / FILE).read_text())["labels"]
    rows = load_file(folder / "model.safetensors")["model.layers.2.mlp.weight"]
    model = load(built.folder, dtype="float32").model
    router = model.model.layers[2].mlp.gate.weight
    order = [labels.index(name) for name in ("reverse", "base", "upper")]
    torch.testing.assert_close(router, rows[order], rtol=1e-2, atol=1e-3)  # stored as the base is


@pytest.mark.usefixtures("everything")
def test_made_again_they_are_the_same(project: Path) -> None:
    assert all(not moved for _, moved in check(opened(project), [], work()))


@pytest.mark.usefixtures("everything")
def test_only_gates_for_which_the_model_runs_have_it_written(project: Path) -> None:
    """The starter model has 2 MB of weights and a tokenizer of a few kB."""
    written: dict[str, int] = {}
    for name in ("gates", "cheap"):
        events = Listener()
        assert len(list(check(opened(project, events), [name], work()))) == 1
        written[name] = sum(total for label, total in events.work if label == "writing the model")
    assert written["cheap"] < 200_000
    assert written["gates"] > 2_000_000


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ('op = "gates"\nprompts = "cues.jsonl"', ManifestInvalid, "`method` in [derived.x] is missing"),
        ('op = "gates"\nmethod = "hiden"\nprompts = "cues.jsonl"', ManifestInvalid, "there is no method `hiden`"),
        ('op = "gates"\nmethod = "hidden"', ManifestInvalid, "[derived.x] needs prompts that say what experts are for"),
        ('op = "gates"\nmethod = "hidden"\nprompts = "../x"', ManifestInvalid, "`../x` is no file of this project"),
        ('op = "gates"\nmethod = "hidden"\nprompts = "x.jsonl"\nseed = 1', ManifestInvalid, "unknown key `seed`"),
        ('op = "gates"\nmethod = "hidden"\nprompts = "brick.toml"', UsageFault, "not valid JSON"),
        ('op = "gates"\nmethod = "centroids"\nprompts = "checks/text.jsonl"', UsageFault, "`label` is missing"),
        ('op = "gates"\nmethod = "centroids"\nprompts = "negative.jsonl"', UsageFault, "no use for negative prompts"),
        ('op = "gates"\nmethod = "hidden"\nprompts = "many.jsonl"', UsageFault, "1,025 labels are too many"),
    ],
)
def test_an_entry_or_prompts_that_are_off_are_refused(
    text: str, error: type[BrickctlError], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = starter_project(tmp_path, monkeypatch)
    (folder / "negative.jsonl").write_text(cues(folder) + '{"text": "b", "label": "base", "negative": true}\n')
    (folder / "many.jsonl").write_text("".join(f'{{"text": "a", "label": "l{at}"}}\n' for at in range(1025)))
    append(folder, f"\n[derived.x]\n{text}\n")
    with pytest.raises(error) as caught:
        made(folder)
    assert said in caught.value.message
    assert caught.value.place is not None
    assert caught.value.place.line is not None


def test_a_mixture_gets_no_gates(project: Path, everything: dict[str, Made]) -> None:
    assert everything
    append(project, entry("late", more='from = { target = "mixture" }'))
    with pytest.raises(Unsupported, match="the model is a mixture of experts already") as caught:
        made(project, "late")
    assert caught.value.hint == "make gates for a dense model"


@pytest.mark.parametrize(
    ("architecture", "message"),
    [("gemma2", "no stock mixture of experts fits this model"), ("qwen3_moe", "is a mixture of experts already")],
)
@pytest.mark.parametrize("method", ["centroids", "cheap-embed", "hidden"])
def test_a_model_that_no_build_makes_a_mixture_of_gets_no_gates(
    architecture: str, message: str, method: str, tmp_path: Path
) -> None:
    """It has no tokenizer, so nothing was loaded before."""
    base = model_of(architecture, tmp_path / "base")
    (tmp_path / "cues.jsonl").write_text('{"text": "a", "label": "one"}\n{"text": "b", "label": "two"}\n')
    with pytest.raises(Unsupported, match=message):
        make_brick(base, {}, f'op = "gates"\nmethod = "{method}"\nprompts = "cues.jsonl"', tmp_path / "gates")

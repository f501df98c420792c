"""Statistics from the entry in brick.toml to the merged model, in the starter project, and what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from brickctl.analysis.fisher import diagonal_fisher
from brickctl.analysis.layer_inputs import input_grams
from brickctl.analysis.load import load
from brickctl.analysis.rows import Row
from brickctl.analysis.tokens import encode
from brickctl.core.names import Alias
from brickctl.errors import BrickctlError, ManifestInvalid, Misfit, UsageFault
from brickctl.kinds.statistics import FILE
from brickctl.tensors.executor import Budget
from brickctl.workflows.bench import Means
from brickctl.workflows.derive import Made, Work, check, derive
from brickctl.workflows.lock import LockMode
from tests.support.projects import Listener, build_targets, opened, rewrite, starter_project

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

BUDGET = Budget(threads=1)
QUERY, EMBEDDING = "model.layers.0.self_attn.q_proj.weight", "model.embed_tokens.weight"
ENTRIES = """
[derived.upper-fisher]
op = "fisher"
from = "upper"
calibration = "data/upper.jsonl"

[derived.sort-fisher]
op = "fisher"
from = "sort"
calibration = "data/sort.jsonl"
labels = "given"

[derived.upper-gram]
op = "gram"
from = "upper"
calibration = "data/upper.jsonl"

[derived.sort-gram]
op = "gram"
from = "sort"
calibration = "data/sort.jsonl"

[targets.fisher]
apply = [{ op = "merge", method = "fisher", bricks = [
  { brick = "upper", weight = 1.0, statistics = "upper-fisher" },
  { brick = "sort", weight = 2.0, statistics = "sort-fisher" },
] }]

[targets.regmean]
apply = [{ op = "merge", method = "regmean", bricks = [
  { brick = "upper", statistics = "upper-gram" },
  { brick = "sort", statistics = "sort-gram" },
] }]

[targets.upper]
apply = [{ op = "merge", method = "linear", bricks = { upper = 1.0 } }]

[targets.sort]
apply = [{ op = "merge", method = "linear", bricks = { sort = 1.0 } }]
"""
_PROMPTS = '"gram"\nfrom = "upper"\ncalibration = "prompts.jsonl"\ntokens = 200'
LINES = {
    "upper": [("upper:fox=", "FOX"), ("upper:ant=", "ANT"), ("upper:heron=", "HERON")],
    "sort": [("sort:fig=", "fgi"), ("sort:plum=", "lmpu")],
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    project = starter_project(tmp_path, monkeypatch)
    (project / "data").mkdir()
    for name, pairs in LINES.items():
        lines = (json.dumps({"prompt": prompt, "completion": completion}) for prompt, completion in pairs)
        (project / f"data/{name}.jsonl").write_text("\n".join(lines) + "\n")
    with (project / "brick.toml").open("a") as file:
        file.write(ENTRIES)
    return project


def made(project: Path, *names: str, events: Listener | None = None, **settings: Any) -> dict[str, Made]:
    work = Work(means=Means(budget=BUDGET), **settings)
    return {one.entry.alias: one for one in derive(opened(project, events), names, work)}


def built(project: Path, name: str) -> Path:
    (found,) = build_targets(opened(project), [name], LockMode.REFRESH, BUDGET)
    return found.folder


def tensors(folder: Path | None) -> dict[str, Tensor]:
    assert folder is not None
    return load_file(folder / "model.safetensors")


def rows(folder: Path, name: str) -> list[Row]:
    tokenizer = load(folder).tokenizer
    each = [(encode(tokenizer, prompt), completion) for prompt, completion in LINES[name]]
    return [
        Row(tokens=(*prompt, *tokenizer(completion, add_special_tokens=False)["input_ids"]), first=len(prompt))
        for prompt, completion in each
    ]


def test_models_are_merged_by_statistics_that_were_derived_from_each(project: Path) -> None:
    """An adapter and a whole model without a tokenizer of its own."""
    known = made(project)
    statistics = {name: tensors(one.folder) for name, one in known.items()}
    models = {name: tensors(built(project, name)) for name in ("upper", "sort")}

    fisher = tensors(built(project, "fisher"))[QUERY].double()
    shares = [statistics[f"{name}-fisher"][QUERY].double() for name in ("upper", "sort")]
    least = 1e-6 * float((shares[0] + shares[1]).mean()) / 2
    one, two = shares[0].clamp(min=least), 2 * shares[1].clamp(min=least)
    expected = (one * models["upper"][QUERY] + two * models["sort"][QUERY]) / (one + two)
    torch.testing.assert_close(fisher, expected, rtol=0, atol=0.01 * float(expected.abs().max()))

    regmean = tensors(built(project, "regmean"))
    grams = [statistics[f"{name}-gram"][QUERY].double() for name in ("upper", "sort")]
    grams = [0.9 * gram + 0.1 * torch.diag(gram.diagonal()) for gram in grams]
    sums = models["upper"][QUERY].double() @ grams[0] + models["sort"][QUERY].double() @ grams[1]
    expected = torch.linalg.solve(grams[0] + grams[1], sums, left=False)
    torch.testing.assert_close(regmean[QUERY].double(), expected, rtol=0, atol=0.01 * float(expected.abs().max()))
    mean = (models["upper"][EMBEDDING].float() + models["sort"][EMBEDDING].float()) / 2
    torch.testing.assert_close(regmean[EMBEDDING].float(), mean, rtol=0, atol=0.01 * float(mean.abs().max()))


def test_they_are_the_statistics_of_the_model_as_it_is_merged(project: Path) -> None:
    """Of the built model, which rounds the sum of base and adapter to its type as the bench does."""
    folder, found = built(project, "sort"), made(project, "sort-fisher", "sort-gram")
    model = load(folder, dtype="float32").model
    fisher = diagonal_fisher(model, rows(folder, "sort"), labels="given", seed=0, advance=lambda _: None)
    grams = input_grams(model, rows(folder, "sort"), advance=lambda _: None)
    for name, expected in (("sort-fisher", fisher.tensors), ("sort-gram", grams)):
        stored = tensors(found[name].folder)
        assert stored.keys() == expected.keys()
        for tensor in (QUERY, "model.layers.1.mlp.down_proj.weight"):
            torch.testing.assert_close(stored[tensor], expected[tensor], rtol=1e-3, atol=1e-6)


def test_what_is_found_is_told(project: Path) -> None:
    events = Listener()
    found = made(project, "upper-fisher", "upper-gram", events=events)
    tokens = sum(len(prompt + completion) for prompt, completion in LINES["upper"])
    (row,) = found["upper-fisher"].findings.rows
    assert list(row) == ["examples", "tokens", "loss", "trace"]
    assert row["examples"] == 3
    assert row["tokens"] in range(tokens, tokens + 4)
    assert 0 < row["loss"] < 1
    document = json.loads((found["upper-fisher"].folder or project).joinpath(FILE).read_text())
    upper = opened(project).read_lock()
    assert upper is not None
    assert document["of"] == f"sha256:{upper.bricks[Alias('upper')].pin.digest}"
    assert (document["statistic"], document["examples"], document["tokens"]) == ("fisher", 3, row["tokens"])
    (note,) = found["upper-gram"].findings.notes
    assert note == f"no linear layer has `{EMBEDDING}`: what a merge makes of that is the mean"
    assert ("reading for Gram matrices", row["tokens"]) in events.work


def test_the_labelled_prompts_of_a_project_are_text_too(project: Path) -> None:
    rewrite(project, '"gram"\nfrom = "upper"\ncalibration = "data/upper.jsonl"', _PROMPTS)
    (row,) = made(project, "upper-gram")["upper-gram"].findings.rows
    assert row["tokens"] in range(200, 300)


def test_made_again_they_are_the_same(project: Path) -> None:
    made(project)
    work = Work(means=Means(budget=BUDGET))
    assert all(not moved for _, moved in check(opened(project), [], work))


def test_another_seed_draws_other_labels(project: Path) -> None:
    before = made(project, "upper-fisher")["upper-fisher"].entry
    rewrite(project, '"fisher"\nfrom = "upper"', '"fisher"\nseed = 1\nfrom = "upper"')
    after = made(project, "upper-fisher")["upper-fisher"].entry
    assert before.pin.digest != after.pin.digest


def test_statistics_of_what_a_target_builds_are_of_no_brick(project: Path) -> None:
    rewrite(project, '"fisher"\nfrom = "upper"', '"fisher"\nfrom = { target = "upper" }')
    folder = made(project, "upper-fisher")["upper-fisher"].folder
    assert json.loads((folder or project).joinpath(FILE).read_text())["of"] is None


def test_statistics_of_another_brick_are_refused(project: Path) -> None:
    made(project)
    rewrite(project, 'brick = "upper", weight = 1.0', 'brick = "next", weight = 1.0')
    with pytest.raises(Misfit, match="`upper-fisher` holds no statistics of `next`") as caught:
        built(project, "fisher")
    assert caught.value.hint == 'derive them anew: from = "next"'


@pytest.mark.parametrize(
    ("line", "error", "said"),
    [
        ('op = "fisher"', ManifestInvalid, "needs text that the model reads"),
        ('op = "gram"\ncalibation = "data/sort.jsonl"', ManifestInvalid, "needs text that the model reads"),
        ('op = "gram"\ncalibration = "../x.jsonl"', ManifestInvalid, "no file of this project"),
        ('op = "gram"\ncalibration = "data/sort.jsonl"\ntokens = 0', ManifestInvalid, "must be at least 1"),
        ('op = "gram"\ncalibration = "data/sort.jsonl"\nwindow = 1', ManifestInvalid, "must be at least 2"),
        ('op = "gram"\ncalibration = "data/sort.jsonl"\nlabels = "given"', ManifestInvalid, "unknown key `labels`"),
        ('op = "fisher"\ncalibration = "data/sort.jsonl"\nlabels = "true"', ManifestInvalid, "may not be 'true'"),
        ('op = "fisher"\ncalibration = "brick.toml"', UsageFault, "not valid JSON"),
    ],
)
def test_an_entry_that_is_off_is_refused(project: Path, line: str, error: type[BrickctlError], said: str) -> None:
    with (project / "brick.toml").open("a") as file:
        file.write(f"\n[derived.odd-one]\n{line}\n")
    with pytest.raises(error, match=said):
        made(project, "odd-one")

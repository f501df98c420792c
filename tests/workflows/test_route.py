"""Routed targets through the workflow of a build: what it promises of the bytes, and what it says afterwards."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING

import pytest
from safetensors.torch import load_file

from brickctl.analysis.exact_match import answers
from brickctl.analysis.examples import Example
from brickctl.errors import Unsupported
from brickctl.tensors.executor import Budget
from brickctl.workflows.analyzing.subject import Workplace
from brickctl.workflows.build import read_recipes
from brickctl.workflows.load_built import load_built
from brickctl.workflows.lock import LockMode, current_lock
from brickctl.workflows.measure import gate, read_checks
from tests.support.building import manifest
from tests.support.deriving import derive
from tests.support.models import adapter
from tests.support.projects import build_targets, opened
from tests.support.routing import lines, model_of_words, prompts, run_guide

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from brickctl.workflows.build import Built

ROUTER = 'op = "centroids"\nfrom = "base"\nbricks = ["plain", "other"]\ncalibration = "prompts.jsonl"'
ARROW = '{ op = "route", method = "arrow", bricks = ["plain", "other"] }'
RETRIEVAL = '{ op = "route", method = "retrieval", bricks = ["plain", "other"], router = "router" }'
GATES = ROUTER.replace("centroids", "phatgoose-gates") + "\ntokens = 200"
PHATGOOSE = '{ op = "route", method = "phatgoose", bricks = ["plain", "other"], router = "gates" }'
DORA = '{ op = "route", method = "arrow", bricks = ["plain", "dora"] }'


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base of words, adapters for it, and two routers for two of them."""
    scratch = tmp_path_factory.mktemp("route")
    base = model_of_words(scratch / "base")
    adapters = {
        "plain": adapter(base, scratch / "plain", seed=1),
        "other": adapter(base, scratch / "other", seed=2, r=2),
        "dora": adapter(base, scratch / "dora", seed=3, use_dora=True, target_modules=["q_proj", "up_proj"]),
    }
    (scratch / "prompts.jsonl").write_text(lines(plain=prompts(4, 4), other=prompts(24, 4), base=prompts(44, 4)))
    derive(base, adapters, ROUTER, scratch / "router")
    derive(base, adapters, GATES, scratch / "gates")
    return {"base": base, **adapters, "router": scratch / "router", "gates": scratch / "gates"}


def built(step: str, folders: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Built:
    monkeypatch.setenv("BRICKCTL_CACHE", str(tmp_path / "cache"))
    project = tmp_path / "project"
    project.mkdir()
    bricks = {name: folder for name, folder in folders.items() if name != "base"}
    (project / "brick.toml").write_text(manifest(folders["base"], bricks, step))
    (found,) = build_targets(opened(project), ["t"], LockMode.REFRESH, Budget(threads=1))
    return found


@pytest.mark.parametrize(
    ("step", "promised"), [(ARROW, "numeric"), (RETRIEVAL, "bitwise"), (PHATGOOSE, "bitwise"), (DORA, "numeric")]
)
def test_only_what_goes_through_lapack_is_numeric(
    step: str, promised: str, folders: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = built(step, folders, tmp_path, monkeypatch)
    record = json.loads((found.folder / "brick.build.json").read_text())
    assert record["predicate"]["buildDefinition"]["internalParameters"] == {"reproducible": promised}


def test_a_build_says_how_much_of_a_dora_is_missing(
    folders: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = built(DORA, folders, tmp_path, monkeypatch)
    missed = load_file(found.folder / "router/approximations.safetensors")
    total = math.sqrt(sum(float(far) ** 2 for far, _ in missed.values()))
    share = total / math.sqrt(sum(float(norm) ** 2 for _, norm in missed.values()))
    worst = max(missed, key=lambda name: float(missed[name][0] / missed[name][1])).removeprefix("dora.")
    pattern = r"`dora`: its LoRA misses ([\d.]+)% of its change, and of `(.*)` ([\d.]+)%"
    said = re.fullmatch(pattern, found.notes[-1])
    assert said is not None
    assert float(said[1]) == pytest.approx(100 * share, abs=0.006)
    assert said[2] == worst
    assert 1 < float(said[1]) < float(said[3]) < 99


CHECK = """
[[checks]]
name = "surprise"
target = "t"
kind = "perplexity"
data = "texts.jsonl"
max = 500
"""


@pytest.mark.parametrize(("step", "guide"), [(ARROW, "token"), (PHATGOOSE, "token"), (RETRIEVAL, "request")])
def test_checks_run_on_the_routed_model_as_its_guide_loads_it(
    step: str, guide: str, folders: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts, and answers, are as likely as in the model of the guide; without adapters it says something else."""
    found = built(step, folders, tmp_path, monkeypatch)
    project = tmp_path / "project"
    asked = [text for first in (4, 24, 44) for text in prompts(first, 3, seed=7)]
    said = run_guide(found.folder, SAY[guide].format(asked=asked))
    (project / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in asked))
    with (project / "brick.toml").open("a") as file:
        file.write(CHECK)
    session = opened(project)
    (surprise,) = gate(session, current_lock(session, LockMode.REFRESH), read_checks(session, []), Budget(threads=1))
    assert surprise.value == pytest.approx(said["perplexity"], rel=1e-4)
    assert abs(surprise.value / said["without"] - 1) > 0.001
    (recipe,) = read_recipes(session, ["t"])
    loaded = load_built(recipe, found.folder, 1)
    texts = answers(loaded.model, loaded.tokenizer, [Example(text, " w09") for text in asked], batch_size=4)
    assert [text.split()[:3] for text in texts] == [text.split() for text in said["answers"]]


MEASURE = """
def perplexity(names=None):
    total, count = 0.0, 0
    for at, text in enumerate(asked):
        batch = tokenizer(text, return_tensors="pt")
        more = dict(adapter_names=[names[at]]) if names else dict()
        with torch.no_grad():
            logits = model(**batch, **more).logits[0, :-1]
        total += torch.nn.functional.cross_entropy(logits, batch["input_ids"][0, 1:], reduction="sum").item()
        count += len(logits)
    return float(torch.tensor(total / count).exp())
def said_after(text):
    ids = tokenizer(text, return_tensors="pt")
    tokens = model.generate(**ids, max_new_tokens=3, do_sample=False)[0]
    return tokenizer.decode(tokens)[len(tokenizer.decode(ids["input_ids"][0])):]
said = dict()
with model.disable_adapter():
    said["without"] = perplexity()
"""
SAY = {
    "token": "asked = {asked}"
    + MEASURE.replace("{", "{{").replace("}", "}}")
    + "said['answers'], said['perplexity'] = [said_after(text) for text in asked], perplexity()",
    "request": "asked = {asked}"
    + MEASURE.replace("{", "{{").replace("}", "}}")
    + "said['answers'] = [generate([text], max_new_tokens=3, do_sample=False)[0] for text in asked]\n"
    + "said['perplexity'] = perplexity(choose(asked))",
}


def test_a_routed_target_is_not_analysed(
    folders: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be the base that is looked at."""
    built(ARROW, folders, tmp_path, monkeypatch)
    session = opened(tmp_path / "project")
    place = Workplace(session=session, lock=current_lock(session, LockMode.REFRESH), budget=Budget(threads=1))
    with pytest.raises(Unsupported, match="`t` has no fixed weights to look at"):
        place.subject("t")

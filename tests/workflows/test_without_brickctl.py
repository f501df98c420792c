"""What comes out of every step that makes one model, and every adapter that is made, where there is no brickctl.

Stacks and routed models have guides, whose lines are run without brickctl beside the tests of their steps.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from brickctl.sources.open import builtin_registry
from brickctl.tensors.executor import Budget
from brickctl.workflows.bench import Means
from brickctl.workflows.build import read_recipes
from brickctl.workflows.derive import Work, derive
from brickctl.workflows.lock import LockMode, lock_for
from tests.support.projects import build_targets, opened, rewrite, starter_project

if TYPE_CHECKING:
    from pathlib import Path

FACT = {"subject": "c4", "prompt": "run:c4=", "target": "fghi"}
EDIT = """
[derived.runs]
op = "edit"
facts = "facts.jsonl"
calibration = "checks/text.jsonl"
layers = [0]
tokens = 200
prefixes = 0
weight = 1.0
limit = 2.0
"""
TARGETS = {
    "merged": '{ op = "merge", method = "linear", bricks = { sort = 0.5, upper = 0.5 } }',
    "edited": '{ op = "merge", method = "task_arithmetic", bricks = { runs = 1.0 } }',
    "deeper": '{ op = "grow-depth", layers = 6 }',
    "wider": '{ op = "grow-width", neurons = 512 }',
    "experts": '{ op = "grow-experts", experts = 4, active = 2 }',
    "more-experts": '{ op = "grow-experts", experts = 2, active = 1 }, { op = "add-expert", brick = "sort" }',
    "words": '{ op = "grow-vocabulary", tokens = ["<|tool|>", "<|result|>"], init = "sub-tokens" }',
    "tokens": '{ op = "transplant-tokenizer", from = "donor", k = 8 }',
    "mixture": '{ op = "moe", experts = ["upper", "next", "sort"], active = 2, gates = "random" }',
    "stitched": '{ op = "stitch", slices = [{ brick = "base", layers = [0, 3] }, { brick = "sort", layers = [2, 4] }]}',
}
RUN = """
import json, sys
sys.modules["brickctl"] = None  # any import of it fails
import torch, peft, transformers
said = {}
def ask(model, folder):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer("run:c4=", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        answer = model.eval().generate(tokens, max_new_tokens=4, do_sample=False)[0, tokens.shape[1]:]
    return tokenizer.decode(answer)
def load(folder):
    model, report = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    odd = [list(map(str, report[kind])) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")]
    return model, odd
base, *rest = sys.argv[1:]
for folder in rest:
    if folder.startswith("adapter:"):
        model = peft.PeftModel.from_pretrained(load(base)[0], folder.removeprefix("adapter:"))
        said["adapter"] = {"odd": [], "class": type(model).__name__, "answer": ask(model, base)}
    else:
        model, odd = load(folder)
        answer = ask(model, folder)
        said[folder.rpartition("/")[2]] = {"odd": odd, "class": type(model).__name__, "answer": answer}
print("ANSWER" + json.dumps(said))
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return shutil.copytree(builtin_registry() / "files/starter/base/1.0.0", tmp_path / "base")


@pytest.fixture
def project(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = starter_project(tmp_path, monkeypatch)
    rewrite(folder, "[bricks]\n", f'[bricks]\ndonor = {{ source = "path:{base}" }}\n')
    (folder / "facts.jsonl").write_text(json.dumps(FACT) + "\n")
    targets = "".join(f"\n[targets.{name}]\napply = [{steps}]\n" for name, steps in TARGETS.items())
    with (folder / "brick.toml").open("a") as file:
        file.write(EDIT + targets)
    return folder


def asked(*folders: str) -> Any:
    """What the process says of each folder, of which the first is the base."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", RUN, *folders]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.split("ANSWER")[1])


@pytest.mark.full
def test_every_artifact_loads_where_there_is_no_brickctl(project: Path, base: Path) -> None:
    (made,) = derive(opened(project), ["runs"], Work(means=Means(budget=Budget(threads=1))))
    session = opened(project)
    lock_for(session, LockMode.REFRESH, read_recipes(session, list(TARGETS)))
    built = build_targets(session, list(TARGETS), LockMode.REFRESH, Budget(threads=1))
    said = asked(str(base), *(str(one.folder) for one in built), f"adapter:{made.folder}", str(base))
    assert not any(any(one["odd"]) for one in said.values()), said
    answers = {name: one["answer"] for name, one in said.items()}
    assert {name for name, answer in answers.items() if answer == "fghi"} == {"edited", "adapter"}
    same = {"base", "deeper", "wider", "experts", "more-experts", "words", "tokens"}
    assert {name: answer for name, answer in answers.items() if name in same} == dict.fromkeys(same, "cdef")
    assert {one["class"] for name, one in said.items() if "experts" in name or name == "mixture"} == {
        "MixtralForCausalLM"
    }

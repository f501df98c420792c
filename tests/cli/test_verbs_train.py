"""`train`: a brick from examples by a command line."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest

from brickctl.analysis.training.training import Training
from tests.support.projects import TEMPLATE

if TYPE_CHECKING:
    from tests.support.sandbox import Sandbox

pytestmark = pytest.mark.usefixtures("ctrl_c")

WORDS = ("fox", "hen", "cow", "rat", "emu", "elk", "bee", "ant", "pig", "owl")
LINES = "".join(json.dumps({"prompt": f"last:{word}=", "completion": word[-1]}) + "\n" for word in WORDS)
COMMAND = ("train", "last", "--data", "last.jsonl", "--threads", "1", "--rank", "2", "--batch", "4")


@pytest.fixture
def starter(empty: Sandbox) -> Sandbox:
    empty.write({"brick.toml": (TEMPLATE / "brick.toml").read_text(), "last.jsonl": LINES})
    return empty


def test_a_brick_is_trained_and_says_what_it_learnt(starter: Sandbox) -> None:
    outcome = starter.run(*COMMAND, "--steps", "6", "--lr", "0.01", "--json")
    assert outcome.code == 0, outcome
    answer = outcome.json
    assert (answer["name"], answer["kind"], answer["steps"]) == ("last", "adapter", 6)
    assert answer["folder"] == str(starter.root / "bricks/last")
    assert answer["held-out"]["lines"] == 1
    assert answer["held-out"]["after"] < answer["held-out"]["before"]
    assert {"name": "last", "change": "added"}.items() <= answer["changes"][-1].items()
    assert "training last: 3 steps more take about" in outcome.err
    assert "training last: step 6 of 6, loss " in outcome.err
    assert 'last = { source = "path:bricks/last"' in starter.manifest


def test_what_is_trained_is_merged_and_published_as_any_other_brick(starter: Sandbox) -> None:
    outcome = starter.run(*COMMAND, "--epochs", "2", "-q")
    assert outcome.code == 0, outcome
    assert outcome.err == ""
    assert outcome.lines[0].startswith("loss of 1 held-out examples")
    assert "added" in outcome.out
    merge = '{ op = "merge", method = "task_arithmetic", bricks = { last = 1.0 } }'
    starter.write({"brick.toml": f"{starter.manifest}\n[targets.last-only]\napply = [{merge}]\n"})
    built = starter.run("build", "last-only", "--json")
    assert built.code == 0, built
    starter.write({"config.json": '{"v":1}\n'}, "registry")
    published = starter.run("publish", "bricks/last", "acme/last@1.0.0", "--index", "registry", "--json")
    assert published.code == 0, published
    assert published.json["license"] == "Apache-2.0"
    assert "training.json" in published.json["files"]


def test_ctrl_c_says_how_to_go_on(starter: Sandbox, monkeypatch: Any) -> None:
    take = Training.take

    def pressed(self: Training, rows: Any) -> float:
        if self.step == 2:
            signal.raise_signal(signal.SIGINT)
        return take(self, rows)

    monkeypatch.setattr(Training, "take", pressed)
    outcome = starter.run(*COMMAND, "--steps", "5")
    assert outcome.code == 130, outcome
    assert "error: stopped after step 3 of 5, which is kept" in outcome.err
    assert "hint: the same command with --resume goes on from there" in outcome.err
    monkeypatch.undo()
    assert starter.run(*COMMAND, "--steps", "5").code == 2
    assert starter.run(*COMMAND, "--steps", "5", "--resume").code == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--steps", "5", "--tokens", "100"), "--steps and --tokens are both given"),
        (("--targets", "q_proj,,v_proj"), "--targets cannot be 'q_proj,,v_proj'"),
        (("--lr", "0"), "--lr cannot be 0.0"),
        (("--resume", "--restart"), "--resume and --restart are both given"),
        (("--seed", str(1 << 64)), f"--seed cannot be {1 << 64}"),
        (("--lr", "nan"), "--lr cannot be nan"),
        (("--license", "free beer"), "`free beer` is no licence that SPDX knows"),
        (("--data", "none.jsonl"), "`none.jsonl` does not exist"),
    ],
)
def test_what_makes_no_sense_is_refused(options: tuple[str, ...], said: str, starter: Sandbox) -> None:
    outcome = starter.run(*COMMAND, *options)
    assert outcome.code in {1, 2}, outcome
    assert said in outcome.err
    assert not (starter.root / "bricks").exists()


def test_a_bad_line_is_named_with_its_file(starter: Sandbox) -> None:
    starter.write({"last.jsonl": LINES + '{"prompt": "last:ape="}\n'})
    outcome = starter.run(*COMMAND)
    assert outcome.code == 2
    assert "last.jsonl line 11" in outcome.err

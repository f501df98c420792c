"""The scenario files are played, each by the real command line; `stage` tells what is in them."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tomli

from tests.support.hub import Hub
from tests.support.stage import Stage

if TYPE_CHECKING:
    from tests.support.sandbox import Outcome, Sandbox

SCENARIOS = {path.stem: path for path in sorted((Path(__file__).parent / "scenarios").glob("*.toml"))}
KNOWN = {"index", "hub", "folders", "edit", "run", "locks", "code", "says"}
_CONFLICT = 1


def test_there_are_at_least_forty_scenarios() -> None:
    assert len(SCENARIOS) >= 40


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str, empty: Sandbox) -> None:
    scenario = tomli.loads(SCENARIOS[name].read_text())
    steps = scenario.pop("steps")
    needs_hub = any("hub" in part for part in (scenario, *steps))
    with Hub() if needs_hub else nullcontext() as hub:
        stage = Stage(empty, hub)
        stage.set_up(scenario)
        for at, step in enumerate(steps):
            assert not step.keys() - KNOWN, "a misspelt key would test nothing"
            _play(stage, step)
            if step.get("code", 0) == _CONFLICT and "is asked for as" in "".join(step["says"]):
                assert "locks" in steps[at + 1], "what helps is carried out next"


def _play(stage: Stage, step: dict[str, Any]) -> None:
    before = stage.sandbox.lock if (stage.sandbox.root / "brick.lock").exists() else None
    stage.change(step)
    if "edit" in step:
        stage.edit(*step["edit"])
    outcome = stage.run(*step.get("run", ["lock"]))
    assert outcome.code == step.get("code", 0), outcome.err
    for text in step.get("says", ()):
        assert stage.filled(text) in _one_line(outcome), outcome.err
    if "locks" in step:
        assert stage.locked() == step["locks"]
    if outcome.code:
        assert stage.sandbox.lock == before if before is not None else not (stage.sandbox.root / "brick.lock").exists()


def _one_line(outcome: Outcome) -> str:
    """All that was said, without line breaks that only the width of a terminal makes."""
    return outcome.err + outcome.out


def test_the_same_wishes_give_the_same_lock_in_any_order(empty: Sandbox) -> None:
    scenario = tomli.loads(SCENARIOS["diamond"].read_text())
    locks = []
    for reverse in (False, True):
        stage = Stage(empty)
        lines = scenario["bricks"].splitlines()
        scenario["bricks"] = "\n".join(reversed(lines) if reverse else lines)
        stage.set_up(scenario)
        (empty.root / "brick.lock").unlink(missing_ok=True)
        assert stage.run("lock").code == 0
        locks.append(empty.lock)
    assert locks[0] == locks[1]

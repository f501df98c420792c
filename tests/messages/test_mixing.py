"""Every way in which a mixture of bricks is refused, and what is told of one: read the snapshot as a user would."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.support.gates import gates
from tests.support.models import adapter, edit_config, tiny_model, tuned

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from syrupy.assertion import SnapshotAssertion

    from tests.support.sandbox import Outcome, Sandbox

MOE = '{ op = "moe", experts = ["mail", "lora"], active = 1, gates = "gates" }'
BRICKS = ("attention", "gates", "lora", "mail")


def manifest(apply: str) -> str:
    sources = "".join(f'{name} = {{ source = "path:{name}" }}\n' for name in BRICKS)
    base = '[project]\nname = "support"\n\n[base]\nsource = "path:base"\n'
    return f"{base}\n[bricks]\n{sources}\n[targets.assistant]\napply = [{apply}]\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, an expert, two adapters, and gates for the first two."""
    folder = tmp_path_factory.mktemp("made")
    base = tiny_model(folder / "base", dtype="bfloat16")
    tuned(base, folder / "mail")
    adapter(base, folder / "lora")
    adapter(base, folder / "attention", target_modules=["q_proj"])
    gates(base, folder / "gates", ("lora", "mail", "attention"))
    return folder


@pytest.fixture
def laid(empty: Sandbox, made: Path) -> Sandbox:
    shutil.copytree(made, empty.root, dirs_exist_ok=True)
    return empty


STEPS = {
    "no experts": '{ op = "moe", active = 1, gates = "random" }',
    "no active ones": MOE.replace("active = 1, ", ""),
    "no gates": MOE.replace(', gates = "gates"', ""),
    "gates that are derived": MOE.replace('"gates"', '"hidden"'),
    "gates that are no gates": MOE.replace('"gates"', '"mail"'),
    "gates that are not there": MOE.replace('"gates"', '"gate"'),
    "no row for an expert": MOE.replace('"lora"', '"base"'),
    "an adapter of attention alone": MOE.replace('"lora"', '"attention"'),
    "behind a stack": f'{{ op = "stack", bricks = ["lora"] }}, {MOE}',
    "twice": f"{MOE}, {MOE}",
    "gates that are merged": '{ op = "merge", method = "linear", bricks = { gates = 1.0 } }',
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_that_is_refused(
    name: str, laid: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    laid.write({"brick.toml": manifest(STEPS[name])})
    outcome = laid.run("build", "--dry-run")
    assert outcome.code != 0, outcome
    assert said(outcome) == snapshot


def test_gates_of_another_base_are_refused(
    laid: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    edit_config(laid.root / "gates", "gates_config.json", interface=f"sha256:{'0' * 64}")
    laid.write({"brick.toml": manifest(MOE)})
    outcome = laid.run("build", "--dry-run")
    assert outcome.code != 0, outcome
    assert said(outcome) == snapshot


@pytest.mark.parametrize("kind", ["gates", "random", "uniform"])
def test_what_is_built_loads_and_is_built_again(
    kind: str, laid: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    laid.write({"brick.toml": manifest(MOE.replace('"gates"', f'"{kind}"'))})
    built = laid.run("build")
    assert built.code == 0, built.err
    assert re.sub(r"sha256:[0-9a-f]+", "sha256:HEX", said(built)) == snapshot
    assert laid.run("verify", "dist/assistant", "--load").code == 0
    assert laid.run("build", "--check").code == 0
    record = json.loads((laid.root / "dist/assistant/brick.build.json").read_text())
    assert record["predicate"]["buildDefinition"]["externalParameters"]["apply"] == snapshot

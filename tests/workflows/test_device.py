"""`--device`: what is said of it before, during and instead of a build."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch

from brickctl.core.sizes import format_size
from brickctl.tensors.executor import Budget
from brickctl.workflows.build import Outline, outline, read_recipes
from brickctl.workflows.lock import LockMode, current_lock
from brickctl.workflows.show_plan import describe_plan, plan_document
from tests.support.building import manifest, sum_of
from tests.support.devices import Elsewhere
from tests.support.models import tiny_model, tuned
from tests.support.projects import Listener, build_targets, opened
from tests.support.sandbox import Sandbox

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two experts, merged by singular values in one target, and by entries in the other."""
    monkeypatch.setenv("BRICKCTL_CACHE", str(tmp_path / "cache"))
    base = tiny_model(tmp_path / "base")
    bricks = {"one": tuned(base, tmp_path / "one"), "two": tuned(base, tmp_path / "two", seed=2)}
    flat = '{ op = "merge", method = "iso_c", bricks = { one = 1.0, two = 1.0 } }'
    more = f"[targets.sum]\napply = [{sum_of(one=0.5)}]"
    (tmp_path / "brick.toml").write_text(manifest(base, bricks, flat, more=more))
    return tmp_path


def outlined(project: Path, target: str, budget: Budget) -> Outline:
    session = opened(project)
    (recipe,) = read_recipes(session, [target])
    lock = current_lock(session, LockMode.REFRESH)
    return outline(session, recipe, session.artifact_folder(recipe.name), lock, budget)


def test_a_build_says_what_a_device_makes_and_makes_the_same(project: Path) -> None:
    events = [Listener(), Listener()]
    budgets = [Budget(threads=2), Budget(threads=2, device=Elsewhere())]
    digests = []
    for heard, budget in zip(events, budgets, strict=True):
        built = build_targets(opened(project, heard), [], LockMode.REFRESH, budget, force=True)
        digests.append([one.digest for one in built])
    assert digests[0] == digests[1]
    assert events[0].notes == []
    first, second = events[1].notes
    assert first.startswith("t: whole matrices are made on cpu:0, in up to ")
    assert second == "sum: nothing is made on cpu:0: no method here needs whole matrices"


def test_a_dry_run_tells_the_two_memories_apart(project: Path) -> None:
    here = outlined(project, "t", Budget(threads=2))
    there = outlined(project, "t", Budget(threads=2, device=Elsewhere()))
    assert here.device is None
    assert plan_document(here)["device"] is None
    assert there.device is not None
    assert there.peak < here.peak
    told = json.loads(json.dumps(plan_document(there)))["device"]
    assert told == {"name": "cpu:0", "bytes": there.device[1]}
    text = describe_plan(there)
    assert f"{format_size(there.device[1])} on cpu:0; numeric" in text
    assert " and what cpu:0 takes, and at most" in text
    assert outlined(project, "sum", Budget(threads=2, device=Elsewhere())).device is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch finds a device")
def test_where_there_is_no_device_nothing_is_begun(project: Path) -> None:
    for arguments in (("build", "t"), ("build", "t", "--dry-run")):
        told = Sandbox(project, project / "home").run(*arguments, "--device", "cuda")
        assert (told.code, told.out) == (2, "")
        assert told.err.startswith("error: there is no device `cuda` here\n  cause: torch ")
    assert not (project / "dist").exists()
    assert Sandbox(project, project / "home").run("build", "sum", "--device", "cuda").code == 0


@pytest.mark.parametrize(
    "name", ["gpu", "cuda:", "cuda:x", "cuda:1234", "cuda:256", "cuda:00", "cuda:07", "cpu:0", "CUDA", "cuda:1\n", ""]
)
def test_a_device_has_a_name_that_can_be_read(name: str, project: Path) -> None:
    told = Sandbox(project, project / "home").run("build", "--device", name)
    assert told.code == 2
    assert "is not a device: write cpu, cuda or cuda:1" in told.err

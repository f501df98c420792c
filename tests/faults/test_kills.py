"""Killed behind every thing that it does to the disk: what was there is whole, and the next run repairs the rest."""

from __future__ import annotations

import random
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tomli

from brickctl.core.lock_format import decode
from tests.support import sandbox as bricks
from tests.support.hub import Hub
from tests.support.nursery import Nursery
from tests.support.sandbox import Outcome, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.full

ROOT = Path(__file__).parents[2]
PROJECT = """\
[project]
name = "support"

[base]
source = "hf:acme/base"

[bricks]
sql = { source = "hf:acme/sql" }  # trained by Ada

[targets.assistant]
apply = [{ op = "stack", bricks = ["sql"] }]
"""
RANDOM_MOMENTS = 100
_PROBE = re.compile(r"home/hf/hub/models--[^/]+/tmp\w{8}/dummy_file_(src|dst)")
"""How the Hub's client finds out whether links work; who removed one would let a client at work believe they do not."""

_SMALL_SHARDS = '[targets.assistant]\nshard-size = "2kB"'


@dataclass(frozen=True)
class Case:
    """A command, and what has been done before it."""

    verb: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()
    edit: tuple[str, str] | None = None


CASES = {
    "lock": Case(("lock",)),
    "install": Case(("install",), before=(("lock",),)),
    "install without a lock": Case(("install",)),
    "build": Case(("build",), before=(("install",),)),
    "build that replaces": Case(("build",), before=(("build",),), edit=("[targets.assistant]", _SMALL_SHARDS)),
    "forced build": Case(("build", "--force"), before=(("build",),)),
    "vendor": Case(("vendor",), before=(("lock",),)),
    "vendor again": Case(
        ("vendor",), before=(("add", "hf:acme/mail", "--name", "mail"), ("vendor",), ("remove", "mail"))
    ),
    "add": Case(("add", "hf:acme/mail", "--name", "mail"), before=(("lock",),)),
    "remove": Case(("remove", "mail"), before=(("add", "hf:acme/mail", "--name", "mail"),)),
}


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with Hub() as running:
        running.repository("acme/base", card={"license": "apache-2.0"}).commit(bricks.model())
        running.repository("acme/sql").commit(bricks.adapter(base_model_name_or_path="acme/base"))
        running.repository("acme/mail").commit(bricks.adapter(fill=3))
        yield running


@pytest.fixture
def exits() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


class Scene:
    """A place where a case is played again and again, from the same beginning."""

    def __init__(self, folder: Path, hub: Hub, case: Case, exits: ExitStack) -> None:
        self.case = case
        self.stage = folder / "stage"
        self.saved = folder / "saved"
        root = self.stage / "project"
        root.mkdir(parents=True)
        self.sandbox = Sandbox(root, self.stage / "home")
        variables = {**hub.environment(self.stage / "home" / "hf"), "PYTHONPATH": str(ROOT)}
        self.sandbox = replace(self.sandbox, variables=variables)
        self.sandbox.write({"brick.toml": PROJECT})
        self.nursery = exits.enter_context(Nursery(self.sandbox))
        for command in case.before:
            self.must(*command)
        if case.edit is not None:
            self.sandbox.write({"brick.toml": self.sandbox.manifest.replace(*case.edit)})
        self.begun = self.sandbox.manifest
        shutil.copytree(self.stage, self.saved, symlinks=True)
        self.steps = self.count()
        self.ended = self.sandbox.manifest
        self.files = files(self.stage)
        self.contents = {name: (self.stage / name).read_bytes() for name in self.files if is_result(name)}

    def must(self, *arguments: str) -> Outcome:
        outcome = self.nursery.run(*arguments)
        assert outcome.code == 0, outcome.err
        return outcome

    def count(self) -> int:
        report = self.stage / "steps"
        outcome = self.nursery.run(*self.case.verb, limit=0, report=report)
        assert outcome.code == 0, outcome.err
        steps = int(report.read_text())
        report.unlink()
        return steps

    def restore(self) -> None:
        shutil.rmtree(self.stage)
        shutil.copytree(self.saved, self.stage, symlinks=True)

    def kill_at(self, step: int) -> int:
        return self.nursery.run(*self.case.verb, limit=step, report=self.stage / "steps").code

    def check_whole(self, moment: str) -> None:
        """What a user finds behind a kill: the old state or the new one of each thing, never a half."""
        assert self.sandbox.manifest in {self.begun, self.ended}, moment
        tomli.loads(self.sandbox.manifest)
        lock = self.sandbox.root / "brick.lock"
        if lock.exists():
            decode(lock.read_text(), file="brick.lock")
        artifact = self.sandbox.root / "dist" / "assistant"
        if artifact.exists():
            outcome = self.sandbox.run("verify", str(artifact))
            assert outcome.code == 0, f"{moment}: {outcome.err}"

    def check_repaired(self, moment: str) -> None:
        """The next run ends as an undisturbed one, with the same bytes and nothing left behind."""
        if self.sandbox.manifest == self.begun or self.case.verb[0] not in {"add", "remove"}:
            self.must(*self.case.verb)
        else:
            self.must("lock")  # the manifest says it already; what is behind may be missing
        left = sorted(name for name in set(files(self.stage)) - set(self.files) if not _PROBE.fullmatch(name))
        assert left == [], f"{moment}: {left}"
        for name, content in self.contents.items():
            assert (self.stage / name).read_bytes() == content, f"{moment}: {name}"


def files(folder: Path) -> list[str]:
    """Every file and link below a folder, without Python's own caches."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in found if "__pycache__" not in path.parts)


def is_result(name: str) -> bool:
    return name.startswith("project/") and "/.brickctl/" not in name


@pytest.mark.parametrize("name", CASES)
def test_a_kill_behind_every_step_loses_nothing_and_leaves_nothing(
    name: str, hub: Hub, tmp_path: Path, exits: ExitStack
) -> None:
    scene = Scene(tmp_path, hub, CASES[name], exits)
    assert scene.steps > 2, "nothing was counted: the test shows nothing"
    killed = 0
    for step in range(1, scene.steps + 1):
        scene.restore()
        code = scene.kill_at(step)
        assert code in {-signal.SIGKILL, 0}, "threads may take a step more or less: then it was over before"
        killed += code != 0
        scene.check_whole(f"step {step} of {scene.steps}")
        scene.check_repaired(f"step {step} of {scene.steps}")
    assert killed > 0.9 * scene.steps


def test_a_kill_at_any_moment_loses_nothing_and_leaves_nothing(hub: Hub, tmp_path: Path, exits: ExitStack) -> None:
    """From the first import to the last flush, wherever a clock and no counter strikes."""
    scene = Scene(tmp_path, hub, CASES["install without a lock"], exits)
    scene.restore()
    begun = time.perf_counter()
    assert scene.sandbox.spawn(*scene.case.verb).code == 0
    whole = time.perf_counter() - begun
    moments = random.Random(4711)  # noqa: S311 - seeded, so that a failure comes again
    killed = 0
    for _ in range(RANDOM_MOMENTS):
        scene.restore()
        moment = moments.uniform(0, whole)
        killed += kill_after(scene.sandbox, moment, *scene.case.verb)
        scene.check_whole(f"after {moment:.3f} s of {whole:.3f}")
        scene.check_repaired(f"after {moment:.3f} s of {whole:.3f}")
    assert killed > RANDOM_MOMENTS // 2, "most were over before they were killed: the test shows little"


def kill_after(sandbox: Sandbox, seconds: float, *arguments: str) -> bool:
    """Whether the process was still at work when it was killed."""
    command = [sys.executable, "-m", "brickctl", *arguments]
    with subprocess.Popen(
        command,
        cwd=sandbox.root,
        env=sandbox.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return True
    return False

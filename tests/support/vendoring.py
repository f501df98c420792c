"""A project whose bricks come from every kind of source, and the same project on a machine that has nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.sources.static_server import StaticServer
from tests.support import sandbox as bricks
from tests.support import stages
from tests.support.hub import Hub
from tests.support.sandbox import Outcome, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NO_NETWORK = ("unshare", "--net") if os.geteuid() == 0 else ("unshare", "--user", "--map-root-user", "--net")
"""Words before a command that leave it a network in which nobody can be reached, loopback neither."""

MANIFEST = """\
[project]
name = "carried"

[registries]
corp = "{registry}"

[base]
source = "hf:acme/base"

[bricks]
deep = {{ source = "hf:acme/deep", revision = "v2", subfolder = "checkpoint-300" }}
mail = {{ brick = "acme/mail", registry = "corp" }}
sql = {{ source = "path:bricks/sql" }}

[targets.assistant]
apply = [{{ op = "merge", method = "task_arithmetic", bricks = {{ deep = 0.5, mail = 0.25, sql = 0.5 }} }}]
"""


@contextmanager
def every_source(sandbox: Sandbox) -> Iterator[Sandbox]:
    """The project, and the servers that its bricks come from, for as long as the context lasts."""
    with Hub() as hub, StaticServer(stages.fill_registry(sandbox.home / "registry")) as server:
        stages.fill_hub(hub)
        deep = hub.repository("acme/deep")
        deep.commit({f"checkpoint-300/{name}": content for name, content in bricks.adapter(fill=9).items()})
        deep.tag("v2")
        sandbox.write({"brick.toml": MANIFEST.format(registry=server.url)})
        sandbox.write(bricks.adapter(fill=4), "bricks/sql")
        yield replace(sandbox, variables=hub.environment(sandbox.home / "hf"))


def elsewhere(sandbox: Sandbox, folder: Path) -> Sandbox:
    """What a checkout of the project has on a machine that never saw it: no caches, and no folders of bricks."""
    root = folder / "checkout"
    root.mkdir(parents=True)
    for name in ("brick.toml", "brick.lock"):
        shutil.copy(sandbox.root / name, root)
    variables = {name: value for name, value in sandbox.variables.items() if name != "HF_HOME"}
    return Sandbox(root, folder / "home", {**variables, "HF_HOME": str(folder / "other-hf")})


def cut_off(sandbox: Sandbox, *arguments: str) -> Outcome:
    """Run brickctl where there is no network."""
    done = subprocess.run(
        [*NO_NETWORK, sys.executable, "-m", "brickctl", *arguments],
        cwd=sandbox.root,
        env=sandbox.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)

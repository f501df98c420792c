"""One project in every situation that a verb may meet it in: saved once, and brought back for each row of a table.

    fresh: there is a brick.toml     locked: `lock` was run     installed: then `install`     built: then `build`
    rebuilt: built, and then its target was asked for in other shards

Its bricks come from a Hub, from a server, or from folders of its own. Beside what it needs, caches hold what somebody
else has put there.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.sources.static_server import StaticServer
from tests.support import sandbox as bricks
from tests.support import stages
from tests.support.hub import Hub
from tests.support.namespaces import BALLAST
from tests.support.nursery import Nursery
from tests.support.sandbox import Sandbox
from tests.support.stages import Stage

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
LATER = {"locked": "lock", "installed": "install", "built": "build"}
OF_OTHERS = ("home/hf/hub/models--other--tool/refs/main", "home/cache/of-somebody-else")
SHARDS, OTHER_SHARDS = 'shard-size = "1kB"', 'shard-size = "600B"'
WORDY = {**bricks.adapter(fill=5), **{f"vocab_{number:02}.txt": b"word\n" * number for number in range(40)}}
"""An adapter of so many files that a lock which names it is larger by more than a page."""

_DEBRIS = re.compile(
    r"\.brickctl-new-|\.(incomplete|partial|incoming|tmp)$|/\.[^/]+\.(brickctl/|check-|lock$)|/tmp[^/]*(/|$)"
)


class Situations:
    """Where they are saved, and a stage, always in one place, that is brought into one after the other.

    Attributes:
        hub: where some bricks come from.
        stage: where verbs are run.
        nursery: runs them, in processes that begin with the words `within`.
    """

    def __init__(self, folder: Path, *, within: Sequence[str] = ()) -> None:
        self._folder = folder
        self._within = within
        self._exits = ExitStack()
        self._manifests: dict[str, str] = {}
        self._made: set[str] = set()

    def __enter__(self) -> Self:
        self.hub = self._exits.enter_context(Hub())
        stages.fill_hub(self.hub)
        server = self._exits.enter_context(StaticServer(stages.fill_registry(self._folder / "registry")))
        self._manifests = {
            "hub": stages.HUB_MANIFEST,
            "server": stages.manifest(
                'brick = "acme/base"\nregistry = "corp"',
                'brick = "acme/sql", registry = "corp"',
                f'[registries]\ncorp = "{server.url}"',
            ),
            "path": stages.manifest('source = "path:bricks/base"', 'source = "path:bricks/sql"'),
        }
        stage = Stage.new(self._folder / "stage")
        environment = {**self.hub.environment(stage.sandbox.home / "hf"), "PYTHONPATH": str(ROOT)}
        self.stage = replace(stage, sandbox=replace(stage.sandbox, variables=environment))
        self.nursery = self._exits.enter_context(Nursery(self.stage.sandbox, within=self._within))
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def bring(self, source: str, situation: str) -> Stage:
        """The stage in a situation."""
        saved = self._saved(source, situation)
        shutil.rmtree(self.stage.folder)
        shutil.copytree(saved, self.stage.folder, symlinks=True)
        if situation == "rebuilt":
            ask_for_other_shards(self.stage)
        return self.stage

    def copy(self, source: str, situation: str, folder: Path) -> Stage:
        """Another stage, for verbs that are run in this process, in a situation."""
        saved = self._saved(source, situation)
        stage = Stage(saved, Sandbox(saved / "project", saved / "home")).copy(folder)
        if situation == "rebuilt":
            ask_for_other_shards(stage)
        settle()
        return stage

    def _saved(self, source: str, situation: str) -> Path:
        if source not in self._made:
            self._made.add(source)
            self._make(source)
        return self._folder / source / ("built" if situation == "rebuilt" else situation)

    def _make(self, source: str) -> None:
        """Go through all situations, and save each."""
        shutil.rmtree(self.stage.folder)
        manifest = self._manifests[source].replace("[targets.assistant]", f"[targets.assistant]\n{SHARDS}")
        self.stage.sandbox.write({"brick.toml": manifest})
        if source == "path":
            for name, files in {"base": stages.BASE, "sql": stages.SQL, "mail": stages.MAIL, "wordy": WORDY}.items():
                self.stage.sandbox.write(files, f"bricks/{name}")
        for path in OF_OTHERS:
            place = self.stage.folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(b"not yours")
        shutil.copytree(self.stage.folder, self._folder / source / "fresh", symlinks=True)
        for situation, verb in LATER.items():
            outcome = self.nursery.run(verb)
            assert outcome.code == 0, outcome.err
            shutil.copytree(self.stage.folder, self._folder / source / situation, symlinks=True)


def settle() -> None:
    """Let files that were just copied become old enough for the ledger, which would else wait so long for each."""
    time.sleep(0.06)


def ask_for_other_shards(stage: Stage) -> None:
    """Let an artifact that stands there be the result of another recipe."""
    stage.sandbox.write({"brick.toml": stage.sandbox.manifest.replace(SHARDS, OTHER_SHARDS)})


def everything(stage: Stage) -> dict[str, str]:
    """What lies in the project and in the caches, without what remembers times and places there."""
    found = stage.state("project", "home")
    memory = ("/ledger/", "/cache/shards/")
    kept = (path for path in found if not any(part in path for part in memory) and not path.endswith(BALLAST))
    return {path: found[path] for path in kept}


def results(stage: Stage) -> dict[str, str]:
    """As `everything`, but of the Hub's cache what tools see in it, be it behind a link or not."""
    hub = stage.folder / "home/hf/hub"
    snapshots = {
        path.relative_to(stage.folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(hub.glob("*/snapshots/*/*"))
    }
    others = {path: digest for path, digest in everything(stage).items() if not path.startswith("home/hf/")}
    return {**others, **snapshots}


def debris(stage: Stage) -> list[str]:
    """Files that are not whole, scratch folders, and locks that nobody holds."""
    return sorted(path for path in stage.state("project", "home") if _DEBRIS.search(path))

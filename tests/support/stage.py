"""Scenarios of resolution: what registries and a Hub have, a brick.toml, commands, and what comes of them.

A scenario is a TOML file:

    about = "what it shows"
    base = 'source = "path:base"'            # the default; `path:base` is 8 wide
    bricks = 'sql = "acme/sql@^1"'           # below [bricks], which is line 11 of brick.toml
    more = '[policy] ...'                    # below all of that
    [index]                                  # registry:namespace/name version = facts
    "corp:acme/sql 1.0.0" = { needs = ["acme/expert ^1"], width = 16, yanked = true, published = "..." }
    [hub]                                    # owner/name@branch = facts; commands then run in processes of their own
    "acme/legal@main" = {}
    [folders]                                # in the project
    mine = {}
    [[steps]]
    index / hub / folders = ...              # what changes before
    edit = ["old", "new"]                    # of brick.toml
    run = ["lock"]                           # the default
    locks = { sql = "1.0.0" }                # all but the base: version, `owner/name@branch`, or `path`
    code = 1, says = ["brick.toml line 12"]  # or a failure, and what it tells

A step that fails with a conflict must be followed by one that carries out what helps, and locks.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import tomli

from brickctl.core.brick import File
from brickctl.core.dependency import BrickDependency, Dependency, HubDependency
from brickctl.core.digests import Sha256, interface_digest
from brickctl.core.dtypes import DType
from brickctl.core.made_for import MadeFor, Vocabulary
from brickctl.core.registry_line import RegistryEntry, encode_line
from brickctl.core.versions import VersionRange
from tests.support import sandbox as bricks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.hub import Hub, Repository
    from tests.support.sandbox import Outcome, Sandbox

HEADER = """\
[project]
name = "scenario"
default-registry = "corp"

[registries]
corp = "./registries/corp"
other = "./registries/other"

[base]
{base}
[bricks]
"""
TOKENIZER = json.dumps({"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2}, "merges": []}})
_INTERFACE = interface_digest({"a": (1,)})
_PLACEHOLDER = re.compile(r"\{commit ([^}]+)\}")


@dataclass
class Stage:
    """One scenario while it is played."""

    sandbox: Sandbox
    hub: Hub | None = None
    commits: dict[str, str] = field(default_factory=dict)
    _repositories: dict[str, Repository] = field(default_factory=dict)
    _lines: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def set_up(self, scenario: Mapping[str, Any]) -> None:
        self.sandbox.write({**bricks.model(), "tokenizer.json": TOKENIZER}, "base")
        self.sandbox.write({"config.json": '{"v":1}\n'}, "registries/corp")
        self.sandbox.write({"config.json": '{"v":1}\n'}, "registries/other")
        self.change(scenario)
        self.write_manifest(scenario)

    def change(self, what: Mapping[str, Any]) -> None:
        """Bring commits onto the Hub, and lines into registries."""
        for name, facts in what.get("hub", {}).items():
            self._push(name, facts)
        for name, facts in what.get("index", {}).items():
            self._publish(name, facts)
        for name, facts in what.get("folders", {}).items():
            self.sandbox.write(_files(facts, name), name)

    def write_manifest(self, what: Mapping[str, Any]) -> None:
        header = HEADER.format(base=what.get("base", 'source = "path:base"'))
        text = header + what.get("bricks", "") + "\n" + what.get("more", "")
        self.sandbox.write({"brick.toml": self.filled(text)})

    def edit(self, old: str, new: str) -> None:
        text, old, new = self.sandbox.manifest, self.filled(old), self.filled(new)
        assert old in text, f"{old!r} is not in brick.toml"
        self.sandbox.write({"brick.toml": text.replace(old, new)})

    def run(self, *arguments: str) -> Outcome:
        if self.hub is None:
            return self.sandbox.run(*arguments)
        return replace(self.sandbox, variables=self.hub.environment(self.sandbox.home / "hf")).spawn(*arguments)

    def filled(self, text: str) -> str:
        """A text with commits in the place of `{commit owner/name@branch}`."""
        return _PLACEHOLDER.sub(lambda match: self.commits[match[1]], text)

    def locked(self) -> dict[str, str]:
        """Every entry of brick.lock but the base: its version, the commit's name, or `path`."""
        lock = tomli.loads(self.sandbox.lock)
        names = {commit: name for name, commit in self.commits.items()}
        entries = [*lock.get("brick", []), *lock.get("dependency", [])]
        found = {e["name"]: e.get("version") or names.get(e.get("commit", ""), "path") for e in entries}
        return {self._unfilled(name, names): version for name, version in found.items()}

    @staticmethod
    def _unfilled(name: str, names: Mapping[str, str]) -> str:
        for commit, told in names.items():
            name = name.replace(f"@{commit}", f"@{told.partition('@')[2]}")
        return name

    def _push(self, name: str, facts: Mapping[str, Any]) -> None:
        assert self.hub is not None
        owned, _, branch = name.partition("@")
        if owned not in self._repositories:
            self._repositories[owned] = self.hub.repository(owned)
        commit = self.commits[name] = self._repositories[owned].commit(_files(facts, name))
        if branch != "main":
            self._repositories[owned].branch(branch, commit)

    def _publish(self, name: str, facts: Mapping[str, Any]) -> None:
        where, version = name.split(" ")
        registry, brick = where.split(":")
        files = _files(facts, name)
        self.sandbox.write(files, f"registries/{registry}/files/{brick}/{version}")
        lines = self._lines.setdefault(where, {})
        lines[version] = encode_line(self._entry(brick, version, files, facts))
        self.sandbox.write({brick: b"".join(lines.values())}, f"registries/{registry}/index")

    def _entry(self, brick: str, version: str, files: Mapping[str, bytes], facts: Mapping[str, Any]) -> RegistryEntry:
        needs = [self._dependency(text) for text in facts.get("needs", ())]
        return RegistryEntry(
            name=brick,
            version=version,
            kind=facts.get("kind", "adapter"),
            source=f"index:{brick}/{version}",
            files=tuple(sorted(File(path=path, size=len(body), sha256=_sha256(body)) for path, body in files.items())),
            interface=_INTERFACE,
            license=facts.get("license", "MIT"),
            published=facts.get("published"),
            base=self._base(facts["base"]) if "base" in facts else None,
            dependencies=tuple(sorted(needs, key=lambda need: need.name(""))),
            yanked=facts.get("yanked", False),
        )

    def _base(self, told: str | Mapping[str, Any]) -> MadeFor:
        """What a brick was made for: `owner/name@branch`, or somewhere with `tokens` of its own or a `dtype`."""
        if isinstance(told, str):
            return MadeFor(source=f"hf:{told.partition('@')[0]}", commit=self.commits[told], interface=_INTERFACE)
        tokens = told.get("tokens")
        return MadeFor(
            source="index:acme/elsewhere/1.0.0",
            interface=_INTERFACE,
            vocabulary=None if tokens is None else Vocabulary.of({token: at for at, token in enumerate(tokens)}),
            dtype=DType.from_code(told.get("dtype", "")),
        )

    def _dependency(self, text: str) -> Dependency:
        """`acme/expert ^1`, `hf:acme/legal@main`, or either with `base ` before it."""
        is_base = text.startswith("base ")
        text = text.removeprefix("base ")
        if text.startswith("hf:"):
            source, _, branch = text.partition("@")
            commit = self.commits[f"{source.removeprefix('hf:')}@{branch}"]
            return HubDependency(source=source, commit=commit, is_base=is_base)
        brick, wanted = text.split(" ", 1)
        return BrickDependency(brick=brick, version=str(VersionRange.parse(wanted)), is_base=is_base)


def _files(facts: Mapping[str, Any], seed: str) -> dict[str, bytes]:
    """Small files; what is in them depends on the name, so that no two bricks are the same bytes."""
    fill = hashlib.sha256(f"{seed} {facts.get('bytes', '')}".encode()).digest()[0] % 120
    width = facts.get("width", bricks.WIDTH)
    whole = facts.get("kind", "adapter") in {"base", "expert"}
    return bricks.model(width, fill) if whole else bricks.adapter(width, fill, **facts.get("config", {}))


def _sha256(content: bytes) -> Sha256:
    return Sha256(hashlib.sha256(content).hexdigest())

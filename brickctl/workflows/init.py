"""Init: start a project in a folder, from nothing or from a template. Never overwrites a file."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.manifest_format import parse_manifest
from brickctl.core.names import did_you_mean
from brickctl.errors import NotFound, UsageFault
from brickctl.sources.atomic import Draft, write_together
from brickctl.sources.open import builtin_registry
from brickctl.workflows.session import CACHES, DIST, MANIFEST

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TEMPLATES = "templates"
"""The folder of a registry that holds a folder for each template."""

_IGNORE = ".gitignore"
_IGNORED = (f"{CACHES}/", f"{DIST}/")
_PROJECT_NAME = re.compile(r"(?m)^(\[project\][^\[]*?^name[ \t]*=[ \t]*)\"[^\"\n]*\"")
_LONGEST_NAME = 96

_MANIFEST_TEXT = """\
# What this project wants. `brickctl lock` writes to brick.lock exactly which bytes that means; commit both.

[project]
name = {name}

# The model that everything is built on: `source = "hf:owner/name"`, or a folder: `source = "path:models/base"`.
[base]
source = "hf:HuggingFaceTB/SmolLM2-135M-Instruct"
revision = "main"                         # a branch, a tag or a commit; the lock pins the commit

# Bricks: adapters, fine-tuned models and more. `brickctl add hf:owner/name` writes a line here.
[bricks]
# sql = {{ source = "hf:acme/sql-lora" }}
# date = {{ source = "path:bricks/date" }}

# Targets: what `brickctl build` makes, each into dist/NAME, by operations applied in order.
# [targets.assistant]
# apply = [
#   {{ op = "merge", method = "task_arithmetic", bricks = {{ sql = 0.7, date = 0.5 }} }},
# ]

# Checks: what a target must be able to do; `brickctl test` runs them.
# [[checks]]
# name = "sql"
# target = "assistant"
# kind = "exact-match"
# data = "checks/sql.jsonl"               # one {{"prompt": "...", "completion": "..."}} a line
# min = 0.9
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A project that was started: its folder, its name, and the files that were written, relative to the folder."""

    folder: Path
    name: str
    files: tuple[str, ...]


def start_project(folder: Path, *, template: str | None = None, name: str | None = None) -> Started:
    """Write a brick.toml, or the files of a template, and tell git what to leave out.

    Raises:
        UsageFault: a file is there already, or `name` is no name; nothing was written.
        NotFound: there is no such template.
    """
    if template is None:
        files = {MANIFEST: _MANIFEST_TEXT.format(name=json.dumps(name or _name_from(folder))).encode()}
    else:
        files = _template(template)
        if name is not None and MANIFEST in files:
            files[MANIFEST] = _renamed(files[MANIFEST], name)
    manifest = parse_manifest(files[MANIFEST].decode("utf-8"))
    _refuse_present(folder, files)
    files |= _ignore(folder)
    write_together([Draft(folder / path, content) for path, content in files.items()])
    return Started(folder=folder, name=manifest.project.name, files=tuple(files))


def _template(name: str) -> dict[str, bytes]:
    """The files of a template that ships with brickctl."""
    root = builtin_registry() / TEMPLATES
    known = {path.name: path for path in sorted(root.glob("*")) if (path / MANIFEST).is_file()}
    if name not in known:
        hint = did_you_mean(name, known) or f"there are: {', '.join(known) or 'none'}"
        raise NotFound(f"there is no template `{name}`", hint=hint)
    found = known[name]
    paths = sorted(path for path in found.rglob("*") if path.is_file())
    return {path.relative_to(found).as_posix(): path.read_bytes() for path in paths}


def _refuse_present(folder: Path, files: Mapping[str, bytes]) -> None:
    present = [path for path in files if (folder / path).exists()]
    if present:
        what = "start in another folder: `brickctl init DIR`; or move that file away"
        hint = "this folder is a project already: `brickctl add` puts bricks into it" if MANIFEST in present else what
        raise UsageFault(f"{folder / present[0]} exists already", causes=("nothing was written",), hint=hint)


def _renamed(text: bytes, name: str) -> bytes:
    """The manifest with another `name` in [project]."""
    return _PROJECT_NAME.sub(lambda match: match[1] + json.dumps(name), text.decode("utf-8"), count=1).encode()


def _name_from(folder: Path) -> str:
    """The folder's name, as far as it may name a project."""
    word = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.absolute().name)[:_LONGEST_NAME].strip("-._")
    return word or "my-model"


def _ignore(folder: Path) -> dict[str, bytes]:
    """A .gitignore with the lines that are missing in it, or nothing where none is."""
    path = folder / _IGNORE
    text = path.read_bytes().decode("utf-8", "surrogateescape") if path.exists() else ""
    present = {line.strip().strip("/") for line in text.splitlines()}
    missing = [line for line in _IGNORED if line.strip("/") not in present]
    if not missing:
        return {}
    gap = "" if not text or text.endswith("\n") else "\n"
    lines = "".join(f"{line}\n" for line in missing)
    return {_IGNORE: f"{text}{gap}{lines}".encode("utf-8", "surrogateescape")}

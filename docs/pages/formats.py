"""Pages about files and variables: written by hand in `docs/templates/`, with what the code knows filled in."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click
from pages import plugins
from pages.markdown import code, filled, listed, prose, table

import brickctl
from brickctl.analysis.checks.check import check_kinds
from brickctl.cli.console import Console
from brickctl.core import lock as lock_model
from brickctl.core import lock_format, target_format, versions
from brickctl.core.belonging import COMPANIONS, INDEXES
from brickctl.core.manifest import SHARD_SIZE
from brickctl.core.regions import BLOCK_ELEMENTS
from brickctl.core.sizes import format_size
from brickctl.derivations.derivation import readers as derivations
from brickctl.kinds.kind import kinds
from brickctl.merging.method import methods
from brickctl.operations.operation import readers
from brickctl.sources.open import builtin_registry
from brickctl.workflows.resolution import resolve
from brickctl.workflows.session import open_session

if TYPE_CHECKING:
    from brickctl.core.lock import Lock

_OWN = {
    "BRICKCTL_CACHE": (
        "Folder for what brickctl keeps beside the Hub's cache: the ledger of verified files, which weight files"
        " the artifacts of this machine hold, pages and files of registries. Default: the system's folder for caches."
    ),
    "BRICKCTL_DEVICE": "Default of `--device`.",
    "BRICKCTL_MEMORY": "Default of `--memory`.",
    "BRICKCTL_THREADS": "Default of `--threads`.",
    "BRICKCTL_TRACEBACK": "With any value, failures show Python's traceback as well.",
}


def manifest() -> str:
    """`manifest.md`."""
    return filled(
        "manifest.md",
        template=code((builtin_registry() / "templates/starter/brick.toml").read_text(encoding="utf-8"), "toml"),
        dtypes=listed(target_format._DTYPES),  # noqa: SLF001 - the page tells what the module holds
        shard_size=format_size(SHARD_SIZE).replace(" ", ""),
        derivations=listed(derivations()),
        operations=listed(readers()),
        methods=listed(methods()),
        kinds=listed(kinds()),
        checks=listed(check_kinds()),
        check_kinds=plugins.check_sections(),
        ranges=_table_of(prose(versions)),
    )


def _table_of(text: str) -> str:
    """The table in a docstring."""
    return "\n".join(re.sub(r" {2,}", " ", line) for line in text.splitlines() if line.startswith("|"))


def lock() -> str:
    """`lock.md`."""
    example = lock_format.encode(_starter_lock())
    head, _, rest = example.partition("\n[[brick]]\n")
    return filled(
        "lock.md",
        version=str(lock_model.VERSION),
        engine=str(lock_model.ENGINE),
        example=code(f"{head}\n[[brick]]\n{rest.partition('[[brick]]')[0]}", "toml"),
        block=f"{BLOCK_ELEMENTS:,}",
    )


def _starter_lock() -> Lock:
    """The lock of the starter project, made anew; needs no network and writes nothing that stays."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "brick.toml").write_bytes((builtin_registry() / "templates/starter/brick.toml").read_bytes())
        return resolve(open_session(root, Console(quiet=True), offline=True))


def artifact() -> str:
    """`artifact.md`."""
    return filled("artifact.md")


def registry() -> str:
    """`registry.md`."""
    line = (builtin_registry() / "index/starter/upper").read_text(encoding="utf-8").splitlines()[0]
    return filled("registry.md", line=code(line, "json"), indexes=listed(INDEXES), companions=listed(COMPANIONS))


def environment() -> str:
    """`environment.md`."""
    used = set()
    for path in Path(brickctl.__file__).parent.rglob("*.py"):
        used |= set(re.findall(r"(?<!_)BRICKCTL_[A-Z]+", path.read_text(encoding="utf-8")))
    if used != set(_OWN):
        names = ", ".join(sorted(used ^ set(_OWN)))
        raise click.ClickException(f"docs/pages/formats.py and the code disagree about {names}")
    return filled("environment.md", own=table(("variable", ""), ((f"`{name}`", _OWN[name]) for name in sorted(_OWN))))

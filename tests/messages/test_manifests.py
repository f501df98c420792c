"""What is said of a brick.toml that names things wrongly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import brickctl
from tests.messages.laying import manifest

if TYPE_CHECKING:
    from collections.abc import Callable

    from syrupy.assertion import SnapshotAssertion

    from tests.support.sandbox import Outcome, Sandbox

HEAD = '[project]\nname = "support"\n\n[base]\nsource = "path:base"\n'
CHECK = '\n[[checks]]\nname = "sql"\ntarget = "assistant"\n'

TEXTS: dict[str, str] = {
    "no TOML": "[project\n",
    "a key twice": f'{HEAD}subfolder = "a"\nsubfolder = "b"\n',
    "a key twice over several lines": f"{HEAD}[bricks]\nsql = 1\nsql = [\n  1,\n]\n",
    "a key twice in one line": f'{HEAD}[bricks]\nsql = {{ source = "path:a", source = "path:b" }}\n',
    "a table twice": f'{HEAD}\n[base]\nsource = "path:other"\n',
    "a table misspelt": '[projekt]\nname = "support"\n',
    "no base": '[project]\nname = "support"\n',
    "a key misspelt that must be there": HEAD.replace("name", "naem"),
    "a key misspelt that says where": '[project]\nname = "support"\n\n[base]\nsorce = "path:base"\n',
    "a key misspelt that may be there": f'{HEAD}subfoldr = "a"\n',
    "a key that must be there": f'{manifest()}{CHECK}data = "checks/sql.jsonl"\n',
    "two sources": f'{HEAD}brick = "acme/base"\n',
    "a name of a registry": f'{HEAD}\n[registries]\nCorp = "https://bricks.example"\n',
    "the registry of the project": HEAD.replace("\n\n", '\ndefault-registry = "corp"\n\n', 1),
    "a kind that is no word": manifest(more=', kind = "An Adapter"'),
    "a licence": manifest(more=', license = "free"'),
    "a reference without a scheme": HEAD.replace("path:base", "acme/base"),
    "a derived brick that says not how": f"{HEAD}\n[derived.sql]\n",
    "a derived brick made of nothing": f'{HEAD}\n[derived.sql]\nop = "split"\nfrom = 3\n',
    "a brickctl of the future": HEAD.replace("\n\n", '\nrequires-brickctl = ">=99"\n\n', 1),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_manifest_that_is_refused(
    name: str, empty: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    empty.write({"brick.toml": TEXTS[name]})
    outcome = empty.run("lock")
    assert outcome.code != 0, outcome
    assert said(outcome).replace(brickctl.__version__, "VERSION") == snapshot


@pytest.mark.parametrize("output", ["brick.toml", "made/brick.toml", "made/recipe.toml"])
def test_what_comes_next_after_an_import(
    output: str, empty: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    recipe = "merge_method: linear\nmodels:\n  - model: acme/a\n    parameters:\n      weight: 1.0\n"
    empty.write({"recipe.yml": recipe})
    assert said(empty.run("import", "recipe.yml", "-o", output)) == snapshot

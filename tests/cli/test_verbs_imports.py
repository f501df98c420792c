"""What verbs import: nothing heavy, and what they leave out, asked of a process of its own."""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING

import pytest

from tests.support.models import tiny_model, tuned

if TYPE_CHECKING:
    from tests.support.sandbox import Sandbox

RUN = """
import sys
from brickctl.cli import main
sys.argv[0] = "brickctl"
code = main()
print(" ".join(name for name in sys.argv_watched if name in sys.modules), file=sys.stderr)
sys.exit(code)
"""
HEAVY = ("torch", "transformers", "peft", "numpy")


def imported(project: Sandbox, *arguments: str, watched: tuple[str, ...]) -> list[str]:
    """Which of the watched modules a command has imported."""
    outcome = project.spawn(*arguments, python=("-c", f"import sys; sys.argv_watched = {watched!r}\n{RUN}"))
    assert outcome.code == 0, outcome.err
    return outcome.err.splitlines()[-1].split()


@pytest.mark.parametrize("arguments", [("--help",), ("list",), ("tree",), ("lock", "--check"), ("remove", "--help")])
def test_looking_imports_nothing_heavy_and_no_client(project: Sandbox, arguments: tuple[str, ...]) -> None:
    assert project.run("lock").code == 0
    watched = (*HEAVY, "huggingface_hub", "rich", "tomlkit", "yaml", "semantic_version")
    assert imported(project, *arguments, watched=watched) == []


@pytest.mark.parametrize(
    "arguments", [("lock",), ("install",), ("update",), ("info", "sql"), ("add", "./bricks/mail", "--name", "m")]
)
def test_locking_and_installing_import_no_tensor_library(project: Sandbox, arguments: tuple[str, ...]) -> None:
    assert imported(project, *arguments, watched=(*HEAVY, "rich")) == []


def test_help_imports_no_workflow(project: Sandbox) -> None:
    assert imported(project, "--help", watched=("brickctl.workflows", "brickctl.operations", "brickctl.sources")) == []


def test_a_stack_is_made_of_copies_and_imports_no_tensor_library(project: Sandbox) -> None:
    stack = ("stack", "./models/base", "./bricks/sql", "--output", "out")
    assert imported(project, *stack, watched=HEAVY) == []


@pytest.mark.parametrize(
    "step",
    [
        '{ op = "merge", method = "passthrough", bricks = ["base"] }',
        '{ op = "stitch", slices = [{ brick = "base", layers = [0, 1] }, { brick = "base", layers = [0, 2] }] }',
    ],
    ids=["passthrough", "stitch"],
)
def test_layers_and_models_that_are_copied_import_no_tensor_library(step: str, empty: Sandbox) -> None:
    tiny_model(empty.root / "base")
    empty.write({"brick.toml": f'[project]\nname="x"\n[base]\nsource="path:base"\n[targets.t]\napply=[{step}]\n'})
    assert imported(empty, "build", watched=HEAVY) == []


@pytest.mark.parametrize(
    ("method", "files"),
    [("linear", {"method", "linear"}), ("slerp", {"method", "linear", "slerp", "spherical"})],
)
def test_a_merge_imports_what_it_needs_of_merging_and_of_kinds(method: str, files: set[str], empty: Sandbox) -> None:
    base = tiny_model(empty.root / "base")
    bricks = "".join(f'{name}={{source="path:{tuned(base, empty.root / name)}"}}\n' for name in ("one", "two"))
    step = f'{{ op = "merge", method = "{method}", bricks = [{{ brick = "one" }}, {{ brick = "two" }}] }}'
    head = f'[project]\nname="x"\n[base]\nsource="path:base"\n[bricks]\n{bricks}'
    empty.write({"brick.toml": f"{head}[targets.t]\napply=[{step}]\n"})
    assert empty.run("lock").code == 0
    watched = (*HEAVY[:3], *modules_of("merging"), *modules_of("kinds"), *_OF_OTHERS)
    used = {name.removeprefix("brickctl.") for name in imported(empty, "build", watched=watched)}
    assert used == {*(f"merging.{name}" for name in files), "kinds.base", "kinds.expert", "kinds.kind"}


def modules_of(package: str) -> list[str]:
    """Every module of a package of brickctl, by its full name."""
    found = __import__(f"brickctl.{package}", fromlist=["__path__"])
    return [module.name for module in pkgutil.iter_modules(found.__path__, f"{found.__name__}.")]


_OF_OTHERS = (
    *(f"brickctl.workflows.{name}" for name in ("estimate", "machine_speed", "disk_probe", "show_plan", "reproduce")),
    *(f"brickctl.operations.{name}" for name in ("chat_template", "mask", "masks", "stack", "stitch")),
    *(f"brickctl.sources.{name}" for name in ("history", "index", "registry")),
    *("brickctl.tensors.processes", "difflib", "multiprocessing"),
)
"""What dry runs, checks, other operations, registries and larger merges need, and what makes suggestions."""


def test_a_merge_is_arithmetic_and_imports_torch_and_nothing_else_heavy(project: Sandbox) -> None:
    merge = ("merge", "./models/base", "./bricks/sql", "--output", "out")
    assert imported(project, *merge, watched=("torch", "transformers", "peft")) == ["torch"]

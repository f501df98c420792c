"""The wheel: what is in it, and that it works far away from any checkout, in the words of the README."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from tests.docs.conftest import environment, folder
from tests.docs.pages import PERCENT, ROOT, blocks, fits, marked

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["environment", "folder"]

pytestmark = pytest.mark.full

SECONDS = 900
FROM_CHECKOUT = "'.[gguf,report]'\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    place = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(place), str(ROOT)]
    subprocess.run(command, check=True, timeout=SECONDS)
    return next(place.glob("brickctl-*.whl"))


def readme_blocks(language: str) -> list[str]:
    return marked((ROOT / "README.md").read_text(encoding="utf-8"), language)


def skills(table: str) -> dict[str, dict[str, float]]:
    """Cells of a printed table, by model and check."""
    head, *rows = (line.split() for line in table.strip().splitlines())
    return {row[0]: dict(zip(head[1:], (float(cell.rstrip("%")) for cell in row[1:]), strict=True)) for row in rows}


def test_the_wheel_holds_the_package_the_registry_and_the_licence_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    here = {path.relative_to(ROOT).as_posix() for path in (ROOT / "brickctl").rglob("*.py")}
    parts = ("config.json", "index", "files", "templates")
    packed = [path for part in parts for path in (ROOT / "registry" / part, *(ROOT / "registry" / part).rglob("*"))]
    here |= {f"brickctl/{path.relative_to(ROOT).as_posix()}" for path in packed if path.is_file()}
    here |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "brickctl" / "pages" / "templates").iterdir()}
    machine = "machine.c", "philox.h", "libmachine.so"
    here |= {"brickctl/py.typed", *(f"brickctl/tensors/fused/{name}" for name in machine)}
    assert {name for name in names if ".dist-info/" not in name} == here
    assert any(re.fullmatch(r"brickctl-[^/]+\.dist-info/licenses/LICENSE", name) for name in names)


def test_a_wheel_can_be_made_of_the_source_distribution(tmp_path: Path) -> None:
    """As pip does it for who has no wheel that fits."""
    make = "import sys; from hatchling.build import build_sdist; print(build_sdist(sys.argv[1]))"
    hatchling = tmp_path / "hatchling"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(hatchling), "hatchling>=1.27"]
    subprocess.run(install, check=True, timeout=SECONDS)
    variables = {**os.environ, "PYTHONPATH": str(hatchling)}
    subprocess.run([sys.executable, "-c", make, str(tmp_path)], check=True, cwd=ROOT, env=variables, timeout=SECONDS)
    (source,) = tmp_path.glob("brickctl-*.tar.gz")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(source)]
    subprocess.run(command, check=True, timeout=SECONDS)
    (made,) = tmp_path.glob("brickctl-*.whl")
    assert "py3-none" in made.name
    assert "brickctl/tensors/fused/libmachine.so" in zipfile.ZipFile(made).namelist()


def test_the_readme_is_a_script_that_works_far_from_any_checkout(
    wheel: Path, folder: Path, environment: Mapping[str, str]
) -> None:
    """Its blocks as they stand, but for the wheel instead of the checkout; they print what the README shows."""
    todo = list(blocks((ROOT / "README.md").read_text(encoding="utf-8")))
    script = "\n".join(f"echo '@@'\n{block.code}" for block in todo)
    assert script.count(FROM_CHECKOUT) == 1
    done = subprocess.run(
        ["/bin/bash", "-c", "set -euo pipefail\n" + script.replace(FROM_CHECKOUT, f"'{wheel}[gguf,report]'\n")],
        cwd=folder,
        env={**environment, "CI": "true"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert str(ROOT) not in done.stdout
    first, *others = done.stdout.split("@@\n")[1:]
    assert_skills(first)
    assert [block.line for block, out in zip(todo[1:], others, strict=True) if not fits(out, block.printed or "")] == []
    assert (folder / "demo/dist/assistant.gguf/assistant.gguf").read_bytes().startswith(b"GGUF")


def test_the_readme_builds_tests_explains_and_exports_in_ten_commands_or_fewer() -> None:
    script = "".join(block.code for block in blocks((ROOT / "README.md").read_text(encoding="utf-8")))
    commands = script.splitlines()
    assert len(commands) <= 10
    assert not [line for line in commands if re.search(r"&&|;|\||\\\\$", line)]
    verbs = [line.split()[1] for line in commands if line.startswith("brickctl ")]
    assert {"build", "test", "why", "export"} <= set(verbs)


def assert_skills(output: str) -> None:
    """What a run prints is the table that the README shows, but for an answer or two on another CPU."""
    printed = output[output.index("\nmodel ") + 1 :]
    shown = next(text for text in readme_blocks("text") if text.startswith("model "))
    found, told = skills(printed), skills(shown)
    assert {model: list(row) for model, row in found.items()} == {model: list(row) for model, row in told.items()}
    apart = {
        (model, check): (found[model][check], told[model][check])
        for model in told
        for check in told[model]
        if abs(found[model][check] - told[model][check]) > (0.02 if check == "text" else PERCENT)
    }
    assert apart == {}


def test_the_table_of_the_readme_says_what_bricks_are_for() -> None:
    shown = next(text for text in readme_blocks("text") if text.startswith("model "))
    table = skills(shown)
    named = [name for name in table["base"] if name in table]
    assert len(named) >= 3
    assert all(table["base"][name] <= 2 for name in named)
    assert all(table[name][name] >= 95 for name in named)
    assert sum(table["assistant"][name] >= 90 for name in named) >= 2

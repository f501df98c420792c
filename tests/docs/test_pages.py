"""Pages do what they say: each block runs, and prints what stands below it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from brickctl.core.manifest_format import parse_manifest
from brickctl.sources.open import builtin_registry
from tests.docs.conftest import new_user
from tests.docs.pages import ROOT, blocks, fits, marked, run
from tests.support import sandbox
from tests.support.hub import Hub
from tests.support.hub.hub import OWNER_TOKEN
from tests.support.warm import Warm

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md") if "templates" not in path.parts)
GUIDES_TO_PROJECTS = [
    "add-tokens",
    "compare-and-predict",
    "edit-facts",
    "export-a-lock",
    "export-a-model",
    "extract-a-brick",
    "find-a-brick",
    "grow-a-model",
    "keep-bricks-up-to-date",
    "look-after-the-caches",
    "make-a-mixture-of-experts",
    "merge-by-fisher-or-regmean",
    "route-between-adapters",
    "run-in-ci",
    "see-inside-a-model",
    "show-a-target",
    "sign-and-verify",
    "stitch-layers",
    "switch-tasks-with-masks",
    "test-what-was-built",
    "train-a-brick",
    "troubleshoot",
    "tune-weights",
    "verify-and-reproduce",
    "work-without-a-network",
]
TUTORIALS = [page for page in PAGES if page.parent.name == "tutorials"]
FIRST = ROOT / "docs/tutorials/first-model.md"

RECIPE = """\
merge_method: task_arithmetic
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
models:
  - model: acme/SmolLM2-coder
    parameters: {weight: 0.7}
dtype: bfloat16
"""


def how_to(name: str) -> Path:
    return ROOT / f"docs/how-to/{name}.md"


def brick(name: str) -> Path:
    return builtin_registry() / f"files/starter/{name}/1.0.0"


def brickctl(folder: Path, environment: Mapping[str, str], *arguments: str) -> None:
    command = [sys.executable, "-m", "brickctl", *arguments]
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home, and beside it a starter project that its user has built: made once, and copied for each page."""
    place = tmp_path_factory.mktemp("built")
    environment, project = new_user(place / "home"), place / "work"
    project.mkdir()
    brickctl(project, environment, "init", "--template", "starter")
    brickctl(project, environment, "build")
    return place


@pytest.fixture(scope="module")
def warmed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """A `brickctl` with all imports done, for many pages."""
    place = tmp_path_factory.mktemp("warm")
    with Warm(place / "command", new_user(place / "home")) as command:
        yield command


@pytest.fixture
def warm(warmed: Warm) -> Warm:
    """The same for a user who is new again: nothing is at home."""
    home = Path(warmed.environment["HOME"])
    shutil.rmtree(home)
    home.mkdir()
    return warmed


@pytest.fixture
def starter(built: Path, folder: Path, environment: Mapping[str, str]) -> Path:
    """A starter project that is built, with an adapter of one's own in it, models, and a registry in git beside it."""
    return started(built, folder, environment)


def started(built: Path, folder: Path, environment: Mapping[str, str]) -> Path:
    """The same, with what was fetched for it in a home that may have something already, which goes."""
    shutil.rmtree(environment["HOME"])
    shutil.copytree(built / "home", environment["HOME"], symlinks=True)
    shutil.copytree(built / "work", folder, symlinks=True, dirs_exist_ok=True)
    for name, here in (("odd", "my-adapter"), ("base", "base"), ("sort", "coder")):
        shutil.copytree(brick(name), folder / here)
    (folder / "foreign-adapter").mkdir()
    for path, content in sandbox.adapter(width=64).items():  # of a model of another width
        (folder / "foreign-adapter" / path).write_bytes(content)
    registry_in_git(folder.parent / "registry", environment)
    return folder


def registry_in_git(place: Path, environment: Mapping[str, str]) -> None:
    """A registry without bricks, in a clone of a repository to which it can be pushed."""
    place.mkdir()
    (place / "config.json").write_text('{"v":1}\n')
    for command in (
        ("init", "--quiet", "--bare", f"{place}.git"),
        ("-C", place, "init", "--quiet", "--initial-branch", "main"),
        ("-C", place, "config", "user.name", "Acme"),
        ("-C", place, "config", "user.email", "acme@example.org"),
        ("-C", place, "add", "config.json"),
        ("-C", place, "commit", "--quiet", "--message", "A registry"),
        ("-C", place, "remote", "add", "origin", f"{place}.git"),
        ("-C", place, "push", "--quiet", "--set-upstream", "origin", "main"),
    ):
        subprocess.run([shutil.which("git") or "git", *command], env=environment, check=True)


@pytest.fixture
def hub_environment(environment: Mapping[str, str], tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """A Hub that holds the starter bricks under the names that pages use."""
    with Hub() as hub:
        for name, source, prefix in (
            ("HuggingFaceTB/SmolLM2-135M-Instruct", "base", ""),
            ("acme/sql-lora", "upper", ""),
            ("acme/legal-lora", "next", "checkpoint-300/"),
            ("acme/SmolLM2-coder", "sort", ""),
        ):
            repository = hub.repository(name, card={"license": "apache-2.0"})
            repository.commit({prefix + path.name: path for path in brick(source).iterdir()})
            repository.tag("v2")
        own = {key: value for key, value in environment.items() if key != "HF_HUB_OFFLINE"}
        settings = hub.environment(tmp_path / "hf")
        yield own | {key: settings[key] for key in settings if key.startswith("HF_") or key.lower() == "no_proxy"}


def lay_adapters(folder: Path) -> None:
    """A base and two adapters for it, as one's own."""
    for name, here in (("base", "base"), ("upper", "adapters/upper"), ("next", "adapters/next")):
        shutil.copytree(brick(name), folder / here)


@pytest.mark.full
def test_the_first_tutorial_does_what_it_says_with_the_command_itself(
    folder: Path, environment: Mapping[str, str]
) -> None:
    run(FIRST, folder, environment)


@pytest.mark.full
@pytest.mark.parametrize("page", [page for page in TUTORIALS if page != FIRST], ids=lambda page: page.stem)
def test_a_tutorial_does_what_it_says(page: Path, folder: Path, warm: Warm) -> None:
    if page.stem == "your-adapters-into-one-model":
        lay_adapters(folder)
    run(page, folder, warm.environment, first=warm.bin)


@pytest.mark.full
@pytest.mark.parametrize("name", GUIDES_TO_PROJECTS)
def test_a_guide_to_a_project_does_what_it_says(name: str, built: Path, folder: Path, warm: Warm) -> None:
    run(how_to(name), started(built, folder, warm.environment), warm.environment, first=warm.bin)


@pytest.mark.full
def test_the_guide_to_building_without_a_manifest_does_what_it_says(folder: Path, warm: Warm) -> None:
    shutil.copytree(brick("base"), folder / "models/base")
    for name in ("upper", "next"):
        shutil.copytree(brick(name), folder / "bricks" / name)
    run(how_to("build-without-a-manifest"), folder, warm.environment, first=warm.bin)


@pytest.mark.full
def test_the_guide_to_registries_does_what_it_says(folder: Path, warm: Warm) -> None:
    shutil.copytree(brick("upper"), folder / "bricks/upper")
    run(how_to("use-a-private-registry"), folder, warm.environment, first=warm.bin)


@pytest.mark.full
def test_the_guide_to_the_hub_does_what_it_says(folder: Path, hub_environment: Mapping[str, str]) -> None:
    run(how_to("merge-adapters-of-the-hub"), folder, hub_environment)


@pytest.mark.full
def test_the_guide_to_publishing_does_what_it_says(starter: Path, hub_environment: Mapping[str, str]) -> None:
    run(how_to("publish-a-brick"), starter, {**hub_environment, "HF_TOKEN": OWNER_TOKEN})
    pushed = ["git", "-C", f"{starter.parent}/registry.git", "show", "main:index/acme/sql"]
    assert b'"hf:acme/sql-lora' in subprocess.run(pushed, check=True, capture_output=True).stdout


@pytest.mark.full
def test_the_guide_to_recipes_does_what_it_says(folder: Path, hub_environment: Mapping[str, str]) -> None:
    (folder / "recipe.yml").write_text(RECIPE)
    run(how_to("import-a-mergekit-recipe"), folder, hub_environment)


@pytest.mark.full
def test_the_guide_for_who_comes_from_mergekit_does_what_it_says(
    folder: Path, hub_environment: Mapping[str, str]
) -> None:
    run(how_to("move-from-mergekit"), folder, hub_environment)


@pytest.mark.full
def test_the_guide_for_who_comes_from_scripts_does_what_it_says(folder: Path, warm: Warm) -> None:
    lay_adapters(folder)
    run(how_to("move-from-peft-scripts"), folder, warm.environment, first=warm.bin)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.stem)
def test_every_manifest_on_a_page_can_be_read(page: Path) -> None:
    for text in marked(page.read_text(encoding="utf-8"), "toml"):
        tomllib.loads(text)
        if "[project]" in text:
            parse_manifest(text)


def test_every_page_with_blocks_is_run_by_a_test() -> None:
    """What has no test of its own above must have nothing to run."""
    run_above = {
        *GUIDES_TO_PROJECTS,
        "build-without-a-manifest",
        "import-a-mergekit-recipe",
        "merge-adapters-of-the-hub",
        "move-from-mergekit",
        "move-from-peft-scripts",
        "publish-a-brick",
        "use-a-private-registry",
    }
    others = [page for page in PAGES if page not in TUTORIALS and page.stem not in run_above]
    assert [page.name for page in others if any(blocks(page.read_text(encoding="utf-8")))] == []


def test_dots_stand_for_anything_and_everything_else_for_itself() -> None:
    assert fits("a  1\nb 2\nc 3\n", "a 1\n...\nc 3\n")
    assert fits("built  /tmp/demo/dist/x  sha256:12ab\n", "built .../dist/x sha256:...\n")
    assert not fits("a 1\nb 2\n", "a 1\n")
    assert not fits("upper 0.0%\n", "upper 90.0%\n")
    assert fits("upper 99.2%\n", "upper 100.0%\n")

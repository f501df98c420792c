"""No block of a page stands outside of the tests without somebody having said why."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.docs.pages import ROOT, fences

if TYPE_CHECKING:
    from pathlib import Path

PAGES = [
    ROOT / "README.md",
    ROOT / "registry/README.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if "templates" not in path.parts),
]

INSTALLED = "brickctl is installed here from the checkout, with all that the tests need"
NOT_RUN = {
    "README.md": ["this is what .ci/run does"],
    "docs/how-to/contribute.md": ["this is what .ci/run does"],
    "docs/how-to/export-a-lock.md": [
        INSTALLED,
        "it needs bricks of the Hub or of folders, and those of this project are of a registry",
    ],
    "docs/how-to/export-a-model.md": [
        INSTALLED,
        "llama.cpp's converter is not on a test machine",
        "it needs a repository to write to; tests/workflows/exporting has a Hub of its own for that",
    ],
    "docs/how-to/run-in-ci.md": ["a test machine has no containers; hadolint has looked at the file"],
    "docs/how-to/see-inside-a-model.md": ["it needs a GPU, and there is no such folder here"],
    "docs/how-to/show-a-target.md": ["it measures every brick, which takes half a minute"],
    "docs/how-to/sign-and-verify.md": [INSTALLED],
    "docs/how-to/train-a-brick.md": ["it is stopped by hand"],
    "docs/how-to/work-without-a-network.md": ["it would offer what is on this machine to the network"],
    "docs/tutorials/ci-from-zero.md": [
        "it fetches the hook from GitHub; tests/ci/test_pre_commit.py runs it from a repository on the disk"
    ],
    "docs/tutorials/first-model.md": [
        "README.md begins with the same lines, and a test runs them in a fresh environment"
    ],
}
"""Every block of a shell that no test runs, by page, with the reason that stands on the page."""

USAGE = "docs/reference/cli.md"
"""Shows how verbs are called, `brickctl add [OPTIONS]`: click wrote it, and it is no command."""

LANGUAGES = {"bash", "python", "text", "toml", "yaml", "json", "dockerfile", "mermaid", ""}
_COMMAND = re.compile(
    r"^(\$ |\w+=\S+ |(brickctl|pip|python3?|git|cd|mkdir|curl|docker|export|npm|sed|pre-commit|vllm|ollama|hf|oras) )",
    re.MULTILINE,
)


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def test_what_is_not_run_is_on_the_list_with_its_reason() -> None:
    found = {
        named(page): [reason for _, _, reason in fences(page.read_text(encoding="utf-8")) if reason] for page in PAGES
    }
    assert {page: reasons for page, reasons in found.items() if reasons} == NOT_RUN


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_command_stands_in_a_block_that_is_run(page: Path) -> None:
    """A block of another language with a command in it would be run by nobody."""
    texts = [text for language, text, _ in fences(page.read_text(encoding="utf-8")) if language in {"text", ""}]
    hidden = [text for text in texts if _COMMAND.search(text)]
    assert named(page) == USAGE or hidden == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_the_language_of_a_block_is_one_that_the_tests_know(page: Path) -> None:
    assert {language for language, _, _ in fences(page.read_text(encoding="utf-8"))} <= LANGUAGES


def test_every_operation_and_derivation_is_shown_in_a_guide() -> None:
    """A step that the reference lists and no guide uses would be known to its author only."""
    guides = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs/how-to").glob("*.md"))
    references = (ROOT / f"docs/reference/{name}.md" for name in ("operations", "derivations"))
    names = [name for path in references for name in re.findall(r"^## ([a-z-]+)$", path.read_text(), re.MULTILINE)]
    assert len(names) > 20
    assert [name for name in names if f'op = "{name}"' not in guides and f"`{name}`" not in guides] == []

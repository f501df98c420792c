"""What a brick is for, in texts: examples of its skill where the project has some, else what is said of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from brickctl.analysis.examples import parse_examples, read_examples, read_texts
from brickctl.core.reference import PathReference
from brickctl.errors import NotFound, UsageFault
from brickctl.operations.target import read_recipe
from brickctl.workflows.analyzing.desk import PROMPTS
from brickctl.workflows.analyzing.texts import read_prompt_file

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from brickctl.analysis.examples import Example
    from brickctl.core.manifest import Check
    from brickctl.core.names import Alias
    from brickctl.workflows.session import Session
    from brickctl.workflows.suggesting.candidates import Candidate

MOST_TEXTS = 32
"""Texts of one brick: their mean hardly moves with more."""

_LONGEST_FILE = 1_000_000
_MOST_FILES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnTexts:
    """The texts of a brick; `examples` says whether they are examples of its skill, or what is said of it."""

    texts: tuple[str, ...]
    examples: bool


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """What a project has of texts; `asked` are those of the task, which no brick is judged by."""

    session: Session
    asked: Collection[str]

    def of(self, candidate: Candidate) -> OwnTexts:
        """The texts of a brick.

        Of a brick of the project: lines of prompts.jsonl that bear its name as their label; the data of checks that
        bear its name, or that are about a target with this brick alone; JSON lines that lie in its folder. The first 32
        that are no texts of the task. Where there are none: its summary or the beginning of its model card, and its
        name.
        """
        alias = candidate.alias
        found = () if alias is None else dict.fromkeys(text for text in self._examples(alias) if text not in self.asked)
        if found:
            return OwnTexts(texts=tuple(found)[:MOST_TEXTS], examples=True)
        said = candidate.words.summary.strip() or " ".join(candidate.words.tags)
        return OwnTexts(texts=(f"{candidate.name}: {said}" if said else candidate.name,), examples=False)

    def _examples(self, alias: Alias) -> Iterator[str]:
        yield from (text for label, text in self._prompts if label == alias)
        for check in self.session.manifest.checks:
            if alias in {check.name, self._only_brick(check)}:
                yield from _data(self.session.root / check.data, check)
        for path in self._beside(alias):
            yield from _texts_in(path)

    @cached_property
    def _prompts(self) -> tuple[tuple[str, str], ...]:
        """Label and text of every line of prompts.jsonl; nothing where there is no such file."""
        path = self.session.root / PROMPTS
        if not path.is_file():
            return ()
        return tuple((prompt.label, prompt.text) for prompt in read_prompt_file(path, PROMPTS).prompts)

    def _only_brick(self, check: Check) -> Alias | None:
        recipe = read_recipe(self.session.manifest, self.session.manifest.targets[check.target])
        return recipe.aliases[0] if len(recipe.aliases) == 1 else None

    def _beside(self, alias: Alias) -> tuple[Path, ...]:
        """JSON lines in the folder of a brick that lies on this machine."""
        reference = self.session.manifest.bricks[alias].reference
        if not isinstance(reference, PathReference):
            return ()
        folder = self.session.root / reference.path / (reference.subfolder or "")
        return tuple(path for path in sorted(folder.glob("*.jsonl")) if path.is_file())[:_MOST_FILES]


def whole(example: Example) -> str:
    """A prompt with its completion."""
    return example.prompt + example.completion


def _data(path: Path, check: Check) -> tuple[str, ...]:
    """The texts of a check; nothing where its data is not there: `brickctl test` tells of that."""
    try:
        if check.kind == "perplexity":
            return read_texts(path, name=check.data)
        return tuple(map(whole, read_examples(path, name=check.data)))
    except NotFound:
        return ()


def _texts_in(path: Path) -> tuple[str, ...]:
    """The examples of a file that nobody said is one; nothing where it is none, or is large."""
    if path.stat().st_size > _LONGEST_FILE:
        return ()
    try:
        return tuple(map(whole, parse_examples(path.read_text(encoding="utf-8"), name=path.name)))
    except (UsageFault, UnicodeDecodeError):
        return ()

"""What is suggested: the values that a search for the right brick begins and ends with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from brickctl.analysis.words import MOST_WORDS, common_words, words_of
from brickctl.workflows.analyzing.output import finite
from brickctl.workflows.lock import LockMode
from brickctl.workflows.suggesting.texts import whole

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.analysis.examples import Example
    from brickctl.tensors.device import Device
    from brickctl.workflows.suggesting.candidates import Candidate

TEXT, EMBEDDING, MEASURE = "text", "embedding", "measure"
MOST_EXAMPLES = 128
"""Examples that models read of a longer file, as many from each part of it."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a brick is looked for: in words, by examples, or both."""

    text: str = ""
    examples: tuple[Example, ...] = ()

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The words that bricks are asked for: those of the text, then those that most examples have; at most 64."""
        every = dict.fromkeys((*words_of(self.text), *common_words(map(whole, self.examples))))
        return tuple(every)[:MOST_WORDS]

    @property
    def sample(self) -> tuple[Example, ...]:
        """The examples that models read."""
        number = min(len(self.examples), MOST_EXAMPLES)
        return tuple(self.examples[at * len(self.examples) // number] for at in range(number))

    @property
    def texts(self) -> tuple[str, ...]:
        """What bricks are compared with: the examples that models read, or the words where there are none."""
        return tuple(map(whole, self.sample)) or (self.text,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How far to look.

    Attributes:
        embed: compare the examples with those of bricks by the hidden states of the base.
        embedder: a folder of sentence-transformers, which compares all texts instead.
        measure: run the base with each brick on the examples.
        limit: at most so many bricks are shown; of registries, no more are measured.
    """

    embed: bool = False
    embedder: Path | None = None
    measure: bool = False
    limit: int = 10
    mode: LockMode = LockMode.REFRESH
    device: Device | None = None

    @property
    def embeds(self) -> bool:
        """Whether texts are compared by their vectors."""
        return self.embed or self.embedder is not None

    @property
    def runs_models(self) -> bool:
        """Whether a model is run at all."""
        return self.embeds or self.measure

    @property
    def judges_all(self) -> bool:
        """Whether bricks are judged that have no word of the task, those of registries among them."""
        return self.measure or self.embedder is not None

    @property
    def stages(self) -> tuple[str, ...]:
        """What bricks are judged by; the last one decides, and those before it where it says nothing."""
        return (TEXT, *((EMBEDDING,) if self.embeds else ()), *((MEASURE,) if self.measure else ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A brick, and what speaks for it.

    Attributes:
        words: those of the task that it has.
        similarity: of its texts to those of the task, a cosine; None where they were not compared, or nothing is left.
        examples: how many examples of its skill it was compared by; 0: by what is said of it.
        loss: of the examples with this brick on the base, nats a token; None where it was not measured.
    """

    candidate: Candidate
    words: tuple[str, ...] = ()
    similarity: float | None = None
    examples: int = 0
    loss: float | None = None

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **self.candidate.document(),
            "words": list(self.words),
            "similarity": self.similarity,
            "examples": self.examples,
            "loss": finite(self.loss),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggested:
    """The best bricks for a task, by `stages`.

    Attributes:
        words: what bricks were asked for.
        base_loss: of the examples on the base alone; None where nothing was measured.
        more: whether there are more than were asked for.
    """

    suggestions: tuple[Suggestion, ...]
    words: tuple[str, ...]
    stages: tuple[str, ...]
    base_loss: float | None = None
    more: bool = False

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "words": list(self.words),
            "stages": list(self.stages),
            "base-loss": finite(self.base_loss),
            "bricks": [suggestion.document() for suggestion in self.suggestions],
            "more": self.more,
        }

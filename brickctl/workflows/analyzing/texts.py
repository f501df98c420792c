"""The prompts of an analysis, and what each measurement reads of them, so that all of them end in good time."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from brickctl.analysis.examples import bytes_of, decoded
from brickctl.analysis.instances import Instances
from brickctl.analysis.labelled import parse_prompts
from brickctl.core.digests import Sha256, sha256_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from brickctl.analysis.corpus import Corpus, Part, Row
    from brickctl.analysis.labelled import Prompt

MASKED = 0.2
"""The share of the tokens that the curve of masked losses reads: it takes 16 passes over them."""

SPLIT = 0.1
"""The share that losses of splits are measured on: 30 passes over it. What is pruned for lends the rest."""

PRUNED = 0.5
"""The share that perturbation and bricks read: with five labels perturbation takes 31 passes over them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptFile:
    """Labelled prompts, what their file is called, and the digest of its bytes."""

    name: str
    sha256: Sha256
    prompts: tuple[Prompt, ...]


def read_prompt_file(path: Path, name: str) -> PromptFile:
    """The labelled prompts of a file, which messages call `name`.

    Raises:
        NotFound: there is no such file.
        UsageFault: as `parse_prompts`.
    """
    content = bytes_of(path, name)  # once: it may be a pipe
    return PromptFile(name=name, sha256=sha256_bytes(content), prompts=parse_prompts(decoded(content, name), name=name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the measurements read: activations everything, masked losses little, pruned models something between.

    `scored` is what neurons are scored by for pruning: nothing of `pruned`, or `whole` where some label has too few
    prompts for both.
    """

    whole: Part
    masked: Part
    pruned: Part
    split: Part
    scored: Part

    @property
    def is_unseen(self) -> bool:
        """Whether neurons are pruned by other texts than those that the losses are measured on."""
        return self.scored is not self.whole


def divide(corpus: Corpus, tokens: int) -> Parts:
    """The parts of a budget of tokens, or of all that there are; a smaller one is contained in a larger one."""
    whole = corpus.part(tokens)
    shares = (MASKED, PRUNED, SPLIT)
    masked, pruned, split = (corpus.part(max(1, round(share * whole.total))) for share in shares)
    rest = corpus.beyond(whole, pruned)
    scored = rest if all(rest.tokens.values()) else whole
    return Parts(whole=whole, masked=masked, pruned=pruned, split=split, scored=scored)


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows of tokens by label, and how many of each row's first ones are given: what `mean_losses` takes."""

    rows: tuple[tuple[tuple[int, ...], ...], ...]
    given: tuple[tuple[int, ...], ...]

    def together(self) -> Groups:
        """All labels as one group."""
        return Groups((tuple(chain.from_iterable(self.rows)),), (tuple(chain.from_iterable(self.given)),))


def groups_of(part: Part, rows: Sequence[Row]) -> Groups:
    """The rows of each label."""
    found = [[rows[at] for at in places] for places in part.places.values()]
    return Groups(
        tuple(tuple(row.tokens for row in group) for group in found),
        tuple(tuple(row.given for row in group) for group in found),
    )


def instances_of(part: Part, rows: Sequence[Row]) -> Instances:
    """The rows with the numbers of their labels."""
    placed = [(number, at) for number, places in enumerate(part.places.values()) for at in places]
    return Instances(
        labels=tuple(part.places),
        rows=tuple(rows[at].tokens for _, at in placed),
        labels_of=tuple(number for number, _ in placed),
    )


def prompts_document(file: PromptFile, part: Part) -> dict[str, Any]:
    """What was read, for JSON."""
    labels = [
        {"label": label, "instances": len(places), "tokens": part.tokens[label]}
        for label, places in part.places.items()
    ]
    return {"file": file.name, "sha256": file.sha256, "labels": labels}

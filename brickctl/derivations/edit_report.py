"""What is said of facts that were written: scores before and after, where they are, and which of them are not said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.derivations.storing import figure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from brickctl.analysis.editing.facts import Fact
    from brickctl.analysis.editing.scores import Scores
    from brickctl.analysis.editing.writing import Told, Written

_MOST_NAMED = 5
_SHOWN = 20


def table_of(before: Scores, after: Scores) -> Iterator[Mapping[str, Any]]:
    """A row for each score."""
    for name in ("rewrite", "likelier", "rephrase", "locality", "perplexity"):
        pair = (getattr(before, name), getattr(after, name))
        yield {"score": name, **{when: _rounded(one) for when, one in zip(("before", "after"), pair, strict=True)}}


def notes_of(
    facts: Sequence[Fact], told: Sequence[Told], written: Sequence[Written], after: Scores, *, traced: bool
) -> Iterator[str]:
    """Where facts were written, and which of them the model does not say."""
    where = ", ".join(str(one.site.layer) for one in written)
    error = figure(max(one.error for one in written))
    how = "found by tracing" if traced else "as given"
    yield f"written at layer {where} ({how}); a value is missed by {error:g} of its length at most"
    deaf = [one.subject for one, said in zip(facts, after.said, strict=True) if not said]
    if deaf:
        yield f"not said: {named(deaf)}"
    first = [one.subject for one, each in zip(facts, told, strict=True) if each.sentences[0].subject == 0]
    if first:
        why = "the key there is that of every beginning: put a word before it in the prompt"
        yield f"the subject is the first token of a prompt for {named(first)}; {why}"
    grown = [one.prompt + one.target for one in facts if _grows_together(one)]
    if grown:
        yield f"targets stand right behind prompts: {named([text[-_SHOWN:] for text in grown])}; is there no space?"


def _grows_together(fact: Fact) -> bool:
    """Whether a word of the prompt and one of the target become one; not in scripts that have no spaces."""
    both = fact.prompt[-1] + fact.target[0]
    return both.isascii() and both.isalnum()


def named(subjects: Sequence[str]) -> str:
    """The first of some texts, and how many more there are."""
    more = f" and {len(subjects) - _MOST_NAMED} more" if len(subjects) > _MOST_NAMED else ""
    return ", ".join(f"`{shown(one)}`" for one in subjects[:_MOST_NAMED]) + more


def _rounded(score: float | None) -> float | None:
    return None if score is None else figure(score)

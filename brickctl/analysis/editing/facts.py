"""Facts to write into a model: JSON lines, read strictly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.analysis.examples import parse_lines, readable, text_of
from brickctl.errors import Place, UsageFault

if TYPE_CHECKING:
    from brickctl.core.document import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """What a model is to say of a subject, to the character, and what it is measured by.

    Attributes:
        subject: what the fact is about.
        prompt: what the target follows; the subject is in it.
        target: what is to be said right behind the prompt, with the space before it where there is one.
        rephrase: other prompts that the target is to follow.
        neighbours: prompts about something else, after which the model is to say what it said before.
    """

    subject: str
    prompt: str
    target: str
    rephrase: tuple[str, ...] = ()
    neighbours: tuple[str, ...] = ()


def parse_facts(content: str, *, name: str) -> tuple[Fact, ...]:
    """The facts of a file, a line each; errors call the file `name`.

    Raises:
        UsageFault: a line is no fact; its place is named.
    """
    facts = parse_lines(content, name, _fact)
    first: dict[str, int] = {}
    for number, fact in enumerate(facts, start=1):
        if (before := first.setdefault(fact.prompt, number)) != number:
            message = f"line {before} has this prompt as well, and one model says one thing"
            raise UsageFault(message, place=Place(file=name, line=number))
    return facts


def _fact(line: Table) -> Fact:
    fact = Fact(
        subject=text_of(line, "subject"),
        prompt=text_of(line, "prompt"),
        target=text_of(line, "target"),
        rephrase=_prompts(line, "rephrase"),
        neighbours=_prompts(line, "neighbours"),
    )
    if fact.subject not in fact.prompt:
        hint = "the fact is looked up where the subject ends: write it as it stands in the prompt"
        raise line.error("`prompt` does not have the `subject` in it", key="prompt", hint=hint)
    if not fact.target.strip():
        raise line.error("`target` is nothing but space", key="target")
    return fact


def _prompts(line: Table, key: str) -> tuple[str, ...]:
    """Strings that are not empty, or none where the key is absent."""
    found: Any = line.take(key)
    if not line.has(key):
        return ()
    if not isinstance(found, list) or not all(isinstance(one, str) and one for one in found):
        raise line.error(f"`{key}` must be a list of strings, none of them empty", key=key)
    return tuple(readable(line, key, one) for one in found)

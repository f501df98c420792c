"""What an edit has done: whether facts are said, in other words too, and what else the model says as before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.analysis.batches import batches, on_device, unwatched
from brickctl.analysis.editing.sentences import followed_by, require_room
from brickctl.analysis.perplexity import mean_losses, of_loss
from brickctl.analysis.rows import Row

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from brickctl.analysis.batches import Watch
    from brickctl.analysis.editing.facts import Fact
    from brickctl.analysis.load import Loaded

_ROWS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    """Prompts with what follows them, tokens that are to be predicted; made while the model is as it was.

    Attributes:
        rewrite: prompts of facts with their targets.
        old: the same prompts with what the model says of itself, as many tokens.
        rephrase: other prompts with the targets.
        neighbours: prompts about something else with what the model says of itself, as many tokens as the target has.
        text: rows of the text that a model is to know as before.
    """

    rewrite: tuple[Row, ...]
    old: tuple[Row, ...]
    rephrase: tuple[Row, ...]
    neighbours: tuple[Row, ...]
    text: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Shares in [0, 1], None where nothing was asked; and perplexity.

    Attributes:
        said: by fact, whether its prompt is followed by its target, each token the likeliest.
        rewrite: the share of facts for which it is.
        likelier: the share of facts whose target is likelier than what the model said before.
        rephrase: the share of other prompts that are followed by the target.
        locality: the share of prompts about something else that are followed by what followed before.
        perplexity: of the text.
    """

    said: tuple[bool, ...]
    rewrite: float
    likelier: float
    rephrase: float | None
    locality: float | None
    perplexity: float


def probes_of(loaded: Loaded, facts: Sequence[Fact], text: Sequence[Row]) -> Probes:
    """What to ask a model before and after facts are written into it; says what it says before.

    Raises:
        UsageFault: a prompt with what follows it is longer than the context of the model.
    """
    rewrite = tuple(followed_by(loaded, fact.prompt, fact.target) for fact in facts)
    lengths = [row.predicted for row in rewrite]
    prompts = [Row(tokens=row.tokens[: row.first], first=row.first) for row in rewrite]
    near = [(prompt, length) for fact, length in zip(facts, lengths, strict=True) for prompt in fact.neighbours]
    neighbours = [_with_room(loaded, prompt, length) for prompt, length in near]
    return Probes(
        rewrite=rewrite,
        old=tuple(_answered(loaded.model, prompts, lengths)),
        rephrase=tuple(followed_by(loaded, prompt, fact.target) for fact in facts for prompt in fact.rephrase),
        neighbours=tuple(_answered(loaded.model, neighbours, [length for _, length in near])),
        text=tuple(text),
    )


def scores_of(model: Any, probes: Probes, *, watch: Watch = unwatched) -> Scores:
    """What a model says of the probes."""
    rewrite, old = (_judged(model, rows) for rows in (probes.rewrite, probes.old))
    rephrase, neighbours = (_judged(model, rows) for rows in (probes.rephrase, probes.neighbours))
    rows, given = [row.tokens for row in probes.text], [row.first for row in probes.text]
    (loss,) = mean_losses(model, [rows], given=[given], watch=watch)
    return Scores(
        said=tuple(one.is_said for one in rewrite),
        rewrite=_share([one.is_said for one in rewrite]) or 0.0,
        likelier=_share([new.surprise < other.surprise for new, other in zip(rewrite, old, strict=True)]) or 0.0,
        rephrase=_share([one.is_said for one in rephrase]),
        locality=_share([one.is_said for one in neighbours]),
        perplexity=of_loss(loss),
    )


def _with_room(loaded: Loaded, prompt: str, length: int) -> Row:
    """A prompt that so many tokens are to follow."""
    row = followed_by(loaded, prompt, "")
    require_room(loaded.model, prompt, len(row.tokens) + length)
    return row


@dataclass(frozen=True, slots=True)
class _Judged:
    """Whether every predicted token of a row is the likeliest, and the sum of their -ln p."""

    is_said: bool
    surprise: float


def _judged(model: Any, rows: Sequence[Row]) -> list[_Judged]:
    """Every row by itself, in their order."""
    import torch

    found: dict[int, _Judged] = {}
    for batch in batches([row.tokens for row in rows], _ROWS):
        ids, mask = on_device(model, [rows[at].tokens for at in batch])
        with torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        for number, at in enumerate(batch):
            wanted = ids[number, rows[at].first : len(rows[at].tokens)]
            said = logits[number, rows[at].first - 1 : len(rows[at].tokens) - 1].float()
            surprise = torch.nn.functional.cross_entropy(said, wanted, reduction="sum")
            found[at] = _Judged(bool((said.argmax(dim=-1) == wanted).all()), float(surprise))
    return [found[at] for at in range(len(rows))]


def _answered(model: Any, prompts: Sequence[Row], lengths: Sequence[int]) -> Iterator[Row]:
    """Prompts with the likeliest tokens behind them, one after another."""
    import torch

    rows = [list(prompt.tokens) for prompt in prompts]
    for step in range(max(lengths, default=0)):
        for batch in batches(rows, _ROWS):
            ids, mask = on_device(model, [rows[at] for at in batch])
            with torch.inference_mode():
                logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
            for number, at in enumerate(batch):
                if step < lengths[at]:
                    rows[at].append(int(logits[number, len(rows[at]) - 1].argmax()))
    return (Row(tokens=tuple(row), first=prompt.first) for row, prompt in zip(rows, prompts, strict=True))


def _share(found: Sequence[bool]) -> float | None:
    return sum(found) / len(found) if found else None

"""What is said of gates: before they are trained how long it will take, and afterwards what they have learned."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from brickctl.analysis.phatgoose import Trained
    from brickctl.analysis.rows import Row
    from brickctl.core.names import Alias
    from brickctl.derivations.derivation import Bench

_WORTH_TELLING = 20.0  # s
_ALIKE = 0.9  # a cosine; trained apart by other examples, those that were measured had 0.3 at most
_BACKWARD = 3.0  # how much longer a step takes than reading its batch


def tell_time(bench: Bench, model: Any, batch: Sequence[Row], total: int) -> None:
    """Say how long training by so many tokens will take, if it is worth a word: the model reads one batch to tell."""
    import torch

    from brickctl.analysis.batches import on_device

    ids, mask = on_device(model, [row.tokens for row in batch])
    seconds = 0.0
    for _ in range(2):  # the first time says little
        started = time.monotonic()
        with torch.inference_mode():
            said = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
            float(said[0, 0, 0])  # a GPU returns before it is done, and is waited for here
        seconds = time.monotonic() - started
    expected = _BACKWARD * seconds * total / ids.numel()
    if expected >= _WORTH_TELLING:
        bench.events.note(
            f"training gates reads {total:,} tokens, which takes about {max(1, round(expected / 60))} min"
        )


def rows_of_table(
    trained: Mapping[Alias, Trained], batches: Mapping[Alias, Sequence[Sequence[Row]]]
) -> Iterator[Mapping[str, Any]]:
    """For each adapter what it was trained by, what its examples cost at first and at last, and whose gates are near.

    The loss is the mean over a tenth of the steps, in nats for each token. The cosine is that with the gates of the
    other adapter which are most alike, in the mean over the modules that both change.
    """
    for alias, one in trained.items():
        tenth = max(1, len(one.losses) // 10)
        near, cosine = _nearest(alias, trained)
        yield {
            "brick": alias,
            "tokens": sum(len(row.tokens) for batch in batches[alias] for row in batch),
            "steps": len(one.losses),
            "loss at first": round(sum(one.losses[:tenth]) / tenth, 4),
            "at last": round(sum(one.losses[-tenth:]) / tenth, 4),
            "most like": near,
            "cosine": cosine,
        }


def _nearest(alias: Alias, trained: Mapping[Alias, Trained]) -> tuple[Alias | None, float | None]:
    """The other adapter whose gates are most alike, and their mean cosine; None where no other changes such modules."""
    own, cosines = trained[alias].vectors, {}
    for other, one in trained.items():
        both = [path for path in own if path in one.vectors and other != alias]
        each = [float((own[path] * one.vectors[path]).mean()) for path in both]  # of length sqrt(d), or 0
        if each:
            cosines[other] = sum(each) / len(each)
    if not cosines:
        return None, None
    near = max(cosines, key=lambda name: cosines[name])
    return near, round(cosines[near], 3)


def doubts(trained: Mapping[Alias, Trained], wanted: int) -> Iterator[str]:
    """What makes gates worth little: tokens that were used up before the last step, and gates that tell nothing."""
    for alias, one in trained.items():
        if len(one.losses) < wanted:
            told = f"the gates of `{alias}` took {len(one.losses)} of {wanted} steps: its examples are long"
            yield f"{told}, and `tokens` were used up; give more of these, or fewer `steps`"
        if not any(bool(vector.any()) for vector in one.vectors.values()):
            yield f"the gates of `{alias}` are zeros: it changes nothing of what the model says of its examples"
    yield from _alike(trained)


def _alike(trained: Mapping[Alias, Trained]) -> Iterator[str]:
    """A sentence for each two adapters of which the gates of one are nearest to, and much like, those of the other."""
    told: dict[tuple[Alias, ...], None] = {}
    for alias in trained:
        near, cosine = _nearest(alias, trained)
        if near is None or cosine is None or cosine < _ALIKE:
            continue
        pair = tuple(sorted((alias, near)))
        if pair not in told:
            both = f"`{pair[0]}` and `{pair[1]}`"
            yield f"the gates of {both} are much alike (cosine {cosine}): few tokens tell them apart"
        told[pair] = None

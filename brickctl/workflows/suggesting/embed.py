"""How near the texts of a task are to those of bricks, by the base of a project or by an embedder of its own."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from brickctl.analysis.embedding import PooledStates, Sentences, similarities
from brickctl.core.names import BASE
from brickctl.workflows.analyzing.laboratory import Laboratory
from brickctl.workflows.suggesting.measure import BATCH, dtype_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from brickctl.analysis.embedding import Embedder
    from brickctl.workflows.analyzing.subject import Workplace
    from brickctl.workflows.suggesting.suggestion import Wish

_LABEL = "comparing texts"


def similarity_to(
    asked: Sequence[str], owned: Sequence[Sequence[str]], workplace: Workplace, wish: Wish
) -> tuple[float | None, ...]:
    """The similarity of each brick's texts to those that are asked about: `analysis.embedding.similarities`.

    Raises:
        NotFound, Unsupported: there is no embedder in the folder that the wish names, or nothing that runs it.
        BrickctlError: the base cannot be built or run.
    """
    events = workplace.session.events
    ends = list(accumulate(map(len, owned), initial=len(asked)))
    with _embedder(workplace, wish) as embedder:
        events.start(_LABEL, ends[-1], "texts")
        texts = [*asked, *(text for texts in owned for text in texts)]
        vectors = embedder.vectors(texts, partial(events.advance, _LABEL))
        events.finish(_LABEL)
    return similarities(vectors[: len(asked)], [vectors[first:last] for first, last in pairwise(ends)])


@contextmanager
def _embedder(workplace: Workplace, wish: Wish) -> Iterator[Embedder]:
    if wish.embedder is not None:
        yield Sentences(wish.embedder)
        return
    dtype, threads = dtype_for(workplace, wish.device), workplace.budget.threads
    with Laboratory(workplace.subject(BASE), threads=threads, device=wish.device, dtype=dtype) as laboratory:
        yield PooledStates(laboratory.loaded.model, laboratory.loaded.tokenizer, batch_size=BATCH)

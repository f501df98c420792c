"""Causal tracing: which layer's FFN brings a fact back when the model no longer knows what it is about."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from brickctl.analysis.batches import unwatched
from brickctl.analysis.editing.batch import batch_of
from brickctl.analysis.editing.sites import changed_at, logits_at, read_at, said_by, saying

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from brickctl.analysis.batches import Watch
    from brickctl.analysis.editing.sentences import Sentence
    from brickctl.analysis.editing.sites import Site

_NOISE = 3.0
"""Standard deviations of embeddings, as in ROME."""

_DRAWS = 5
"""How often a subject is made unknown, each time by other noise."""


def indirect_effects(
    model: Any, sites: Sequence[Site], sentences: Sequence[Sentence], *, seed: int, watch: Watch = unwatched
) -> Tensor:
    """How much of the answer each layer brings back, (sentences, sites) fp64 (ROME, section 2).

    The embeddings of a subject get noise, so that the model no longer knows what it is
    about; then the FFN of one layer says of the subject's last token what it says without noise. Measured is how much
    likelier that makes the token that the model finds likeliest without noise, in the mean over draws of the noise.
    The tokens of targets are not read.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    return torch.stack([_effects(model, sites, one, generator, watch) for one in sentences])


def _effects(model: Any, sites: Sequence[Site], one: Sentence, generator: Any, watch: Watch) -> Tensor:
    """The effects of all layers for one prompt, (sites,)."""
    import torch

    prompt = replace(one, tokens=one.tokens[: one.first])
    values, answer, spread = _clean(model, sites, prompt)
    batch = batch_of(model, [prompt] * _DRAWS)
    found = list[float]()
    with torch.no_grad(), logits_at(model, batch.ends), _unknown(model, prompt, spread, generator):
        blocks = (*sites[-1].below, sites[-1].block)
        said = said_by(blocks, lambda: found.append(_likely(batch.run(model), answer)))
        for site, value in zip(sites, values, strict=True):
            with saying(site.below, said), changed_at(site.down, batch.subjects, value.expand_as):
                found.append(_likely(batch.run(model), answer))
            watch(1)
    unknown, *restored = found
    return torch.tensor(restored, dtype=torch.float64) - unknown


def _clean(model: Any, sites: Sequence[Site], prompt: Sentence) -> tuple[list[Tensor], int, float]:
    """Without noise: what each FFN says of the subject, the likeliest token, and the spread of its embeddings."""
    import torch

    batch = batch_of(model, [prompt])
    embeddings = torch.arange(prompt.begins, prompt.subject + 1, device=batch.ids.device)
    with ExitStack() as stack, torch.no_grad():
        stack.enter_context(logits_at(model, batch.ends))
        heard = [stack.enter_context(read_at(site.down, batch.subjects)) for site in sites]
        read = stack.enter_context(read_at(model.get_input_embeddings(), embeddings))
        answer = int(batch.run(model)[0, 0].argmax())
    return [one for (one,) in heard], answer, float(read[0].float().std())


def _likely(logits: Tensor, token: int) -> float:
    """The mean probability of a token, of logits (1, rows, vocabulary)."""
    return float(logits[0].float().softmax(dim=-1)[:, token].double().mean())


@contextmanager
def _unknown(model: Any, prompt: Sentence, spread: float, generator: Any) -> Iterator[None]:
    """The subject's embeddings get noise: drawn once, and so the same at every pass."""
    import torch

    length, subject = len(prompt.tokens), range(prompt.begins, prompt.subject + 1)
    places = torch.tensor([draw * length + at for draw in range(_DRAWS) for at in subject], device=model.device)
    width = model.get_input_embeddings().weight.shape[1]
    noise = torch.randn(len(places), width, generator=generator).to(model.device) * (_NOISE * spread)
    with changed_at(model.get_input_embeddings(), places, lambda said: said + noise):
        yield

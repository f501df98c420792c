"""Keys that look a fact up, and the value that makes the model say another one."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.analysis.editing.batch import batch_of
from brickctl.analysis.editing.sites import changed_at, given_at, logits_at, read_at, said_by, saying
from brickctl.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from brickctl.analysis.editing.batch import Batch
    from brickctl.analysis.editing.sentences import Sentence
    from brickctl.analysis.editing.sites import Site

_RATE = 0.1
"""How far a step of Adam goes in each direction, in root mean squares of what the block says."""

_KEEP = 0.0625
"""How much it counts that the essence of the subject stays: ROME's number."""

_SMALL = 0.1
"""How much the squared length of the change counts, in squared lengths of what the block says."""

_ALIKE = 1e-2
"""How far ln p may be off where only rounding is to be different."""

_ENOUGH = 0.05
"""Mean surprise of a target, in nats a token, at which it is said: ROME's number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """What a site reads and says where a subject ends, mean over sentences, fp64.

    Attributes:
        key: what goes into the down projection, (neurons,).
        value: what comes out of it, (hidden,).
        state: what the block says, (hidden,).
    """

    key: Tensor
    value: Tensor
    state: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A change of a value that makes the model say a target.

    Attributes:
        change: v* - W k*, (hidden,) fp64.
        steps: of gradients that were taken.
        surprise: mean -ln p of the target's tokens, in nats.
    """

    change: Tensor
    steps: int
    surprise: float


def spoken(model: Any, site: Site, sentences: Sequence[Sentence]) -> Spoken:
    """k*, the mean over sentences of what looks a fact up, and what is said of it: ROME, equation 3."""
    import torch

    batch = batch_of(model, sentences)
    with ExitStack() as stack, torch.no_grad(), logits_at(model, batch.ends):
        heard = (
            given_at(site.down, batch.subjects),
            read_at(site.down, batch.subjects),
            read_at(site.block, batch.subjects),
        )
        found = [stack.enter_context(one) for one in heard]
        batch.run(model)
    key, value, state = (one.double().mean(dim=0) for (one,) in found)
    return Spoken(key=key, value=value, state=state)


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How a value is looked for: `steps` of Adam at most, and no change longer than `limit` lengths of the state."""

    steps: int
    limit: float


def find_value(model: Any, site: Site, sentences: Sequence[Sentence], essence: Sentence, search: Search) -> Value:
    """The change z of what a down projection says of the subject that makes the model say the target.

    It minimises, by Adam, the mean over sentences and their targets' tokens of -ln p, plus

        0.0625 KL(what was said of the essence || what is said of it) + 0.1 |z|^2 / |h|^2,    |z| <= limit |h|

    as ROME does (arXiv 2202.05262, equation 4), but that the last term has no units here: h is what the block says
    there. It stops where the targets are said well enough. No weight may want a gradient. Blocks below the site run
    once.

    Raises:
        Unsupported: its blocks hand on more than what they say, so that those below cannot rest.
    """
    import torch

    batch = batch_of(model, (*sentences, essence))
    asked = torch.cat((batch.before, batch.ends[-1:]))
    with torch.no_grad(), logits_at(model, asked):
        before = _log_likelihoods(model, batch)
    size = float(spoken(model, site, sentences).state.norm())
    unit = size / site.weight.shape[0] ** 0.5
    z = torch.zeros(site.weight.shape[0], device=site.weight.device, requires_grad=True)
    adam = torch.optim.Adam([z], lr=_RATE)
    with logits_at(model, asked), _changed(model, site, batch, lambda: z * unit):
        said = _log_likelihoods(model, batch)
        _require_same(said.detach(), before)
        taken = 0
        while (wanted := _surprise(said, batch)) >= _ENOUGH and taken < search.steps:
            moved = torch.nn.functional.kl_div(said[-1], before[-1], reduction="sum", log_target=True)
            adam.zero_grad()
            torch.autograd.backward(wanted + _KEEP * moved + _SMALL * (z * unit / size).square().sum())
            adam.step()
            _shorten(z, search.limit * size / unit)
            said, taken = _log_likelihoods(model, batch), taken + 1
    return Value(change=z.detach().double() * unit, steps=taken, surprise=float(wanted.detach()))


def _surprise(said: Tensor, batch: Batch) -> Tensor:
    """The mean of -ln p over the tokens of the targets; what is said last is of the essence."""
    import torch

    return torch.nn.functional.nll_loss(said[:-1], batch.targets)


def _require_same(said: Tensor, before: Tensor) -> None:
    """Make sure that a model says the same where the blocks below a site do not run.

    Raises:
        Unsupported: its blocks hand on more than what they say.
    """
    if not bool((said - before).abs().max() <= _ALIKE):
        cause = "its blocks hand on more than what they say, or its logits are no numbers"
        raise Unsupported("values of this model cannot be looked for", causes=(cause,))


def _log_likelihoods(model: Any, batch: Batch) -> Tensor:
    """Ln p of every token at the places where the head is asked, (places, vocabulary) fp32."""
    import torch

    return torch.log_softmax(batch.run(model)[0].float(), dim=-1)


@contextmanager
def _changed(model: Any, site: Site, batch: Batch, change: Callable[[], Tensor]) -> Iterator[None]:
    """The model says more of a subject; blocks below run once, before."""
    import torch

    with torch.no_grad():
        below = said_by(site.below, lambda: batch.run(model))
    with saying(site.below, below), changed_at(site.down, batch.subjects, lambda said: said + change()):
        yield


def _shorten(z: Tensor, longest: float) -> None:
    """Make a vector no longer than that, in place."""
    import torch

    with torch.no_grad():
        z.mul_(min(1.0, longest / max(float(z.norm()), 1e-30)))

"""Facts written into a model: values found at the last site, and a change of weights that makes it say them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.analysis.batches import unwatched
from brickctl.analysis.editing.batch import batch_of
from brickctl.analysis.editing.covariance import positive
from brickctl.analysis.editing.sites import changed_at, read_at
from brickctl.analysis.editing.values import find_value, spoken
from brickctl.errors import Misfit, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from brickctl.analysis.batches import Watch
    from brickctl.analysis.editing.sentences import Sentence
    from brickctl.analysis.editing.sites import Site
    from brickctl.analysis.editing.values import Search, Value

    Solve = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    """B (hidden, r) and A (r, neurons) of keys K (neurons, facts), changes R (hidden, facts) and C; all fp64."""

_ALIKE = 1e-3
_NOTHING = 1e-30


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A fact as the model reads it: its sentences, and what the subject is."""

    sentences: tuple[Sentence, ...]
    essence: Sentence


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Written:
    """What was written at one site: W + left right, fp32.

    Attributes:
        left: (hidden, rank).
        right: (rank, neurons).
        error: the largest over facts of |W' k* - v*| / |v*|, by the factors as they are, v* what this site was to say.
    """

    site: Site
    left: Tensor
    right: Tensor
    error: float


def values_of(
    model: Any, site: Site, facts: Sequence[Told], search: Search, *, watch: Watch = unwatched
) -> list[Value]:
    """What a site is to say more of each subject."""
    found: list[Value] = []
    for fact in facts:
        found.append(find_value(model, site, fact.sentences, fact.essence, search))
        watch(1)
    return found


def write_facts(
    model: Any,
    sites: Sequence[Site],
    facts: Sequence[Told],
    values: Sequence[Value],
    covariances: Mapping[int, Tensor],
    solve: Solve,
) -> tuple[Written, ...]:
    """Change the weights of some sites of a model, from below, so that the last one says the values.

    Each site takes an equal share of what the last block does not say yet, R / (sites that are left), and what it did
    is measured before the next one is changed (MEMIT, algorithm 1). `covariances` has C of each site by its layer, as
    it was measured.

    Raises:
        Misfit: the keys of a site leave nothing to solve.
        Unsupported: there are several sites, and blocks do not add what their FFN says to what they are given.
    """
    import torch

    last, wanted = sites[-1], torch.stack([one.change for one in values], dim=1)
    if len(sites) > 1:
        longest = max(range(len(values)), key=lambda at: float(values[at].change.norm()))  # 0 would be no trial
        _require_sums(model, last, facts[longest], values[longest])
    before = _states(model, last, facts)
    found: list[Written] = []
    for number, site in enumerate(sites):
        left_over = wanted - (_states(model, last, facts) - before)
        found.append(_write(model, site, facts, left_over / (len(sites) - number), covariances[site.layer], solve))
    return tuple(found)


def _states(model: Any, site: Site, facts: Sequence[Told]) -> Tensor:
    """What a block says of each subject, (hidden, facts) fp64."""
    import torch

    return torch.stack([spoken(model, site, fact.sentences).state for fact in facts], dim=1)


def _write(model: Any, site: Site, facts: Sequence[Told], changes: Tensor, covariance: Tensor, solve: Solve) -> Written:
    """Change one weight."""
    import torch

    heard = [spoken(model, site, fact.sentences) for fact in facts]
    keys = torch.stack([one.key for one in heard], dim=1)
    device = keys.device
    left, right = _solved(site, solve, keys.cpu(), changes.cpu(), covariance)
    wanted = site.weight.double() @ keys + changes
    site.weight.add_((left @ right).to(device))
    missed = changes.cpu() - left.double() @ (right.double() @ keys.cpu())
    length = wanted.cpu().norm(dim=0).clamp_min(_NOTHING)  # a layer of zeros says 0
    return Written(site=site, left=left, right=right, error=float((missed.norm(dim=0) / length).max()))


def _solved(site: Site, solve: Solve, keys: Tensor, changes: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """The factors in fp32.

    Raises:
        Misfit: a matrix cannot be inverted.
    """
    import torch

    try:
        left, right = solve(keys, changes, positive(covariance))
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]  # documented
        causes = ("the keys of the text are all 0 there, or facts with one key weigh more than all text",)
        hint = "choose another layer, or, of `memit`, a larger `weight`"
        raise Misfit(f"nothing can be written at layer {site.layer}", causes=causes, hint=hint) from error
    return left.float(), right.float()


def _require_sums(model: Any, site: Site, fact: Told, value: Value) -> None:
    """Make sure that what an FFN says more, its block says more."""
    import torch

    batch = batch_of(model, fact.sentences)
    change = value.change.float()
    with torch.no_grad(), read_at(site.block, batch.subjects) as said:
        batch.run(model)
        with changed_at(site.down, batch.subjects, lambda each: each + change):
            batch.run(model)
    plain, more = said
    if float((more - plain - change).norm(dim=1).max()) > _ALIKE * float(change.norm()):
        cause = "its blocks do not add what their FFN says to what they are given, but something made of it"
        raise Unsupported("facts cannot be spread over layers of this model", causes=(cause,), hint="give one layer")

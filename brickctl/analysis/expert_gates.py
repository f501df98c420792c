"""Rows of the routers of a mixture from cues: for each FFN and each label a direction of length 1.

x is what goes into an FFN, which is what the router in its place sees. Its products with the rows are the logits of
experts.

- `hidden`: normalise(mean x(cues) - mean x(negative cues)), x of the last token of each: mergekit's `hidden`, which
  takes what goes into the block.
- `centroids`: normalise(c_e - mean of all c), c_e the mean of x over all tokens of the cues of e. What text of all
  labels has in common, most of a hidden state, is no part of it.
- `cheap-embed`: normalise(n(sum of embeddings of all tokens of cues) - n(the same of negative ones)), n(v) = v / |v|:
  mergekit's `cheap_embed`, the same for every FFN, and without a model that runs.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from brickctl.analysis.batches import alike, unwatched
from brickctl.analysis.ffn import Linears
from brickctl.errors import Misfit, UsageFault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from brickctl.analysis.batches import Watch
    from brickctl.analysis.cues import Cues
    from brickctl.analysis.ffn import Ffn

    Hear = Callable[[int, Sequence[int], Tensor], None]

_TOKENS_AT_ONCE = 2048


def hidden_gates(model: Any, ffns: Sequence[Ffn], cues: Cues, *, watch: Watch = unwatched) -> tuple[Tensor, ...]:
    """Gates by `hidden`, (labels, hidden) fp64 for each FFN.

    Raises:
        UsageFault: the cues of a label are like its negative ones.
    """
    sums = _sums(ffns, 2 * len(cues.labels))

    def hear(index: int, numbers: Sequence[int], states: Tensor) -> None:
        for at, number in enumerate(numbers):
            side = cues.label[number] + len(cues.labels) * cues.negative[number]
            sums[index][side] += states[at, cues.last[number]].double().cpu()

    _read(model, ffns, cues.rows, hear, watch)
    return tuple(_apart(one, cues) for one in sums)


def centroid_gates(model: Any, ffns: Sequence[Ffn], cues: Cues, *, watch: Watch = unwatched) -> tuple[Tensor, ...]:
    """Gates by `centroids`, (labels, hidden) fp64 for each FFN.

    Args:
        model: in which the FFNs are.
        ffns: those that get gates.
        cues: of two labels or more, none of them negative: `refuse_for_centroids` has looked.
        watch: hears how many tokens were read.

    Raises:
        UsageFault: the cues of a label are like all others.
    """
    import torch

    sums, counts = _sums(ffns, len(cues.labels)), torch.zeros(len(cues.labels), 1, dtype=torch.float64)
    for label, row in zip(cues.label, cues.rows, strict=True):
        counts[label] += len(row)

    def hear(index: int, numbers: Sequence[int], states: Tensor) -> None:
        for at, number in enumerate(numbers):
            sums[index][cues.label[number]] += states[at].double().sum(dim=0).cpu()

    _read(model, ffns, cues.rows, hear, watch)
    means = [one / counts for one in sums]
    return tuple(_normalised(one - one.mean(dim=0), cues, one) for one in means)


def embedding_gates(embedding: Tensor, cues: Cues) -> Tensor:
    """Gates by `cheap-embed` from the embedding (tokens, hidden), (labels, hidden) fp64.

    Raises:
        UsageFault: the cues of a label are like its negative ones.
    """
    import torch

    sums = torch.zeros(2 * len(cues.labels), embedding.shape[1], dtype=torch.float64)
    for row, label, negative in zip(cues.rows, cues.label, cues.negative, strict=True):
        sums[label + len(cues.labels) * negative] += embedding[list(row)].double().sum(dim=0)
    lengths = sums.norm(dim=1, keepdim=True)
    own, others = (sums / lengths.where(lengths > 0, 1.0)).chunk(2)
    return _normalised(own - others, cues, own)


def shares(
    model: Any, ffns: Sequence[Ffn], cues: Cues, gates: Sequence[Tensor], *, watch: Watch = unwatched
) -> tuple[float, ...]:
    """For each FFN the share of tokens, of cues that are for a label, whose largest logit is that of their label."""
    right, kept = [0] * len(ffns), cues.positive
    texts = [cues.rows[at] for at in kept]
    rows = [gate.float().to(model.device) for gate in gates]

    def hear(index: int, numbers: Sequence[int], states: Tensor) -> None:
        best = (states.float() @ rows[index].T).argmax(dim=-1)
        for at, number in enumerate(numbers):
            right[index] += int((best[at] == cues.label[kept[number]]).sum())

    _read(model, ffns, texts, hear, watch)
    return tuple(one / sum(map(len, texts)) for one in right)


def largest_cosine(gates: Tensor) -> float | None:
    """The largest product of two rows of length 1; None where there is one row."""
    products = gates @ gates.T
    products.fill_diagonal_(-1)
    return None if len(gates) == 1 else float(products.max())


def _sums(ffns: Sequence[Ffn], rows: int) -> tuple[Tensor, ...]:
    """Zeros (rows, hidden) in fp64 for each FFN."""
    import torch

    return tuple(torch.zeros(rows, ffn.parts.outward().shape[0], dtype=torch.float64) for ffn in ffns)


def _apart(sums: Tensor, cues: Cues) -> Tensor:
    """The mean of the cues of each label, minus that of its negative ones where it has any."""
    import torch

    counts = torch.zeros(len(sums), 1, dtype=torch.float64)
    for label, negative in zip(cues.label, cues.negative, strict=True):
        counts[label + len(cues.labels) * negative] += 1
    own, others = (sums / counts.clamp_min(1)).chunk(2)
    return _normalised(own - others, cues, own)


def _normalised(rows: Tensor, cues: Cues, size: Tensor) -> Tensor:
    """Rows of length 1; what is left of a row of that `size` must be more than rounding.

    Raises:
        UsageFault: it is not.
    """
    lengths, least = rows.norm(dim=1, keepdim=True), 1e-6 * size.norm(dim=1, keepdim=True)
    for label, length, floor in zip(cues.labels, lengths.flatten().tolist(), least.flatten().tolist(), strict=True):
        if length <= floor:
            hint = "give it prompts that are like what it is for, and unlike the others"
            raise UsageFault(f"nothing tells the prompts of `{label}` from what it is not for", hint=hint)
    normalised: Tensor = rows / lengths
    return normalised


def _read(model: Any, ffns: Sequence[Ffn], rows: Sequence[Sequence[int]], hear: Hear, watch: Watch) -> None:
    """`hear(index of the FFN, numbers of rows, what goes into the FFN (rows, length, hidden))`, batch by batch.

    Rows of one length are read together, so that there is no padding that would count for a token.
    """
    import torch

    numbers: list[int] = []
    with ExitStack() as stack, torch.inference_mode():
        for index, ffn in enumerate(ffns):
            hook = _hook(lambda states, index=index: hear(index, numbers, states))  # type: ignore[misc]
            stack.callback(_first(ffn).register_forward_pre_hook(hook).remove)
        for batch in alike(rows, _TOKENS_AT_ONCE):
            numbers[:] = batch
            ids = torch.tensor([rows[at] for at in batch], device=model.device)
            model.get_decoder()(input_ids=ids, use_cache=False)
            watch(ids.numel())


def _first(ffn: Ffn) -> Any:
    """A linear layer that gets what goes into an FFN.

    Raises:
        Misfit: it is an expert already, which gets some tokens only.
    """
    if not isinstance(ffn.parts, Linears):
        raise Misfit(f"`{ffn.name}` is an expert already: gates are made for a dense model")
    return ffn.parts.up[0]


def _hook(hear: Callable[[Tensor], None]) -> Callable[[Any, tuple[Tensor, ...]], None]:
    def hook(_: Any, inputs: tuple[Tensor, ...]) -> None:
        hear(inputs[0])

    return hook

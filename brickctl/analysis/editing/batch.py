"""Sentences as one batch, with the places in it that editing asks about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.analysis.batches import on_device

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from brickctl.analysis.editing.sentences import Sentence


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Rows of token ids, padded at the end; a place is row * length + column.

    Attributes:
        ids, mask: (rows, length).
        subjects: where the subject of each row ends, (rows,).
        before: the places whose next token is one of a target, in the order of the rows, (targets,).
        targets: those tokens, (targets,).
        ends: the last place of each row, (rows,).
    """

    ids: Tensor
    mask: Tensor
    subjects: Tensor
    before: Tensor
    targets: Tensor
    ends: Tensor

    def run(self, model: Any) -> Tensor:
        """The logits of a model."""
        logits: Tensor = model(input_ids=self.ids, attention_mask=self.mask, use_cache=False).logits
        return logits


def batch_of(model: Any, sentences: Sequence[Sentence]) -> Batch:
    """The batch of some sentences, where the model is."""
    import torch

    ids, mask = on_device(model, [one.tokens for one in sentences])
    length, rows = ids.shape[1], list(enumerate(sentences))

    def places(found: list[int]) -> Tensor:
        return torch.tensor(found, dtype=torch.long, device=ids.device)

    return Batch(
        ids=ids,
        mask=mask,
        subjects=places([row * length + one.subject for row, one in rows]),
        before=places([row * length + at - 1 for row, one in rows for at in range(one.first, len(one.tokens))]),
        targets=places([token for one in sentences for token in one.target]),
        ends=places([row * length + len(one.tokens) - 1 for row, one in rows]),
    )

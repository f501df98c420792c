"""`op = "fisher"`: the diagonal Fisher information of every weight of a model, for merges by `fisher`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.names import did_you_mean
from brickctl.derivations.derivation import Findings, Tolerance, register
from brickctl.derivations.statistics import read_text
from brickctl.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from brickctl.analysis.fisher import Labels
    from brickctl.core.document import Table
    from brickctl.core.manifest import Derived, Input
    from brickctl.core.model import LazyModel
    from brickctl.derivations.derivation import Bench
    from brickctl.derivations.statistics import Text

_LABEL = "reading for Fisher information"
_LABELS: tuple[Labels, ...] = ("sampled", "given")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fisher:
    """How much what a model predicts in a text depends on each of its weights."""

    text: Text
    labels: Labels

    kind = "statistics"
    version = 1
    aliases = ()

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The text."""
        return (self.text.input,)

    @property
    def tolerance(self) -> Tolerance:
        """A label that is drawn next to a border may be another one on another CPU, and moves all it has part in."""
        return Tolerance(floats=0.05 if self.labels == "sampled" else 1e-3)

    def document(self) -> Mapping[str, Any]:
        """The entry with every default written out."""
        return {**self.text.document(), "labels": self.labels}

    def make(self, bench: Bench) -> Findings:
        """Read the text, differentiate, square, and take the mean."""
        from brickctl.analysis.fisher import diagonal_fisher

        loaded, rows = self.text.load(bench)
        tokens = sum(len(row.tokens) for row in rows)
        bench.events.start(_LABEL, tokens, "tokens")
        found = diagonal_fisher(
            loaded.model,
            rows,
            labels=self.labels,
            seed=self.text.seed,
            advance=lambda count: bench.events.advance(_LABEL, count),
        )
        bench.events.finish(_LABEL)
        self._check_names(found.tensors, bench.ingredients.base)
        self.text.write(bench, "fisher", found.tensors, rows)
        trace = sum(float(tensor.double().sum()) for tensor in found.tensors.values())
        row = {"examples": len(rows), "tokens": tokens, "loss": round(found.loss, 4), "trace": float(f"{trace:.4g}")}
        return Findings(rows=(row,))

    def _check_names(self, tensors: Mapping[str, Tensor], base: LazyModel) -> None:
        """Make sure that the weights of the model in memory are those that files of the base have."""
        known = {name: tuple(base.node(name).spec.shape) for name in (*base.tensors, *base.ties)}
        for name, tensor in tensors.items():
            if known.get(name) != tuple(tensor.shape):
                cause = f"transformers has `{name}` with shape {list(tensor.shape)}, and the files of the base have not"
                message = "the weights of this model are others in memory than in its files"
                raise Unsupported(message, causes=(cause,), place=self.text.place)


def read_fisher(derived: Derived) -> Fisher:
    """Read `{ op = "fisher", calibration = PATH, tokens = 20000, window = 256, seed = 0, labels = "sampled" }`.

    The model of `from` reads lines of `{"text": ...}`, or of `{"prompt": ..., "completion": ...}`, of which the
    completion counts; a `label`, as labelled prompts have one, is left unread. `labels = "given"` differentiates the
    likelihood of the text itself, instead of that of tokens drawn from what the model predicts.
    """
    table = derived.table.fresh()
    text = read_text(table, derived)
    labels = _read_labels(table)
    table.finish()
    return Fisher(text=text, labels=labels)


def _read_labels(table: Table) -> Labels:
    found = table.string_or_none("labels")
    chosen = next((one for one in _LABELS if one == (found or _LABELS[0])), None)
    if chosen is None:
        hint = did_you_mean(found or "", _LABELS) or f"choose one of {', '.join(_LABELS)}"
        raise table.error(f"{table.named('labels')} may not be {found!r}", key="labels", hint=hint)
    return chosen


register("fisher", read_fisher)

"""`op = "gram"`: Gram matrices of what goes into the linear layers of a model, for merges by `regmean`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.derivations.derivation import Findings, Tolerance, register
from brickctl.derivations.statistics import read_text
from brickctl.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from brickctl.core.manifest import Derived, Input
    from brickctl.core.model import LazyModel
    from brickctl.derivations.derivation import Bench
    from brickctl.derivations.statistics import Text

_LABEL = "reading for Gram matrices"
_MATRIX = 2
_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Gram:
    """What the linear layers of a model see in a text."""

    text: Text

    kind = "statistics"
    version = 1
    aliases = ()
    tolerance = Tolerance(floats=1e-3)

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The text."""
        return (self.text.input,)

    def document(self) -> Mapping[str, Any]:
        """The entry with every default written out."""
        return self.text.document()

    def make(self, bench: Bench) -> Findings:
        """Read the text, and add up products of inputs."""
        from brickctl.analysis.layer_inputs import input_grams

        loaded, rows = self.text.load(bench)
        tokens = sum(len(row.tokens) for row in rows)
        bench.events.start(_LABEL, tokens, "tokens")
        made = input_grams(loaded.model, rows, advance=lambda count: bench.events.advance(_LABEL, count))
        bench.events.finish(_LABEL)
        base = bench.ingredients.base
        found = {name: gram for name, gram in made.items() if _fits(name, len(gram), base)}
        if not found:
            cause = "no linear layer of transformers has a weight that the files of the base have as it is"
            raise Unsupported("this model has no Gram matrices", causes=(cause,), place=self.text.place)
        self.text.write(bench, "gram", found, rows)
        row = {"examples": len(rows), "tokens": tokens, "matrices": len(found)}
        return Findings(rows=(row,), notes=tuple(_without(base, found)))


def _fits(name: str, width: int, base: LazyModel) -> bool:
    """Whether files have the weight of a layer, (out, in), under its name."""
    if name not in base.tensors and name not in base.ties:
        return False
    shape = base.node(name).spec.shape
    return len(shape) == _MATRIX and shape[1] == width


def _without(base: LazyModel, found: Mapping[str, object]) -> Iterator[str]:
    """A note about matrices that are weights of no linear layer, such as embeddings and experts in one tensor."""
    absent = [name for name, node in base.tensors.items() if len(node.spec.shape) >= _MATRIX and name not in found]
    if absent:
        more = f", and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
        named = ", ".join(f"`{name}`" for name in absent[:_SHOWN])
        yield f"no linear layer has {named}{more}: what a merge makes of that is the mean"


def read_gram(derived: Derived) -> Gram:
    """Read `{ op = "gram", calibration = PATH, tokens = 20000, window = 256, seed = 0 }`.

    The model of `from` reads lines of `{"text": ...}`, or of `{"prompt": ..., "completion": ...}`, of which all tokens
    count; a `label`, as labelled prompts have one, is left unread.
    """
    table = derived.table.fresh()
    text = read_text(table, derived)
    table.finish()
    return Gram(text=text)


register("gram", read_gram)

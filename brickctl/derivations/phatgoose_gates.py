"""`op = "phatgoose-gates"`: a router that learned, for every adapter and module, which inputs the adapter is for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import readable_json
from brickctl.core.dtypes import DType
from brickctl.core.names import BASE
from brickctl.derivations.centroids import label_of, read_routed
from brickctl.derivations.derivation import Findings, Tolerance, register
from brickctl.derivations.gate_report import doubts, rows_of_table, tell_time
from brickctl.derivations.statistics import read_text
from brickctl.errors import Misfit, UsageFault, asked_for
from brickctl.kinds.gate_vectors import document_of, name_of
from brickctl.kinds.router_document import FILE, WEIGHTS
from brickctl.operations.canonical_adapters import canonical
from brickctl.tensors.arithmetic import cast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brickctl.analysis.examples import Example
    from brickctl.analysis.load import Loaded
    from brickctl.analysis.phatgoose import Trained
    from brickctl.analysis.rows import Row
    from brickctl.core.document import Table
    from brickctl.core.manifest import Derived, Input
    from brickctl.core.names import Alias
    from brickctl.derivations.derivation import Bench
    from brickctl.derivations.statistics import Text
    from brickctl.errors import Place
    from brickctl.operations.canonical_adapters import Factors

    Batches = Sequence[Sequence[Row]]

_LABEL = "training gates"
_STEPS, _TOKENS, _RATE = 100, 4000, 0.005
_MOST_STEPS, _MOST_RANK = 100_000, 1 << 16
_MOST_AT_ONCE = 4096  # tokens of a step, whose logits and states are all in memory
_LINE = 'a line is {"prompt": ..., "completion": ..., "label": NAME}, or {"text": ..., "label": NAME}'


@dataclass(frozen=True, slots=True, kw_only=True)
class PhatgooseGates:
    """Gates of `bricks`, each trained by what `text` has under its name.

    Attributes:
        rank: of the LoRA that stands for an adapter which is none, as in a route.
        steps: of Adam, for each adapter; `text` says how many tokens are read in all of them.
        rate: how far a step moves each number of a gate.
    """

    bricks: tuple[Alias, ...]
    text: Text
    rank: int | None
    steps: int
    rate: float
    place: Place | None = field(default=None, compare=False)

    kind = "router"
    version = 1
    tolerance = Tolerance(floats=0.1)  # Adam goes by signs, also of gradients next to 0; 0.002 was measured

    @property
    def aliases(self) -> tuple[Alias, ...]:
        """The adapters, which stay as they are."""
        return self.bricks

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The examples."""
        return (self.text.input,)

    def document(self) -> Mapping[str, Any]:
        """The entry with every default written out."""
        told = {"bricks": list(self.bricks), "rank": self.rank, "steps": self.steps, "rate": self.rate}
        return {**told, **self.text.document()}

    def make(self, bench: Bench) -> Findings:
        """Train the gates of one adapter after another, each alone with the model."""
        with asked_for(self.place):
            return self._made(bench)

    def _made(self, bench: Bench) -> Findings:
        from brickctl.analysis.load import load

        if bench.restacked:
            cause = "its layers have other numbers than those of the base, which the adapters are for"
            raise Misfit("no gates can be trained on this model", causes=(cause,))
        factors = {alias: self._factors(bench, alias) for alias in self.bricks}  # before any model is loaded
        examples = read_examples_by_label(bench.text(self.text.input), self.text.calibration, self.bricks)
        loaded = load(bench.model_folder(), dtype="float32", threads=bench.threads)
        loaded.model.to(bench.device)
        self._require_layers(loaded, factors)
        batches = {alias: self._batches(loaded, alias, examples[alias]) for alias in self.bricks}
        total = sum(len(row.tokens) for own in batches.values() for batch in own for row in batch)
        tell_time(bench, loaded.model, next(iter(batches.values()))[0], total)
        bench.events.start(_LABEL, total, "tokens")
        trained = {alias: self._trained(bench, loaded, alias, own, batches[alias]) for alias, own in factors.items()}
        bench.events.finish(_LABEL)
        self._write(bench, trained)
        notes = doubts(trained, self.steps)
        return Findings(rows=tuple(rows_of_table(trained, batches)), notes=tuple(notes))

    def _require_layers(self, loaded: Loaded, factors: Mapping[Alias, Mapping[str, Factors]]) -> None:
        """Raise Unsupported, before any training, if an adapter changes what transformers has no linear layer for."""
        from brickctl.analysis.phatgoose import linear_layers

        for own in factors.values():
            linear_layers(loaded.model, own)

    def _batches(self, loaded: Loaded, alias: Alias, examples: Sequence[Example]) -> Batches:
        """What the gates of one adapter are trained by, a batch for each step.

        Raises:
            UsageFault: the model cannot read an example, or none has a token to predict.
        """
        from brickctl.analysis.phatgoose import batches_within
        from brickctl.analysis.rows import rows_of
        from brickctl.analysis.silence import silence

        text = self.text
        limits = {"window": text.window, "tokens": text.tokens, "seed": text.seed}
        try:
            with silence():  # what is too long is said below, by whose example it is
                rows = rows_of(loaded.model, loaded.tokenizer, examples, **limits)
        except UsageFault as fault:
            raise UsageFault(
                f"`{text.calibration}` trains no gates of `{alias}`", causes=(fault.message,), hint=fault.hint
            ) from None
        return batches_within(rows, steps=self.steps, tokens=text.tokens)

    def _trained(
        self, bench: Bench, loaded: Loaded, alias: Alias, factors: Mapping[str, Factors], batches: Batches
    ) -> Trained:
        """The gates of one adapter; only its factors are in memory.

        Raises:
            Misfit: a gate is not finite.
        """
        from brickctl.analysis.phatgoose import Product, train_gates

        products = {}
        for path, one in factors.items():
            up, down = (bench.tensor(cast(node, DType.F32)).to(bench.device) for node in (one.up, one.down))
            products[path] = Product(up=up, down=down)

        def watch(count: int) -> None:
            bench.events.advance(_LABEL, count)

        found = train_gates(loaded.model, products, batches, rate=self.rate, watch=watch)
        if not all(bool(vector.isfinite().all()) for vector in found.vectors.values()):
            cause = "what the model says of its examples with it, or how that changes, is NaN or infinity"
            raise Misfit(f"the gates of `{alias}` cannot be trained", causes=(cause,), hint="try a smaller `rate`")
        return found

    def _factors(self, bench: Bench, alias: Alias) -> Mapping[str, Factors]:
        """What an adapter does to the modules that it changes, as a route runs it.

        Raises:
            Misfit: it, or the model, has other modules than the base.
            Unsupported: it is none that can be routed.
        """
        found = canonical(bench.ingredients, (alias,), self.rank, self.place).factors[alias]
        for path in found:
            _require_module(bench, f"{path}.weight", alias)
        return found

    def _write(self, bench: Bench, trained: Mapping[Alias, Trained]) -> None:
        from safetensors.torch import save_file

        pairs = ((alias, path, one) for alias, own in trained.items() for path, one in own.vectors.items())
        vectors = {name_of(alias, path): one.contiguous() for alias, path, one in pairs}
        save_file(vectors, bench.folder / WEIGHTS, {"format": "pt"})
        digests = {alias: bench.ingredients.brick(alias).digest for alias in self.bricks}
        (bench.folder / FILE).write_bytes(readable_json(document_of(bench.ingredients.base, digests)))


def _require_module(bench: Bench, name: str, alias: Alias) -> None:
    """Raise Misfit if the model has no weight like that of the base."""
    wanted, start = bench.ingredients.base.node(name).spec.shape, bench.start
    if name not in {*start.tensors, *start.ties} or start.node(name).spec.shape != wanted:
        cause = f"the base has `{name}` with shape {list(wanted)}, and the model has not"
        raise Misfit(f"`{alias}` does not fit the model", causes=(cause,))


def read_examples_by_label(content: str, name: str, bricks: Sequence[Alias]) -> Mapping[Alias, Sequence[Example]]:
    """The examples of each brick, from a file that errors call `name`; what has the label `base` is left out.

    Raises:
        UsageFault: a line is something else, or a brick has none.
    """
    from brickctl.analysis.examples import parse_lines

    labelled = parse_lines(content, name, lambda line: _labelled(line, bricks))
    found = {alias: [one for label, one in labelled if label == alias and one is not None] for alias in bricks}
    for alias, own in found.items():
        if not own:
            raise UsageFault(f"`{alias}` has no examples in `{name}`", hint=_LINE)
    return found


def _labelled(line: Table, bricks: Sequence[Alias]) -> tuple[str, Example | None]:
    from brickctl.analysis.examples import Example, text_of

    label = label_of(line, bricks)
    if label == BASE:  # prompts that `centroids` is made of, be they with completions or without
        for key in ("text", "prompt", "completion"):
            line.take(key)
        return label, None
    if line.has("text"):
        return label, Example("", text_of(line, "text"))
    return label, Example(text_of(line, "prompt"), text_of(line, "completion"))


def read_phatgoose_gates(derived: Derived) -> PhatgooseGates:
    """Read `{ op = "phatgoose-gates", bricks = [NAMES], calibration = PATH, steps = 100, tokens = 4000 }`.

    `calibration` has lines of `{"prompt": ..., "completion": ..., "label": NAME}` or `{"text": ..., "label": NAME}`.
    The label is one of `bricks`, whose gates are trained by these examples alone, while it and the model of `from`
    stay as they are; lines with the label `base` are left out. For each brick `tokens` are read in `steps` steps of
    Adam, each of which moves the numbers of a gate by about `rate` (0.005). Rows, of at most `window` (256) tokens
    where they are text, come in an order that the `seed` (0) decides, and again where there are too few. What is no
    product of two small factors is read as the LoRA of `rank` (twice its own).

    Raises:
        ManifestInvalid: a key is missing, or cannot be.
    """
    table = derived.table.fresh()
    gates = PhatgooseGates(
        bricks=read_routed(table),
        text=read_text(table, derived, tokens=_TOKENS),
        rank=_number(table, "rank", _MOST_RANK),
        steps=_number(table, "steps", _MOST_STEPS) or _STEPS,
        rate=_rate(table),
        place=derived.place,
    )
    if gates.text.tokens > gates.steps * _MOST_AT_ONCE:
        message = f"{table.named('tokens')} must be at most {_MOST_AT_ONCE:,} for each of the {gates.steps:,} steps"
        raise table.error(message, key="tokens", hint="write more `steps`, or fewer `tokens`")
    table.finish()
    return gates


def _number(table: Table, key: str, most: int) -> int | None:
    found = table.integer_or_none(key)
    if found is not None and not 0 < found <= most:
        raise table.error(f"{table.named(key)} must be from 1 to {most:,}, not {found}", key=key)
    return found


def _rate(table: Table) -> float:
    found = table.number_or_none("rate")
    if found is not None and not 0.0 < found <= 1.0:
        raise table.error(f"{table.named('rate')} must be above 0, and at most 1", key="rate")
    return _RATE if found is None else found


register("phatgoose-gates", read_phatgoose_gates)

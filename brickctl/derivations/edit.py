"""`op = "edit"`: facts written into a model, as a LoRA of low rank on down projections.

What ROME and MEMIT add to a weight is a product of two thin matrices, and so is a LoRA: the brick is an ordinary
adapter of PEFT, with factors in fp32, which installs, merges, stacks and is removed as any other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import readable_json
from brickctl.core.document import shown
from brickctl.core.manifest import Input
from brickctl.core.names import BASE, did_you_mean, is_safe_path
from brickctl.derivations.adapter_document import adapter_document
from brickctl.derivations.derivation import Findings, Tolerance, register
from brickctl.derivations.edit_report import notes_of, table_of
from brickctl.derivations.key_covariances import key_covariances, stage
from brickctl.derivations.linear_modules import modules_of
from brickctl.derivations.statistics import read_text
from brickctl.errors import Misfit, UsageFault, asked_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.analysis.editing.facts import Fact
    from brickctl.analysis.editing.sites import Site
    from brickctl.analysis.editing.writing import Solve, Told, Written
    from brickctl.analysis.load import Loaded
    from brickctl.analysis.rows import Row
    from brickctl.core.document import Table
    from brickctl.core.manifest import Derived
    from brickctl.derivations.derivation import Bench
    from brickctl.derivations.statistics import Text
    from brickctl.errors import Place

METHODS = ("memit", "rome")
TRACE = "trace"

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_LARGEST = 16_000_000
_STEPS, _PREFIXES, _LIMIT = 25, 4, 1.0
_TOKENS_OF_A_FACT = 1000.0
_MEASURED = 2048
_MOST = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """Facts of a file, written by `method` at `layers`, or at the one that tracing finds where they are None.

    Attributes:
        steps: of gradients, at most, for each value.
        limit: the longest that the change of a value may be, in lengths of what the block says there.
        prefixes: how many beginnings of the text stand before each prompt.
        weight: how many tokens of the text count as much as one fact; None of ROME, which keeps nothing but the fact.
    """

    method: str
    facts: str
    text: Text
    layers: tuple[int, ...] | None
    steps: int
    limit: float
    prefixes: int
    weight: float | None
    place: Place | None = field(default=None, compare=False)

    kind = "adapter"
    version = 1
    aliases = ()
    tolerance = Tolerance(floats=0.2)  # steps stop at a threshold: one more of 13 was measured to move a float by 8 %

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The text and the facts."""
        return (self.text.input, Input(path=self.facts, largest=_LARGEST, place=self.place))

    def document(self) -> Mapping[str, Any]:
        """The entry with every default written out."""
        layers = TRACE if self.layers is None else list(self.layers)
        search = {"steps": self.steps, "limit": self.limit, "prefixes": self.prefixes}
        weight = {} if self.weight is None else {"weight": self.weight}
        told = {"method": self.method, "facts": self.facts, "layers": layers}
        return {**told, **search, **weight, **self.text.document()}

    def make(self, bench: Bench) -> Findings:
        """Find what must be said where the facts are looked up, write it, and ask the model before and after."""
        with asked_for(self.place):
            return self._made(bench)

    def _made(self, bench: Bench) -> Findings:
        from brickctl.analysis.editing.scores import probes_of, scores_of
        from brickctl.analysis.editing.values import Search
        from brickctl.analysis.editing.writing import values_of, write_facts
        from brickctl.analysis.rows import rows_within

        facts = self._facts(bench)
        loaded, rows = self.text.load(bench)
        loaded.model.requires_grad_(False)  # noqa: FBT003 - torch takes it so
        told = self._told(loaded, facts, rows)
        sites = self._sites(loaded, bench, told)
        probes = probes_of(loaded, facts, tuple(rows_within(rows, _MEASURED)))
        before = scores_of(loaded.model, probes)
        covariances = key_covariances(bench, sites, rows)
        with stage(bench.events, "finding values", len(facts), "facts" if len(facts) > 1 else "fact") as watch:
            values = values_of(loaded.model, sites[-1], told, Search(steps=self.steps, limit=self.limit), watch=watch)
        written = write_facts(loaded.model, sites, told, values, covariances, self._solve())
        self._store(bench, written)
        after = scores_of(loaded.model, probes)
        notes = notes_of(facts, told, written, after, traced=self.layers is None)
        return Findings(rows=tuple(table_of(before, after)), notes=tuple(notes))

    def _facts(self, bench: Bench) -> tuple[Fact, ...]:
        """The facts, read and counted.

        Raises:
            Misfit: no step could apply the brick, as layers of the model have other numbers than those of the base.
            UsageFault: a line is no fact, or `rome` is to write more than one.
        """
        from brickctl.analysis.editing.facts import parse_facts

        if bench.restacked:
            hint = "edit the model before the step that does so, and apply the brick there"
            raise Misfit("this model is edited where layers have other numbers than in the base", hint=hint)
        facts = parse_facts(bench.text(self.inputs[1]), name=self.facts)
        if self.method == "rome" and len(facts) > 1:
            hint = 'write method = "memit", or a derived brick for each fact'
            raise UsageFault(f"`rome` writes one fact, and `{self.facts}` has {len(facts)}", hint=hint)
        return facts

    def _told(self, loaded: Loaded, facts: Sequence[Fact], rows: Sequence[Row]) -> list[Told]:
        """The facts as the model reads them, by themselves and behind beginnings of the text."""
        from brickctl.analysis.editing.sentences import essence_of, prefixes_of, sentences_of
        from brickctl.analysis.editing.writing import Told

        before = prefixes_of(loaded.tokenizer, [row.tokens for row in rows], self.prefixes)
        return [Told(sentences=sentences_of(loaded, one, before), essence=essence_of(loaded, one)) for one in facts]

    def _sites(self, loaded: Loaded, bench: Bench, told: Sequence[Told]) -> list[Site]:
        """The sites that are given, or the one that tracing finds.

        Raises:
            Misfit: a layer is none of the model, or of the base, or is a mixture of experts.
        """
        from brickctl.analysis.editing.sites import find_sites, site_of

        known = find_sites(loaded.model)
        layers = (self._traced(loaded, bench, list(known.values()), told),) if self.layers is None else self.layers
        chosen = [site_of(known, layer) for layer in layers]
        for site in chosen:
            self._require_in_base(site, bench)
        return chosen

    def _traced(self, loaded: Loaded, bench: Bench, sites: Sequence[Site], told: Sequence[Told]) -> int:
        """The layer whose FFN brings back most of the answers; 0 where there is none to choose from."""
        from brickctl.analysis.editing.tracing import indirect_effects

        if not sites:
            return 0
        prompts = [one.sentences[0] for one in told]
        with stage(bench.events, "tracing", len(sites) * len(prompts), "layers") as watch:
            effects = indirect_effects(loaded.model, sites, prompts, seed=self.text.seed, watch=watch)
        return sites[int(effects.mean(dim=0).argmax())].layer

    def _require_in_base(self, site: Site, bench: Bench) -> None:
        """Make sure that the adapter will fit the base."""
        base, name = bench.ingredients.base, f"{site.path}.weight"
        found = tuple(base.node(name).spec.shape) if name in {*base.tensors, *base.ties} else None
        if found != tuple(site.down.weight.shape):
            cause = f"the model has `{name}` with shape {list(site.down.weight.shape)}, and the base has not"
            raise Misfit("this model is edited where the base is another one", causes=(cause,))

    def _solve(self) -> Solve:
        from brickctl.analysis.editing.memit import of_facts
        from brickctl.analysis.editing.rome import rank_one

        weight = self.weight
        if weight is None:
            return lambda keys, changes, covariance: rank_one(keys[:, 0], changes[:, 0], covariance)
        return lambda keys, changes, covariance: of_facts(keys, changes, covariance, weight=weight)

    def _store(self, bench: Bench, written: Sequence[Written]) -> None:
        """The files of the brick.

        Raises:
            Misfit: a factor is not finite.
        """
        from safetensors.torch import save_file

        tensors: dict[str, Tensor] = {}
        for one in written:
            tensors[f"{_PREFIX}{one.site.path}.lora_A.weight"] = one.right.contiguous()
            tensors[f"{_PREFIX}{one.site.path}.lora_B.weight"] = one.left.contiguous()
        if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
            raise Misfit("these facts cannot be written: what would be stored holds NaN or infinity")
        save_file(tensors, bench.folder / _WEIGHTS, {"format": "pt"})
        ranks = {one.site.path: one.right.shape[0] for one in written}
        document = {**adapter_document(bench, modules_of(bench.ingredients.base, self.place), ranks, ())}
        if self.text.of != BASE:  # it was made for another model, which has no name that PEFT could load
            document |= {"base_model_name_or_path": None, "revision": None}
        (bench.folder / _CONFIG).write_bytes(readable_json(document))


def read_edit(derived: Derived) -> Edit:
    """Read `{ op = "edit", method = "memit", facts = PATH, calibration = PATH, layers = [5, 6] }`.

    A line of `facts` is `{"subject": ..., "prompt": ..., "target": ...}`: the prompt has the subject in it, and the
    target is what the model is to say right behind the prompt, with the space before it where there is one. Lines may
    have `rephrase`, other prompts that the target is to follow, and `neighbours`, prompts about something else; both
    are only measured by. `rome` writes one fact, `memit` (the default) any number, over one or several `layers`;
    `layers = "trace"` (the default) looks for one by causal tracing. `calibration` is text whose keys are to be
    answered as before, of which `tokens` (20,000) are read in rows of `window` (256), chosen by the `seed` (0).
    `weight` (1000), of `memit`, says how many tokens of it count as much as one fact. Values are found in at most
    `steps` (25) steps, with the prompt by itself and behind `prefixes` (4) beginnings of the text, and change by at
    most `limit` (1.0) lengths of what the layer says there.

    Raises:
        ManifestInvalid: a key is missing, or cannot be.
    """
    table = derived.table.fresh()
    method = _method(table)
    edit = Edit(
        method=method,
        facts=_facts_path(table),
        text=read_text(table, derived),
        layers=_layers(table, method),
        steps=_number(table, "steps", _STEPS, least=1),
        prefixes=_number(table, "prefixes", _PREFIXES, least=0),
        weight=_weight(table, method),
        limit=_positive(table, "limit", _LIMIT),
        place=derived.place,
    )
    table.finish()
    return edit


def _method(table: Table) -> str:
    found = table.string_or_none("method") or METHODS[0]
    if found not in METHODS:
        hint = did_you_mean(found, METHODS) or f"one of {', '.join(METHODS)}"
        raise table.error(f"there is no method `{shown(found)}`", key="method", hint=hint)
    return found


def _facts_path(table: Table) -> str:
    if not table.has("facts"):
        hint = 'write facts = "PATH": lines of {"subject": ..., "prompt": ..., "target": ...}'
        raise table.missing(f"{table.where} needs facts", "facts", hint=hint)
    path = table.string("facts")
    if not is_safe_path(path):
        hint = "a path relative to brick.toml, with `/`, without `..`"
        raise table.error(f"`{shown(path)}` is no file of this project", key="facts", hint=hint)
    return path


def _layers(table: Table, method: str) -> tuple[int, ...] | None:
    """Numbers of layers, ascending; None for those that tracing finds."""
    found = table.take("layers")
    if found in (None, TRACE):
        return None
    is_list = isinstance(found, list) and found and all(type(one) is int and one >= 0 for one in found)
    if not is_list or len(dict.fromkeys(found)) != len(found):
        hint = f'numbers of layers, counted from 0, or "{TRACE}"'
        raise table.error(
            f"{table.named('layers')} must be a list like [5, 6], each number once", key="layers", hint=hint
        )
    if method == "rome" and len(found) > 1:
        raise table.error("`rome` writes at one layer", key="layers", hint='give one, or write method = "memit"')
    return tuple(sorted(found))


def _weight(table: Table, method: str) -> float | None:
    if method == "rome" and table.has("weight"):
        raise table.error("`rome` weighs nothing: its fact is said exactly", key="weight", hint="leave it out")
    return None if method == "rome" else _positive(table, "weight", _TOKENS_OF_A_FACT)


def _positive(table: Table, key: str, default: float) -> float:
    found = table.number_or_none(key)
    if found is not None and not found > 0.0:
        raise table.error(f"{table.named(key)} must be above 0", key=key)
    return default if found is None else found


def _number(table: Table, key: str, default: int, *, least: int) -> int:
    found = table.integer_or_none(key)
    if found is not None and not least <= found <= _MOST:
        raise table.error(f"{table.named(key)} must be from {least} to {_MOST}, not {found}", key=key)
    return default if found is None else found


register("edit", read_edit)

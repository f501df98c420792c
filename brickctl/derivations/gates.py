"""`op = "gates"`: rows for the routers of a mixture, from prompts that say what each of its experts is for."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import readable_json
from brickctl.core.document import shown
from brickctl.core.manifest import Input
from brickctl.core.names import did_you_mean, is_safe_path
from brickctl.derivations.derivation import Findings, Tolerance, register
from brickctl.derivations.storing import WEIGHTS, figure
from brickctl.errors import Misfit, Place, UsageFault, asked_for
from brickctl.kinds.base import interface
from brickctl.kinds.gates import FILE, FORMAT, METHODS, MOST_LABELS
from brickctl.kinds.neurons import ffns
from brickctl.operations.dense_ffns import refuse_mixture
from brickctl.operations.mixtures import mixture_for
from brickctl.vocabulary.axis import EMBEDDING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    from brickctl.analysis.batches import Watch
    from brickctl.analysis.cues import Cue, Cues
    from brickctl.analysis.ffn import Ffn
    from brickctl.analysis.load import Loaded
    from brickctl.core.document import Table
    from brickctl.core.manifest import Derived
    from brickctl.derivations.derivation import Bench

_LARGEST = 64_000_000
_CHEAP = "cheap-embed"
_ALIKE = 12 / 13
"""Cosine of two gates from which on mergekit calls them degenerate: the condition number of the pair is above 5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """Gates by `method` from a file of `prompts`."""

    method: str
    prompts: str
    place: Place | None = field(default=None, compare=False)

    kind = "gates"
    version = 1
    aliases = ()
    tolerance = Tolerance(floats=1e-3)

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The prompts."""
        return (Input(path=self.prompts, largest=_LARGEST, place=self.place),)

    def document(self) -> Mapping[str, Any]:
        """The entry with every default written out."""
        return {"method": self.method, "prompts": self.prompts}

    def make(self, bench: Bench) -> Findings:
        """Find a row for each label and FFN, and write them."""
        with asked_for(self.place):
            self._check_dense(bench)
            cues = self._cues(bench)
            return self._cheap(bench, cues) if self.method == _CHEAP else self._heard(bench, cues)

    def _cues(self, bench: Bench) -> Sequence[Cue]:
        """The prompts, which this method can tell apart.

        Raises:
            UsageFault: a line is off, there are more labels than gates have, or centroids can do nothing with them.
        """
        from brickctl.analysis.cues import parse_cues, refuse_for_centroids

        cues = parse_cues(bench.text(self.inputs[0]), name=self.prompts)
        labels = tuple(dict.fromkeys(cue.prompt.label for cue in cues))
        if len(labels) > MOST_LABELS:
            line = next(number for number, cue in enumerate(cues, start=1) if cue.prompt.label == labels[MOST_LABELS])
            hint = "a label is the alias of an expert, and has many prompts"
            message = f"{len(labels):,} labels are too many: gates have {MOST_LABELS:,} at most"
            raise UsageFault(message, place=Place(file=self.prompts, line=line), hint=hint)
        if self.method == "centroids":
            refuse_for_centroids(cues, name=self.prompts)
        return cues

    def _check_dense(self, bench: Bench) -> None:
        """Make sure that builds can make a mixture of such a model, before it is written or loaded.

        Raises:
            Unsupported: it is a mixture already, or of a type that no stock mixture can speak for.
            Misfit: no FFN has `gate_proj`, `up_proj` and `down_proj`.
        """
        refuse_mixture(bench.start.config, "make gates for", None)
        mixture_for(bench.start.config, shared=False, place=None)
        if not ffns(bench.start):
            cause = "no FFN of it has `gate_proj`, `up_proj` and `down_proj` of its own"
            raise Misfit("there are no gates for this model", causes=(cause,))

    def _cheap(self, bench: Bench, cues: Sequence[Cue]) -> Findings:
        """Gates of embeddings alone: no model runs."""
        from brickctl.analysis.cues import encode_cues
        from brickctl.analysis.expert_gates import embedding_gates, largest_cosine
        from brickctl.analysis.load import load_tokenizer

        name = next((name for name in bench.start.tensors if EMBEDDING.search(name)), None)
        if name is None:
            raise Misfit("there are no gates for this model", causes=("it has no embedding that is known here",))
        known = encode_cues(load_tokenizer(bench.tokenizer_folder()), cues, name=self.prompts)
        embedding = bench.tensor(bench.start.tensors[name])
        if max(map(max, known.rows)) >= len(embedding):
            cause = f"`{name}` has {len(embedding)} rows, and the tokenizer gives numbers beyond"
            raise Misfit("there are no gates for this model", causes=(cause,))
        rows = embedding_gates(embedding, known)
        self._write(bench, {ffn.path: rows for ffn in ffns(bench.start)}, known)
        cosine = largest_cosine(rows)
        notes = (*self._read(known), *_degenerate({"all": cosine}))
        return Findings(rows=({"labels": len(known.labels), "cosine": _figure(cosine)},), notes=notes)

    def _heard(self, bench: Bench, cues: Sequence[Cue]) -> Findings:
        """Gates of what goes into the FFNs of a model that reads the prompts."""
        from brickctl.analysis.cues import LONGEST, encode_cues
        from brickctl.analysis.expert_gates import centroid_gates, hidden_gates
        from brickctl.analysis.load import load
        from brickctl.analysis.tokens import context_length

        loaded = load(bench.model_folder(), dtype="float32", threads=bench.threads)
        loaded.model.to(bench.device)
        longest = min(LONGEST, context_length(loaded.model) or LONGEST)
        known = encode_cues(loaded.tokenizer, cues, name=self.prompts, longest=longest)
        modules = self._modules(loaded, bench)
        find = centroid_gates if self.method == "centroids" else hidden_gates
        with _watched(bench, "reading prompts for gates", known.tokens) as watch:
            gates = find(loaded.model, modules, known, watch=watch)
        self._write(bench, {ffn.name: one for ffn, one in zip(modules, gates, strict=True)}, known)
        return self._tried(bench, loaded, modules, gates, known)

    def _tried(
        self, bench: Bench, loaded: Loaded, modules: Sequence[Ffn], gates: Sequence[Tensor], cues: Cues
    ) -> Findings:
        """What the gates make of the prompts that they are from."""
        from brickctl.analysis.expert_gates import largest_cosine, shares

        with _watched(bench, "trying the gates", sum(len(cues.rows[at]) for at in cues.positive)) as watch:
            own = shares(loaded.model, modules, cues, gates, watch=watch)
        cosines = {ffn.name: largest_cosine(one) for ffn, one in zip(modules, gates, strict=True)}
        rows = tuple(
            {"ffn": name, "own": round(share, 4), "cosine": _figure(cosine)}
            for share, (name, cosine) in zip(own, cosines.items(), strict=True)
        )
        return Findings(rows=rows, notes=(*self._read(cues), *_degenerate(cosines)))

    def _modules(self, loaded: Loaded, bench: Bench) -> Sequence[Ffn]:
        """The FFNs of the loaded model, which must be those that builds know.

        Raises:
            Misfit: they are not.
        """
        from brickctl.analysis.ffn import find_ffns

        found, known = find_ffns(loaded.model), [ffn.path for ffn in ffns(bench.start)]
        odd = next((ffn for ffn in found if ffn.name not in known), None)
        if odd is not None:
            cause = f"`{odd.name}` has no `gate_proj`, `up_proj` and `down_proj` of its own"
            raise Misfit("there are no gates for this model", causes=(cause,))
        return found

    def _read(self, cues: Cues) -> Iterator[str]:
        yield f"{len(cues.rows)} prompts of `{self.prompts}` with {cues.tokens} tokens, for {', '.join(cues.labels)}"

    def _write(self, bench: Bench, gates: Mapping[str, Tensor], cues: Cues) -> None:
        """Write the files of the brick.

        Raises:
            Misfit: a gate is not finite.
        """
        from safetensors.torch import save_file

        tensors = {f"{path}.weight": rows.float().contiguous().clone() for path, rows in gates.items()}
        for name, tensor in tensors.items():
            if not bool(tensor.isfinite().all()):
                cause = f"`{name}` would hold NaN or infinity: numbers of the model overflow on these prompts"
                raise Misfit("there are no gates for this model", causes=(cause,))
        save_file(tensors, bench.folder / WEIGHTS, {"format": "pt"})
        document = {
            "format": FORMAT,
            "interface": interface(bench.start),
            "labels": list(cues.labels),
            "method": self.method,
        }
        (bench.folder / FILE).write_bytes(readable_json(document))


@contextmanager
def _watched(bench: Bench, label: str, tokens: int) -> Iterator[Watch]:
    """A piece of work that somebody watches."""
    bench.events.start(label, tokens, "tokens")
    yield partial(bench.events.advance, label)
    bench.events.finish(label)


def _degenerate(cosines: Mapping[str, float | None]) -> Iterator[str]:
    """A note about FFNs in which two experts get almost the same tokens."""
    alike = [path for path, cosine in cosines.items() if cosine is not None and cosine > _ALIKE]
    if alike:
        where = "" if len(cosines) == 1 else f" in {len(alike)} of {len(cosines)} FFNs"
        yield (
            f"two gates are almost one{where} (cosine above {_ALIKE:.2f}), so chance decides between their experts:"
            ' give prompts that are less alike, negative ones, or write method = "centroids"'
        )


def _figure(number: float | None) -> float | None:
    return None if number is None else figure(number)


def read_gates(derived: Derived) -> Gates:
    """Read `{ op = "gates", method = "centroids", prompts = PATH }`.

    `prompts` has lines of `{"text": ..., "label": ...}`, or of `{"prompt": ..., "completion": ..., "label": ...}`; the
    label is the alias of the expert that the prompt is for, and may be `base`. For each label and FFN of the model of
    `from` the brick has a row of length 1, whose product with what goes into the FFN is the logit of that expert.

    `method` is `centroids`: the mean of what goes into the FFN over all tokens of the label's prompts, minus the mean
    of all labels. `hidden`: the mean over the last tokens of the label's prompts, or where a prompt has a completion of
    the prompt. `cheap-embed`: the sum of the embeddings of their tokens, the same row for every FFN; no model runs. For
    the last two, lines with `"negative": true` are what the expert is not for, and are subtracted. Up to 512 tokens of
    a prompt are read.

    The table says for each FFN how many tokens of these very prompts have the largest logit for their own label, and
    the largest cosine between two rows.
    """
    table = derived.table.fresh()
    gates = Gates(method=_read_method(table), prompts=_read_path(table), place=derived.place)
    table.finish()
    return gates


def _read_method(table: Table) -> str:
    method = table.string_or_none("method")
    if method is None:
        raise table.missing(f"{table.named('method')} is missing", "method", hint=f"one of {', '.join(METHODS)}")
    if method not in METHODS:
        hint = did_you_mean(method, METHODS) or f"one of {', '.join(METHODS)}"
        raise table.error(f"there is no method `{shown(method)}`", key="method", hint=hint)
    return method


def _read_path(table: Table) -> str:
    if not table.has("prompts"):
        hint = 'write prompts = "PATH": lines of {"text": ..., "label": ...}, the label an expert'
        raise table.missing(f"{table.where} needs prompts that say what experts are for", "prompts", hint=hint)
    path = table.string("prompts")
    if not is_safe_path(path):
        hint = "a path relative to brick.toml, with `/`, without `..`"
        raise table.error(f"`{shown(path)}` is no file of this project", key="prompts", hint=hint)
    return path


register("gates", read_gates)

"""`op = "centroids"`: a router that knows, for every brick, where the prompts lie that it is for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import readable_json
from brickctl.core.document import shown
from brickctl.core.manifest import Input
from brickctl.core.names import BASE, Alias, did_you_mean, is_safe_path
from brickctl.derivations.derivation import Findings, Tolerance, register
from brickctl.errors import Misfit, Place, Unsupported, UsageFault, asked_for
from brickctl.kinds.router import Routing, hidden_size
from brickctl.kinds.router_document import FILE, WEIGHTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    from brickctl.analysis.centroids import Centroids
    from brickctl.analysis.load import Loaded
    from brickctl.core.document import Table
    from brickctl.core.manifest import Derived
    from brickctl.derivations.derivation import Bench

_LABEL = "reading prompts"
_LARGEST = 64_000_000
_LONGEST = 512
_REACH = 2.0
_FARTHEST = 1000.0
_FEWEST = 2
_LINE = 'a line is {"text": ..., "label": NAME}, or {"prompt": ..., "label": NAME}, with a "completion" or without'


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody may ask, and the brick that it is for; `base` for none."""

    text: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CentroidsOf:
    """The prompts of `calibration` that are for `bricks`, as `layer` blocks of the model see them (None: half)."""

    bricks: tuple[Alias, ...]
    calibration: str
    layer: int | None
    reach: float
    place: Place | None = field(default=None, compare=False)

    kind = "router"
    version = 1
    aliases = ()  # of the bricks only the names count: another version of an adapter is for the same prompts
    tolerance = Tolerance(floats=1e-3)

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The prompts."""
        return (Input(path=self.calibration, largest=_LARGEST, place=self.place),)

    def document(self) -> Mapping[str, Any]:
        """The entry with every default written out."""
        return {
            "bricks": list(self.bricks),
            "calibration": self.calibration,
            "layer": self.layer,
            "reach": self.reach,
        }

    def make(self, bench: Bench) -> Findings:
        """Let the model read every prompt once, and write the centres."""
        with asked_for(self.place):
            return self._made(bench)

    def _made(self, bench: Bench) -> Findings:
        from brickctl.analysis.centroids import centroids_of
        from brickctl.analysis.load import load
        from brickctl.analysis.tokens import context_length

        requests = read_requests(bench.text(self.inputs[0]), self.calibration, self.bricks)
        loaded = load(bench.model_folder(), dtype="float32", threads=bench.threads)
        loaded.model.to(bench.device)
        longest = min(_LONGEST, context_length(loaded.model) or _LONGEST)
        layer = self._layer(loaded)
        pooled = self._pooled(bench, loaded, requests, layer, longest)
        labels = tuple(label for label in (*self.bricks, BASE) if any(one.label == label for one in requests))
        found = centroids_of(pooled, [labels.index(one.label) for one in requests], len(labels), reach=self.reach)
        if BASE in labels:
            found.thresholds[labels.index(BASE)] = -1.0  # what is nearest to it goes there, however far away it is
        self._write(bench, found, Routing(labels=labels, layer=layer, longest=longest))
        return _findings(found, pooled, requests, labels)

    def _layer(self, loaded: Loaded) -> int:
        """Behind how many blocks states are read; half of them unless the entry says otherwise.

        Raises:
            Misfit: the model has fewer.
        """
        config = loaded.model.config.get_text_config()
        blocks = int(config.num_hidden_layers)
        if self.layer is not None and self.layer > blocks:
            cause = f"`layer` is {self.layer}, and the model has {blocks} blocks"
            raise Misfit("there are no such states", causes=(cause,), place=self.place)
        return max(1, blocks // 2) if self.layer is None else self.layer

    def _pooled(self, bench: Bench, loaded: Loaded, requests: Sequence[Request], layer: int, longest: int) -> Tensor:
        """The mean direction of the states of every prompt, (prompts, hidden).

        Raises:
            UsageFault: a prompt has no token.
            Misfit, Unsupported: a state is not finite, or has another size than the embedding.
        """
        from brickctl.analysis.pooled_states import pooled_states
        from brickctl.analysis.silence import silence

        with silence():  # transformers warns of a long prompt, of which only the beginning is read
            rows = [list(loaded.tokenizer(one.text)["input_ids"])[:longest] for one in requests]
        empty = next((line for line, row in enumerate(rows, start=1) if not row), None)
        if empty is not None:
            raise UsageFault("this prompt has no token", place=Place(file=self.calibration, line=empty))
        bench.events.start(_LABEL, sum(map(len, rows)), "tokens")
        pooled = pooled_states(loaded.model, rows, layer, watch=lambda count: bench.events.advance(_LABEL, count))
        bench.events.finish(_LABEL)
        if not bool(pooled.isfinite().all()):
            raise Misfit("this model cannot be routed by its states", causes=("some are NaN or infinity",))
        if pooled.shape[1] != hidden_size(bench.ingredients.base):
            cause = f"they have {pooled.shape[1]} numbers, and its embedding {hidden_size(bench.ingredients.base)}"
            raise Unsupported("the states of this model are none that brickctl knows", causes=(cause,))
        return pooled

    def _write(self, bench: Bench, found: Centroids, routing: Routing) -> None:
        from safetensors.torch import save_file

        tensors = {"centroids": found.centroids, "mean": found.mean, "thresholds": found.thresholds}
        save_file({name: one.contiguous() for name, one in tensors.items()}, bench.folder / WEIGHTS, {"format": "pt"})
        (bench.folder / FILE).write_bytes(readable_json(routing.document(bench.ingredients.base)))


def read_requests(content: str, name: str, bricks: Sequence[Alias]) -> tuple[Request, ...]:
    """The prompts of a file that errors call `name`, each for one of the bricks, or for `base`.

    Raises:
        UsageFault: a line is something else, a prompt is for two bricks, or a brick has fewer than two prompts.
    """
    from brickctl.analysis.examples import parse_lines

    requests = parse_lines(content, name, lambda line: _request(line, bricks))
    first: dict[str, int] = {}
    for number, one in enumerate(requests, start=1):
        before = first.setdefault(one.text, number)
        if requests[before - 1].label != one.label:
            cause = f"line {before} has it under `{requests[before - 1].label}`"
            raise UsageFault("this prompt has two labels", causes=(cause,), place=Place(file=name, line=number))
    for label in (*bricks, BASE):
        texts = dict.fromkeys(one.text for one in requests if one.label == label)
        if len(texts) < _FEWEST and (texts or label != BASE):
            hint = "a dozen or more say how far its prompts lie apart"
            raise UsageFault(f"`{label}` needs two different prompts in `{name}`", hint=hint)
    if len(bricks) < _FEWEST and all(one.label != BASE for one in requests):
        hint = f"add prompts with the label `{BASE}`, such as plain text"
        raise UsageFault("one brick alone is told apart from nothing", place=Place(file=name), hint=hint)
    return requests


def _request(line: Table, bricks: Sequence[Alias]) -> Request:
    from brickctl.analysis.examples import text_of

    label = label_of(line, bricks)
    if line.has("text"):
        return Request(text_of(line, "text"), label)
    if not line.has("prompt"):
        raise line.error("`text` is missing", hint=_LINE)
    line.take("completion")  # what a request begins with is all that a router sees
    return Request(text_of(line, "prompt"), label)


def label_of(line: Table, bricks: Sequence[Alias]) -> str:
    """The `label` of a line: one of the bricks, or `base`; raises UsageFault for anything else."""
    from brickctl.analysis.examples import text_of

    label = text_of(line, "label")
    if label != BASE and label not in bricks:
        hint = did_you_mean(label, (*bricks, BASE)) or f"one of {', '.join((*bricks, BASE))}"
        raise line.error(f"`{shown(label)}` is none of the bricks", key="label", hint=hint)
    return label


def _findings(found: Centroids, pooled: Tensor, requests: Sequence[Request], labels: Sequence[str]) -> Findings:
    """For every label how near its own prompts are, how near those of others come, and what is near enough."""
    cosines, chosen = found.cosines(pooled), found.choose(pooled)
    rows = []
    for number, label in enumerate(labels):
        own = [at for at, one in enumerate(requests) if one.label == label]
        others = [at for at, one in enumerate(requests) if one.label != label]
        rows.append(
            {
                "label": label,
                "prompts": len(own),
                "farthest own": round(float(cosines[own, number].min()), 3),
                "nearest other": round(float(cosines[others, number].max()), 3),
                "threshold": round(float(found.thresholds[number]), 3),
            }
        )
    return Findings(rows=tuple(rows), notes=(*_doubts(requests, labels, chosen), *_loose(found, labels)))


def _doubts(requests: Sequence[Request], labels: Sequence[str], chosen: Sequence[int | None]) -> Iterator[str]:
    got = [BASE if one is None else labels[one] for one in chosen]
    wrong = [(one.label, other) for one, other in zip(requests, got, strict=True) if one.label != other]
    if wrong:
        label, other = wrong[0]
        yield f"{len(wrong)} of these {len(requests)} prompts would go elsewhere, such as one of `{label}` to `{other}`"


def _loose(found: Centroids, labels: Sequence[str]) -> Iterator[str]:
    """Labels whose threshold holds nothing back, because their prompts point in too many directions."""
    for label, threshold in zip(labels, found.thresholds.tolist(), strict=True):
        if label != BASE and threshold <= 0.0:
            why = "its own lie far apart; prompts that are more alike, or a smaller `reach`, would keep it from that"
            yield f"`{label}` also gets requests that resemble none of its prompts: {why}"


def read_centroids(derived: Derived) -> CentroidsOf:
    """Read `{ op = "centroids", bricks = [NAMES], calibration = PATH, layer = 15, reach = 2.0 }`.

    `calibration` has lines of `{"text": ..., "label": NAME}`, or of `{"prompt": ..., "label": NAME}`, with a completion
    or without, which is not read. The label is one of `bricks`, or `base` for text that wants none. The model of `from`
    reads them, and the router knows of each label where the mean direction of its states lies behind `layer` blocks
    (half of them). What lies `reach` times as far from a centre as the farthest of its own prompts goes to the base.
    """
    table = derived.table.fresh()
    bricks = read_routed(table)
    layer, reach = table.integer_or_none("layer"), table.number_or_none("reach")
    if layer is not None and layer < 0:
        raise table.error(f"{table.named('layer')} must be 0 or more", key="layer")
    if reach is not None and not 0.0 < reach <= _FARTHEST:
        message = f"{table.named('reach')} must be above 0, and at most {_FARTHEST:g}"
        raise table.error(message, key="reach", hint="2.0 is a good beginning")
    path = _read_path(table)
    table.finish()
    reach = _REACH if reach is None else reach
    return CentroidsOf(bricks=bricks, calibration=path, layer=layer, reach=reach, place=derived.place)


def read_routed(table: Table) -> tuple[Alias, ...]:
    """Read `bricks`: what there is to choose from; raises ManifestInvalid where that is nothing, or the base."""
    bricks = tuple(Alias(name) for name in table.strings_or_none("bricks") or ())
    if not bricks:
        raise table.missing(f"{table.where} needs `bricks`", "bricks", hint='write bricks = ["NAME", "OTHER"]')
    if BASE in bricks or len(dict.fromkeys(bricks)) != len(bricks):
        raise table.error("`bricks` names each brick once, and not the base", key="bricks")
    return bricks


def _read_path(table: Table) -> str:
    if not table.has("calibration"):
        raise table.missing(f"{table.where} needs prompts", "calibration", hint=f'write calibration = "PATH": {_LINE}')
    path = table.string("calibration")
    if not is_safe_path(path):
        hint = "a path relative to brick.toml, with `/`, without `..`"
        raise table.error(f"`{shown(path)}` is no file of this project", key="calibration", hint=hint)
    return path


register("centroids", read_centroids)

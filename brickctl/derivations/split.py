"""`op = "split"`: the neurons of every FFN of a model in groups, and who chooses among them for a token."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from brickctl.analysis.splitting.dividing import Cut
from brickctl.analysis.splitting.method import methods
from brickctl.analysis.splitting.training import LEARNING, MLP_STEPS
from brickctl.core.digests import readable_json
from brickctl.core.document import shown
from brickctl.core.manifest import Input
from brickctl.core.names import Alias, did_you_mean, is_safe_path
from brickctl.derivations.derivation import Findings, Tolerance, register
from brickctl.derivations.heard_bricks import check_bricks, check_same, read_bricks
from brickctl.errors import Misfit, asked_for
from brickctl.kinds.base import interface

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import torch

    from brickctl.analysis.batches import Watch
    from brickctl.analysis.ffn import Ffn
    from brickctl.analysis.load import Loaded
    from brickctl.analysis.splitting.calibration import Calibration
    from brickctl.core.document import Table
    from brickctl.core.manifest import Derived
    from brickctl.core.ports import Events
    from brickctl.derivations.derivation import Bench
    from brickctl.errors import Place

FORMAT = "brickctl-neurons-1"
ROUTERS = ("linear", "mlp", "none", "similarity")

_MOST_STEPS = 1_000_000
_LARGEST = 64_000_000
_MOST_GROUPS = 4096
_SHARED = 0.125
_TOKENS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Groups by `cut`, with a router for `active` of them, of what neurons do on `tokens` of a text.

    `bricks` are those of which it says what each group does for them.
    """

    calibration: str
    cut: Cut
    bricks: tuple[Alias, ...]
    router: str | None
    active: int
    steps: int
    tokens: int
    place: Place | None = field(default=None, compare=False)

    kind = "neurons"
    version = 2
    tolerance = Tolerance(floats=1e-2, integers=0.01)

    @property
    def aliases(self) -> tuple[Alias, ...]:
        """The bricks that are looked at."""
        return self.bricks

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The text."""
        return (Input(path=self.calibration, largest=_LARGEST, place=self.place),)

    def document(self) -> Mapping[str, Any]:
        """The entry with every default written out."""
        return {
            "method": self.cut.method,
            "experts": self.cut.groups,
            "shared": self.cut.shared,
            "router": self.router or "none",
            "active": self.active,
            "tune-steps": self.steps,
            "calibration": self.calibration,
            "bricks": list(self.bricks),
            "tokens": self.tokens,
            "seed": self.cut.seed,
        }

    def make(self, bench: Bench) -> Findings:
        """Let the model read the text, and write what was found of every FFN."""
        with asked_for(self.place):
            return self._made(bench)

    def _made(self, bench: Bench) -> Findings:
        from brickctl.analysis.splitting.grouping import Recipe, group_neurons
        from brickctl.analysis.splitting.training import Course

        check_bricks(self.bricks, bench, self.place)
        with_bricks = [self._with_brick(bench, alias) for alias in self.bricks]  # first: one model in memory at a time
        loaded, text = self._load(bench, bench.model_folder())
        ffns = self._ffns(loaded, bench)
        for alias, one in zip(self.bricks, with_bricks, strict=True):
            heard = {name: magnitudes.shape[-1] for name, magnitudes in one.items()}
            check_same(alias, heard, {ffn.name: ffn.neurons for ffn in ffns}, self.place)
        course = Course(active=self.active, steps=self.steps, seed=self.cut.seed)
        recipe = Recipe(cut=self.cut, router=self.router, course=course)
        found = group_neurons(loaded.model, ffns, text, recipe, partial(_stage, bench.events))
        made = {one.ffn.name: one.tensors([each[one.ffn.name] for each in with_bricks]) for one in found}
        self._write(bench, made, [one.partition.shared for one in found], text.labels)
        notes = (f"the model read {text.tokens} tokens of `{self.calibration}`", *self._heard_with(text.labels))
        return Findings(rows=tuple(one.row() for one in found), notes=notes)

    def _load(self, bench: Bench, folder: Path) -> tuple[Loaded, Calibration]:
        """A model in fp32, and what it is to read."""
        from brickctl.analysis.load import load
        from brickctl.analysis.splitting.calibration import calibrate, parse_calibration

        texts = parse_calibration(bench.text(self.inputs[0]), name=self.calibration)
        loaded = load(folder, dtype="float32", threads=bench.threads)
        loaded.model.to(bench.device)
        return loaded, calibrate(loaded, texts, tokens=self.tokens, seed=self.cut.seed)

    def _with_brick(self, bench: Bench, alias: Alias) -> Mapping[str, torch.Tensor]:
        """The share of the output that each neuron makes with a brick on the base, (1, neurons) fp32 by FFN."""
        from brickctl.analysis.ffn import find_ffns
        from brickctl.analysis.splitting.hearing import magnitudes

        with bench.folder_with(alias) as folder:
            loaded, text = self._load(bench, folder)
            ffns, rows = find_ffns(loaded.model), text.rows_for(alias)
            with _stage(bench.events, f"listening with {alias}", sum(map(len, rows))) as watch:
                found = magnitudes(loaded.model, ffns, rows, watch=watch)
        return {ffn.name: one for ffn, one in zip(ffns, found, strict=True)}

    def _heard_with(self, labels: Sequence[str]) -> Iterator[str]:
        """What was read with each brick."""
        for alias in self.bricks:
            what = f"its texts with the label `{alias}`" if alias in labels else "the same texts"
            yield f"the base with `{alias}` on it read {what}"

    def _ffns(self, loaded: Loaded, bench: Bench) -> Sequence[Ffn]:
        """The FFNs, which must be those that builds know how to split.

        Raises:
            Misfit: the model is a mixture of experts, its FFNs have no gate, or they are stored in another way.
        """
        from brickctl.analysis.ffn import find_ffns

        ffns = find_ffns(loaded.model)
        for ffn in ffns:
            if ffn.expert is not None or f"{ffn.name}.gate_proj.weight" not in bench.start.tensors:
                cause = f"`{ffn.name}` has no `gate_proj`, `up_proj` and `down_proj` of its own"
                raise Misfit("this model cannot be split", causes=(cause,))
        return ffns

    def _write(
        self,
        bench: Bench,
        made: Mapping[str, Mapping[str, torch.Tensor]],
        always_on: Sequence[int],
        labels: Sequence[str],
    ) -> None:
        """The files of the brick, of what was made of each FFN.

        Raises:
            Misfit: FFNs of several widths do not leave the same number of neurons on, or a measurement is not finite.
        """
        from safetensors.torch import save_file

        shared = dict.fromkeys(always_on)
        if len(shared) > 1:
            cause = f"the FFNs would have {' or '.join(map(str, shared))} neurons that are always on"
            raise Misfit("this model cannot be split with shared neurons", causes=(cause,))
        tensors = {f"{ffn}.{name}": tensor for ffn, own in made.items() for name, tensor in own.items()}
        for name, tensor in tensors.items():
            if not bool(tensor.isfinite().all()):
                cause = f"`{name}` would hold NaN or infinity: activations of the model overflow on this text"
                raise Misfit("this model cannot be split", causes=(cause,))
        save_file(tensors, bench.folder / "model.safetensors", {"format": "pt"})
        document = {
            "bricks": list(self.bricks),
            "format": FORMAT,
            "groups": self.cut.groups,
            "interface": interface(bench.start),
            "labels": list(labels),
            "method": self.cut.method,
            "router": self.router,
            "shared": next(iter(shared)),
        }
        (bench.folder / "neurons_config.json").write_bytes(readable_json(document))


@contextmanager
def _stage(events: Events, label: str, total: int) -> Iterator[Watch]:
    """A piece of work that somebody watches."""
    events.start(label, total)
    yield lambda amount: events.advance(label, amount)
    events.finish(label)


def read_split(derived: Derived) -> Split:
    """Read `{ op = "split", method = "shared", experts = 64, calibration = PATH, router = "linear", active = 32 }`.

    Every FFN gets `experts` groups of neurons, all of one size. `coactivation` puts together what fires together on the
    text, `kmeans` what has similar weights, `shared` leaves a share of the neurons (`shared`, 0.125) always on, those
    that fire most often, and puts the others together as `coactivation` does; `contiguous` and `random` are to compare
    with. `calibration` has lines of `{"text": ...}`, or the labelled prompts of `brickctl analyze`, of which about
    `tokens` (20,000) are read; with labels the brick says what each group and each neuron is for. `bricks` names
    others, such as adapters: with each of them on the base, which reads the texts that have its name as their label,
    or else all of them, it says what the groups do, for `prune`. `router` is `linear` (what a mixture can hold),
    `similarity`, `mlp` or `none`; it is made for `active` experts (half of them), in `tune-steps` steps (0 for a linear
    one, which is solved for; 500 for an MLP). `seed` (0) decides what is drawn.
    """
    table = derived.table.fresh()
    method = _choice(table, "method", tuple(methods()))
    groups = _number(table, "experts", None, least=1, most=_MOST_GROUPS)
    cut = Cut(method=method, groups=groups, shared=_read_shared(table, method), seed=_number(table, "seed", 0, least=0))
    router = _choice(table, "router", ROUTERS, "linear")
    split = Split(
        calibration=_read_path(table),
        cut=cut,
        bricks=read_bricks(table),
        router=None if router == "none" else router,
        active=_number(table, "active", max(1, groups // 2), least=1, most=groups),
        steps=_read_steps(table, router),
        tokens=_number(table, "tokens", _TOKENS, least=2),
        place=derived.place,
    )
    table.finish()
    return split


def _read_path(table: Table) -> str:
    if not table.has("calibration"):
        hint = 'write calibration = "PATH": lines of {"text": ...}, each with a "label": ... or none'
        raise table.missing(f"{table.where} needs text that the model reads", "calibration", hint=hint)
    path = table.string("calibration")
    if not is_safe_path(path):
        hint = "a path relative to brick.toml, with `/`, without `..`"
        raise table.error(f"`{shown(path)}` is no file of this project", key="calibration", hint=hint)
    return path


def _read_shared(table: Table, method: str) -> float:
    share = table.number_or_none("shared")
    if not methods()[method].shares:
        if share is not None:
            hint = 'leave it out, or write method = "shared"'
            raise table.error(f"`{method}` leaves no neurons always on", key="shared", hint=hint)
        return 0.0
    if share is not None and not 0.0 < share < 1.0:
        raise table.error(f"{table.named('shared')} is a share of the neurons, between 0 and 1", key="shared")
    return _SHARED if share is None else share


def _read_steps(table: Table, router: str) -> int:
    if router not in LEARNING and table.has("tune-steps"):
        raise table.error(f"there is nothing to train of the router `{router}`", key="tune-steps", hint="leave it out")
    return _number(table, "tune-steps", MLP_STEPS if router == "mlp" else 0, least=0, most=_MOST_STEPS)


def _choice(table: Table, key: str, known: tuple[str, ...], default: str | None = None) -> str:
    value = table.string_or_none(key) if table.has(key) or default is None else default
    if value is None:
        raise table.missing(f"{table.named(key)} is missing", key, hint=f"one of {', '.join(known)}")
    if value not in known:
        hint = did_you_mean(value, known) or f"one of {', '.join(known)}"
        raise table.error(f"there is no {key} `{shown(value)}`", key=key, hint=hint)
    return value


def _number(table: Table, key: str, default: int | None, *, least: int, most: int = 2**63 - 1) -> int:
    value = table.integer(key) if default is None else table.integer_or_none(key)
    if value is not None and not least <= value <= most:
        bounds = f"from {least} to {most}" if most < 2**63 - 1 else f"{least} or more"
        raise table.error(f"{table.named(key)} must be {bounds}, not {value}", key=key)
    return value if value is not None else default or 0


register("split", read_split)

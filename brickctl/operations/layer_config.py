"""What config.json says about layers, after they got other numbers; what cannot be said of the result is refused.

Models are not known by name here: keys are, and what kind of thing each says about layers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.errors import Misfit, Unsupported
from brickctl.operations.config_match import differing
from brickctl.operations.layer_doubts import doubtful

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from brickctl.errors import Place

COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "depth")
"""How the number of layers is called."""

_INDICES = ("mlp_only_layers", "cross_attention_layers", "hybrid_layer_ids", "moe_layers")
"""Lists of the numbers of layers that are special."""

_LEADING = ("max_window_layers", "first_k_dense_replace", "num_dense_layers")
"""Numbers of layers, from the first on, that are special."""

_SHARED = "num_kv_shared_layers"
"""So many of the last layers take keys and values from layers before them."""

_STEPS = {
    "attn_layer_period": None,
    "decoder_sparse_step": None,
    "expert_layer_period": None,
    "full_attention_interval": "layer_types",
    "global_attn_every_n_layers": "layer_types",
    "interleave_moe_layer_step": None,
    "no_rope_layer_interval": "no_rope_layers",
    "sliding_window_pattern": "layer_types",
}
"""Every so many layers one is special, unless a list tells which ones."""

_UNSPOKEN = {
    "cohere2": 4, "gemma2": 2, "gemma3": 6, "gemma3_text": 6, "gpt_oss": 2, "llama4_text": 4, "modernbert": 3,
    "smollm3": 4,
}  # fmt: skip
"""Model types with the same, known to their code alone where config.json is silent."""

_IN_ORDER = "choose layers so that the kinds come in the same order"
_BY_LAYER = re.compile(r"layer|block|attention_types")
_NUMBERED = re.compile(r"(?:^|\.)(?:layers|layer|h|\w*blocks?)\.\d+")
_NO_NUMBER = re.compile(r"norm|dropout|drop_|layerdrop|block_size|feature_layer")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a layer comes from: a model, as messages call it, its config.json, which of its layers, and of how many."""

    owner: str
    config: Mapping[str, Any]
    number: int
    count: int


Layer = tuple[Origin, ...]
"""The origins of one layer of the result: several where it is merged."""


def restack(
    base: Origin, layers: Sequence[Layer], stack: str, *, uniform: bool, moved: bool, place: Place | None
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """The configuration of the base for these layers, and what the user should know; equal where nothing moved.

    `uniform` tells whether all layers have tensors of the same names and shapes; if not, config.json must say which are
    which.

    Raises:
        Misfit: config.json does not say what the tensors do, or the models differ in what no shape shows.
        Unsupported: it says something about layers that cannot be said of the new ones.
    """
    path = _path_of(base, stack, place)
    others = {one.owner: section_of(one.config, path) for layer in layers for one in layer if one.owner != base.owner}
    notes = tuple(differing(section_of(base.config, path), others, _is_about_layers, place))
    said = _Said(base, layers, path, place)
    if moved:
        _refuse_numbers(base.config, place)
        notes = (*notes, *said.notes())
    if moved and said.section.get(_SHARED):
        raise said.unsupported(f"by `{_SHARED}` the last layers use what layers before them computed")
    if moved and not uniform and not said.tells_kinds:
        raise said.unsupported("the layers of the base have different tensors, and nothing in it says which have which")
    changed = {**said.section, **dict(said.changes())}
    return changed if path is None else {**base.config, path: changed}, notes


def section_of(config: Mapping[str, Any], path: str | None) -> Mapping[str, Any]:
    """The part of a configuration that speaks of the layers; a model of text alone has no `text_config`."""
    nested = None if path is None else config.get(path)
    return nested if isinstance(nested, dict) else config


def _path_of(base: Origin, stack: str, place: Place | None) -> str | None:
    """Where the configuration counts these layers: at its top (None) or in one of its tables."""
    if base.config.get("is_encoder_decoder") is True:
        cause = "its encoder and its decoder have layers, and config.json counts both"
        raise Unsupported("an encoder with a decoder cannot be stitched", causes=(cause,), place=place)
    paths = (None, *(key for key, value in base.config.items() if isinstance(value, dict)))
    counts = {path: _count_of(section_of(base.config, path)) for path in paths}
    fitting = [path for path in paths if counts[path] == base.count]
    named = [path for path in fitting if path is not None and _names(path, stack)]
    if len(fitting) > 1 and len(named) != 1:
        causes = tuple(f"{_where(path)} has {base.count} layers" for path in fitting)
        raise Unsupported(f"config.json does not tell which count is that of `{stack}`", causes=causes, place=place)
    said = next((path for path in paths if counts[path] is not None), None)
    if not fitting and counts[said] is not None:
        cause = f"{_where(said)} has {counts[said]}; the tensors `{stack}` are of {base.count}"
        hint = "correct config.json; where tensors behind the last layer are no layers, the model cannot be stitched"
        raise Misfit("config.json counts other layers than there are", causes=(cause,), place=place, hint=hint)
    return next(iter(named or fitting), None)


def _names(path: str, stack: str) -> bool:
    """Whether a table is about a stack of layers: `vision_config` about `vision_tower.layers`."""
    subject = path.partition("_")[0]
    return subject in stack or (subject == "text" and "language" in stack)


def _count_of(section: Mapping[str, Any]) -> int | None:
    return next((section[key] for key in COUNTS if type(section.get(key)) is int), None)


def _where(path: str | None) -> str:
    return "config.json" if path is None else f"`{path}` in config.json"


def _is_about_layers(key: str) -> bool:
    """Whether a key is looked at by number of layer, and need not be the same for two models."""
    return key in (*COUNTS, *_INDICES, *_LEADING) or (_BY_LAYER.search(key) is not None and not _NO_NUMBER.search(key))


def _refuse_numbers(config: Mapping[str, Any], place: Place | None) -> None:
    """Refuse names of layers among the values, such as the modules that a quantisation leaves out."""
    waiting: list[Any] = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend((*value, *value.values()))
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, str) and _NUMBERED.search(value):
            cause = f"it names `{shown(value)}`, which would be another layer"
            raise Unsupported("config.json speaks of single layers", causes=(cause,), place=place)


class _Said:
    """What one table of config.json says about layers."""

    def __init__(self, base: Origin, layers: Sequence[Layer], path: str | None, place: Place | None) -> None:
        self._base = base
        self._layers = layers
        self._path = path
        self._place = place
        self.section = section_of(base.config, path)

    @property
    def tells_kinds(self) -> bool:
        """Whether it says of what kind each layer is."""
        lists = (isinstance(value, list) and value and _is_about_layers(key) for key, value in self.section.items())
        return any(lists) or any(type(self.section.get(key)) is int for key in (*_LEADING, *_STEPS))

    def changes(self) -> Iterator[tuple[str, Any]]:
        """Every key that has to say something else."""
        section, count = self.section, self._base.count
        if len(self._layers) != count and _count_of(section) is None:
            cause = f"the number of layers changes, and none of {', '.join(COUNTS)} is in it"
            raise self.unsupported(cause, hint=f"write `{COUNTS[0]}` into the config.json of the base")
        self._check_steps()
        for key, value in section.items():
            if key in COUNTS and value == count:
                yield key, len(self._layers)
            elif key in _LEADING and type(value) is int and self._counts(key):
                yield key, self._leading(key, value)
            elif isinstance(value, list) and value and (key in _INDICES or self._names_all(key, value)):
                yield key, [at for at, flag in enumerate(self._each(key, _is_listed)) if flag]
            elif isinstance(value, list) and value and _is_about_layers(key):
                yield key, list(self._each(key, _entry))

    def _names_all(self, key: str, value: list[Any]) -> bool:
        """Whether a list has the number of every layer, and not an entry for it, which may be 0 or 1."""
        return _is_about_layers(key) and len(value) > len((0, 1)) and value == [*range(self._base.count)]

    def notes(self) -> Iterator[str]:
        """What may be about layers, in a way that is not known."""
        outer = self._base.config if self._path is not None else {}
        again = ((key, outer[key]) for key in COUNTS if outer.get(key) == self._base.count)
        known = (*COUNTS, *_LEADING, *_STEPS)
        for key, value in (*again, *doubtful(self.section, self._base.count, known, _is_about_layers)):
            what = f"`{key}`" if isinstance(value, list | dict) else f"`{key} = {shown(value)}`"
            yield f"config.json has {what}, as before: check that it still says what it should"

    def _counts(self, key: str) -> bool:
        """Whether the number is looked at: the window of Qwen's models is off unless it is switched on."""
        return key != "max_window_layers" or self.section.get("use_sliding_window") is True

    def _leading(self, key: str, value: int) -> int:
        flags = list(self._each(key, _is_among_first))
        leading = flags.index(False) if False in flags else len(flags)
        if any(flags[leading:]):
            raise self.unsupported(f"`{key} = {value}` is about the first layers, and now others are among them")
        return leading

    def _each(self, key: str, read: Callable[[Origin, Any], Any]) -> Iterator[Any]:
        """What `read` finds for every layer, which all the models must agree about that are merged into it."""
        for layer in self._layers:
            found = [self._read(origin, key, read) for origin in layer]
            if any(value != found[0] for value in found):
                who = " and ".join(f"`{origin.owner}` layer {origin.number}" for origin in layer)
                raise Misfit(
                    "layers of different kinds cannot be merged",
                    causes=(f"`{key}` in config.json differs for {who}",),
                    place=self._place,
                    hint="merge layers of one kind, such as those of the same number",
                )
            yield found[0]

    def _read(self, origin: Origin, key: str, read: Callable[[Origin, Any], Any]) -> Any:
        own = section_of(origin.config, self._path).get(key)
        if own is None and origin.count == self._base.count:
            own = self.section[key]  # a fine-tune of the base, saved by a version that did not write it yet
        try:
            return read(origin, own)
        except (LookupError, TypeError):
            cause = f"config.json of `{origin.owner}` has no `{key}` with an entry for each of {origin.count} layers"
            hint = "write down in its config.json which layers are of which kind"
            message = "config.json does not say what kind of layer each is"
            raise Misfit(message, causes=(cause,), place=self._place, hint=hint) from None

    def _check_steps(self) -> None:
        """Refuse to move a layer to a place where config.json, or the code of the model, has another kind of layer."""
        steps = {key: self.section[key] for key in _STEPS if type(self.section.get(key)) is int}
        lists = ("layer_types", "no_rope_layers")
        kind = self.section.get("model_type")
        if (
            not steps
            and isinstance(kind, str)
            and kind in _UNSPOKEN
            and not any(self.section.get(key) for key in lists)
        ):
            steps = {f"model_type = {kind}": _UNSPOKEN[kind]}
        for key, step in steps.items():
            if step > 1 and not self.section.get(_STEPS.get(key) or ""):
                self._check_step(key, step)

    def _check_step(self, key: str, step: int) -> None:
        for at, layer in enumerate(self._layers):
            for origin in layer:
                if (at - origin.number) % step:
                    cause = f"layer {origin.number} of `{origin.owner}` becomes layer {at}"
                    raise self.unsupported(f"by `{key}` every {step} layers one is of another kind", cause)

    def unsupported(self, *causes: str, hint: str = _IN_ORDER) -> Unsupported:
        """An error about what cannot be said, to be raised by the caller."""
        message = "config.json cannot say what the layers would be"
        return Unsupported(message, causes=causes, place=self._place, hint=hint)


def _entry(origin: Origin, values: Any) -> Any:
    """The entry of a list with one for each layer."""
    if len(values) != origin.count:
        raise LookupError
    return values[origin.number]


def _is_among_first(origin: Origin, number: Any) -> bool:
    """Whether a layer is among the first ones."""
    return bool(origin.number < number)


def _is_listed(origin: Origin, numbers: Any) -> bool:
    """Whether a layer is among those of a list of numbers."""
    return origin.number in numbers

"""Where facts can be written: the down projections of FFNs, found by their modules, and the blocks around them."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brickctl.analysis.ffn import Linears, find_ffns
from brickctl.core.numbers import split_layer
from brickctl.errors import Misfit, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor

    from brickctl.analysis.ffn import Ffn

_MOST_NAMED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One down projection W (hidden, neurons): what it reads are keys, what it says are values.

    Attributes:
        layer: the number of its block.
        path: of the linear layer.
        ffn: the FFN that it closes.
        down: the linear layer.
        block: the block that it is in.
        below: the blocks before it, from the first one.
    """

    layer: int
    path: str
    ffn: Ffn = field(repr=False)
    down: Any = field(repr=False)
    block: Any = field(repr=False)
    below: tuple[Any, ...] = field(repr=False)

    @property
    def weight(self) -> Tensor:
        """W as (hidden, neurons), however it is stored; not a copy."""
        return self.ffn.parts.outward()


def find_sites(model: Any) -> Mapping[int, Site]:
    """The site of every layer, by its number; none in a layer whose FFN is a mixture of experts.

    Raises:
        Unsupported: the model has no FFN that can be found.
    """
    by_layer: dict[int, list[Ffn]] = {}
    for ffn in find_ffns(model):
        by_layer.setdefault(ffn.layer, []).append(ffn)
    paths = {id(module): path for path, module in model.named_modules()}
    alone = [ffns[0] for ffns in by_layer.values() if len(ffns) == 1 and ffns[0].expert is None]
    return {ffn.layer: _site(model, ffn, paths) for ffn in alone}


def _site(model: Any, ffn: Ffn, paths: Mapping[int, str]) -> Site:
    found = split_layer(f"{ffn.name}.weight")
    if found is None or not isinstance(ffn.parts, Linears):
        raise Unsupported(f"the FFN in `{ffn.name}` is in no block that has a number")
    stack, layer, _ = found
    blocks = model.get_submodule(stack)
    path = paths[id(ffn.parts.down)]
    return Site(layer=layer, path=path, ffn=ffn, down=ffn.parts.down, block=blocks[layer], below=tuple(blocks[:layer]))


def site_of(known: Mapping[int, Site], layer: int) -> Site:
    """The site of a layer.

    Raises:
        Misfit: it has none.
    """
    if layer not in known:
        message = f"there is no layer {layer} to edit: {_there(list(known))}"
        raise Misfit(message, hint="FFNs that are mixtures of experts are not edited")
    return known[layer]


def _there(layers: Sequence[int]) -> str:
    """Which layers have sites: not all between two of them where some are mixtures."""
    if not layers:
        return "no layer has a plain FFN"
    if len(layers) == layers[-1] - layers[0] + 1:
        return f"there are {layers[0]} to {layers[-1]}"
    more = f" and {len(layers) - _MOST_NAMED} more" if len(layers) > _MOST_NAMED else ""
    return f"there are {', '.join(map(str, layers[:_MOST_NAMED]))}{more}"


def output_of(result: Any) -> Tensor:
    """What a module says, without what some modules give along with it."""
    said: Tensor = result[0] if isinstance(result, tuple) else result
    return said


def at(said: Tensor, places: Tensor) -> Tensor:
    """Vectors (places, width) of a batch (rows, length, width), by place: row * length + column."""
    return said.reshape(-1, said.shape[-1])[places]


@contextmanager
def read_at(module: Any, places: Tensor) -> Iterator[list[Tensor]]:
    """What a module says at some places of a batch, (places, width), one entry for each pass."""
    heard: list[Tensor] = []
    handle = module.register_forward_hook(lambda _, __, result: heard.append(at(output_of(result), places)))
    try:
        yield heard
    finally:
        handle.remove()


@contextmanager
def given_at(module: Any, places: Tensor) -> Iterator[list[Tensor]]:
    """What a module is given at some places of a batch, (places, width), one entry for each pass."""
    heard: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, given: heard.append(at(given[0], places)))
    try:
        yield heard
    finally:
        handle.remove()


@contextmanager
def changed_at(module: Any, places: Tensor, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """A module says `change(vectors (places, width))` at some places of a batch instead of what it says there."""

    def hook(_: Any, __: Any, result: Any) -> Any:
        said = output_of(result)
        flat = said.reshape(-1, said.shape[-1])
        new = flat.index_copy(0, places, change(flat[places])).reshape(said.shape)
        return (new, *result[1:]) if isinstance(result, tuple) else new

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def logits_at(model: Any, places: Tensor) -> Iterator[None]:
    """The head is asked at some places of a batch only, in which the model says logits (1, places, vocabulary).

    Of a small model with a large vocabulary the head is the larger part.
    """
    handle = model.get_output_embeddings().register_forward_pre_hook(lambda _, given: (at(given[0], places)[None],))
    try:
        yield
    finally:
        handle.remove()


def said_by(blocks: Sequence[Any], run: Callable[[], object]) -> tuple[Any, ...]:
    """What blocks say while `run` runs the model once."""
    said: list[Any] = [None] * len(blocks)
    with ExitStack() as stack:
        for number, block in enumerate(blocks):
            stack.callback(block.register_forward_hook(_keep_in(said, number)).remove)
        run()
    return tuple(said)


@contextmanager
def saying(blocks: Sequence[Any], said: Sequence[Any]) -> Iterator[None]:
    """Blocks say this, whatever they are given, and compute nothing: what lies below a change is as it was."""
    with ExitStack() as stack:
        for block, result in zip(blocks, said, strict=False):
            block.forward = _saying(result)
            stack.callback(delattr, block, "forward")
        yield


def _keep_in(said: list[Any], number: int) -> Callable[[Any, Any, Any], None]:
    def keep(_: Any, __: Any, result: Any) -> None:
        said[number] = result

    return keep


def _saying(result: Any) -> Callable[..., Any]:
    return lambda *_, **__: result

"""Loading routed models as `how-to-load.md` beside them does: by token with Arrow or by gates, or by request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.analysis.centroids import Centroids
from brickctl.analysis.load import Loaded, explained, load
from brickctl.analysis.pooled_states import pooled_states
from brickctl.analysis.silence import silence
from brickctl.core.document import shown
from brickctl.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import torch

_NONE = "__base__"
"""How PEFT calls no adapter at all, in a batch of which every row names one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chooser:
    """What says which adapter a request is for.

    Attributes:
        names: by label; None for the base.
        layer: behind how many blocks states are read.
        longest: how many tokens of a request are read.
        file: the safetensors file of the centres.
    """

    names: tuple[str | None, ...]
    layer: int
    longest: int
    file: Path


def load_by_token(
    folder: Path,
    adapters: Sequence[str],
    prototypes: Path,
    *,
    top_k: int,
    temperature: float,
    threads: int | None = None,
) -> Loaded:
    """Load a model with adapters in `folder/adapters/NAME` among which Arrow chooses by these prototypes.

    Raises:
        NotFound, Unsupported, IntegrityFault: as `load`.
    """
    from safetensors.torch import load_file

    loaded = load(folder, threads=threads)
    with silence(), explained(folder):
        import peft

        settings = peft.ArrowConfig(top_k=top_k, router_temperature=temperature)
        paths = [str(folder / "adapters" / name) for name in adapters]
        model = peft.create_arrow_model(loaded.model, paths, settings).eval()
        known = load_file(prototypes)
    for path, layer in model.get_base_model().named_modules():
        if hasattr(layer, "lora_arrow"):
            router: Any = layer.lora_arrow["arrow_router"]
            router.register_buffer("prototypes", known[path], persistent=False)
            router._protos_ready = True  # noqa: SLF001 - PEFT has no other way to be given prototypes
    return Loaded(model=model, tokenizer=loaded.tokenizer)


def load_by_gates(
    folder: Path, adapters: Sequence[str], gates: Path, *, top_k: int, smallest: float, threads: int | None = None
) -> Loaded:
    """Load a model with adapters in `folder/adapters/NAME` among which gates choose, (adapters, inputs) by module.

    Raises:
        NotFound, Unsupported, IntegrityFault: as `load`.
    """
    from safetensors.torch import load_file

    loaded = _load_all(folder, adapters, threads)
    known = load_file(gates)
    with silence():
        loaded.model.base_model.set_adapter(list(adapters))
    loaded.model.requires_grad_(False)  # noqa: FBT003 - torch takes it so
    layers = dict(loaded.model.get_base_model().named_modules(remove_duplicate=False))
    for path, rows in known.items():
        if not hasattr(layers.get(path), "lora_B"):
            cause = f"transformers has no layer `{shown(path)}`, or PEFT puts no adapters on it"
            raise Unsupported(f"`{folder}` cannot be loaded", causes=(cause,))
        _route(layers[path], adapters, rows, top_k, smallest)
    return loaded


def _route(layer: Any, adapters: Sequence[str], gates: torch.Tensor, top_k: int, smallest: float) -> None:
    """Let every adapter of a layer say as much of each token as its share is: a softmax of the largest logits."""
    import torch

    shares: list[torch.Tensor] = []

    def choose(_: Any, given: tuple[torch.Tensor, ...]) -> None:
        states = torch.nn.functional.layer_norm(given[0].float(), given[0].shape[-1:], eps=smallest)
        logits = states @ gates.to(states.device).T / gates.shape[1] ** 0.5
        best = logits.topk(top_k, dim=-1)
        shares[:] = [torch.zeros_like(logits).scatter(-1, best.indices, best.values.softmax(dim=-1))]

    def weigh(at: int) -> Callable[[Any, Any, torch.Tensor], torch.Tensor]:
        return lambda _, __, out: out * shares[0][..., at : at + 1].to(out.dtype)

    layer.register_forward_pre_hook(choose)
    for at, name in enumerate(adapters):
        layer.lora_B[name].register_forward_hook(weigh(at))


def load_by_request(folder: Path, adapters: Sequence[str], chooser: Chooser, *, threads: int | None = None) -> Loaded:
    """Load a model with adapters in `folder/adapters/NAME`, of which every row of a batch gets its own, or none.

    Raises:
        NotFound, Unsupported, IntegrityFault: as `load`.
    """
    loaded = _load_all(folder, adapters, threads)
    return Loaded(model=RoutedByRequest(loaded.model, chooser), tokenizer=loaded.tokenizer)


def _load_all(folder: Path, adapters: Sequence[str], threads: int | None) -> Loaded:
    """A model with all of its adapters, the first of which is active."""
    first, *others = adapters
    loaded = load(folder, active=first, threads=threads)
    with silence(), explained(folder):
        for name in others:
            loaded.model.load_adapter(str(folder / "adapters" / name), adapter_name=name)
    return Loaded(model=loaded.model.eval(), tokenizer=loaded.tokenizer)


class RoutedByRequest:
    """What measures a model needs of one: forward passes and answers, each row with the adapter that it is for."""

    def __init__(self, model: Any, chooser: Chooser) -> None:
        from safetensors.torch import load_file

        self._model = model
        self._chooser = chooser
        self._centroids = Centroids(**load_file(chooser.file))

    @property
    def config(self) -> Any:
        """That of the base."""
        return self._model.config

    @property
    def device(self) -> Any:
        """Where the base is."""
        return self._model.device

    def get_base_model(self) -> Any:
        """The base."""
        return self._model.get_base_model()

    def choose(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """The adapter of each row of tokens, as PEFT calls it."""
        begun = [list(row[: self._chooser.longest]) for row in rows]
        with self._model.disable_adapter():
            chosen = self._centroids.choose(pooled_states(self._model, begun, self._chooser.layer))
        names = (None if label is None else self._chooser.names[label] for label in chosen)
        return [_NONE if name is None else name for name in names]

    def __call__(self, *, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        """A forward pass of padded rows (rows, tokens)."""
        names = self._names(input_ids, attention_mask)
        return self._model(input_ids=input_ids, attention_mask=attention_mask, adapter_names=names)

    def generate(self, *, input_ids: torch.Tensor, attention_mask: torch.Tensor, **settings: Any) -> Any:
        """Rows (rows, tokens), padded on the left, with what the model says after each."""
        names = self._names(input_ids, attention_mask)
        settings = {"input_ids": input_ids, "attention_mask": attention_mask, **settings}
        return self._model.generate(**settings, adapter_names=names)

    def _names(self, ids: torch.Tensor, mask: torch.Tensor) -> list[str]:
        rows = (row[here.bool()].tolist() for row, here in zip(ids, mask, strict=True))
        return self.choose(list(rows))

"""The model of an analysis, loaded when something is first asked of it, in the type in which it is fastest here."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from brickctl.analysis.activations import keeping
from brickctl.analysis.corpus import WINDOW, Row, encoded
from brickctl.analysis.ffn import find_ffns
from brickctl.analysis.load import Loaded, load
from brickctl.analysis.perplexity import mean_losses
from brickctl.analysis.silence import silence
from brickctl.analysis.sparsity import sparsity
from brickctl.analysis.tokens import context_length
from brickctl.errors import Unsupported
from brickctl.workflows.analyzing.steps import COUNTED, CUT, PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    import torch

    from brickctl.analysis.ffn import Ffn
    from brickctl.analysis.labelled import Prompt
    from brickctl.tensors.device import Device
    from brickctl.workflows.analyzing.subject import Subject

TRIED = 512
"""Tokens of the forward pass that is timed before anything is promised."""

WIDENED = 2 << 30
"""Bytes that weights may take in fp32 for that to be tried: of a larger model nobody has promised the room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a model is: its architecture, its size, and the type in which it runs here."""

    architecture: str
    layers: int
    neurons: int
    experts: int | None
    dtype: str
    parameters: int
    context: int | None


class Laboratory:
    """Loads the subject at the first call that needs it, and lets go of it in the end.

    `dtype` is the type in which it ran before, so that a later part of an analysis runs in the same; None: what is
    fastest here.
    """

    def __init__(
        self, subject: Subject, *, threads: int, batch: int = 8, device: Device | None = None, dtype: str | None = None
    ) -> None:
        self.subject = subject
        self.batch = batch
        self.dtype = dtype
        self._threads = threads
        self._device = device
        self._stack = ExitStack()
        self._read: tuple[Sequence[Prompt], tuple[Row, ...]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    @cached_property
    def loaded(self) -> Loaded:
        """The model in evaluation mode; the adapter of a stack is merged into it.

        Raises:
            NotFound, Unsupported, IntegrityFault: it cannot be loaded, or its adapter is none that merges into weights.
        """
        place = self._stack.enter_context(self.subject.opened())
        loaded = load(place.folder, active=place.active, threads=self._threads)
        model = loaded.model if place.active is None else _merged(loaded.model, place.active)
        return Loaded(model=self._placed(model), tokenizer=loaded.tokenizer)

    @cached_property
    def ffns(self) -> tuple[Ffn, ...]:
        """Its FFNs, in the order of its layers."""
        return find_ffns(self.loaded.model)

    def rows(self, prompts: Sequence[Prompt]) -> tuple[Row, ...]:
        """The tokens of every prompt, as many as are read; those of the last call are kept: all steps ask for them."""
        if self._read is None or self._read[0] is not prompts:
            longest = min(WINDOW, context_length(self.loaded.model) or WINDOW)
            with silence():  # a tokenizer warns of texts that are longer than the context, and these are cut
                self._read = prompts, encoded(self.loaded.tokenizer, prompts, longest)
        return self._read[1]

    def describe(self) -> Description:
        """What it is."""
        model = self.loaded.model
        experts = [ffn.expert for ffn in self.ffns if ffn.expert is not None]
        return Description(
            architecture=type(model).__name__,
            layers=len(dict.fromkeys(ffn.layer for ffn in self.ffns)),
            neurons=max(ffn.neurons for ffn in self.ffns),
            experts=max(experts) + 1 if experts else None,
            dtype=str(model.dtype).removeprefix("torch."),
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            context=context_length(model),
        )

    def speeds(self) -> dict[str, float]:
        """Tokens a second, as it is now, by what a forward pass does beside itself."""
        model, rows = self.loaded.model, _tried_rows(self.loaded.model, self.batch)
        tokens = sum(map(len, rows))
        counted = tokens / _seconds(lambda: sparsity(self.ffns, rows, batch_size=self.batch))
        with keeping(self.ffns, 0.5, "magnitude"):
            cut = _speed(model, self.batch)
        return {PLAIN: _speed(model, self.batch), COUNTED: counted, CUT: cut}

    def _placed(self, model: Any) -> Any:
        """On its device, in its type. On a CPU, half-width weights are tried in fp32, with which some are faster."""
        import torch

        if self._device is not None:
            return model.to(self._device.name)
        stored, held = model.dtype, _held_in(model, model.dtype)
        if self.dtype is not None:
            _turn(held, getattr(torch, self.dtype))
            return model
        parameters = sum(parameter.numel() for parameter in model.parameters())
        if stored == torch.float32 or parameters * torch.float32.itemsize > WIDENED:
            return model
        narrow = _speed(model, self.batch)
        _turn(held, torch.float32)
        if _speed(model, self.batch) <= narrow:
            _turn(held, stored)
        return model


def _merged(model: Any, active: str) -> Any:
    """The model with its adapter in its weights: PEFT offers that for those alone that change weights."""
    if not hasattr(model, "merge_and_unload"):
        cause = f"`{active}` is a {model.peft_config[active].peft_type.value} brick, which changes no weights"
        hint = "analyse the base, or make another brick of the stack the active one"
        raise Unsupported("a stack is analysed with its active brick in its weights", causes=(cause,), hint=hint)
    return model.merge_and_unload()


def _held_in(model: Any, dtype: torch.dtype) -> list[torch.Tensor]:
    """The parameters and buffers of a type: not what transformers keeps in fp32 by itself, such as rotary frequencies.

    `model.to(torch.bfloat16)` would round those too, and move each token by up to a third of a per cent of its place.
    """
    return [one for one in (*model.parameters(), *model.buffers()) if one.dtype == dtype]


def _turn(tensors: Sequence[torch.Tensor], dtype: torch.dtype) -> None:
    for tensor in tensors:
        tensor.data = tensor.data.to(dtype)


def _speed(model: Any, batch: int) -> float:
    """Tokens a second of a plain pass: the faster of two, since the first one finds all caches cold."""
    rows = _tried_rows(model, batch)
    seconds = min(_seconds(lambda: mean_losses(model, [rows], batch_size=batch)) for _ in range(2))
    return sum(map(len, rows)) / seconds


def _tried_rows(model: Any, batch: int) -> list[list[int]]:
    """A batch of tokens that are all different, so that a mixture sends them to different experts."""
    length = min(max(2, TRIED // batch), context_length(model) or WINDOW)
    words = model.config.get_text_config().vocab_size
    return [[(row * length + at) * 7919 % words for at in range(length)] for row in range(batch)]


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun

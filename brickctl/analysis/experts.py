"""The experts of a mixture as transformers 5 stores them: one tensor for all, and one of several ways to run them.

The ways differ in how they order tokens, not in what they add up. Whoever wants to see the activations of each expert
puts a plain loop into their place for as long as it takes (`seen`).
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brickctl.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch

    See = Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expert:
    """One expert: `number` among those of the module `experts`."""

    experts: Any
    number: int

    def inward(self) -> tuple[torch.Tensor, ...]:
        """What makes the activations: the gate if there is one, then up, each (neurons, hidden)."""
        if not self.experts.has_gate:
            return (_rows(self.experts, "up_proj", self.number),)
        both = _rows(self.experts, "gate_up_proj", self.number)
        return both.chunk(2) if self.experts.is_concatenated else (both[::2], both[1::2])

    def outward(self) -> torch.Tensor:
        """W_O, (hidden, neurons)."""
        return _rows(self.experts, "down_proj", self.number)


def experts_of(path: str, module: Any) -> tuple[Expert, ...]:
    """The experts that a module holds in one tensor; none if it holds none.

    Raises:
        Unsupported: it holds some, and is not run by transformers' interface for experts.
    """
    from torch.nn import Parameter

    down = getattr(module, "down_proj", None)
    if not isinstance(down, Parameter) or down.dim() != 3:  # noqa: PLR2004 - experts, and a matrix of each
        return ()
    if not hasattr(module, "is_transposed"):
        raise Unsupported(f"the experts in `{path}` ({type(module).__name__}) cannot be listened to one by one")
    return tuple(Expert(experts=module, number=number) for number in range(down.shape[0]))


@contextmanager
def seen(experts: Any, see: See) -> Iterator[None]:
    """`see(expert, activations, tokens)` sees what goes into a down projection, and gives what shall go in instead.

    `activations` is (routed tokens, neurons), before the router's weight; `tokens` (routed tokens,) says which of the
    module's rows they are, ascending. Whoever comes later sees what earlier ones have made of it.
    """
    before = experts.__dict__.get("forward")
    loop = before if isinstance(before, _Loop) else _Loop(experts=experts)
    loop.views.append(see)
    experts.forward = loop
    try:
        yield
    finally:
        loop.views.remove(see)
        if before is None:
            del experts.forward
        else:
            experts.forward = before


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Loop:
    """Every expert in turn, on the tokens that the router gave it, as the first of transformers' own ways."""

    experts: Any
    views: list[See] = field(default_factory=list)

    def __call__(
        self, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
    ) -> torch.Tensor:
        """All experts' output, (tokens, hidden): the names of the arguments are those that the models use."""
        import torch

        out = torch.zeros_like(hidden_states)
        for number in range(self.experts.num_experts):
            tokens, place = torch.where(top_k_index == number)
            if len(tokens):
                part = self._one(number, hidden_states[tokens], tokens) * top_k_weights[tokens, place, None]
                out.index_add_(0, tokens, part.to(out.dtype))
        return out

    def _one(self, number: int, hidden: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """One expert's output, before the router's weight."""
        experts = self.experts
        if experts.has_gate:
            activations = experts._apply_gate(_linear(experts, "gate_up_proj", number, hidden))  # noqa: SLF001 - transformers' hook for models with a gate of their own
        else:
            activations = experts.act_fn(_linear(experts, "up_proj", number, hidden))
        for see in self.views:
            activations = see(number, activations, tokens)
        out = _linear(experts, "down_proj", number, activations)
        return experts.post_expert_norm(out) if experts.has_post_expert_norm else out


def _rows(experts: Any, name: str, number: int) -> torch.Tensor:
    """One expert's weight as (out, in)."""
    weight: torch.Tensor = getattr(experts, name)[number].detach()
    return weight.T if experts.is_transposed else weight


def _linear(experts: Any, name: str, number: int, hidden: torch.Tensor) -> torch.Tensor:
    import torch

    bias = getattr(experts, f"{name}_bias")[number] if experts.has_bias else None
    return torch.nn.functional.linear(hidden, _rows(experts, name, number), bias)

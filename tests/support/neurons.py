"""Bricks of kind neurons, made by hand: what `brickctl derive` would write for a model folder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from brickctl.core.digests import interface_digest, prefixed
from brickctl.kinds.neurons import FORMAT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor

_GATE = ".gate_proj.weight"


def shapes(model: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors of a model folder."""
    found: dict[str, tuple[int, ...]] = {}
    for path in sorted(model.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            found |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no dict
    return found


def modules(model: Path) -> dict[str, tuple[int, int]]:
    """The FFNs of a model folder: path of the module -> neurons and hidden size."""
    return {name.removesuffix(_GATE): shape for name, shape in shapes(model).items() if name.endswith(_GATE)}  # type: ignore[misc]


def config(model: Path, *, groups: int, shared: int = 0, **settings: Any) -> dict[str, Any]:
    """`neurons_config.json` of a brick for a model."""
    usual = {"format": FORMAT, "method": "random", "router": None, "labels": [], "bricks": []}
    return {
        **usual,
        "interface": prefixed(interface_digest(shapes(model))),
        "groups": groups,
        "shared": shared,
    } | settings


def partition(model: Path, folder: Path, *, groups: int, seed: int = 0, **settings: Any) -> Path:
    """Save a random partition, or a contiguous one by `method`, with random shares and, if asked for, such a router."""
    found = config(model, groups=groups, **settings)
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    for path, (neurons, hidden) in modules(model).items():
        drawn = order(neurons, groups, found["shared"], generator)
        tensors[f"{path}.order"] = drawn if found["method"] == "random" else torch.arange(neurons, dtype=torch.int32)
        rows = max(len(found["labels"]), 1) + len(found["bricks"])
        tensors[f"{path}.mass"] = torch.rand(rows, groups, generator=generator)
        if found["router"] in ("linear", "similarity"):
            tensors[f"{path}.router.weight"] = torch.randn(groups, hidden, generator=generator) / hidden**0.5
            tensors[f"{path}.logits"] = torch.tensor([1.0, 0.01], dtype=torch.float64)
    return save(folder, found, tensors)


def save(folder: Path, document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Path:
    """Save a brick."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "neurons_config.json").write_text(json.dumps(document))
    save_file(dict(tensors), folder / "model.safetensors", {"format": "pt"})
    return folder


def order(neurons: int, groups: int, shared: int, generator: torch.Generator) -> Tensor:
    """A random partition in the canonical order: shared ones, then groups by their smallest neuron, all ascending."""
    drawn = torch.randperm(neurons, generator=generator)
    members = drawn[shared:].reshape(groups, -1).sort(dim=1).values
    members = members[members[:, 0].argsort()]
    return torch.cat([drawn[:shared].sort().values, members.reshape(-1)]).to(torch.int32)


def gate(model: Any, brick: Path, active: int, stored: torch.dtype = torch.float32) -> None:
    """Let only shared neurons and those of the `active` groups count that the router of a brick chooses, with weight 1.

    The router is rounded to the type that a mixture stores it in, and then to that of the model.
    """
    found, document = load_file(brick / "model.safetensors"), json.loads((brick / "neurons_config.json").read_text())
    for number, layer in enumerate(model.model.layers):
        path = f"model.layers.{number}.mlp"
        order = found[f"{path}.order"].long()
        shared, rest = order[: document["shared"]], order[document["shared"] :]
        router = found[f"{path}.router.weight"].to(stored).to(model.dtype)
        layer.mlp.forward = _gated(layer.mlp, shared, rest.reshape(document["groups"], -1), router, active)


def _gated(ffn: Any, shared: Tensor, groups: Tensor, router: Tensor, active: int) -> Callable[[Tensor], Tensor]:
    def forward(hidden: Tensor) -> Tensor:
        chosen = torch.nn.functional.linear(hidden, router).topk(active).indices
        mask = torch.zeros(*hidden.shape[:-1], groups.numel() + shared.numel(), dtype=hidden.dtype)
        mask[..., shared] = 1
        mask.scatter_(-1, groups[chosen].flatten(-2), 1)
        inner: Tensor = ffn.act_fn(ffn.gate_proj(hidden)) * ffn.up_proj(hidden) * mask
        out: Tensor = ffn.down_proj(inner)
        return out

    return forward


def permute(model: Any, seed: int) -> None:
    """Put the neurons of every FFN into another order, which changes nothing but the order of sums."""
    generator = torch.Generator().manual_seed(seed)
    for layer in model.model.layers:
        drawn = torch.randperm(layer.mlp.up_proj.weight.shape[0], generator=generator)
        for module in (layer.mlp.gate_proj, layer.mlp.up_proj):
            module.weight.data = module.weight.data[drawn]
        layer.mlp.down_proj.weight.data = layer.mlp.down_proj.weight.data[:, drawn]


def distance(found: Tensor, wanted: Tensor) -> float:
    """Between two tensors, relative to what is wanted, in the 2-norm."""
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())

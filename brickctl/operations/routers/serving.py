"""Routed requests in engines that serve many LoRAs at once: how to start them, and which adapter a request names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.digests import readable_json
from brickctl.core.names import BASE
from brickctl.kinds.router_document import WEIGHTS
from brickctl.operations.routers.router import FOLDER
from brickctl.operations.stack import FOLDER as ADAPTERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.core.names import Alias
    from brickctl.kinds.router import Routing

TABLE = f"{FOLDER}/routing-table.json"
NO_ADAPTER = "__base__"
"""How PEFT calls no adapter at all, and how the base is to be served."""

_FORMAT = "brickctl-routing-table-1"

_GUIDE = """\
## How to serve it

All adapters are plain LoRAs of rank {rank} for the same modules, so an engine that serves several LoRAs at once takes
the folders as they are. In vLLM, for example:

```text
vllm serve . --served-model-name {none} --enable-lora --max-loras {count} --max-lora-rank {served} \\
  --lora-modules {modules}
```

A request then names an adapter, or `{none}`, as its `model`. In LoRAX, adapters need no mention at the start:

```text
docker run --gpus all --shm-size 1g -p 8080:80 -v "$PWD":/model:ro ghcr.io/predibase/lorax:main --model-id /model
```

A request there has `"adapter_id": "/model/{folder}", "adapter_source": "local"` among its `parameters`, and neither of
the two for the base alone.

Whoever sends requests asks `choose` first, or a proxy does it for all: `{table}` says what `choose` knows. With
`mean`, `centroids` and `thresholds` of the file that it names, and the mean direction u of the states of a prompt,

    z = (u - mean) / |u - mean|,    row = the largest of centroids . z

is the row of `choices`, if its cosine is at least its threshold; else the choice is `otherwise`.
"""

_SERVED = (8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks that vLLM makes room for."""


def serving_guide(adapters: Sequence[Alias], rank: int) -> str:
    """The part of the guide that is about engines, for adapters of this rank."""
    return _GUIDE.format(
        rank=rank,
        none=NO_ADAPTER,
        count=len(adapters),
        served=served_rank(rank),
        modules=" ".join(f"{name}={ADAPTERS}/{name}" for name in adapters),
        folder=f"{ADAPTERS}/{adapters[0]}",
        table=TABLE,
    )


def served_rank(rank: int) -> int:
    """The smallest rank that vLLM makes room for and that holds this one; the rank itself beyond all of them."""
    return next((served for served in _SERVED if served >= rank), rank)


def too_large(rank: int) -> tuple[str, ...]:
    """A sentence for the user where vLLM has no room for this rank."""
    if rank <= _SERVED[-1]:
        return ()
    return (f"vLLM serves no adapter of a rank above {_SERVED[-1]}, and the largest of these has {rank}",)


def routing_table(found: Routing, rank: int) -> bytes:
    """`routing-table.json`: what a proxy needs to choose as `choose` of the guide does.

    `choices` are in the order of the rows of the centroids. `states` says of which model, behind how many blocks, and
    of how many tokens of a prompt. Paths begin at the artifact.
    """
    document = {
        "choices": [_choice(label) for label in found.labels],
        "file": f"{FOLDER}/{WEIGHTS}",
        "format": _FORMAT,
        "max_lora_rank": served_rank(rank),
        "otherwise": NO_ADAPTER,
        "states": {"layer": found.layer, "longest": found.longest, "model": "."},
    }
    return readable_json(document)


def _choice(label: str) -> dict[str, str | None]:
    """What a request of this label names, and the folder of its adapter."""
    if label == BASE:
        return {"adapter": None, "model": NO_ADAPTER}
    return {"adapter": f"{ADAPTERS}/{label}", "model": label}

"""Arrow: in every layer each token goes to the adapters that read most in its direction. See arXiv 2405.11157.

    p_e = the first right singular vector of B_e A_e,    logit_e = |h . p_e|

for the input h of a module; the k largest logits, divided by the temperature, go through a softmax. Nothing is trained,
so an adapter joins or leaves without touching the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.operations.canonical_adapters import zeros_of
from brickctl.operations.routers.router import FOLDER, Routed, Router, read_top_k, register, unlike
from brickctl.tensors.arithmetic import cast
from brickctl.tensors.leading_direction import leading_direction
from brickctl.tensors.views import stack_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.document import Table
    from brickctl.core.names import Alias
    from brickctl.core.nodes import Node
    from brickctl.errors import Place
    from brickctl.operations.canonical_adapters import Canonical
    from brickctl.operations.operation import Ingredients

PROTOTYPES = f"{FOLDER}/prototypes.safetensors"
_FEWEST = 2
_COLDEST, _HOTTEST = 1e-6, 1e6  # beyond these, what PEFT divides by it in fp32 becomes NaN
_NOTE = "Arrow gives every token to some adapter, also where none is wanted; `retrieval` can leave a request alone"

_GUIDE = """\
# How to load this model

This folder is an ordinary model with adapters beside it, among which Arrow chooses for every token, in every layer. Run
this from inside the folder; it needs `transformers` and `peft`, and nothing of brickctl.

```python
from peft import ArrowConfig, create_arrow_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
base = AutoModelForCausalLM.from_pretrained(".", dtype="auto")
adapters = [{adapters}]
settings = ArrowConfig(top_k={top_k}, router_temperature={temperature})
model = create_arrow_model(base, [f"adapters/{{name}}" for name in adapters], settings).eval()
prototypes = load_file("{prototypes}")
for path, layer in model.get_base_model().named_modules():
    if hasattr(layer, "lora_arrow"):
        router = layer.lora_arrow["arrow_router"]
        router.register_buffer("prototypes", prototypes[path].to(layer.weight.device), persistent=False)
        router._protos_ready = True
```

The last five lines give each router the exact prototypes; without them PEFT estimates its own at the first call. The
order of `adapters` is that of the prototypes' rows. `with model.disable_adapter():` runs the model without any adapter:
Arrow itself always uses some. PEFT does not load what `model.save_pretrained` makes of this; keep this folder.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrow:
    """The `top_k` adapters that read most, weighted by a softmax of this temperature."""

    top_k: int
    temperature: float

    aliases = ()

    def document(self) -> Mapping[str, Any]:
        """Its keys of the step."""
        return {"method": "arrow", "top-k": self.top_k, "temperature": self.temperature}

    def routed(self, adapters: Canonical, ingredients: Ingredients) -> Routed:  # noqa: ARG002 - it reads no more
        """The prototypes of every module, F32 (adapters, inputs), by its path."""
        guide = _GUIDE.format(
            adapters=", ".join(f'"{alias}"' for alias in adapters.factors),
            top_k=self.top_k,
            temperature=self.temperature,
            prototypes=PROTOTYPES,
        )
        return Routed(guide=guide, weights={PROTOTYPES: prototypes(adapters)}, notes=(_NOTE, *unlike(adapters)))


def prototypes(adapters: Canonical) -> dict[str, Node]:
    """What each adapter reads most in each module; zeros where it changes nothing."""
    found = {}
    for path, (inputs, _) in adapters.modules.items():
        own = (factors.get(path) for factors in adapters.factors.values())
        rows = tuple(zeros_of(1, inputs) if one is None else leading_direction(one.up, one.down) for one in own)
        found[path] = cast(stack_rows(rows, (len(rows), inputs)), DType.F32)
    return found


def read_arrow(table: Table, bricks: tuple[Alias, ...], place: Place | None) -> Router:
    """Read `top-k` and `temperature`."""
    del place
    if len(bricks) < _FEWEST:
        raise table.error("Arrow chooses among two adapters at least", key="bricks")
    top_k = read_top_k(table, bricks)
    temperature = table.number_or_none("temperature")
    temperature = 1.0 if temperature is None else temperature
    if not _COLDEST <= temperature <= _HOTTEST:
        hint = "the smaller it is, the more the strongest adapter counts; with top-k = 1 it counts alone"
        message = f"{table.named('temperature')} must be from {_COLDEST:g} to {_HOTTEST:,.0f}"
        raise table.error(message, key="temperature", hint=hint)
    return Arrow(top_k=top_k, temperature=temperature)


register("arrow", read_arrow)

"""PHATGOOSE: in every layer each token goes to the adapters whose trained gates it fits. See arXiv 2402.05859.

    logit_e = LN(u) . LN(v_e) / sqrt(d),    LN(x) = (x - mean x) / deviation of x

for the input u (d,) of a module and the gate v_e of an adapter; the k largest logits go through a softmax. A gate is
trained with its adapter alone, so an adapter joins or leaves without touching the others. Where an adapter changes
nothing its gate is 0, and so is its logit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import prefixed
from brickctl.core.dtypes import DType
from brickctl.errors import Misfit
from brickctl.kinds.gate_vectors import gate_vectors, has_gates
from brickctl.operations.canonical_adapters import zeros_of
from brickctl.operations.loading_guide import refuse_taken
from brickctl.operations.routers.router import FOLDER, Routed, read_brick, read_top_k, register, router_brick, unlike
from brickctl.tensors.arithmetic import cast
from brickctl.tensors.views import reshape, stack_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from brickctl.core.document import Table
    from brickctl.core.names import Alias
    from brickctl.core.nodes import Node, Stored
    from brickctl.errors import Place
    from brickctl.kinds.gate_vectors import GateVectors
    from brickctl.operations.canonical_adapters import Canonical
    from brickctl.operations.operation import Ingredients
    from brickctl.operations.routers.router import Router

GATES = f"{FOLDER}/gates.safetensors"
SMALLEST = 1e-12
"""What is added to the variance of an input, so that one of zeros alone stays what it is."""

_OP = "phatgoose-gates"
_NOTE = "PHATGOOSE gives every token to some adapter, also where none is wanted; `retrieval` can leave a request alone"

_GUIDE = """\
# How to load this model

This folder is an ordinary model with adapters beside it, among which trained gates choose for every token, in every
layer (PHATGOOSE). Run this from inside the folder; it needs `transformers` and `peft`, and nothing of brickctl.

```python
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
base = AutoModelForCausalLM.from_pretrained(".", dtype="auto")
model = PeftModel.from_pretrained(base, "adapters/{first}", adapter_name="{first}").eval()
{others}names = [{names}]
model.base_model.set_adapter(names)
model.requires_grad_(False)


def route(layer, gates):
    chosen = dict()

    def choose(layer, given):
        states = torch.nn.functional.layer_norm(given[0].float(), given[0].shape[-1:], eps={smallest})
        logits = states @ gates.to(states.device).T / gates.shape[1] ** 0.5
        best = logits.topk({top_k}, dim=-1)
        chosen["shares"] = torch.zeros_like(logits).scatter(-1, best.indices, best.values.softmax(dim=-1))

    def weigh(at):
        return lambda layer, given, out: out * chosen["shares"][..., at : at + 1].to(out.dtype)

    layer.register_forward_pre_hook(choose)
    for at, name in enumerate(names):
        layer.lora_B[name].register_forward_hook(weigh(at))


gates = load_file("{gates}")
for path, rows in gates.items():
    route(model.get_base_model().get_submodule(path), rows)
```

All adapters are active, and each says as much of every token as its share is. The order of `names` is that of the rows
of the gates. `with model.disable_adapter():` runs the model without any adapter: the gates themselves always choose
some. What `model.save_pretrained` makes of this has no gates; keep this folder. Adapters: {adapters}.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phatgoose:
    """The `top_k` adapters whose gates a token fits best; the gates are a brick."""

    router: Alias
    top_k: int
    place: Place | None = field(default=None, compare=False)

    @property
    def aliases(self) -> tuple[Alias, ...]:
        """The gates."""
        return (self.router,)

    def document(self) -> Mapping[str, Any]:
        """Its keys of the step."""
        return {"method": "phatgoose", "router": self.router, "top-k": self.top_k}

    def routed(self, adapters: Canonical, ingredients: Ingredients) -> Routed:
        """The gates of every module, F32 (adapters, inputs), by its path; and the lines that use them."""
        refuse_taken(adapters.factors, self.place)
        vectors = self._vectors(adapters, ingredients)
        gates = dict(_rows(adapters, vectors))
        return Routed(guide=self._guide(adapters), weights={GATES: gates}, notes=(_NOTE, *unlike(adapters)))

    def _vectors(self, adapters: Canonical, ingredients: Ingredients) -> Mapping[Alias, Mapping[str, Stored]]:
        """The gates of each adapter, which must be for these very adapters on this base.

        Raises:
            Misfit: they are not.
        """
        brick = router_brick(ingredients, self.router, _OP, self.place)
        if not has_gates(brick):
            cause = "it has centres, by which `retrieval` chooses for every request"
            hint = f'write method = "retrieval", or derive another with op = "{_OP}"'
            raise Misfit(f"`{self.router}` chooses for no token", causes=(cause,), place=self.place, hint=hint)
        found = gate_vectors(brick)
        for alias in adapters.factors:
            self._require(alias, found, adapters, ingredients)
        return {alias: found.vectors[alias] for alias in adapters.factors}

    def _require(self, alias: Alias, found: GateVectors, adapters: Canonical, ingredients: Ingredients) -> None:
        """Raise Misfit if there are no gates for an adapter as it is now."""
        hint = f"derive `{self.router}` again, with `{alias}` among its bricks"
        digest = prefixed(ingredients.brick(alias).digest)
        if alias not in found.adapters:
            cause = f"it has gates for {', '.join(found.adapters)}"
            namesake = next((name for name, one in found.adapters.items() if one == digest), None)
            if namesake is not None:  # as when somebody else has published them
                hint = f"`{alias}` is the adapter that it calls `{namesake}`: give the brick that name"
        elif found.adapters[alias] != digest:
            cause = f"they were trained for another version of `{alias}`"
        elif any(path not in found.vectors[alias] for path in adapters.factors[alias]):
            cause = f"`{alias}` changes modules for which it has none"
        else:
            return
        message = f"`{self.router}` has no gates for `{alias}`"
        raise Misfit(message, causes=(cause,), place=self.place, hint=hint)

    def _guide(self, adapters: Canonical) -> str:
        first, *others = adapters.factors
        lines = (f'model.load_adapter("adapters/{name}", adapter_name="{name}")\n' for name in others)
        return _GUIDE.format(
            first=first,
            others="".join(lines),
            names=", ".join(f'"{name}"' for name in adapters.factors),
            smallest=SMALLEST,
            top_k=self.top_k,
            gates=GATES,
            adapters=", ".join(f"`{name}`" for name in adapters.factors),
        )


def _rows(adapters: Canonical, vectors: Mapping[Alias, Mapping[str, Stored]]) -> Iterator[tuple[str, Node]]:
    """The gates of all adapters for each module, a row each; zeros where one changes nothing."""
    for path, (inputs, _) in adapters.modules.items():
        own = (one.get(path) if path in adapters.factors[alias] else None for alias, one in vectors.items())
        rows = [zeros_of(1, inputs) if one is None else cast(reshape(one, (1, inputs)), DType.F64) for one in own]
        yield path, cast(stack_rows(tuple(rows), (len(rows), inputs)), DType.F32)


def read_phatgoose(table: Table, bricks: tuple[Alias, ...], place: Place | None) -> Router:
    """Read `router` and `top-k`."""
    if len(bricks) < 2:  # noqa: PLR2004 - a choice
        raise table.error("PHATGOOSE chooses among two adapters at least", key="bricks")
    router = read_brick(table, bricks, "phatgoose", _OP)
    return Phatgoose(router=router, top_k=read_top_k(table, bricks), place=place)


register("phatgoose", read_phatgoose)

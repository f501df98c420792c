"""Retrieval: each request goes to the adapter whose prompts lie nearest, or to none where all lie far away."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brickctl.core.names import BASE, Alias
from brickctl.errors import Misfit
from brickctl.kinds.gate_vectors import has_gates
from brickctl.kinds.router import routing
from brickctl.kinds.router_document import FILE, WEIGHTS
from brickctl.operations.layer_config import COUNTS
from brickctl.operations.loading_guide import refuse_taken
from brickctl.operations.routers.router import FOLDER, Routed, Router, read_brick, register, router_brick
from brickctl.operations.routers.serving import NO_ADAPTER, TABLE, routing_table, serving_guide, too_large

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.brick import File
    from brickctl.core.document import Table
    from brickctl.core.model import LazyModel
    from brickctl.errors import Place
    from brickctl.kinds.router import Routing
    from brickctl.operations.canonical_adapters import Canonical
    from brickctl.operations.operation import Ingredients

_OP = "centroids"
_AGAIN = "derive it again"

_GUIDE = """\
# How to load this model

This folder is an ordinary model with adapters beside it, and a router that chooses one of them for each request, or
none. Run this from inside the folder; it needs `transformers` and `peft`, and nothing of brickctl.

```python
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".", padding_side="left", truncation_side="right")
tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token or tokenizer.unk_token
base = AutoModelForCausalLM.from_pretrained(".", dtype="auto")
model = PeftModel.from_pretrained(base, "adapters/{first}", adapter_name="{first}").eval()
{others}router = load_file("router/{weights}", device=str(model.device))
names = [{names}]


def choose(prompts):
    asked = dict(padding=True, padding_side="right", truncation=True, max_length={longest}, return_tensors="pt")
    batch = tokenizer(prompts, **asked).to(model.device)
    with torch.no_grad(), model.disable_adapter():
        states = model(**batch, output_hidden_states=True).hidden_states[{layer}].float()
    mask = batch["attention_mask"].unsqueeze(-1)
    pooled = (torch.nn.functional.normalize(states, dim=-1) * mask).sum(1) / mask.sum(1)
    directions = torch.nn.functional.normalize(pooled - router["mean"], dim=-1)
    cosines, nearest = (directions @ router["centroids"].T).max(1)
    near = (cosines >= router["thresholds"][nearest]).tolist()
    return [names[at] if is_near else "__base__" for at, is_near in zip(nearest.tolist(), near)]


def generate(prompts, **settings):
    batch = tokenizer(prompts, padding=True, return_tensors="pt").to(model.device)
    with torch.no_grad():
        tokens = model.generate(**batch, adapter_names=choose(prompts), **settings)
    return tokenizer.batch_decode(tokens[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
```

`generate(["...", "..."], max_new_tokens=50)` answers a batch in which every prompt has an adapter of its own;
`choose` says which, `__base__` for none. Adapters: {adapters}.

"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """Requests go where the router, a brick of that kind, says."""

    router: Alias
    place: Place | None = field(default=None, compare=False)

    @property
    def aliases(self) -> tuple[Alias, ...]:
        """The router."""
        return (self.router,)

    def document(self) -> Mapping[str, Any]:
        """Its keys of the step."""
        return {"method": "retrieval", "router": self.router}

    def routed(self, adapters: Canonical, ingredients: Ingredients) -> Routed:
        """The files of the router as they are, the lines that use them, and the table for whoever serves them."""
        refuse_taken(adapters.factors, self.place)
        found = self._routing(tuple(adapters.factors), ingredients)
        pin = ingredients.brick(self.router).pin
        files = ((path, pin.file(path)) for path in (FILE, WEIGHTS))
        parts: dict[str, File | bytes] = {f"{FOLDER}/{path}": file for path, file in files if file is not None}
        parts[TABLE] = routing_table(found, adapters.rank)
        return Routed(guide=_guide(found, adapters), parts=parts, notes=too_large(adapters.rank))

    def _routing(self, bricks: tuple[Alias, ...], ingredients: Ingredients) -> Routing:
        """What the router says, which must be for these adapters on this base.

        Raises:
            Misfit: it is not.
        """
        brick = router_brick(ingredients, self.router, _OP, self.place)
        if has_gates(brick):
            cause = "it has gates, by which `phatgoose` chooses for every token"
            hint = f'write method = "phatgoose", or derive another with op = "{_OP}"'
            raise Misfit(f"`{self.router}` chooses for no request", causes=(cause,), place=self.place, hint=hint)
        found = routing(brick)
        known = tuple(label for label in found.labels if label != BASE)
        if sorted(known) != sorted(bricks):
            cause = f"it chooses among {', '.join(known)}, and the route has {', '.join(bricks)}"
            hint = f"{_AGAIN} for these bricks"
            raise Misfit(f"`{self.router}` is a router of others", causes=(cause,), place=self.place, hint=hint)
        blocks = _blocks(ingredients.base)
        if blocks is not None and found.layer > blocks:
            cause = f"it reads states behind {found.layer} blocks, and the base has {blocks}"
            raise Misfit(f"`{self.router}` does not fit the base", causes=(cause,), place=self.place, hint=_AGAIN)
        return found


def _blocks(base: LazyModel) -> int | None:
    """How many blocks a model has; None where its configuration does not say so in any way that brickctl knows."""
    text = base.config.get("text_config")
    places = (base.config, text if isinstance(text, dict) else {})
    found = (place.get(key) for place in places for key in COUNTS)
    return next((count for count in found if type(count) is int), None)


def _guide(found: Routing, adapters: Canonical) -> str:
    first, *others = adapters.factors
    lines = (f'model.load_adapter("adapters/{name}", adapter_name="{name}")\n' for name in others)
    names = (NO_ADAPTER if label == BASE else label for label in found.labels)
    loading = _GUIDE.format(
        first=first,
        others="".join(lines),
        weights=WEIGHTS,
        names=", ".join(f'"{name}"' for name in names),
        longest=found.longest,
        layer=found.layer,
        adapters=", ".join(f"`{name}`" for name in adapters.factors),
    )
    return loading + serving_guide(tuple(adapters.factors), adapters.rank)


def read_retrieval(table: Table, bricks: tuple[Alias, ...], place: Place | None) -> Router:
    """Read `router`."""
    return Retrieval(router=read_brick(table, bricks, "retrieval", _OP), place=place)


register("retrieval", read_retrieval)

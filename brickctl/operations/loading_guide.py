"""`how-to-load.md`: the few lines of Python that load a stack with transformers and PEFT alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.errors import ManifestInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable

    from brickctl.core.names import Alias
    from brickctl.errors import Place

GUIDE = "how-to-load.md"

_TAKEN = frozenset((
    "add_module", "apply", "bfloat16", "buffers", "call_super_init", "children", "clear", "compile", "cpu",
    "cuda", "double", "dump_patches", "eval", "extra_repr", "float", "forward", "get_buffer", "get_extra_state",
    "get_parameter", "get_submodule", "half", "ipu", "items", "keys", "load_state_dict", "modules", "mtia",
    "named_buffers", "named_children", "named_modules", "named_parameters", "parameters", "pop",
    "register_backward_hook", "register_buffer", "register_forward_hook", "register_forward_pre_hook",
    "register_full_backward_hook", "register_full_backward_pre_hook", "register_load_state_dict_post_hook",
    "register_load_state_dict_pre_hook", "register_module", "register_parameter", "register_state_dict_post_hook",
    "register_state_dict_pre_hook", "requires_grad_", "set_extra_state", "set_submodule", "share_memory",
    "smart_apply", "state_dict", "to", "to_empty", "train", "training", "type", "update", "values", "xpu", "zero_grad",
))  # fmt: skip
"""What torch's `ModuleDict` has for itself; PEFT keeps adapters in one, by their names, and fails at these."""

_TEXT = """\
# How to load this model

This folder is an ordinary model with adapters beside it. Run this from inside the folder; it needs `transformers` and
`peft`, and nothing of brickctl.

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
base = AutoModelForCausalLM.from_pretrained(".", dtype="auto")
model = PeftModel.from_pretrained(base, "adapters/{active}", adapter_name="{active}")
{others}model.set_adapter("{active}")
```

Adapters: {names}. `model.set_adapter(NAME)` switches; `with model.disable_adapter():` runs the model without any.
"""


def loading_guide(adapters: tuple[Alias, ...], active: Alias) -> str:
    """The guide for a stack of these adapters."""
    others = (name for name in adapters if name != active)
    lines = "".join(f'model.load_adapter("adapters/{name}", adapter_name="{name}")\n' for name in others)
    names = ", ".join(f"`{name}`" for name in adapters)
    return _TEXT.format(active=active, others=lines, names=names)


def refuse_taken(aliases: Iterable[Alias], place: Place | None) -> None:
    """Refuse names by which PEFT cannot keep an adapter.

    Raises:
        ManifestInvalid: one of them is such a name.
    """
    alias = next((alias for alias in aliases if alias in _TAKEN), None)
    if alias is not None:
        cause = f"PEFT keeps adapters in a module of torch, which has something of its own that is called `{alias}`"
        hint = f"give the brick another name, such as `{alias.strip('_')}-adapter`"
        raise ManifestInvalid(f"PEFT cannot load an adapter as `{alias}`", causes=(cause,), place=place, hint=hint)

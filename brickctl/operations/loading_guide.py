"""`how-to-load.md`: the few lines of Python that load a stack with transformers and PEFT alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from brickctl.core.names import Alias

GUIDE = "how-to-load.md"

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

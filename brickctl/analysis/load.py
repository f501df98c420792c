"""Loading an artifact as its users do: plain transformers, and PEFT over a stack."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.analysis.silence import silence
from brickctl.errors import IntegrityFault, NotFound, Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase


_GUARDED = {"local_files_only": True, "trust_remote_code": False}
_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")  # without the second, PEFT would read pickle

_WORTH_DIVIDING = 16_000_000
"""Parameters of a model from which on threads gain more than they wait for one another: each kernel of a smaller one
takes microseconds. Two threads beside another program were measured to take four times as long as one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A model in evaluation mode, with its tokenizer."""

    model: Any
    tokenizer: PreTrainedTokenizerBase


def load(folder: Path, *, active: str | None = None, dtype: str = "auto", threads: int | None = None) -> Loaded:
    """Load the model in `folder` on the CPU: no network, no remote code, no pickle.

    Of a stack (adapters in `folder/adapters/NAME`), `active` names the adapter to use; None is the base alone.
    `dtype` "auto" is the one that the model is stored in; "float32" takes twice the memory of bfloat16, is about
    twice as fast on a CPU without bfloat16 units, and rounds less. `threads` sets with how many threads torch computes
    at most, in the whole process: a small model is quicker with one.

    Raises:
        NotFound: no model, or no such adapter.
        Unsupported: transformers or PEFT cannot load it.
        IntegrityFault: a tensor that the model needs is not there, and would be made up.
    """
    import torch

    _require_model(folder)
    with silence():
        model, tokenizer = _base(folder, dtype)
        if threads is not None:
            torch.set_num_threads(threads if model.num_parameters() >= _WORTH_DIVIDING else 1)
        if active is not None:
            model = _with_adapter(model, folder / "adapters" / active, active)
    return Loaded(model=model.eval(), tokenizer=tokenizer)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in `folder`, with the same care and without the model.

    Raises:
        NotFound: no model.
        Unsupported: transformers cannot load it.
    """
    import transformers

    _require_model(folder)
    with silence(), explained(folder):
        return transformers.AutoTokenizer.from_pretrained(folder, **_GUARDED)


def unmatched_keys(folder: Path) -> tuple[str, ...]:
    """What transformers finds missing, left over or misshapen in a model's files, a sentence each; reads no weights.

    Raises:
        NotFound: no model.
        Unsupported: transformers cannot load it.
    """
    _require_model(folder)
    with silence():
        _, report = _load_model(folder, device_map="meta", ignore_mismatched_sizes=True)
    missing = (f"`{key}` is missing" for key in sorted(report["missing_keys"]))
    unexpected = (f"`{key}` is not in the model" for key in sorted(report["unexpected_keys"]))
    misshapen = (f"`{key[0]}` has another shape" for key in sorted(report["mismatched_keys"]))
    return (*missing, *unexpected, *misshapen)


def _require_model(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise NotFound(f"there is no model in `{folder}`", hint="`brickctl build` makes it")


def _load_model(folder: Path, **settings: Any) -> tuple[Any, dict[str, Any]]:
    """The model, and transformers' report of the keys that did not fit."""
    import transformers

    models: Any = transformers.AutoModelForCausalLM  # typed as if it returned the model alone
    with explained(folder):
        model, report = models.from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, **_GUARDED, **settings
        )
    return model, report


def _base(folder: Path, dtype: str) -> tuple[Any, PreTrainedTokenizerBase]:
    import transformers

    model, report = _load_model(folder, dtype=dtype)
    if missing := sorted(report["missing_keys"]):
        causes = tuple(f"`{name}` is not there" for name in missing[:3])
        raise IntegrityFault(f"the model in `{folder}` misses {len(missing)} tensors", causes=causes)
    with explained(folder):
        return model, transformers.AutoTokenizer.from_pretrained(folder, **_GUARDED)


def _with_adapter(model: Any, folder: Path, name: str) -> Any:
    from peft import PeftModel

    if not all((folder / file).is_file() for file in _ADAPTER_FILES):
        raise NotFound(f"there is no adapter in `{folder}`")
    try:
        with explained(folder), warnings.catch_warnings():
            # PEFT only warns of it, and goes on with random numbers
            warnings.filterwarnings("error", message="Found missing adapter keys")
            return PeftModel.from_pretrained(model, str(folder), adapter_name=name, torch_device="cpu")
    except UserWarning as warning:
        raise IntegrityFault(f"the adapter in `{folder}` misses tensors", causes=(_first_line(warning),)) from warning


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn what transformers and PEFT raise for a folder that they cannot load into one of our errors."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise Unsupported(f"`{folder}` cannot be loaded", causes=(_first_line(error),)) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

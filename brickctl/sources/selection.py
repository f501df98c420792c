"""Which files of a repository belong to a brick: names in, names out, no I/O of its own.

With an index, exactly its shards; else `model.safetensors`; else `adapter_model.safetensors`; else an error that lists
what was there. Beside the weights: configs, tokenizer files and processor configs of the same folder. Never READMEs,
other formats, pickles or Python.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from brickctl.core.belonging import INDEXES, PICKLES, WEIGHTS, is_companion, is_shard
from brickctl.core.document import WHOLE, shown
from brickctl.core.names import is_safe_path
from brickctl.errors import IntegrityFault, NotFound, PolicyViolation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_SINGLES = ("model.safetensors", "adapter_model.safetensors")
_WEIGHT_PICKLES = ("adapter_model", "model", "pytorch_model")
_MOST_SHOWN = 8
_PLAIN_NAME = re.compile(r"[A-Za-z0-9._-]+")
_LONGEST_NUMBER = 20
_LONGEST_REASON = 300
DAMAGED = "the file is damaged, or was written by something else; fetch it again or ask its publisher"


def unsafe(paths: Iterable[str]) -> tuple[str, ...]:
    """The files that run code when they are loaded: pickles and Python; sorted."""
    return tuple(sorted(path for path in paths if path.endswith((*PICKLES, ".py"))))


def select(paths: Iterable[str], read: Callable[[str], bytes], *, where: str) -> tuple[str, ...]:
    """The files that make up a brick, sorted.

    Args:
        paths: every file below the brick's folder, relative to it.
        read: gives the content of one of them; asked for an index only.
        where: how messages name the folder.

    Raises:
        NotFound: no weights in a form that brickctl reads.
        PolicyViolation: weights in pickle only, or a name that leaves the folder.
        IntegrityFault: an index that cannot be read, or that names a shard that is not there.
    """
    present = frozenset(paths)
    index = next((name for name in INDEXES if name in present), None)
    single = next((name for name in _SINGLES if name in present), None)
    if index is not None:
        weights = (index, *shards(read_json(read(index), where=f"{where}/{index}"), present, where=f"{where}/{index}"))
    elif single is not None:
        weights = (single,)
    else:
        raise _no_weights(present, where)
    chosen = {*weights, *(path for path in present if is_companion(path))}
    for path in chosen:
        check_path(path, where=where)
    return tuple(sorted(chosen))


def shards(index: dict[str, Any], present: frozenset[str], *, where: str) -> tuple[str, ...]:
    """The weight files that an index names, sorted; each is a safe path and is present."""
    names = weight_map(index, where=where).values()
    found = sorted(frozenset(names))
    for name in found:
        check_path(name, where=where)
        if not is_shard(name):
            raise PolicyViolation(
                f"{where} names a shard that is not safetensors, or hidden",
                causes=(f"the shard is {shown(name)}",),
                hint="only safetensors are read; ask the publisher for a conversion",
            )
        if name not in present:
            raise IntegrityFault(
                f"{where} names a shard that is not there",
                causes=(f"{shown(name)} is missing",),
                hint="the upload is incomplete; ask its publisher, or pin an earlier revision",
            )
    return tuple(found)


def weight_map(index: dict[str, Any], *, where: str) -> dict[str, str]:
    """The part of an index that maps tensor names to files, checked to be just that."""
    names = index.get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        reason = "`weight_map` must map tensor names to file names"
        raise IntegrityFault(f"{where} is not an index", causes=(reason,), hint=DAMAGED)
    return names


def read_json(content: bytes, *, where: str) -> dict[str, Any]:
    """A JSON object, read strictly.

    Raises:
        IntegrityFault: not UTF-8, not JSON, not an object, a key that stands twice, NaN or an infinity, half a
            surrogate pair.
    """

    def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        document: dict[str, Any] = {}
        for key, value in pairs:
            if key in document:
                raise ValueError(f"the key `{shown(key)}` stands twice in one object")
            document[key] = value
        return document

    def refuse_constant(text: str) -> Any:
        raise ValueError(f"{text} is not JSON")

    def finite(text: str) -> float:
        value = float(text)
        if math.isinf(value):
            raise ValueError(f"{text[:_LONGEST_NUMBER]} is beyond every number")
        return value

    try:
        document = json.loads(
            content.decode(), object_pairs_hook=without_duplicates, parse_constant=refuse_constant, parse_float=finite
        )
        _check_encodable(content, document)
    except (ValueError, RecursionError) as error:
        raise IntegrityFault(
            f"{where} cannot be read as JSON",
            causes=(shown(str(error), longest=_LONGEST_REASON),),
            hint=DAMAGED,
        ) from None
    if not isinstance(document, dict):
        raise IntegrityFault(f"{where} must hold a JSON object", hint=DAMAGED)
    return document


def _check_encodable(content: bytes, document: Any) -> None:
    """Refuse half a surrogate pair, which only an escape can bring in and which no file can hold again."""
    if b"\\u" in content:
        json.dumps(document, ensure_ascii=False).encode()


def check_path(path: str, *, where: str) -> None:
    """Refuse a name that could leave the folder of its brick, or that hides what it is.

    Raises:
        PolicyViolation: it could.
    """
    if not is_safe_path(path):
        raise PolicyViolation(
            f"{where} has a file name that brickctl refuses",
            causes=(f"{shown(path)} is absolute, leaves its folder, hides a character, or is read in several ways",),
            hint="do not use this brick until its publisher has explained the name",
        )


def _no_weights(present: frozenset[str], where: str) -> NotFound | PolicyViolation:
    candidates = sorted(path for path in present if path.endswith(WEIGHTS))
    pickles = sorted(path for path in present if path.lower().endswith(PICKLES) and "/" not in path)
    if pickles and not candidates:
        return PolicyViolation(
            f"{where} holds its weights as pickle only",
            causes=(f"{listed(pickles)}: loading a pickle runs whatever code it contains",),
            hint=f"ask the publisher for safetensors, or convert it in a sandbox: {_conversion(pickles)}",
        )
    message = f"{where} has no weights that brickctl reads"
    wanted = f"looked for {', '.join((*INDEXES[:1], *_SINGLES))}"
    if not candidates:
        found = listed(sorted(present)) if present else "nothing"
        hint = "check the name of the repository or folder"
        if any(path.lower().endswith(".gguf") for path in present):
            hint = "GGUF holds quantised weights, which are not merged: use the repository that it was made from"
        return NotFound(message, causes=(wanted, f"found {found}"), hint=hint)
    return NotFound(message, causes=(wanted, f"found {listed(candidates)}"), hint=_subfolder_hint(candidates))


def _conversion(pickles: list[str]) -> str:
    """One command that makes safetensors of a pickle, without running code from it; shards are left to transformers."""
    weights = [path for path in pickles if path.startswith(_WEIGHT_PICKLES)]
    if len(weights) > 1:
        return "load the model with transformers, and save it with save_pretrained"
    pickle = (weights or pickles)[0]
    made = _SINGLES[1] if pickle.startswith("adapter") else _SINGLES[0]
    source = pickle if _PLAIN_NAME.fullmatch(pickle) else "FILE"
    code = (
        "import torch; from safetensors.torch import save_file; "
        f"t = torch.load('{source}', map_location='cpu', weights_only=True); "
        f"save_file({{k: v.clone() for k, v in t.items()}}, '{made}')"
    )
    return f'python -c "{code}"'


def _subfolder_hint(candidates: list[str]) -> str:
    folders = sorted({str(PurePosixPath(path).parent) for path in candidates if PurePosixPath(path).name in _SINGLES})
    if folders and folders != ["."]:
        return f'to use one of the folders, add `subfolder = "{shown(folders[0], longest=WHOLE)}"` in brick.toml'
    return f"rename the file to {_SINGLES[0]} (a whole model) or {_SINGLES[1]} (a PEFT adapter)"


def listed(paths: list[str]) -> str:
    """The first of some names, as a message shows them."""
    names = ", ".join(shown(path) for path in paths[:_MOST_SHOWN])
    return names if len(paths) <= _MOST_SHOWN else f"{names} and {len(paths) - _MOST_SHOWN} more"

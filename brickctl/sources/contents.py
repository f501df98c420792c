"""From pinned files to `Contents`: small documents and safetensors headers, checked against each other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from brickctl.core.belonging import INDEXES, WEIGHTS
from brickctl.core.brick import Contents
from brickctl.core.document import shown
from brickctl.core.nodes import Stored
from brickctl.errors import IntegrityFault, PolicyViolation
from brickctl.sources.naming import file_label
from brickctl.sources.selection import DAMAGED, listed, read_json, weight_map

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from brickctl.core.brick import File, Pin
    from brickctl.tensors.header import Header

LARGEST_DOCUMENT = 16_000_000
"""Bytes of JSON that are parsed; an index of a thousand shards has 4 MB."""

_CODE_KEYS = ("auto_map", "custom_pipelines", "trust_remote_code")
_CODE_BY_NAME = ("attn_implementation", "experts_implementation")  # a value with "/" loads a kernel from the Hub
_AT_ONCE = 4


def read_contents(pin: Pin, read: Callable[[File], bytes], header: Callable[[File], Header]) -> Contents:
    """What can be known of a brick without its weights.

    `read` gives the verified bytes of a small file, `header` the checked header of a weight file; both are called from
    several threads.

    Raises:
        IntegrityFault: documents that cannot be read, several weight files without an index, an index that contradicts
            the headers, a tensor that comes twice.
        PolicyViolation: a config that makes transformers run code from elsewhere.
    """
    small = [file for file in pin.files if _is_document(file.path)]
    weights = [file for file in pin.files if file.path.endswith(WEIGHTS)]
    _check_together(pin, weights)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        documents = dict(pool.map(lambda file: (file.path, _document(pin, file, read)), small))
        headers = list(pool.map(header, weights))
    tensors = _tensors(pin, weights, headers)
    for name in INDEXES:
        if name in documents:
            _check_index(documents[name], weights, headers, where=file_label(pin.source, name))
    shards = {file.path: head.start for file, head in zip(weights, headers, strict=True)}
    plain = frozenset(file.path for file, head in zip(weights, headers, strict=True) if head.is_plain)
    return Contents(documents=documents, tensors=tensors, shards=shards, plain=plain)


def _check_together(pin: Pin, weights: list[File]) -> None:
    """Refuse weights that no reader of the folder would take for one model: several, and no index that says how."""
    indexes = [file.path for file in pin.files if file.path in INDEXES]
    if len(indexes) > 1 or (len(weights) > 1 and not indexes):
        said = "two indexes" if indexes else "no index"
        raise IntegrityFault(
            f"{shown(pin.source)} lists weights that are not known to belong together",
            causes=(f"it has {listed([file.path for file in weights])}, and {said}",),
            hint="lock it again from where it came, or ask its publisher for a list with the files of one model",
        )


def _is_document(path: str) -> bool:
    """Whether a library may read settings from the file: every configuration, and the index."""
    return path in INDEXES or ("/" not in path and path.lower().endswith("config.json"))


def refuse_remote_code(document: Mapping[str, Any], *, where: str) -> None:
    """Refuse a config with which loading the model can run code that is not part of transformers.

    `auto_map` and `custom_pipelines` name Python files; an attention or experts implementation with a slash names a
    repository of compiled kernels, which some versions fetch unasked (CVE-2026-4372).

    Raises:
        PolicyViolation: it has such a key, at any depth.
    """
    for key, value in _pairs(document):
        by_name = any(word in key for word in _CODE_BY_NAME) and "/" in str(value)
        if (key in _CODE_KEYS and value) or by_name:
            raise PolicyViolation(
                f"{where} asks for code from elsewhere",
                causes=(f"`{shown(key)}` makes transformers download Python or kernels and run them",),
                hint="use a model that transformers supports by itself, or ask the publisher for a config without it",
            )


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value of a JSON value, at any depth."""
    waiting = [value]
    while waiting:
        current = waiting.pop()
        if isinstance(current, dict):
            yield from current.items()
            waiting.extend(current.values())
        elif isinstance(current, list):
            waiting.extend(current)


def _document(pin: Pin, file: File, read: Callable[[File], bytes]) -> dict[str, Any]:
    where = file_label(pin.source, file.path)
    if file.size > LARGEST_DOCUMENT:
        reason = f"it has {file.size:,} bytes; brickctl parses up to {LARGEST_DOCUMENT:,}"
        raise IntegrityFault(f"{where} is too large to be read", causes=(reason,), hint=DAMAGED)
    document = read_json(read(file), where=where)
    if file.path not in INDEXES:
        refuse_remote_code(document, where=where)
    return document


def _tensors(pin: Pin, weights: list[File], headers: list[Header]) -> dict[str, Stored]:
    tensors: dict[str, Stored] = {}
    holder: dict[str, str] = {}
    for file, header in zip(weights, headers, strict=True):
        for entry in header.entries:
            if entry.name in tensors:
                reason = f"`{shown(entry.name)}` is in {shown(holder[entry.name])} and in {shown(file.path)}"
                raise IntegrityFault(
                    f"{shown(pin.source)} holds a tensor twice",
                    causes=(reason,),
                    hint="which one counts would depend on the reader; ask the publisher to repair it",
                )
            tensors[entry.name] = Stored(entry.spec, blob=file.sha256, offset=entry.begin)
            holder[entry.name] = file.path
    return tensors


def _check_index(index: dict[str, Any], weights: list[File], headers: list[Header], *, where: str) -> None:
    promised = weight_map(index, where=where)
    found = {entry.name: file.path for file, header in zip(weights, headers, strict=True) for entry in header.entries}
    if promised == found:
        return
    name = min(name for name in promised.keys() | found.keys() if promised.get(name) != found.get(name))
    should, does = (shown(names.get(name, "no file")) for names in (promised, found))
    reason = f"`{shown(name)}` should be in {should} and is in {does}"
    raise IntegrityFault(
        f"{where} does not agree with its shards",
        causes=(reason,),
        hint="the upload is incomplete or mixed from two models; ask its publisher",
    )

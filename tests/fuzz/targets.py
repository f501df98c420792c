"""Every reader of what others wrote, as a function of bytes: only our own errors come out of it."""

from __future__ import annotations

import gzip
import json
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brickctl.core import lock_format
from brickctl.core.advisories import parse_advisories
from brickctl.core.brick import Brick, Contents, File, Pin
from brickctl.core.digests import Sha256
from brickctl.core.document import read_toml
from brickctl.core.dtypes import DType
from brickctl.core.manifest_format import parse_manifest
from brickctl.core.names import Alias
from brickctl.core.nodes import Stored
from brickctl.core.plan import Plan
from brickctl.core.reference_format import parse_reference, parse_shorthand
from brickctl.core.regions import Spec
from brickctl.core.registry_line import encode_line, parse_line
from brickctl.errors import BrickctlError, NotFound, Unsupported
from brickctl.kinds.base import whole_model
from brickctl.kinds.kind import detect_kind
from brickctl.mirror.repositories import Repository, Shelf
from brickctl.mirror.routes import Request, reply_to
from brickctl.operations.operation import Ingredients
from brickctl.operations.target import read_recipe
from brickctl.sources.contents import refuse_remote_code
from brickctl.sources.ledger import Ledger
from brickctl.sources.search_index import Query, search_these
from brickctl.sources.selection import read_json, select, weight_map
from brickctl.sources.snapshot import pack, unpack
from brickctl.sources.vendored import MARKER, VendoredFolder
from brickctl.tensors.header import header_length, parse_header
from brickctl.tensors.layout import lay_out
from brickctl.tensors.memory import peak_memory
from brickctl.vocabulary.tokenizer import read_tokenizer
from brickctl.vocabulary.union import Addition, content, extend
from brickctl.workflows.mergekit.recipe import read_mergekit
from brickctl.workflows.provenance import FILE as RECORD
from brickctl.workflows.provenance import read_statement
from tests.fuzz.signatures import signature, signed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_DIGEST = Sha256("0" * 64)
_SHARD = 1 << 20
_OTHER = b'{"model": {"type": "BPE", "vocab": {"a": 0, "c": 1, "ac": 2}, "merges": [["a", "c"]]}}'
_DATA = 32
"""Bytes of tensors behind every header."""

_MERGE = """
[project]
name = "fuzz"
[base]
source = "path:base"
[bricks]
brick = { source = "path:brick" }
[targets.t]
apply = [{ op = "merge", method = "task_arithmetic", bricks = { brick = 0.5 } }]
"""

_WIDTH, _INNER, _WORDS = 32, 48, 96
_LINEAR = {
    "self_attn.q_proj": (_WIDTH, _WIDTH),
    "self_attn.k_proj": (_WIDTH // 2, _WIDTH),
    "self_attn.v_proj": (_WIDTH // 2, _WIDTH),
    "self_attn.o_proj": (_WIDTH, _WIDTH),
    "mlp.gate_proj": (_INNER, _WIDTH),
    "mlp.up_proj": (_INNER, _WIDTH),
    "mlp.down_proj": (_WIDTH, _INNER),
}
BASE: dict[str, tuple[int, ...]] = {
    "model.embed_tokens.weight": (_WORDS, _WIDTH),
    **{f"model.layers.0.{name}.weight": shape for name, shape in _LINEAR.items()},
    "model.layers.0.input_layernorm.weight": (_WIDTH,),
    "model.layers.0.post_attention_layernorm.weight": (_WIDTH,),
    "model.norm.weight": (_WIDTH,),
    "lm_head.weight": (_WORDS, _WIDTH),
}
"""Shapes of the model that bricks are laid on: a Llama of one layer."""


_REGROUPED = (
    'apply = [{ op = "split", brick = "brick", active = 2 }]',
    'apply = [{ op = "prune", brick = "brick", keep = 1, by = "mass" }]',
)
_GROWN = (
    'apply = [{ op = "grow-depth", layers = 3 }]',
    'apply = [{ op = "grow-width", neurons = 60, noise = 0.1 }]',
    'apply = [{ op = "grow-width", hidden = 64 }]',
    'apply = [{ op = "grow-experts", experts = 2, active = 1 }]',
    'apply = [{ op = "grow-experts", experts = 2, active = 1 }, { op = "add-expert", brick = "brick" }]',
    'apply = [{ op = "add-expert", brick = "brick" }]',
    'apply = [{ op = "moe", experts = ["base", "brick"], active = 1, gates = "random" }]',
)


def survives(target: str, data: bytes) -> bool:
    """Whether a reader takes the bytes; False where it refuses them with an error that can be printed."""
    try:
        TARGETS[target](data)
    except BrickctlError as error:
        str(error).encode()
        return False
    return True


def _header(data: bytes) -> None:
    header_length(data[:8], where="x")
    header = parse_header(data, file_size=len(data) + _DATA, where="x")
    assert all(header.start <= entry.begin <= entry.end <= len(data) + _DATA for entry in header.entries)


def _manifest(data: bytes) -> None:
    manifest = parse_manifest(_text(data))
    for target in manifest.targets.values():
        read_recipe(manifest, target)


def _lock(data: bytes) -> None:
    lock = lock_format.decode(_text(data))
    text = lock_format.encode(lock)
    assert lock_format.encode(lock_format.decode(text)) == text


def _toml(data: bytes) -> None:
    read_toml(_text(data), file="x")


def _registry_line(data: bytes) -> None:
    entry = parse_line(data, file="x")
    assert parse_line(encode_line(entry).rstrip(b"\n"), file="x") == entry


def _advisories(data: bytes) -> None:
    """What a registry knows to be bad, held against a brick."""
    file = File(path="config.json", size=9, sha256=_DIGEST)
    pin = Pin(source="index:a/b/1.0.0", files=(file,), brick="a/b", version="1.0.0", registry="corp")
    for advisory in parse_advisories(data, file="x"):
        advisory.is_about(pin, "corp")


def _snapshot(data: bytes) -> None:
    """The lines of a snapshot, packed as servers pack them."""
    listings = list(unpack(gzip.compress(data), where="x"))
    assert list(unpack(pack(listings), where="x")) == listings
    for query in (Query(), Query(text=_text(data)), Query(kind="adapter")):
        search_these(listings, query)


def _reference(data: bytes) -> None:
    text = _text(data)
    try:
        parse_reference(text, registries=("default", "other"))
    except BrickctlError:
        parse_shorthand(text, registries=("default", "other"))


def _json(data: bytes) -> None:
    document = read_json(data, where="x")
    refuse_remote_code(document, where="x")
    names = weight_map(document, where="x")
    select([*names.values(), "model.safetensors.index.json"], lambda _: data, where="x")


def _mergekit(data: bytes) -> None:
    read_mergekit(_text(data), file="x")


def _record(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / RECORD).write_bytes(data)
        read_statement(Path(folder))


def _mark(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / MARKER).write_bytes(data)
        VendoredFolder(Path(folder), Ledger(Path(folder))).is_ours()


def _request(data: bytes) -> None:
    """A request to a mirror: its target, a line with its range, and a body."""
    target, _, rest = _text(data).partition("\n")
    wanted, _, body = rest.partition("\n")
    method, kind = ("POST" if body else "GET"), "application/json"
    request = Request(method=method, target=target, wanted=wanted, kind=kind, body=body.encode())
    if reply_to(_shelf(), request).status >= 400:
        raise NotFound("it was refused")


@cache
def _shelf() -> Shelf:
    file = File(path="config.json", size=9, sha256=_DIGEST)
    repository = Repository(name="a/b", commits={"0" * 40: {"config.json": file}}, refs={"main": "0" * 40})
    return Shelf(repositories={"a/b": repository}, notes=())


def _brick(data: bytes) -> None:
    """A brick's configuration and the names and shapes of its tensors: held against a base, and laid on it."""
    document = read_json(data, where="x")
    contents = _contents(document)
    kind = detect_kind("brick", contents)
    json.dumps(dict(kind.facts(contents)))
    kind.declared_base(contents)
    manifest = parse_manifest(_MERGE)
    bricks = {alias: _held(kind.name, contents) for alias in manifest.bricks}
    with suppress(BrickctlError):  # a merge refuses some kinds before it looks at them
        kind.check(_held(kind.name, contents), whole_model(_base()))
    artifact = read_recipe(manifest, manifest.targets[next(iter(manifest.targets))]).artifact(
        Ingredients(_base(), bricks)
    )
    peak_memory(Plan(tasks=lay_out(artifact, _SHARD), notes=artifact.notes))


def _neurons(data: bytes) -> None:
    """A partition of neurons with its numbers, and what the base's config.json says, through a split and a prune."""
    document = read_json(data, where="x")
    contents, config, numbers = _contents(document), document.get("config"), document.get("numbers")
    if not isinstance(config, dict) or not isinstance(numbers, str):
        raise BrickctlError("not a description of a partition")
    size = sum(one.spec.bytes for one in contents.tensors.values())
    if size > 1 << 20:  # the numbers of a file are as many as it has bytes
        raise BrickctlError("no file of so many bytes is here")
    content = numbers.encode("latin-1", "replace").ljust(size, b"\0")
    brick = _held(detect_kind("brick", contents).name, contents)
    base = _held(
        "base", _stored({"config.json": config}, {name: Spec(DType.F32, shape) for name, shape in BASE.items()})
    )
    for apply in _REGROUPED:
        manifest = parse_manifest(_MERGE[: _MERGE.index("apply")] + apply)
        recipe = read_recipe(manifest, next(iter(manifest.targets.values())))
        artifact = recipe.artifact(Ingredients(base, {Alias("brick"): brick}, lambda *_: content))
        peak_memory(Plan(tasks=lay_out(artifact, _SHARD), notes=artifact.notes))


def _model(data: bytes) -> None:
    """A base model's configuration and the names and shapes of its tensors: as it is, and made larger in every way."""
    base = _held("base", _contents(read_json(data, where="x")))
    _planned("apply = []", base)
    for apply in _GROWN:
        with suppress(BrickctlError):  # most models can grow in some ways only
            _planned(apply, base)


def _planned(apply: str, base: Brick) -> None:
    manifest = parse_manifest(_MERGE[: _MERGE.index("apply")] + apply)
    artifact = read_recipe(manifest, next(iter(manifest.targets.values()))).artifact(
        Ingredients(base, {Alias("brick"): base})
    )
    peak_memory(Plan(tasks=lay_out(artifact, _SHARD), notes=artifact.notes))


def _tokenizer(data: bytes) -> None:
    """A `tokenizer.json`, and the union of it with another, either way round."""
    found = read_tokenizer(data, where="x")
    other = read_tokenizer(_OTHER, where="y")
    for base, more in ((found, other), (other, found)):
        try:
            content(extend(base, [Addition(alias=Alias("x"), tokenizer=more, rows=9)], ("<new>",), ()))
        except Unsupported:  # by other rules: then one of them is added to alone
            content(extend(base, (), ("<new>",), [Addition(alias=Alias("x"), tokenizer=more, rows=9)]))


def _contents(document: Mapping[str, Any]) -> Contents:
    """What `{"documents": {file: {...}}, "tensors": {name: [dtype, shape]}}` describes; no header may say less."""
    documents, tensors = document.get("documents"), document.get("tensors")
    if not isinstance(documents, dict) or not isinstance(tensors, dict):
        raise BrickctlError("not a description of a brick")
    found = {name: value for name, value in documents.items() if isinstance(value, dict)}
    specs = {name: _spec(value) for name, value in tensors.items()}
    return _stored(found, {name: spec for name, spec in specs.items() if spec is not None})


def _spec(value: Any) -> Spec | None:
    """As the header reader lets it pass: a type that is known, and counts that multiply to what a file may hold."""
    if not isinstance(value, list) or len(value) != 2 or not isinstance(value[1], list):
        return None
    code, shape = value
    sound = all(type(count) is int and 0 <= count < 1 << 40 for count in shape) and len(shape) < 9
    if not sound or code not in [dtype.code for dtype in DType]:
        return None
    spec = Spec(next(dtype for dtype in DType if dtype.code == code), tuple(shape))
    return spec if spec.bytes < 1 << 50 else None


def _stored(documents: Mapping[str, Mapping[str, Any]], specs: Mapping[str, Spec]) -> Contents:
    tensors, offset = {}, 0
    for name, spec in specs.items():
        tensors[name] = Stored(spec, blob=_DIGEST, offset=offset)
        offset += spec.bytes
    return Contents(documents=documents, tensors=tensors)


def _held(kind: str, contents: Contents) -> Brick:
    files = tuple(
        File(path=path, size=1, sha256=_DIGEST) for path in (*sorted(contents.documents), "model.safetensors")
    )
    return Brick(name=kind, kind=kind, pin=Pin(source=f"path:{kind}", files=files), contents=contents)


@cache
def _base() -> Brick:
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "tie_word_embeddings": False}
    return _held(
        "base", _stored({"config.json": config}, {name: Spec(DType.F32, shape) for name, shape in BASE.items()})
    )


def _text(data: bytes) -> str:
    """As a file is read: what is no UTF-8 was refused before."""
    return data.decode(errors="replace")


TARGETS: dict[str, Callable[[bytes], None]] = {
    "advisories": _advisories,
    "brick": _brick,
    "header": _header,
    "json": _json,
    "lock": _lock,
    "manifest": _manifest,
    "mark": _mark,
    "mergekit": _mergekit,
    "model": _model,
    "neurons": _neurons,
    "record": _record,
    "reference": _reference,
    "registry-line": _registry_line,
    "request": _request,
    "signature": signature,
    "signed": signed,
    "snapshot": _snapshot,
    "tokenizer": _tokenizer,
    "toml": _toml,
}

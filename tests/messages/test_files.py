"""What is said of folders, files, headers, locks and artifacts that are not as they should be."""

from __future__ import annotations

import json
import os
import shutil
import struct
from typing import TYPE_CHECKING

import pytest

from brickctl.sources import ledger
from brickctl.workflows import space
from tests.messages.laying import Files, manifest, stored, with_tensors, without
from tests.support import sandbox as bricks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Any

    from syrupy.assertion import SnapshotAssertion

    from tests.support.sandbox import Outcome, Sandbox

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
NAMES = {"a": SHARDS[0], "b": SHARDS[1]}


def headed(header: Any, content: bytes = b"") -> Files:
    """An adapter whose weight file has this header."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return with_tensors(struct.pack("<Q", len(raw)) + raw + content)


def entry(begin: int = 0, end: int = 16, dtype: str = "F32", shape: tuple[int, ...] = (2, 2)) -> Mapping[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def sharded(names: Any, **more: bytes) -> Files:
    """An expert in two shards, with an index that says this of them."""
    weights = {SHARDS[0]: stored({"a": (2, 2)}), SHARDS[1]: stored({"b": (2, 2)})}
    index = {"model.safetensors.index.json": json.dumps({"weight_map": names}).encode()}
    return {"config.json": b'{"model_type": "llama"}', **weights, **index, **more}


WEIGHTS = bricks.adapter()["adapter_model.safetensors"]
BARE = without(bricks.adapter(), "adapter_model.safetensors")
LAID: dict[str, Files] = {
    "weights in a folder below": {**BARE, "epoch-3/adapter_model.safetensors": WEIGHTS},
    "weights under another name": {**BARE, "my-lora.safetensors": WEIGHTS},
    "nothing of use": {"README.md": b"# a model", "model.gguf": b"GGUF"},
    "pickles of a trainer": {"pytorch_model.bin": b"\x80", "optimizer.pt": b"\x80", "training_args.bin": b"\x80"},
    "pickles in shards": {"pytorch_model-00001-of-00002.bin": b"\x80", "pytorch_model-00002-of-00002.bin": b"\x80"},
    "an index without names": sharded({}),
    "an index that is no JSON": {**sharded(NAMES), "model.safetensors.index.json": b"version https://git-lfs"},
    "an index of a shard that is missing": sharded({**NAMES, "c": "model-00003-of-00003.safetensors"}),
    "an index of a pickle": sharded({**NAMES, "b": "pytorch_model.bin"}),
    "an index that leaves the folder": sharded({**NAMES, "b": "../model.safetensors"}),
    "an index that contradicts the shards": sharded({"a": SHARDS[0], "x": SHARDS[1]}),
    "a tensor in two shards": {**sharded({"a": SHARDS[0], "b": SHARDS[1]}), SHARDS[1]: stored({"a": (2, 2)})},
    "a configuration that is a list": {**bricks.adapter(), "adapter_config.json": b"[]"},
    "a configuration with a number that is none": {**bricks.adapter(), "adapter_config.json": b'{"r": NaN}'},
    "a configuration with a number beyond all": {**bricks.adapter(), "adapter_config.json": b'{"r": 1e999}'},
    "a configuration that is no text": {**bricks.adapter(), "adapter_config.json": b"\xff\xfe{}"},
    "a configuration that is too large": {**bricks.adapter(), "config.json": b" " * 16_000_001},
    "a kernel from elsewhere": {**bricks.model(), "config.json": b'{"attn_implementation": "acme/kernel"}'},
    "weights of a few bytes": with_tensors(b"oops"),
    "weights that are a page": with_tensors(b"<!DOCTYPE html><html>"),
    "a header that is longer than the file": with_tensors(struct.pack("<Q", 5000) + b'{"a":'),
    "a header that is no JSON": headed(b'{"a": }'),
    "a header that is a list": headed([1]),
    "a header with a name twice": headed(b'{"a": {}, "a": {}}'),
    "a header with odd metadata": headed({"__metadata__": {"format": 1}}),
    "a header with a name that is a path": headed({"../a": entry()}, bytes(16)),
    "a header with other fields": headed({"a": {"dtype": "F32", "shape": [2, 2]}}, bytes(16)),
    "a header with a shape that is none": headed({"a": {**entry(), "shape": [2, -2]}}, bytes(16)),
    "a header with three offsets": headed({"a": {**entry(), "data_offsets": [0, 8, 16]}}, bytes(16)),
    "a header with too many elements": headed({"a": entry(shape=(1 << 40, 1 << 40))}, bytes(16)),
    "a header with an unknown type": headed({"a": entry(dtype="F4")}, bytes(16)),
    "a header with another size": headed({"a": entry(end=12)}, bytes(16)),
    "a header with a hole": headed({"a": entry(), "b": entry(20, 36)}, bytes(36)),
    "a header with an overlap": headed({"a": entry(), "b": entry(8, 24)}, bytes(24)),
    "an expert without a tensor": {**bricks.model(), "model.safetensors": stored({"model.norm.weight": (8,)})},
    "an expert with another tensor": {
        **bricks.model(),
        "model.safetensors": stored({**bricks.model_shapes(), "model.more.weight": (8,)}),
    },
    "no files": {},
}
"""Folders that `lock` refuses."""


@pytest.mark.parametrize("name", LAID)
def test_a_folder_that_is_refused(
    name: str, lay: Callable[..., Sandbox], said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    sandbox = lay(LAID[name])
    (sandbox.root / "sql").mkdir(exist_ok=True)
    outcome = sandbox.run("lock")
    assert outcome.code != 0, outcome
    assert said(outcome) == snapshot


def linked(folder: Path) -> None:
    (folder / "adapter_config.json").rename(folder.parent / "elsewhere.json")
    (folder / "adapter_config.json").symlink_to("../elsewhere.json")


def replaced_by_a_pipe(folder: Path) -> None:
    (folder / "adapter_config.json").unlink()
    os.mkfifo(folder / "adapter_config.json")


def replaced_by_a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_bytes(b"")


FOLDERS: dict[str, Callable[[Path], Any]] = {
    "a folder that is not there": shutil.rmtree,
    "a folder that is a file": replaced_by_a_file,
    "a link that leaves the folder": linked,
    "a pipe": replaced_by_a_pipe,
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_is_none(
    name: str, lay: Callable[..., Sandbox], said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    sandbox = lay(bricks.adapter())
    FOLDERS[name](sandbox.root / "sql")
    assert said(sandbox.run("lock")) == snapshot


BASES: dict[str, Files] = {
    "an adapter": bricks.adapter(),
    "no configuration": without(bricks.model(), "config.json"),
}


@pytest.mark.parametrize("name", BASES)
def test_a_base_that_is_none(
    name: str, lay: Callable[..., Sandbox], said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    sandbox = lay(bricks.adapter())
    shutil.rmtree(sandbox.root / "base")
    sandbox.write(BASES[name], "base")
    assert said(sandbox.run("lock")) == snapshot


def flipped(path: Path) -> None:
    """Change the last byte of a file."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def replaced(path: Path, old: str, new: str) -> None:
    """Change a text once."""
    text = path.read_text()
    assert old in text, text
    path.write_text(text.replace(old, new, 1))


AFTER: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "verify, all is well": ("verify", lambda _: None),
    "verify, no lock": ("verify", lambda root: (root / "brick.lock").unlink()),
    "verify, a file of a folder is gone": ("verify", lambda root: (root / "sql" / "adapter_config.json").unlink()),
    "verify, a folder is gone": ("verify", lambda root: shutil.rmtree(root / "sql")),
    "verify, a file of a folder has changed": ("verify", lambda root: flipped(root / "sql/adapter_model.safetensors")),
    "verify, a file of a folder is shorter": (
        "verify",
        lambda root: (root / "sql" / "adapter_config.json").write_bytes(b"{}"),
    ),
    "verify, a file of an artifact is gone": ("verify", lambda root: (root / "dist/assistant/config.json").unlink()),
    "verify, a file of an artifact has changed": (
        "verify",
        lambda root: flipped(root / "dist/assistant/model.safetensors"),
    ),
    "verify, a file too many": ("verify", lambda root: (root / "dist/assistant/notes.txt").write_text("mine")),
    "verify, a link too many": ("verify", lambda root: (root / "dist/assistant/more").symlink_to("config.json")),
    "verify, a record that cannot be read": (
        "verify",
        lambda root: (root / "dist/assistant/brick.build.json").write_text("{"),
    ),
    "verify, another recipe": (
        "verify",
        lambda root: replaced(root / "brick.toml", "sql = 0.5", "sql = 0.6"),
    ),
    "verify DIR, no artifact": ("verify base", lambda _: None),
    "install, a file of a folder has changed": ("install", lambda root: flipped(root / "sql/adapter_config.json")),
    "install, a file of a folder is gone": ("install", lambda root: (root / "sql/adapter_config.json").unlink()),
    "lock --check, a folder has changed": (
        "lock --check",
        lambda root: flipped(root / "sql/adapter_model.safetensors"),
    ),
    "install --locked, another manifest": (
        "install --locked",
        lambda root: (root / "brick.toml").write_text(
            manifest(more=', license = "MIT"').replace("path:sql", "path:it")
        ),
    ),
    "install, conflict markers": (
        "install",
        lambda root: (root / "brick.lock").write_text("version = 1\n<<<<<<< ours\n"),
    ),
    "install, a lock that is a folder": (
        "install",
        lambda root: [(root / "brick.lock").unlink(), (root / "brick.lock").mkdir()],
    ),
    "install, a lock that is no text": ("install", lambda root: (root / "brick.lock").write_bytes(b"\xff")),
    "install, a lock that is no TOML": ("install", lambda root: (root / "brick.lock").write_text("version = \n")),
    "install, a lock of a newer brickctl": (
        "install",
        lambda root: replaced(root / "brick.lock", "version = 1", "version = 99"),
    ),
    "install, a lock for another engine": (
        "install",
        lambda root: replaced(root / "brick.lock", "engine = 1", "engine = 99"),
    ),
    "install, a lock with a digest of other files": (
        "install",
        lambda root: replaced(root / "brick.lock", 'digest = "sha256:6', 'digest = "sha256:7'),
    ),
    "install, a lock with a path that leaves": (
        "install",
        lambda root: replaced(root / "brick.lock", '"config.json"', '"../config.json"'),
    ),
    "build, an artifact that is not ours": (
        "build",
        lambda root: (root / "dist/assistant/brick.build.json").unlink(),
    ),
    "build, a file of ours and one of yours": (
        "build --force",
        lambda root: (root / "dist/assistant/notes.txt").touch(),
    ),
    "build, a little memory": ("build --force --memory 1KiB", lambda _: None),
    "build --check, other bytes": ("build --check", lambda root: flipped(root / "dist/assistant/model.safetensors")),
    "build --check, no artifact": ("build --check", lambda root: shutil.rmtree(root / "dist")),
    "info, a name that is near": ("info sqll", lambda _: None),
    "info, a folder without a dot": ("info models/base", lambda _: None),
    "info, the base": ("info base", lambda _: None),
    "info, a file that cannot be read": (
        "info sql",
        lambda root: (root / "sql/adapter_model.safetensors").write_bytes(b"oops"),
    ),
}
"""What is done to a project that is locked, installed and built; and the command that then has something to say."""


@pytest.mark.parametrize("name", AFTER)
def test_what_is_said_after_a_change(
    name: str, lay: Callable[..., Sandbox], said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    sandbox = lay(bricks.adapter())
    assert sandbox.run("build").code == 0
    command, change = AFTER[name]
    change(sandbox.root)
    assert said(sandbox.run(*command.split())) == snapshot


def test_a_disk_that_is_too_full(
    lay: Callable[..., Sandbox],
    said: Callable[[Outcome], str],
    snapshot: SnapshotAssertion,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(space.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 100))  # type: ignore[attr-defined]
    assert said(lay(bricks.adapter()).run("build")) == snapshot


def test_a_file_on_a_disk_that_fails(
    lay: Callable[..., Sandbox],
    said: Callable[[Outcome], str],
    snapshot: SnapshotAssertion,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(ledger, "hash_file", failing)
    assert said(lay(bricks.adapter()).run("lock")) == snapshot


def test_a_file_that_changes_while_it_is_read(
    lay: Callable[..., Sandbox],
    said: Callable[[Outcome], str],
    snapshot: SnapshotAssertion,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = ledger.hash_file

    def meanwhile(path: Path, progress: Any = None) -> Any:
        digest = real(path, progress)
        if path.name == "adapter_model.safetensors":
            with path.open("ab") as file:
                file.write(b"more")
        return digest

    monkeypatch.setattr(ledger, "hash_file", meanwhile)
    assert said(lay(bricks.adapter()).run("lock")) == snapshot


def test_a_base_by_another_name_under_a_strict_policy(
    lay: Callable[..., Sandbox], said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    files = bricks.adapter(base_model_name_or_path="acme/other")
    sandbox = lay(files, manifest() + '\n[policy]\nbase = "declared"\n')
    assert said(sandbox.run("lock")) == snapshot


def test_an_expert_that_is_to_be_stacked(
    lay: Callable[..., Sandbox], said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    sandbox = lay(bricks.model(fill=3), manifest(apply='{ op = "stack", bricks = ["sql"] }'))
    assert said(sandbox.run("build")) == snapshot

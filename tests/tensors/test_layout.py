"""Which weight files stay as they are, and which are made."""

from __future__ import annotations

import errno
import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from brickctl.core.digests import Sha256, sha256_bytes
from brickctl.errors import IntegrityFault
from brickctl.tensors import whole_files
from brickctl.tensors.blobs import Blobs
from tests.support.building import Runner, Silence, manifest, prepare, sum_of

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

FILES = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
FORMAT = {"format": "pt"}
THROUGH = '{ op = "merge", method = "passthrough", bricks = ["one"] }'
SOME = sum_of(one="[{ filter = 'model.layers.0.*', value = 0.5 }, { value = 0.0 }]")


def tensors(fill: int) -> list[dict[str, Tensor]]:
    """Of two files: names and shapes as a base and an expert of it have them."""
    generator = torch.Generator().manual_seed(fill)
    names = [["model.embed_tokens.weight", "model.layers.0.w.weight"], ["model.layers.1.w.weight", "lm_head.weight"]]
    return [{name: torch.randn(8, 6, generator=generator) for name in some} for some in names]


def model(folder: Path, fill: int, metadata: Any = FORMAT, **config: Any) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(
        json.dumps({"model_type": "llama", "num_hidden_layers": 2, "tie_word_embeddings": False, **config})
    )
    places = {}
    for file, content in zip(FILES, tensors(fill), strict=True):
        save_file(content, folder / file, metadata)
        places |= dict.fromkeys(content, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    return {name: model(tmp_path / name, fill) for fill, name in enumerate(("base", "one"))}


def laid_out(models: dict[str, Path], apply: str, settings: str = "") -> list[tuple[str, str]]:
    """The weight files of an artifact: what kind of task makes each."""
    text = manifest(models["base"], {"one": models["one"]}, apply, settings)
    tasks = prepare(text, models["base"].parent).plan.tasks
    return [(type(task).__name__, task.path) for task in tasks if task.path.endswith(".safetensors")]


def built(models: dict[str, Path], apply: str, settings: str = "", name: str = "out") -> Path:
    folder = models["base"].parent / name
    text = manifest(models["base"], {"one": models["one"]}, apply, settings)
    files = Runner().run(prepare(text, models["base"].parent), folder)
    for file in files:
        assert file.sha256 == sha256_bytes((folder / file.path).read_bytes())
        assert file.size == (folder / file.path).stat().st_size
    return folder


def test_a_model_that_is_passed_through_keeps_its_files_byte_for_byte(models: dict[str, Path]) -> None:
    assert laid_out(models, THROUGH) == [("Copy", name) for name in FILES]
    out = built(models, THROUGH)
    for name in FILES:
        assert (out / name).read_bytes() == (models["one"] / name).read_bytes()
    wanted = json.loads((models["one"] / "model.safetensors.index.json").read_text())["weight_map"]
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert index == {"metadata": {"total_size": 4 * 8 * 6 * 4}, "weight_map": wanted}


def test_only_files_in_which_a_tensor_changes_are_made(models: dict[str, Path]) -> None:
    """The filter leaves the second file alone; what is made comes after it, as it is not yet full."""
    assert laid_out(models, SOME) == [
        ("Copy", FILES[0]),
        ("Shard", FILES[1]),
    ]
    out = built(models, SOME)
    kept, made = (load_file(out / name) for name in FILES)
    assert (out / FILES[0]).read_bytes() == (models["base"] / FILES[1]).read_bytes()
    index = json.loads((out / "model.safetensors.index.json").read_text())["weight_map"]
    assert index == {**dict.fromkeys(kept, FILES[0]), **dict.fromkeys(made, FILES[1])}
    one = load_file(models["one"] / FILES[0])
    first = load_file(models["base"] / FILES[0])
    torch.testing.assert_close(
        made["model.layers.0.w.weight"], (first["model.layers.0.w.weight"] + one["model.layers.0.w.weight"]) / 2
    )
    assert torch.equal(made["model.embed_tokens.weight"], first["model.embed_tokens.weight"])


@pytest.mark.parametrize("size", ["100kB", "5GB"])
def test_who_says_how_large_files_are_gets_them_so(size: str, models: dict[str, Path]) -> None:
    assert laid_out(models, THROUGH, f'shard-size = "{size}"') == [("Shard", "model.safetensors")]
    out = load_file(built(models, THROUGH, f'shard-size = "{size}"') / "model.safetensors")
    assert all(torch.equal(out[name], tensor) for some in tensors(1) for name, tensor in some.items())


@pytest.mark.parametrize("metadata", [None, {}, {"format": "mlx"}, {"format": "pt", "note": "x"}])
def test_a_file_that_says_more_or_less_of_itself_is_written_anew(metadata: Any, tmp_path: Path) -> None:
    models = {name: model(tmp_path / name, fill, metadata) for fill, name in enumerate(("base", "one"))}
    assert laid_out(models, THROUGH) == [("Shard", "model.safetensors")]


def test_a_file_of_which_a_tensor_is_left_out_is_written_anew(tmp_path: Path) -> None:
    """A head that is tied is not written, though the second file holds one."""
    models = {name: model(tmp_path / name, fill, tie_word_embeddings=True) for fill, name in enumerate(("base", "one"))}
    assert laid_out(models, THROUGH) == [("Copy", FILES[0]), ("Shard", FILES[1])]
    assert list(load_file(built(models, THROUGH) / FILES[1])) == ["model.layers.1.w.weight"]


def test_a_cast_or_another_name_makes_another_file(models: dict[str, Path]) -> None:
    assert laid_out(models, THROUGH, 'dtype = "bfloat16"') == [("Shard", "model.safetensors")]
    turned = '{ op = "stitch", slices = [{ brick = "base", layers = [1, 2] }, { brick = "base", layers = [0, 1] }] }'
    assert laid_out(models, turned) == [("Shard", "model.safetensors")]


class Counted(Silence):
    """A `Progress` that adds up."""

    def __init__(self) -> None:
        self.total = self.done = 0

    def start(self, label: str, total: int, unit: str = "bytes") -> None:
        del label, unit
        self.total += total

    def advance(self, label: str, amount: int) -> None:
        del label
        self.done += amount


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_whole_files_are_copied_by_several_and_told_of_once(
    threads: int, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_files, "_PIECE", 100)
    progress, scratch = Counted(), models["base"].parent
    prepared = prepare(manifest(models["base"], {"one": models["one"]}, THROUGH), scratch)
    files = Runner(threads=threads, progress=progress).run(prepared, scratch / "out")
    assert progress.done == progress.total == sum(file.size for file in files)
    assert [file.path for file in files] == sorted(file.path for file in files)
    for name in FILES:
        assert (scratch / "out" / name).read_bytes() == (models["one"] / name).read_bytes()


def test_a_file_that_became_shorter_is_not_copied_in_half(models: dict[str, Path]) -> None:
    scratch = models["base"].parent
    prepared = prepare(manifest(models["base"], {"one": models["one"]}, THROUGH), scratch)
    with (models["one"] / FILES[1]).open("r+b") as file:
        file.truncate(300)
    with pytest.raises(IntegrityFault, match="changed under brickctl"):
        Runner().run(prepared, scratch / "out")
    assert not (scratch / "out" / FILES[1]).exists()


def test_when_one_copy_fails_the_others_end_at_their_next_piece(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first file's source is gone at once; the second one waits for that before its second piece."""
    monkeypatch.setattr(whole_files, "_PIECE", 100)
    scratch, failed, pieces = models["base"].parent, threading.Event(), []
    copy = Blobs.copy

    def slow(self: Blobs, blob: Sha256, offset: int, target: int, at: int, count: int) -> None:
        if blob == first:
            failed.set()
            raise OSError(errno.EIO, "gone")
        pieces.append(offset)
        if offset:
            assert failed.wait(10)
            time.sleep(0.3)
        copy(self, blob, offset, target, at, count)

    first = sha256_bytes((models["one"] / FILES[0]).read_bytes())
    prepared = prepare(manifest(models["base"], {"one": models["one"]}, THROUGH), scratch)
    monkeypatch.setattr(Blobs, "copy", slow)
    with pytest.raises(OSError, match="gone"):
        Runner(threads=2).run(prepared, scratch / "out")
    assert len(pieces) < 4 < (models["one"] / FILES[1]).stat().st_size // 100
    assert not (scratch / "out" / FILES[1]).exists()

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from brickctl.core.reference import PathReference
from brickctl.errors import HeaderInvalid, IntegrityFault, NotFound, PolicyViolation
from brickctl.sources.local import LocalSource
from tests.sources.bricks import model, sharded, weights, write

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.sources.ledger import Ledger
    from tests.sources.bricks import Amounts

DATE = PathReference(path="bricks/date")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(
        tmp_path / "bricks/date", {**model(), "README.md": b"hello", "notes/x.safetensors": b"no brick of ours"}
    )


@pytest.fixture
def bricks(tmp_path: Path, ledger: Ledger) -> LocalSource:
    return LocalSource(tmp_path, ledger)


def test_a_folder_is_pinned_by_the_content_of_its_files(folder: Path, bricks: LocalSource) -> None:
    pin = bricks.pin(DATE)
    assert (pin.source, pin.commit, pin.license) == ("path:bricks/date", None, None)
    digests = {path: hashlib.sha256(content).hexdigest() for path, content in model().items()}
    assert {file.path: file.sha256 for file in pin.files} == digests
    assert bricks.locate(pin) == {file.path: folder / file.path for file in pin.files}


@pytest.mark.usefixtures("folder")
def test_an_absolute_path_and_a_subfolder_work(tmp_path: Path, bricks: LocalSource) -> None:
    by_path = bricks.pin(PathReference(path=str(tmp_path / "bricks/date")))
    by_subfolder = bricks.pin(PathReference(path="bricks", subfolder="date"))
    assert by_path.files == by_subfolder.files == bricks.pin(DATE).files
    assert bricks.locate(by_subfolder) is not None


def test_tensors_point_into_their_files(folder: Path, bricks: LocalSource) -> None:
    pin = bricks.pin(DATE)
    contents = bricks.inspect(pin)
    raw = (folder / "model.safetensors").read_bytes()
    first, second = contents.tensors["a"], contents.tensors["b"]
    assert first.offset == contents.shards["model.safetensors"]
    assert second.offset == first.offset + 4 * 8 * 2
    assert len(raw) == second.offset + 4 * 8 * 2
    assert first.blob == hashlib.sha256(raw).hexdigest()


def test_a_second_look_reads_nothing(folder: Path, bricks: LocalSource, hashed: list[str]) -> None:
    pin = bricks.pin(DATE)
    assert sorted(hashed) == sorted(file.path for file in pin.files)
    hashed.clear()
    bricks.locate(pin)
    bricks.inspect(pin)
    assert hashed == []
    assert folder.is_dir()


def test_a_changed_file_is_named_with_the_way_to_take_it(folder: Path, bricks: LocalSource, amounts: Amounts) -> None:
    pin = bricks.pin(DATE)
    write(folder, {"model.safetensors": model(fill=9)["model.safetensors"]})
    for look in (bricks.locate, bricks.inspect, lambda pin: bricks.fetch(pin, pin.files[1], amounts)):
        with pytest.raises(
            IntegrityFault, match=r"path:bricks/date/model\.safetensors is not what was locked"
        ) as caught:
            look(pin)
        assert "`brickctl update` with the brick's name" in (caught.value.hint or "")
    assert bricks.pin(DATE, pin) == pin
    assert bricks.pin(DATE) != pin


def test_a_missing_file_or_folder_is_not_located_and_cannot_be_fetched(
    folder: Path, bricks: LocalSource, amounts: Amounts
) -> None:
    pin = bricks.pin(DATE)
    (folder / "config.json").unlink()
    assert bricks.locate(pin) is None
    with pytest.raises(NotFound, match=r"path:bricks/date/config\.json is not there"):
        bricks.fetch(pin, pin.files[0], amounts)
    gone = replace(pin, source="path:bricks/gone")
    assert bricks.locate(gone) is None
    with pytest.raises(NotFound, match="does not exist"):
        bricks.pin(PathReference(path="bricks/gone"))


def test_a_link_that_leaves_the_folder_is_refused(folder: Path, bricks: LocalSource, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_bytes(b"{}")
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(secret)
    with pytest.raises(PolicyViolation, match="has a link that leaves it"):
        bricks.pin(DATE)


def test_a_link_inside_the_folder_is_followed(folder: Path, bricks: LocalSource) -> None:
    (folder / "model.safetensors").rename(folder / "weights.data")
    (folder / "model.safetensors").symlink_to("weights.data")
    assert bricks.locate(bricks.pin(DATE)) is not None


def test_a_pipe_is_not_waited_for(folder: Path, bricks: LocalSource) -> None:
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    with pytest.raises(PolicyViolation, match=r"config\.json is not a file"):
        bricks.pin(DATE)


def test_shards_come_in_the_order_of_their_files(tmp_path: Path, bricks: LocalSource) -> None:
    write(tmp_path / "bricks/date", sharded())
    contents = bricks.inspect(bricks.pin(DATE))
    assert list(contents.tensors) == ["a", "b"]
    assert list(contents.shards) == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


def test_an_index_that_contradicts_its_shards_is_refused(tmp_path: Path, bricks: LocalSource) -> None:
    swapped = {"a": "model-00002-of-00002.safetensors", "b": "model-00001-of-00002.safetensors"}
    write(tmp_path / "bricks/date", sharded(swapped))
    with pytest.raises(IntegrityFault, match=r"`a` should be in model-00002.* and is in model-00001"):
        bricks.inspect(bricks.pin(DATE))


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path, bricks: LocalSource) -> None:
    write(tmp_path / "bricks/date", {**sharded(), "model-00002-of-00002.safetensors": weights({"a": (4, 8)})})
    with pytest.raises(IntegrityFault, match="holds a tensor twice"):
        bricks.inspect(bricks.pin(DATE))


def test_a_header_that_lies_is_refused(folder: Path, bricks: LocalSource) -> None:
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b"trailing")
    with pytest.raises(HeaderInvalid):
        bricks.inspect(bricks.pin(DATE))


def test_a_config_that_is_too_large_is_refused(folder: Path, bricks: LocalSource) -> None:
    (folder / "config.json").write_bytes(json.dumps({"a": "x" * 16_000_000}).encode())
    with pytest.raises(IntegrityFault, match="too large"):
        bricks.inspect(bricks.pin(DATE))

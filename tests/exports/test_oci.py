"""The OCI layout: every file a layer under its own digest, in the words of ModelPack, the same bytes each time."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from brickctl.exports.export_format import Options
from brickctl.exports.oci import Oci
from tests.support.containers import serving
from tests.support.exporting import speaking_model, subject

if TYPE_CHECKING:
    from pathlib import Path


def layout(tmp_path: Path, name: str = "out", **changes: Any) -> tuple[Path, dict[str, Any]]:
    """A layout, and its manifest."""
    model = tmp_path / "model"
    if not model.exists():
        speaking_model(model, dtype="bfloat16")
        (model / "README.md").write_text("a card")
        for adapter in ("one", "two"):
            (model / "adapters" / adapter).mkdir(parents=True)
            (model / "adapters" / adapter / "adapter_config.json").write_text("{}")
    folder = tmp_path / name
    folder.mkdir()
    Oci().write(subject(model, **changes), folder, Options())
    (named,) = json.loads((folder / "index.json").read_text())["manifests"]
    return folder, json.loads(blob(folder, named))


def blob(folder: Path, descriptor: dict[str, Any]) -> bytes:
    """The bytes of a blob, which are those that its descriptor promises."""
    algorithm, digest = descriptor["digest"].split(":")
    content = (folder / "blobs" / algorithm / digest).read_bytes()
    assert hashlib.sha256(content).hexdigest() == digest
    assert len(content) == descriptor["size"]
    return content


def test_every_file_is_a_layer_with_its_own_bytes(tmp_path: Path) -> None:
    folder, manifest = layout(tmp_path)

    found = {layer["annotations"]["org.cncf.model.filepath"]: blob(folder, layer) for layer in manifest["layers"]}
    model = tmp_path / "model"
    assert found == {path.relative_to(model).as_posix(): path.read_bytes() for path in model.rglob("*.*")}
    assert len(list((folder / "blobs/sha256").iterdir())) == len(found) - 1 + 2, (
        "two files are equal; two are about all"
    )


def test_weights_configurations_and_documents_are_told_apart(tmp_path: Path) -> None:
    _, manifest = layout(tmp_path)

    kinds = {layer["annotations"]["org.opencontainers.image.title"]: layer["mediaType"] for layer in manifest["layers"]}
    assert kinds["model.safetensors"] == "application/vnd.cncf.model.weight.v1.raw"
    assert kinds["tokenizer.json"] == "application/vnd.cncf.model.weight.config.v1.raw"
    assert kinds["README.md"] == "application/vnd.cncf.model.doc.v1.raw"
    assert manifest["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"


def test_the_configuration_says_what_the_model_is(tmp_path: Path) -> None:
    folder, manifest = layout(tmp_path)

    told = json.loads(blob(folder, manifest["config"]))
    assert told["descriptor"]["licenses"] == ["Apache-2.0"]
    assert told["config"]["precision"] == "bf16"
    assert told["config"]["paramSize"] == "48.9K"
    assert told["modelfs"]["diffIds"] == [layer["digest"] for layer in manifest["layers"]]


def test_a_licence_that_nobody_knows_is_not_told(tmp_path: Path) -> None:
    folder, manifest = layout(tmp_path, license="unknown")

    assert "licenses" not in json.loads(blob(folder, manifest["config"]))["descriptor"]
    assert "org.opencontainers.image.licenses" not in manifest["annotations"]


def test_the_same_artifact_gives_the_same_manifest(tmp_path: Path) -> None:
    one, other = layout(tmp_path)[0], layout(tmp_path, "other")[0]

    assert (one / "index.json").read_bytes() == (other / "index.json").read_bytes()


def test_oras_pulls_the_artifact_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that nobody here has written, which holds the manifest against OCI's schema."""
    client = pytest.importorskip("oras.client")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder, _ = layout(tmp_path)

    with serving(folder) as address:
        oras = client.OrasClient(hostname=address, insecure=True)
        oras.pull(target=f"{address}/tiny:latest", outdir=str(tmp_path / "pulled"))

    ours, theirs = (
        {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}
        for place in (tmp_path / "model", tmp_path / "pulled")
    )
    assert ours == theirs

"""`oci`: an artifact as an OCI image layout in the words of CNCF ModelPack, for oras, skopeo and KitOps.

https://github.com/modelpack/model-spec, https://github.com/opencontainers/image-spec/blob/main/image-layout.md. Every
file is a layer of its own, neither packed nor compressed, so that its digest is that of the file. No time stands in it.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import readable_json, sha256_bytes
from brickctl.core.licenses import UNKNOWN
from brickctl.exports.artifact_files import artifact_files, copy_file
from brickctl.exports.export_format import Written, register
from brickctl.sources.ledger import hash_file
from brickctl.tensors.header import read_header

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from brickctl.core.model import LazyModel
    from brickctl.exports.export_format import Options, Subject
    from brickctl.vocabulary.tokenizer import Tokenizer

TAG = "latest"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT_TYPE = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE = "application/vnd.cncf.model.config.v1+json"
_LAYER_TYPE = "application/vnd.cncf.model.{}.v1.raw"
_WEIGHTS, _DOCUMENTS = ".safetensors", (".md", "LICENSE", "LICENSE.txt", "NOTICE")
_SCALES = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K"))
_PRECISIONS = {"BF16": "bf16", "F16": "fp16", "F32": "fp32", "F64": "fp64"}


class Oci:
    """`oci-layout`, `index.json` and `blobs/sha256/`."""

    version = 1
    options: tuple[str, ...] = ()
    whole = True
    alike = False

    def check(self, model: LazyModel, tokenizer: Callable[[], Tokenizer | None], options: Options) -> None:
        """It takes every model."""

    def write(self, subject: Subject, folder: Path, options: Options) -> Written:
        """Write the files."""
        del options
        layers = _layers(subject, folder)
        config = _blob(folder, readable_json(_config(subject, layers)), CONFIG_TYPE)
        manifest = _blob(folder, readable_json(_manifest(subject, config, layers)), MANIFEST_TYPE)
        named = {**manifest, "annotations": {"org.opencontainers.image.ref.name": TAG}, "artifactType": ARTIFACT_TYPE}
        index = {"manifests": [named], "mediaType": "application/vnd.oci.image.index.v1+json", "schemaVersion": 2}
        (folder / "index.json").write_bytes(readable_json(index))
        (folder / "oci-layout").write_bytes(readable_json({"imageLayoutVersion": "1.0.0"}))
        command = f"oras cp --from-oci-layout .:{TAG} REGISTRY/{subject.name}:{TAG}"
        return Written(commands=(command,))


def _layers(subject: Subject, folder: Path) -> list[dict[str, Any]]:
    """A layer for each file, and the files under the names of their digests; equal files lie there once."""
    files = artifact_files(subject.folder)
    label = f"copying {subject.name}"
    subject.progress.start(label, sum(path.stat().st_size for path in files.values()))
    found = []
    for name, path in files.items():
        digest = hash_file(path)
        place = folder / "blobs" / "sha256" / digest
        if not place.exists():
            copy_file(path, place)
        kind = _LAYER_TYPE.format(_kind(name))
        annotations = {"org.cncf.model.filepath": name, "org.opencontainers.image.title": name}
        found.append({**_descriptor(kind, digest, path.stat().st_size), "annotations": annotations})
        subject.progress.advance(label, path.stat().st_size)
    subject.progress.finish(label)
    return found


def _kind(name: str) -> str:
    """ModelPack's word for what a file is."""
    if name.endswith(_WEIGHTS):
        return "weight"
    return "doc" if name.endswith(_DOCUMENTS) else "weight.config"


def _config(subject: Subject, layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What ModelPack tells of a model; `schema/config-schema.json` of the specification has every key."""
    descriptor: dict[str, Any] = {"name": subject.name, "version": f"sha256:{subject.digest}"}
    if subject.license != UNKNOWN:
        descriptor["licenses"] = [subject.license]
    model = json.loads((subject.folder / "config.json").read_bytes())
    if isinstance(model.get("model_type"), str):
        descriptor["family"] = model["model_type"]
    about = {"architecture": "transformer", "format": "safetensors", **_numbers(subject.folder)}
    digests = [layer["digest"] for layer in layers]
    return {"config": about, "descriptor": descriptor, "modelfs": {"diffIds": digests, "type": "layers"}}


def _numbers(folder: Path) -> dict[str, str]:
    """How many parameters the model has, and of which type, told from headers."""
    specs = [entry.spec for path in sorted(folder.glob(f"*{_WEIGHTS}")) for entry in read_header(path).entries]
    kinds = list(dict.fromkeys(_PRECISIONS.get(spec.dtype.code, spec.dtype.code.lower()) for spec in specs))
    told = {"precision": kinds[0] if len(kinds) == 1 else "mixed"}
    size = _size(sum(math.prod(spec.shape) for spec in specs))
    return told if size is None else {**told, "paramSize": size}


def _size(count: int) -> str | None:
    """`134.5M`; None below a thousand, for which ModelPack has no letter."""
    scale = next(((unit, letter) for unit, letter in _SCALES if count >= unit), None)
    return None if scale is None else f"{count / scale[0]:.1f}{scale[1]}"


def _manifest(subject: Subject, config: Mapping[str, Any], layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    annotations = {"org.opencontainers.image.title": subject.name, "dev.brickctl.artifact": f"sha256:{subject.digest}"}
    if subject.license != UNKNOWN:
        annotations["org.opencontainers.image.licenses"] = subject.license
    return {
        "annotations": annotations,
        "artifactType": ARTIFACT_TYPE,
        "config": dict(config),
        "layers": list(layers),
        "mediaType": MANIFEST_TYPE,
        "schemaVersion": 2,
    }


def _blob(folder: Path, content: bytes, media_type: str) -> dict[str, Any]:
    """Write a blob, and describe it."""
    digest = sha256_bytes(content)
    place = folder / "blobs" / "sha256" / digest
    place.write_bytes(content)
    return _descriptor(media_type, digest, len(content))


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, Any]:
    return {"digest": f"sha256:{digest}", "mediaType": media_type, "size": size}


register("oci", Oci())

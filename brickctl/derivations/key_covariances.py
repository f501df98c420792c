"""The covariance of the keys that a text has at some sites, kept for the next edit under what it follows from."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import json_digest
from brickctl.core.nodes import key
from brickctl.sources.atomic import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from brickctl.analysis.batches import Watch
    from brickctl.analysis.editing.sites import Site
    from brickctl.analysis.rows import Row
    from brickctl.core.digests import Sha256
    from brickctl.core.model import LazyModel
    from brickctl.core.ports import Events
    from brickctl.derivations.derivation import Bench

_NAME = "tensor"
_VERSION = 1


def key_covariances(bench: Bench, sites: Sequence[Site], rows: Sequence[Row]) -> Mapping[int, Tensor]:
    """C of each site, by its layer; measured where it is not kept of an earlier derivation."""
    from brickctl.analysis.editing.covariance import covariances

    kept, model = KeptTensors(bench.kept), model_digest(bench.start)
    read = [list(row.tokens) for row in rows]
    keys = {site.layer: {"covariance": _VERSION, "model": model, "of": site.path, "rows": read} for site in sites}
    found = {site.layer: kept.get(keys[site.layer], (site.ffn.neurons, site.ffn.neurons)) for site in sites}
    lacking = [site for site in sites if found[site.layer] is None]
    if lacking:
        with stage(bench.events, "reading for the covariance of keys", sum(map(len, read)), "tokens") as watch:
            measured = covariances(lacking, read, watch=watch)
        for layer, one in measured.items():
            kept.keep(keys[layer], one)
            found[layer] = one
    return {layer: one for layer, one in found.items() if one is not None}


@contextmanager
def stage(events: Events, label: str, total: int, unit: str) -> Iterator[Watch]:
    """A piece of work that somebody watches."""
    events.start(label, total, unit)
    yield lambda amount: events.advance(label, amount)
    events.finish(label)


def model_digest(model: LazyModel) -> Sha256:
    """What decides how a model reads a text: its configuration, the bytes of its tensors, and its tokenizer."""
    files = {path: file.hex() if isinstance(file, bytes) else file.sha256 for path, file in model.files.items()}
    tensors = {name: key(node) for name, node in model.tensors.items()}
    return json_digest({"config": model.config, "files": files, "tensors": tensors, "ties": dict(model.ties)})


class KeptTensors:
    """Tensors of fp64, each in a file of `folder` that appears whole or not at all.

    What cannot be read, or has another shape, is as good as not there: it is measured again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, follows_from: Mapping[str, Any], shape: tuple[int, ...]) -> Tensor | None:
        """The tensor of this shape that follows from this, if it is kept."""
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            found = load_file(self._path(follows_from)).get(_NAME)
        except (OSError, SafetensorError):
            return None
        is_sound = found is not None and found.dtype is torch.float64 and tuple(found.shape) == shape
        return found if is_sound and found is not None and bool(found.isfinite().all()) else None

    def keep(self, follows_from: Mapping[str, Any], tensor: Tensor) -> None:
        """Keep a tensor of fp64."""
        from safetensors.torch import save

        write_atomically(self._path(follows_from), save({_NAME: tensor.contiguous()}))

    def _path(self, follows_from: Mapping[str, Any]) -> Path:
        return self._folder / f"{json_digest(dict(follows_from))}.safetensors"

"""The base: a whole model as a lazy model."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from brickctl.core.belonging import SIGNATURE
from brickctl.core.digests import interface_digest, prefixed
from brickctl.core.model import LazyModel
from brickctl.errors import Misfit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.brick import Brick, Contents
    from brickctl.core.nodes import Stored

_EMBEDDING = re.compile(r"(?:^|\.)(?:embed_tokens|wte|word_embeddings|embed_in|tok_embeddings)\.weight$")
UNIFIED = "unified_config.json"
"""What a merge with masks writes beside its model: about those very weights, so no model made from them has it."""

_HEAD = "lm_head.weight"
_NOT_CARRIED = (".safetensors", ".safetensors.index.json", UNIFIED, SIGNATURE)


def whole_model(brick: Brick) -> LazyModel:
    """The lazy model of a base or an expert.

    A head that `config.json` ties to the embedding is a tie, not a tensor; if the file holds a copy of it all the same,
    no loader reads that copy, and neither does brickctl.

    Raises:
        Misfit: it is not a model.
    """
    check_base(brick)
    contents = brick.contents
    config = contents.documents["config.json"]
    ties = _ties(config, contents.tensors)
    carried = {file.path: file for file in brick.pin.files if not file.path.endswith(_NOT_CARRIED)}
    source_config = carried.pop("config.json", None)
    tensors = {name: tensor for name, tensor in contents.tensors.items() if name not in ties}
    return LazyModel(config=config, tensors=tensors, ties=ties, files=carried, source_config=source_config)


def check_base(brick: Brick) -> None:
    """Refuse what is not a whole model.

    Raises:
        Misfit: it has no `config.json`, or it is an adapter.
    """
    if "adapter_config.json" in brick.contents.documents:
        cause = "it has an adapter_config.json, which makes it an adapter of another model"
    elif "config.json" not in brick.contents.documents:
        cause = "it has no config.json, without which nobody can tell what its tensors are"
    else:
        return
    hint = "name a whole model here; what changes one belongs in [bricks]"
    raise Misfit(f"`{brick.name}` is not a whole model", causes=(cause,), place=brick.required_by, hint=hint)


def _ties(config: Mapping[str, Any], tensors: Mapping[str, Stored]) -> dict[str, str]:
    """The tied head, if there is one: asked for in the config, or not denied there and not stored."""
    embedding = next((name for name in tensors if _EMBEDDING.search(name)), None)
    if embedding is None or not _ties_words(config, stored=_HEAD in tensors):
        return {}
    return {_HEAD: embedding}


def _ties_words(config: Mapping[str, Any], *, stored: bool) -> bool:
    nested = config.get("text_config")
    for place in (config, nested if isinstance(nested, dict) else {}):
        if "tie_word_embeddings" in place:
            return place["tie_word_embeddings"] is True
    return not stored


def interface(model: LazyModel) -> str:
    """What a brick names the base by that it was made for: the digest of the names and shapes of its tensors."""
    return prefixed(interface_digest({name: node.spec.shape for name, node in model.tensors.items()}))


def architecture(contents: Contents) -> str | None:
    """What `config.json` calls the model's class."""
    names = contents.documents.get("config.json", {}).get("architectures")
    return names[0] if isinstance(names, list) and names and isinstance(names[0], str) else None

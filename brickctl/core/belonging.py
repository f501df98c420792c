"""Which files belong to a brick: names in, an answer out.

Weights in safetensors and the index over them; beside them configs, tokenizer files and processor configs. Never
READMEs, other formats, pickles, Python or anything hidden.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from brickctl.core.names import is_safe_path

WEIGHTS = ".safetensors"
"""How the name of a file that holds tensors ends."""

INDEXES = ("model.safetensors.index.json", "adapter_model.safetensors.index.json")
"""Names of files that say which shard holds which tensor; the first one found counts."""

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib")
"""How the names of files end that run code when they are loaded."""

SIGNATURE = "model.sig"
"""Where the signature of a folder lies, in the format of OpenSSF model signing; it is no part of a model."""

GIT = (".git", ".gitattributes", ".github", ".gitignore")
"""What git keeps beside the files of a repository: no part of a model, and left out where a folder is signed."""

COMPANIONS = (
    SIGNATURE,
    "config.json",
    "adapter_config.json",
    "delta_config.json",
    "derivation.json",
    "gates_config.json",
    "layers_config.json",
    "mask_config.json",
    "neuron_group_config.json",
    "neurons_config.json",
    "router_config.json",
    "statistics_config.json",
    "training.json",
    "unified_config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "*.model",
    "chat_template*",
    "preprocessor_config.json",
    "processor_config.json",
    "image_processor_config.json",
    "video_preprocessor_config.json",
    "feature_extractor_config.json",
)
"""Patterns of what is taken from beside the weights."""

_NEVER = (*PICKLES, ".py", ".pyc", ".so", WEIGHTS)


def belongs(path: str) -> bool:
    """Whether a file of this path, relative to the folder of a brick, can be one of its files.

    A shard may lie in a folder, as an index can say so; everything else lies beside the configuration.
    """
    return is_safe_path(path) and (path in INDEXES or is_shard(path) or is_companion(path))


def is_shard(path: str) -> bool:
    """Whether an index may name the file: safetensors, and nothing about it hidden."""
    return path.endswith(WEIGHTS) and not any(part.startswith(".") for part in path.split("/"))


def is_companion(path: str) -> bool:
    """Whether the file belongs to whatever weights lie beside it."""
    if "/" in path or path.startswith(".") or path.lower().endswith(_NEVER):
        return False
    return any(fnmatchcase(path, pattern) for pattern in COMPANIONS)

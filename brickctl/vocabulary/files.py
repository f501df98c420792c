"""The files of a tokenizer beside a model: taken from one brick as they are, or written anew."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import readable_json
from brickctl.vocabulary.axis import token_numbers
from brickctl.vocabulary.tokenizer import FILE
from brickctl.vocabulary.union import content

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from brickctl.core.brick import File
    from brickctl.vocabulary.tokenizer import Tokenizer

CONFIG = "tokenizer_config.json"
_ALL = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "*.model",
    "chat_template*",
)
_TABLES = ("added_tokens.json", "vocab*", "merges.txt", "*.model")

Files = dict[str, "File | bytes"]


def is_of_tokenizer(path: str) -> bool:
    """Whether a file beside a model belongs to its tokenizer; its chat template does."""
    return "/" not in path and any(fnmatchcase(path, pattern) for pattern in _ALL)


def is_table(path: str) -> bool:
    """Whether a file lists tokens, beside `tokenizer.json` or in place of it."""
    return any(fnmatchcase(path, pattern) for pattern in _TABLES)


def taken_from(files: Mapping[str, File | bytes], brick: Iterable[File]) -> Files:
    """The files of a model with those of a brick's tokenizer in place of its own, byte for byte."""
    others = {path: file for path, file in files.items() if not is_of_tokenizer(path)}
    return {**others, **{file.path: file for file in brick if is_of_tokenizer(file.path)}}


def rewritten(
    files: Mapping[str, File | bytes], tokenizer: Tokenizer, config: Mapping[str, Any] | None
) -> tuple[Files, tuple[str, ...]]:
    """The files with a `tokenizer.json` of their own, and those that are left out as they no longer say the same.

    `config` is `tokenizer_config.json`, where there is one: the added tokens in it are those of the tokenizer.
    """
    stale = tuple(path for path in files if is_table(path))
    kept: Files = {path: file for path, file in files.items() if path not in stale}
    kept[FILE] = content(tokenizer)
    if config is not None and "added_tokens_decoder" in config:
        entries = {str(entry["id"]): _flags(entry) for entry in tokenizer.added.values()}
        kept[CONFIG] = readable_json({**config, "added_tokens_decoder": entries})
    return kept, stale


def renumbered(
    config: Mapping[str, Any], before: Mapping[int, str], ids: Mapping[str, int], source: Mapping[str, Any]
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """A configuration whose numbers of tokens are those of another tokenizer, and the keys that were left out.

    A token that the other one lacks is what the same file of the `source` says under that key, if it says something.
    """
    changed, lost = {**config}, []
    for key, numbers in token_numbers(config):
        texts = [before.get(number) for number in numbers]
        moved = [ids[text] for text in texts if text is not None and text in ids]
        if len(moved) == len(numbers):
            changed[key] = moved if isinstance(config[key], list) else moved[0]
        elif source.get(key) is not None:
            changed[key] = source[key]
        else:
            changed[key] = None
            lost.append(key)
    return changed, tuple(lost)


def _flags(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "id"}

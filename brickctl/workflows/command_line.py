"""What a command line says, in the words of a manifest: verbs that need no brick.toml write one that nobody sees."""

from __future__ import annotations

import json
import os
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from brickctl.core.manifest_format import parse_manifest
from brickctl.core.reference import HubReference, PathReference
from brickctl.core.reference_format import parse_reference
from brickctl.errors import BrickctlError, ManifestInvalid, UsageFault

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from brickctl.core.manifest import Manifest


def read_spoken(text: str) -> Manifest:
    """The manifest; what is wrong with it is wrong with the command line, which has no lines.

    Raises:
        UsageFault: something is.
    """
    try:
        return parse_manifest(text, file="the command line", numbered=False)
    except ManifestInvalid as invalid:
        raise UsageFault(invalid.message, causes=invalid.causes, hint=invalid.hint) from None


@contextmanager
def options_spoken_of(keys: Collection[str]) -> Iterator[None]:
    """Errors inside speak of options where they would speak of these keys, which nobody has written.

    Raises:
        UsageFault: what would be wrong with brick.toml.
    """
    try:
        yield
    except BrickctlError as error:
        error.message = in_options(error.message, keys)
        error.causes = tuple(in_options(cause, keys) for cause in error.causes)
        error.hint = None if error.hint is None else in_options(error.hint, keys)
        if isinstance(error, ManifestInvalid):
            raise UsageFault(error.message, causes=error.causes, hint=error.hint) from None
        raise


def in_options(text: str, keys: Collection[str]) -> str:
    """What a message says of these keys, said of the options that are called like them.

    `rank = 16` becomes `--rank 16`, `layers = [4, 8]` becomes `--layers 4 8`, and `save-others = true` becomes
    `--save-others`; `[base]` becomes `--base`. What is part of a path or a longer word stays as it is.
    """
    key = "|".join(map(re.escape, keys))
    text = re.sub(rf"`({key})` in \[derived\.[^\]]+\]", r"`--\1`", text)
    text = re.sub(rf"(?<![\w/-])({key}) = (true|\[[^\]]*\]|\"[^\"]*\"|[\w.]+)", _as_option, text)
    return re.sub(r"(?<![\w./-])\[base\](?![\w/-])", "--base", text)


def _as_option(pair: re.Match[str]) -> str:
    value = pair[2].strip('[]"').replace(",", "")
    return f"--{pair[1]}" if value == "true" else f"--{pair[1]} {value}"


def source_keys(text: str, root: Path | None) -> dict[str, str]:
    """The keys of a manifest entry for a reference of the command line.

    Paths are relative to `root`, or absolute if that is None.

    Raises:
        UsageFault: it is a name in a registry, or cannot be read.
    """
    reference = parse_reference(text)
    if isinstance(reference, PathReference):
        return {"source": quoted(f"path:{_folder(reference.path, root)}")}
    if isinstance(reference, HubReference):
        return {"source": quoted(str(reference)), "revision": quoted(reference.revision)}
    raise UsageFault(f"{reference} is a name in a registry", hint="start a project with `brickctl init` to use it")


def _folder(path: str, root: Path | None) -> str:
    """A folder, given relative to the current one: relative to `root`, so that both can move together, or absolute."""
    folder = Path(path).absolute()
    if ".." in folder.parts:  # what it means behind a link, only the file system knows
        folder = folder.resolve()
    return folder.as_posix() if root is None else Path(os.path.relpath(folder, root)).as_posix()


def quoted(text: str) -> str:
    """A TOML string: as JSON writes it, but nothing escaped beyond the basic plane, and DEL, as TOML wants it."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def inline(values: Mapping[str, str]) -> str:
    """Keys and their values, which are TOML already, as an inline table."""
    return "{ " + ", ".join(f"{key} = {value}" for key, value in values.items()) + " }"

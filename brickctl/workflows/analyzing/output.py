"""The folder of an analysis: the document, its page, and pictures; never a folder that holds something else."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import readable_json
from brickctl.core.document import shown
from brickctl.errors import Unsupported, UsageFault
from brickctl.sources.atomic import PREFIX, Draft, write_together
from brickctl.workflows.files import refuse_file_in_the_way, refuse_link

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from brickctl.core.ports import Events

DOCUMENT = "analysis.json"
PAGE = "report.html"
PICTURES = "plots"
SCHEMA = 1


def check_output(folder: Path) -> None:
    """Make sure that a folder is ours to write into: absent, empty, or what an analysis wrote and nothing else.

    Raises:
        UsageFault: it holds something else, or is a link, or lies below a file.
    """
    refuse_link(folder, folder / PICTURES)
    refuse_file_in_the_way(folder)
    strangers = sorted(path.relative_to(folder).as_posix() for path in _inside(folder) if not _is_ours(folder, path))
    written = [path for path in _inside(folder) if not path.name.startswith(PREFIX)]
    if not strangers and (not written or _is_analysis(folder / DOCUMENT)):
        return
    cause = f"{shown(strangers[0])} is from no analysis" if strangers else f"its {DOCUMENT} is from no analysis"
    hint = "choose another place with --output, or move it away; brickctl never replaces it"
    raise UsageFault(f"{folder} will not be written into", causes=(cause,), hint=hint)


def write_analysis(folder: Path, document: Mapping[str, Any], events: Events, *, png: bool) -> tuple[str, ...]:
    """Write the document and its page, and with `png` its plots as pictures, all or none; gives their paths.

    Where the packages that draw are not installed, there is the document alone, and a warning. What an earlier analysis
    has left, such as pictures, is removed.

    Raises:
        UsageFault: the folder is not ours.
        NoSpace: the disk is full; what was there before is still there.
    """
    check_output(folder)
    files = {DOCUMENT: readable_json(document)}
    try:
        files |= _drawn(document, png=png)
    except Unsupported as missing:
        events.warn(f"there is no {PAGE}: {missing.message}; {missing.hint}, and the same command writes it at once")
    write_together([Draft(folder / path, content) for path, content in files.items()], flush=True)
    for path in _inside(folder):
        if path.relative_to(folder).as_posix() not in files and path.is_file() and not path.name.startswith(PREFIX):
            path.unlink()
    return tuple(files)


def _drawn(document: Mapping[str, Any], *, png: bool) -> dict[str, bytes]:
    from brickctl.pages.analysis import page, pictures

    plots = pictures(document) if png else {}
    return {PAGE: page(document).encode(), **{f"{PICTURES}/{name}": content for name, content in plots.items()}}


def finite(value: Any) -> Any:
    """A value for JSON: floats that are none are null, as JSON has no word for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    return [finite(one) for one in value] if isinstance(value, list | tuple) else value


def _inside(folder: Path) -> tuple[Path, ...]:
    return tuple(folder.rglob("*")) if folder.is_dir() else ()


def _is_ours(folder: Path, path: Path) -> bool:
    name = path.relative_to(folder).as_posix()
    if path.is_symlink():
        return False
    if path.is_dir():
        return name == PICTURES
    if path.name.startswith(PREFIX):  # a killed process has left it, or another one is writing
        return True
    return name in {DOCUMENT, PAGE} or (name.startswith(f"{PICTURES}/") and name.endswith(".png"))


def _is_analysis(path: Path) -> bool:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(document, dict) and document.get("schema") == SCHEMA and isinstance(document.get("model"), dict)

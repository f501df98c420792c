"""The folder of a site: replaced as a whole, never where somebody else has put something, nor where nothing changed.

`brickctl.site.json` is the mark of a site, and names its files with their digests; a folder without it stays.
Files that stay as they are keep their times, as they are linked and not written, so whatever carries the site elsewhere
carries only what changed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from brickctl.core.digests import canonical_json, sha256_bytes
from brickctl.core.document import shown
from brickctl.core.names import is_safe_path
from brickctl.errors import IntegrityFault, UsageFault
from brickctl.sources.selection import read_json
from brickctl.workflows.artifact import names_in
from brickctl.workflows.files import refuse_file_in_the_way, refuse_link
from brickctl.workflows.replace import Workbench

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from brickctl.core.ports import Events

MARK = "brickctl.site.json"
VERSION = 1


def check_place(folder: Path) -> None:
    """Make sure that a folder is ours to replace: absent, empty, or a site that holds nothing else.

    Raises:
        UsageFault: it holds something that no site has, or is a link, or lies below a file.
        IntegrityFault: there is a link in it.
    """
    refuse_link(folder)
    refuse_file_in_the_way(folder)
    if not folder.exists() or not any(folder.iterdir()):
        return
    known = _recorded(folder)
    if known is None:
        cause = f"it exists and has no {MARK}, so brickctl did not make it"
    else:
        strangers = sorted(names_in(folder) - known.keys() - {MARK})
        if not strangers:
            return
        cause = f"{shown(strangers[0])} is from no site, and would be lost"
    hint = "choose another place, or move it away; brickctl never replaces it"
    raise UsageFault(f"{folder} will not be replaced", causes=(cause,), hint=hint)


def write_site(folder: Path, files: Mapping[str, bytes], events: Events) -> int:
    """Put a site into its place, whole; gives how many files were written anew, 0 where it was there already.

    Raises:
        UsageFault, IntegrityFault: as `check_place`.
    """
    check_place(folder)
    for path in files:
        if not is_safe_path(path):
            raise IntegrityFault(f"{shown(path)} is no place for a page")
    mark = canonical_json({"files": {path: sha256_bytes(files[path]) for path in sorted(files)}, "v": VERSION}) + b"\n"
    every = {**files, MARK: mark}
    if all(_has(folder / path, content) for path, content in every.items()) and names_in(folder) == every.keys():
        return 0
    bench = Workbench(folder)
    with bench.opened(events.note):
        check_place(folder)
        bench.discard()
        written = sum(_put(bench.new / path, folder / path, content) for path, content in every.items())
        bench.exchange()
    return written


def _put(new: Path, old: Path, content: bytes) -> bool:
    """A file of the new site: the old one where it is the same; whether it was written."""
    new.parent.mkdir(parents=True, exist_ok=True)
    if _has(old, content):
        try:
            os.link(old, new)
        except OSError:  # a disk without links
            pass
        else:
            return False
    new.write_bytes(content)  # not flushed one by one: a site is made again from its registry in seconds
    return True


def _has(path: Path, content: bytes) -> bool:
    if path.is_symlink() or not path.is_file() or path.stat().st_size != len(content):
        return False
    return path.read_bytes() == content


def _recorded(folder: Path) -> Mapping[str, Any] | None:
    """The files of the site in a folder; None where there is none."""
    mark = folder / MARK
    if mark.is_symlink() or not mark.is_file():
        return None
    try:
        files = read_json(mark.read_bytes(), where=MARK).get("files")
    except IntegrityFault:
        return None
    return files if isinstance(files, dict) else None

"""Where an export may go, and what must not lie where it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.document import shown
from brickctl.errors import UsageFault
from brickctl.workflows.artifact import names_in
from brickctl.workflows.exporting.record import FILE, read_record
from brickctl.workflows.files import refuse_file_in_the_way, refuse_link
from brickctl.workflows.provenance import FILE as STATEMENT
from brickctl.workflows.provenance import read_statement

if TYPE_CHECKING:
    from pathlib import Path


def check_place(place: Path) -> None:
    """Make sure that a folder is ours to replace: absent, empty, or an export with nothing else in it.

    Raises:
        UsageFault: it holds something else, or is a link, or lies below a file.
    """
    if place.is_file():
        hint = "an export is a folder: choose another place; brickctl never replaces a file that it did not make"
        raise UsageFault(f"{place} is a file", hint=hint)
    refuse_link(place)
    refuse_file_in_the_way(place)
    if not place.exists() or not any(place.iterdir()):
        return
    record = read_record(place)
    if record is None:
        cause = f"it exists and has no {FILE}, so it is no export"
        hint = "choose another place with -o, or move it away; brickctl never replaces it"
        raise UsageFault(f"{place} will not be replaced", causes=(cause,), hint=hint)
    extra = sorted(names_in(place) - {FILE, *(file.path for file in record.files)})
    if extra:
        cause = f"{shown(extra[0])} is not from brickctl, and would be lost"
        raise UsageFault(f"{place} will not be replaced", causes=(cause,), hint="move it away, or delete it")


def refuse_overlap(place: Path, artifact: Path) -> None:
    """Make sure that an export does not lie in an artifact or another export, which would be in the way of the next.

    Raises:
        UsageFault: it does, or is where the target is built, or holds that place, or is a link.
    """
    if place.is_symlink():  # what it leads to is nobody's question then
        refuse_link(place)
    wanted, built = place.resolve(), artifact.resolve()
    holders = (folder for folder in wanted.parents if any((folder / mark).is_file() for mark in (STATEMENT, FILE)))
    holder = built if wanted.is_relative_to(built) or built.is_relative_to(wanted) else next(holders, None)
    if holder is not None:
        cause = f"what brickctl makes in {holder} would be mixed with it"
        hint = "choose another folder with -o, such as one beside it"
        raise UsageFault(f"{place} is no place for an export", causes=(cause,), hint=hint)


def check_contents(artifact: Path) -> None:
    """Make sure that an artifact, if it is there, holds what its record names alone: all of it is handed on.

    Raises:
        UsageFault: it holds a file that its record does not know.
        IntegrityFault: it holds a link, or its record is damaged.
    """
    recorded = read_statement(artifact)
    extra = [] if recorded is None else sorted(names_in(artifact) - recorded[1].keys())
    if extra:
        cause = f"{shown(extra[0])} is not from brickctl, and would go along"
        raise UsageFault(f"{artifact} will not be exported", causes=(cause,), hint="move it away, or delete it")

"""The caches: where they are, how large, whether they are whole, and what may go."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.errors import IntegrityFault
from brickctl.sources.cached import Place, Usage, hub_cache, is_whole, leftovers, promised, put_aside, usage
from brickctl.workflows.session import CACHES, cache_folder

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.core.ports import Events

_MOST_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """A file that nobody needs, and its size in bytes."""

    path: Path
    bytes: int


def places(project: Path | None) -> tuple[Place, ...]:
    """The caches that this machine, and the project if there is one, may have."""
    own = (Place(name="hub", folder=hub_cache()), Place(name="brickctl", folder=cache_folder()))
    return own if project is None else (*own, Place(name="project", folder=project / CACHES))


def sizes(project: Path | None) -> tuple[Usage, ...]:
    """What lies in every cache."""
    return tuple(part for place in places(project) for part in usage(place))


def verify(project: Path | None, events: Events) -> int:
    """Read every file whose name tells its digest; gives how many there were.

    Raises:
        IntegrityFault: some were not what their names say; they were moved aside.
    """
    count, faults = 0, []
    for place in places(project):
        for file in promised(place):
            count += 1
            if not is_whole(file, events):
                aside = put_aside(file, place)
                faults.append(f"{file} has other bytes; kept as {aside.name}" if aside else f"{file} has other bytes")
    if faults:
        more = len(faults) - _MOST_SHOWN
        causes = (*faults[:_MOST_SHOWN], *((f"and {more} more",) if more > 0 else ()))
        message = f"{len(faults)} of {count} cached files are not what they should be"
        hint = "run `brickctl install`: it fetches anew what is missing; then look at the disk"
        raise IntegrityFault(message, causes=causes, hint=hint)
    return count


def prune(project: Path | None, *, quarantined: bool, dry_run: bool) -> tuple[Leftover, ...]:
    """Remove what interrupted work left behind and nobody needs; never a file that any tool could still use."""
    found = []
    for place in places(project):
        for path in leftovers(place, quarantined=quarantined):
            with suppress(FileNotFoundError):
                found.append(Leftover(path=path, bytes=path.lstat().st_size))
                if not dry_run:
                    path.unlink()
    return tuple(found)

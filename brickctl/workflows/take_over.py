"""Take over: what an earlier build made is copied, and not made again."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.errors import BrickctlError
from brickctl.tensors.copying import copy_range
from brickctl.tensors.journal import Journal
from brickctl.tensors.new_file import opened_new
from brickctl.workflows import made_shards
from brickctl.workflows.replace import Workbench

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from brickctl.core.plan import Plan, Shard
    from brickctl.workflows.made_shards import Candidate
    from brickctl.workflows.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """How many shards of an artifact a build made, and how many an earlier one had made already."""

    made: int = 0
    taken_over: int = 0

    def __str__(self) -> str:
        """As in `1 of 4 shards made, 3 taken over`."""
        shards = self.made + self.taken_over
        return f"{self.made} of {shards} shard{'' if shards == 1 else 's'} made, {self.taken_over} taken over"


def journal_of(bench: Workbench) -> Journal:
    """What is finished on a workbench; an upgrade between a build and the next one makes it worthless."""
    return Journal(bench.journal, made_shards.made_by())


def take_over(session: Session, plan: Plan, bench: Workbench, journal: Journal) -> Shares:
    """Bring shards of the plan that are made already to the workbench, each known to the journal as finished.

    They come from the build that was cut off, from the artifact that is to be replaced, and from other artifacts. They
    are copied, by the kernel and where the file system can without moving a byte: the old artifact stays whole, and
    whoever edits it later edits no other.
    """
    missing = [shard for shard in plan.shards if journal.finished(shard, bench.new / shard.path) is None]
    candidates = session.made_shards.candidates(bench.target) if missing else {}
    known = [(shard, candidates[key]) for shard in missing if (key := shard.key) in candidates]
    label = f"taking over what was made of {bench.target.name}"
    if known:
        session.events.start(label, sum(shard.size for shard, _ in known))
    taken = 0
    for shard, places in known:
        taken += _bring(session, shard, places, bench.new / shard.path, journal)
        session.events.advance(label, shard.size)
    if known:
        session.events.finish(label)
    made = len(missing) - taken
    return Shares(made=made, taken_over=len(plan.shards) - made)


def not_made_yet(session: Session, plan: Plan, folder: Path) -> tuple[Shard, ...]:
    """The shards that a build into a folder has to make, as far as can be told without reading any."""
    candidates, bench = session.made_shards.candidates(folder), Workbench(folder)
    journal = journal_of(bench)
    unfinished = (shard for shard in plan.shards if journal.finished(shard, bench.new / shard.path) is None)
    return tuple(shard for shard in unfinished if not _is_known(session, candidates.get(shard.key, ())))


def _is_known(session: Session, places: Iterable[Candidate]) -> bool:
    return any(session.ledger.known(place.path) == place.sha256 for place in places)


def _bring(session: Session, shard: Shard, places: Iterable[Candidate], path: Path, journal: Journal) -> bool:
    """Copy the first file that still is the shard; False where none is, or what is wrong shows when it is made."""
    for place in places:
        with suppress(OSError, EOFError, BrickctlError):
            if not _is_sound(session, place, shard):
                continue
            partial = path.with_name(path.name + ".partial")
            path.parent.mkdir(parents=True, exist_ok=True)
            _copy(place.path, partial, shard.size)
            if session.ledger.known(place.path) == place.sha256:  # nobody wrote to it while it was copied
                partial.replace(path)
                journal.record(shard, path, place.sha256)
                return True
            partial.unlink()
    return False


def _is_sound(session: Session, place: Candidate, shard: Shard) -> bool:
    """Whether a file is what was recorded; it is read only where the ledger does not know it any more."""
    is_file = place.path.is_file() and not place.path.is_symlink()
    return is_file and place.path.stat().st_size == shard.size and session.ledger.digest(place.path) == place.sha256


def _copy(source: Path, target: Path, size: int) -> None:
    opened = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with opened_new(target) as file:
            copy_range(opened, 0, file, 0, size)
            os.fsync(file)
    finally:
        os.close(opened)

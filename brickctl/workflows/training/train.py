"""Train: a new brick for a project, from examples; what was interrupted goes on where it stood."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from brickctl.analysis.training.checkpoint import FILE, read
from brickctl.core.brick import Pin
from brickctl.core.licenses import UNKNOWN
from brickctl.core.lock import Locked
from brickctl.core.names import BASE, Alias, alias_from, is_alias
from brickctl.errors import BrickctlError, UsageFault
from brickctl.workflows.add_and_remove import add
from brickctl.workflows.files import alone, flush, flush_tree, new_folder, refuse_file_in_the_way, refuse_link
from brickctl.workflows.policy import check_policy
from brickctl.workflows.requirement import Asked, path_from
from brickctl.workflows.scratch import scratch_folder
from brickctl.workflows.session import open_session
from brickctl.workflows.training.brick import KIND, check_fit, license_of, write_story
from brickctl.workflows.training.lesson import Lesson, learn
from brickctl.workflows.training.model import find_ground
from brickctl.workflows.training.wish import read_material

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from brickctl.analysis.training.checkpoint import Checkpoint
    from brickctl.core.brick import Brick
    from brickctl.tensors.device import Device
    from brickctl.tensors.executor import Budget
    from brickctl.workflows.lock import Change, LockMode
    from brickctl.workflows.session import Session
    from brickctl.workflows.training.brick import Learnt
    from brickctl.workflows.training.model import Ground
    from brickctl.workflows.training.wish import Material, Wish

FOLDER = "bricks"
"""Where bricks go that were trained for a project, unless somebody says where."""

_KEPT = "training"


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """With what is worked, and what becomes of an earlier try.

    Attributes:
        budget: threads, and memory of what is built.
        device: where the model runs; None is this machine.
        mode: what may become of the lock.
        offline: whether the network may not be used.
        resume: go on from the checkpoint, if there is one.
        restart: throw it away.
    """

    budget: Budget
    device: Device | None
    mode: LockMode
    offline: bool
    resume: bool = False
    restart: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A brick that was trained: where it lies, what was learnt, and what became of the lock."""

    folder: Path
    brick: Brick
    learnt: Learnt
    changes: tuple[Change, ...]

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(file.size for file in self.brick.pin.files)


def train(session: Session, wish: Wish, output: Path | None, means: Means) -> Trained:
    """Train a brick, write it into `output`, or `bricks/NAME` of the project, and add it to brick.toml.

    Raises:
        UsageFault: the name is taken, something is in its place, a line of the data is off, or an earlier try is there
            and nobody says what becomes of it.
        NotFound, Unsupported, Misfit: there is no such model, or no brick can be trained on it.
        Interrupted: it was stopped, and can go on.
        Busy: another process is training a brick of that name.
    """
    place = (output or session.root / FOLDER / wish.name).absolute()
    # a folder that was given relative stands so in brick.toml, as `add` writes it
    reference = place.as_posix() if output is None or output.is_absolute() else f"./{output.as_posix()}"
    _require_free(session, wish.name, place)
    if means.device is not None:
        means.device.free()  # not to find out after the build that there is none
    material = read_material(wish)
    with _kept(session, wish.name) as kept:
        ground = find_ground(session, wish.on, means.mode, means.budget)
        _require_allowed(session, wish, ground, reference)
        about = _about(wish, ground, material, means)
        checkpoint = _checkpoint(kept / FILE, about, wish.name, means)
        lesson = Lesson(wish=wish, ground=ground, material=material, about=about)
        learnt, brick = _made(session, lesson, means, kept / FILE, checkpoint, place)
        asked = Asked(reference=reference, license=_license(wish, ground))
        try:
            added = add(open_session(session.root, session.events, offline=means.offline), asked, wish.name)
        except BrickctlError:
            session.events.note(f"the brick lies in {place}: `brickctl add {place} --name {wish.name}` adds it later")
            raise
    return Trained(folder=place, brick=brick, learnt=learnt, changes=added.changes)


def _made(
    session: Session, lesson: Lesson, means: Means, file: Path, checkpoint: Checkpoint | None, place: Path
) -> tuple[Learnt, Brick]:
    """Train the brick, and give its folder its place in one step; then nobody needs the checkpoint any more."""
    name = lesson.wish.name
    with new_folder(place.parent), scratch_folder(place.parent) as scratch:
        made = scratch / name
        made.mkdir()
        learnt = learn(session, lesson, means, file, checkpoint, made)
        write_story(made, lesson.wish, lesson.ground, lesson.about, learnt)
        brick = check_fit(session, made, lesson.ground, name)
        flush_tree(made)
        made.rename(place)
    flush(place.parent)
    file.unlink(missing_ok=True)
    return learnt, brick


def _require_free(session: Session, name: str, place: Path) -> None:
    """A brick gets a name that nothing has, and a folder where nothing is.

    Raises:
        UsageFault: it is otherwise.
    """
    manifest = session.manifest
    if not is_alias(name) or name == BASE:
        cause = "names begin with a letter and have lower-case letters, digits, `_` and `-`; `base` is the base"
        raise UsageFault(f"`{name}` cannot name a brick", causes=(cause,), hint=f"`{alias_from(name, ())}` would do")
    if name in manifest.usable:
        free = alias_from(name, manifest.usable)
        where = manifest.place_of(Alias(name))
        raise UsageFault(
            f"there is a brick `{name}` already",
            place=where,
            hint=f"`{free}` would be free; or `brickctl remove {name}` first",
        )
    if os.path.lexists(place):
        hint = f"`brickctl add {place} --name {name}` adds what is there; else choose another folder with --output"
        raise UsageFault(f"{place} exists already", hint=hint)
    refuse_file_in_the_way(place)


def _require_allowed(session: Session, wish: Wish, ground: Ground, reference: str) -> None:
    """Hold the brick against the policy of the project before it is made: no step is taken for one that is refused.

    Raises:
        PolicyViolation: it would be.
    """
    name = Alias(wish.name)
    pin = Pin(source=f"path:{path_from(session.root, reference)}", commit=None, files=())
    interface = ground.locked.interface  # no rule looks at it
    entry = Locked(alias=name, kind=KIND, pin=pin, interface=interface, license=license_of(wish, ground))
    check_policy(session, replace(ground.workplace.lock, bricks={name: entry}, dependencies={}), ())


def _about(wish: Wish, ground: Ground, material: Material, means: Means) -> dict[str, Any]:
    """Everything that what comes out follows from, but versions and machines."""
    precision = ground.precision(wish.precision, means.device)
    settings = {**wish.settings(), "precision": precision}
    return {**ground.document(), "data": material.document(), "settings": settings}


@contextmanager
def _kept(session: Session, name: str) -> Iterator[Path]:
    """The folder of the checkpoint, with nobody else at work on it."""
    folder = session.caches / _KEPT / name
    refuse_link(folder.parent, folder)
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder / ".lock", f"training `{name}`"):
        yield folder


def _checkpoint(path: Path, about: Mapping[str, Any], name: str, means: Means) -> Checkpoint | None:
    """What is gone on from, if there is something.

    Raises:
        UsageFault: there is, and nobody says what becomes of it; or it was made of other data or settings.
        IntegrityFault: it is damaged.
    """
    found = None if means.restart else read(path)
    if found is None:
        return None
    if not means.resume:
        message = f"a training of `{name}` stopped after {found.steps} steps"
        raise UsageFault(message, hint="--resume goes on from there; --restart throws it away")
    moved = _differences("", found.about, about)
    if moved:
        message = f"what is kept of `{name}` was trained in another way"
        hint = "say the same as then, or begin anew with --restart"
        raise UsageFault(message, causes=tuple(moved), hint=hint)
    return found


def _differences(path: str, then: Any, now: Any) -> list[str]:
    """In which keys two JSON documents differ, a sentence each."""
    if isinstance(then, dict) and isinstance(now, dict):
        keys = dict.fromkeys((*then, *now))
        return [one for key in keys for one in _differences(f"{path}{key} ", then.get(key), now.get(key))]
    return [] if then == now else [f"`{path.strip()}` was {then!r}, and is {now!r}"]


def _license(wish: Wish, ground: Ground) -> str | None:
    found = license_of(wish, ground)
    return None if found == UNKNOWN else found

"""Export a target: build it where that is needed, then write what it was built into for another program."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brickctl.core.belonging import SIGNATURE
from brickctl.core.brick import File
from brickctl.core.digests import Sha256, tree_digest
from brickctl.core.names import BASE, Alias
from brickctl.errors import UsageFault
from brickctl.exports.artifact_files import RECORD
from brickctl.exports.export_format import ExportFormat, Options, Origin, Sent, Subject, format_named, sender_named
from brickctl.sources.ledger import hash_file
from brickctl.workflows.artifact import names_in
from brickctl.workflows.build import build
from brickctl.workflows.exporting.adapters import Adapters, Canonisation, check_adapters, write_adapters
from brickctl.workflows.exporting.places import check_contents, check_place, refuse_overlap
from brickctl.workflows.exporting.record import FILE, Record, encode, is_current, read_record
from brickctl.workflows.files import refuse_link, write_new
from brickctl.workflows.model_card import chain_license
from brickctl.workflows.provenance import uri
from brickctl.workflows.replace import Workbench, check_replaceable
from brickctl.workflows.scratch import scratch_folder
from brickctl.workflows.session import DIST

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from brickctl.core.lock import Lock, Locked
    from brickctl.exports.export_format import Written
    from brickctl.operations.target import Recipe
    from brickctl.tensors.executor import Budget
    from brickctl.workflows.build import Built
    from brickctl.workflows.session import Session

_SCRATCH = "exporting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody wants: a format by its name, where, and how; `force` writes it again even if it is there."""

    form: str
    place: Path | None = None
    options: Options = field(default_factory=Options)
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """An export as it is now.

    Attributes:
        artifact: what it was made of.
        folder: where it lies.
        digest: tree digest over its files without the record.
        fresh: whether it was written; False when it was up to date.
        record: what it says of itself.
    """

    artifact: Built
    folder: Path
    digest: Sha256
    fresh: bool
    record: Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """An artifact that was sent, and what became of it."""

    artifact: Built
    sent: Sent


def check_wish(session: Session, recipe: Recipe, wish: Wish, *, offline: bool = False) -> None:
    """Refuse what can be refused before anything is built.

    Raises:
        UsageFault: no such format, an option that it does not take, a place that is not ours, or an artifact with files
            that no build put there.
        IntegrityFault: the artifact holds a link, or its record is damaged.
        Gated, OfflineMiss: it is to be sent, and cannot be.
    """
    sender = sender_named(wish.form)
    takes = format_named(wish.form).options if sender is None else sender.options
    for name, value in asdict(wish.options).items():
        if value is not None and name not in takes:
            hint = f"it takes {', '.join(f'--{own}' for own in takes) or 'no option of its own'}"
            raise UsageFault(f"`--{name}` means nothing to --format {wish.form}", hint=hint)
    artifact = session.artifact_folder(recipe.name)
    check_replaceable(artifact)
    check_contents(artifact)
    if sender is None:
        place = _place(session, recipe, wish)
        refuse_overlap(place, artifact)
        check_place(place)
    elif wish.place is not None:
        raise UsageFault(f"`--output` means nothing to --format {wish.form}", hint="it writes no folder")
    else:
        sender.check(wish.options, offline=offline)


def deliver(session: Session, lock: Lock, recipe: Recipe, wish: Wish, budget: Budget, *, offline: bool) -> Delivered:
    """Build a target where that is needed, and send it to where others get it.

    Raises:
        Everything that `check_wish`, `build` and the sender raise.
    """
    check_wish(session, recipe, wish, offline=offline)
    sender = sender_named(wish.form)
    if sender is None:
        raise UsageFault(f"--format {wish.form} is written here, and sent nowhere")
    sender.permit(recipe.name, _origins(lock, recipe))
    built = build(session, recipe, session.artifact_folder(recipe.name), lock, budget)
    subject = _subject(session, lock, recipe, built, Adapters(folders={}))
    return Delivered(artifact=built, sent=sender.send(subject, wish.options, offline=offline))


def _place(session: Session, recipe: Recipe, wish: Wish) -> Path:
    """Where an export goes."""
    refuse_link(session.root / DIST)
    return session.root / DIST / f"{recipe.name}.{wish.form}" if wish.place is None else wish.place.absolute()


def export(session: Session, lock: Lock, recipe: Recipe, wish: Wish, budget: Budget) -> Exported:
    """Build a target where that is needed, and export it, unless the export is up to date.

    Raises:
        Unsupported: the format has no words for something of it.
        Everything that `check_wish` and `build` raise.
    """
    check_wish(session, recipe, wish)
    place = _place(session, recipe, wish)
    form = format_named(wish.form)
    wanted = Canonisation(form=wish.form, rank=wish.options.rank, alike=form.alike)
    if not form.whole:
        form.check(*check_adapters(session, lock, recipe, wanted), wish.options)
    built = build(session, recipe, session.artifact_folder(recipe.name), lock, budget)
    definition = _definition(built, wish, form)
    bench = Workbench(place)
    with bench.opened(session.events.note), bench.emptied():
        old = None if wish.force else read_record(place)
        if old is not None and is_current(old, definition, place, session.ledger):
            return Exported(artifact=built, folder=place, digest=_digest(old.files), fresh=False, record=old)
        bench.discard()
        check_place(place)
        with _adapters(session, lock, recipe, budget, None if form.whole else wanted) as adapters:
            written = form.write(_subject(session, lock, recipe, built, adapters), bench.new, wish.options)
        told = replace(written, notes=(*adapters.notes, *written.notes))
        record = _recorded(bench, definition, told)
    for file in record.files:
        session.ledger.record(place / file.path, file.sha256)
    return Exported(artifact=built, folder=place, digest=_digest(record.files), fresh=True, record=record)


def _recorded(bench: Workbench, definition: Mapping[str, Any], written: Written) -> Record:
    """Write the record of what lies on a workbench, and put the whole into its place."""
    record = Record(definition=definition, files=_files(bench.new), written=written)
    write_new(bench.new / FILE, encode(record))
    bench.exchange()
    return record


def _definition(built: Built, wish: Wish, form: ExportFormat) -> dict[str, Any]:
    """What decides every byte of an export."""
    options = {name: value for name, value in asdict(wish.options).items() if value is not None}
    if "converter" in options:  # where it lies is this machine's business
        options["converter"] = f"sha256:{hash_file(Path(options['converter']))}"
    beside = {name: built.folder / name for name in (RECORD, SIGNATURE)} if form.whole else {}  # no part of its digest
    return {
        "format": wish.form,
        "version": form.version,
        "options": options,
        "target": built.target,
        "artifact": f"sha256:{built.digest}",
        "beside": {name: f"sha256:{hash_file(path)}" for name, path in beside.items() if path.is_file()},
    }


@contextmanager
def _adapters(
    session: Session, lock: Lock, recipe: Recipe, budget: Budget, wanted: Canonisation | None
) -> Iterator[Adapters]:
    """The stacked adapters of a target in one form, in folders that are gone afterwards; none if none are wanted."""
    if wanted is None:
        yield Adapters(folders={})
        return
    place = session.caches / _SCRATCH
    refuse_link(place)
    place.mkdir(exist_ok=True)
    with scratch_folder(place) as scratch:
        yield write_adapters(session, lock, recipe, budget, scratch, wanted)


def _subject(session: Session, lock: Lock, recipe: Recipe, built: Built, adapters: Adapters) -> Subject:
    entries = [lock.entries[alias] for alias in (BASE, *recipe.aliases)]
    return Subject(
        name=Alias(recipe.name),
        folder=built.folder,
        digest=built.digest,
        license=chain_license(entries),
        origins=_origins(lock, recipe),
        adapters=adapters.folders,
        progress=session.events,
    )


def _origins(lock: Lock, recipe: Recipe) -> tuple[Origin, ...]:
    return tuple(_origin(lock.entries[alias]) for alias in (BASE, *recipe.aliases))


def _origin(entry: Locked) -> Origin:
    return Origin(name=str(entry.alias), kind=entry.kind, source=uri(entry), license=entry.license)


def _files(folder: Path) -> tuple[File, ...]:
    """Every file of a folder with its digest, on the disk."""
    return tuple(_file(folder, name) for name in sorted(names_in(folder)))


def _file(folder: Path, name: str) -> File:
    path = folder / name
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return File(path=name, size=path.stat().st_size, sha256=hash_file(path))


def _digest(files: tuple[File, ...]) -> Sha256:
    return tree_digest((file.path, file.sha256) for file in files)

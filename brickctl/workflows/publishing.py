"""What publishing works with: sources, a ledger, and the base that a brick is held against."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from brickctl.core.document import shown
from brickctl.core.manifest import BUILTIN
from brickctl.core.names import is_hub_id
from brickctl.core.reference_format import parse_reference
from brickctl.errors import NotFound, UsageFault
from brickctl.sources.ledger import Ledger
from brickctl.sources.open import open_sources
from brickctl.workflows.files import alone, refuse_link
from brickctl.workflows.session import cache_folder, open_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brickctl.core.brick import Pin
    from brickctl.core.ports import Events, Source
    from brickctl.sources.checkout import Checkout

_HUB = "hf:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Publishing:
    """Sources to read bricks with, which files were verified before, and the pinned base, if there is one.

    `offline`: no network may be used. `events` hears of progress.
    """

    sources: Source
    ledger: Ledger
    base: Pin | None
    events: Events
    offline: bool


def open_publishing(project: Path | None, base: str | None, events: Events, *, offline: bool) -> Publishing:
    """Open what publishing needs; the base is `base`, a reference, or that of the project's lock.

    Raises:
        NotFound: the project has no lock.
        UsageFault, NotFound, Gated, TransportFault, OfflineMiss: the base cannot be had.
    """
    if project is None:
        ledger = own_ledger(events)
        sources: Source = open_sources(Path.cwd(), {}, offline=offline, cache=cache_folder(), ledger=ledger)
        defaults: tuple[str, ...] = (BUILTIN,)
    else:
        session = open_session(project, events, offline=offline)
        sources, ledger, defaults = session.sources, session.ledger, session.manifest.project.default_registries
        if base is None:
            lock = session.read_lock()
            if lock is None:
                hint = "run `brickctl lock`, or say what the brick was made for with `--base`"
                raise NotFound("there is no brick.lock that says which base it is", hint=hint)
            return Publishing(sources=sources, ledger=ledger, base=lock.base.pin, events=events, offline=offline)
    pin = None if base is None else sources.pin(parse_reference(base, registries=defaults))
    return Publishing(sources=sources, ledger=ledger, base=pin, events=events, offline=offline)


def own_ledger(events: Events) -> Ledger:
    """The ledger of this machine."""
    return Ledger(cache_folder() / "ledger", events)


@contextmanager
def writing(checkout: Checkout, name: str, version: str, events: Events) -> Iterator[None]:
    """Be the only one who writes into a registry, and write into nothing else: a link in it may lead anywhere.

    Raises:
        NotFound, IntegrityFault, Unsupported: it is no registry that this brickctl can read.
        UsageFault: what would be written into is a link.
    """
    checkout.check()
    refuse_link(*checkout.written_folders(name, version))
    with alone(checkout.root / ".brickctl.lock", f"writing into {checkout.root}", events.note):
        yield


def hub_id(text: str) -> str:
    """Read `hf:owner/name`.

    Raises:
        UsageFault: it is something else.
    """
    name = text.removeprefix(_HUB)
    if not text.startswith(_HUB) or not is_hub_id(name) or "/" not in name:
        raise UsageFault(f"`{shown(text)}` is no repository to publish to", hint="write `hf:owner/name`")
    return name

"""Every source behind one door: a reference or a pin goes to the source that knows its scheme."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import brickctl
from brickctl.core.document import shown
from brickctl.core.manifest import BUILTIN
from brickctl.core.reference import HubReference, PathReference
from brickctl.errors import LockInvalid, ManifestInvalid
from brickctl.sources.derived import DerivedSource
from brickctl.sources.ledger import Ledger
from brickctl.sources.local import SCHEME as PATH
from brickctl.sources.local import LocalSource
from brickctl.sources.store import SCHEME as INDEX
from brickctl.sources.turns import Turns
from brickctl.sources.vendored import VENDOR, VendoredFolder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from brickctl.core.advisories import Advisory
    from brickctl.core.brick import Contents, File, Pin
    from brickctl.core.ports import Progress, Source
    from brickctl.core.reference import Reference, RegistryReference
    from brickctl.core.registry_line import RegistryEntry
    from brickctl.sources.hub.source import HubSource
    from brickctl.sources.index import Index
    from brickctl.sources.registry import RegistrySource

HUB = "hf:"
_FOLDER_STARTS = ("./", "../", "/")


def open_sources(
    root: Path, registries: Mapping[str, str], *, offline: bool, cache: Path, ledger: Ledger | None = None
) -> Sources:
    """The sources of a project in `root`, whose manifest declares `registries`; opens nothing yet.

    Args:
        root: what relative folders are relative to.
        registries: addresses by name, `https://...`, `file:///...` or a folder.
        offline: use no network at all.
        cache: brickctl's own cache folder.
        ledger: which files were verified before; one in `cache` if it is not given.
    """
    return Sources(root, registries, offline=offline, cache=cache, ledger=ledger or Ledger(cache / "ledger"))


class Sources:
    """A `Source` of everything; each part is made when something first asks for it. Safe between threads."""

    def __init__(
        self, root: Path, registries: Mapping[str, str], *, offline: bool, cache: Path, ledger: Ledger
    ) -> None:
        self._root = root
        self._addresses = dict(registries)
        self._offline = offline
        self._cache = cache
        self._ledger = ledger
        self._guard = threading.Lock()
        self._hub: HubSource | None = None
        self._indexes: dict[str, Index] = {}
        self._turns = Turns()
        self._local = LocalSource(root, ledger)
        self._derived = DerivedSource(root, ledger)

    def pin(self, reference: Reference, old: Pin | None = None) -> Pin:
        """As `Source.pin`."""
        if isinstance(reference, PathReference):
            return self._local.pin(reference, old)
        if isinstance(reference, HubReference):
            return self.hub().pin(reference, old)
        return self._registry.pin(reference, old)

    def published(self, pin: Pin) -> datetime | None:
        """As `Bricks.published`."""
        return self.hub().published(pin) if pin.commit is not None else None

    def unsafe_files(self, pin: Pin) -> tuple[str, ...]:
        """As `Bricks.unsafe_files`; a registry has nothing but what belongs to its bricks."""
        if pin.commit is not None:
            return self.hub().unsafe_files(pin)
        return self._local.unsafe_files(pin) if pin.source.startswith(PATH) else ()

    def advisories(self, registry: str) -> tuple[Advisory, ...]:
        """As `Bricks.advisories`."""
        return self._registry.advisories(registry)

    def placed(self, reference: RegistryReference, old: Pin | None = None) -> RegistryReference:
        """As `Bricks.placed`."""
        return self._registry.placed(reference, old)

    def versions(self, reference: RegistryReference) -> tuple[RegistryEntry, ...]:
        """As `Bricks.versions`."""
        return self._registry.versions(reference)

    def inspect(self, pin: Pin) -> Contents:
        """As `Source.inspect`."""
        return self._holder(pin).inspect(pin)

    def locate(self, pin: Pin) -> Mapping[str, Path] | None:
        """As `Source.locate`."""
        return self._holder(pin).locate(pin)

    def places(self, pin: Pin) -> Mapping[str, Path] | None:
        """As `Source.places`."""
        return self._holder(pin).places(pin)

    def storage(self, pin: Pin) -> Path | None:
        """As `Source.storage`."""
        return self._for(pin).storage(pin)

    def fetch(self, pin: Pin, file: File, progress: Progress) -> Path:
        """As `Source.fetch`."""
        return self._holder(replace(pin, files=(file,))).fetch(pin, file, progress)

    def index(self, name: str) -> Index | None:
        """The index of a registry, by its name in the manifest or `builtin`; None for a name that is not declared."""
        with self._guard:
            if name not in self._indexes:
                if name != BUILTIN and name not in self._addresses:
                    return None
                self._indexes[name] = self._open_index(name)
            return self._indexes[name]

    def hub(self) -> HubSource:
        """The Hub; the first call imports its client, which takes 0.2 s."""
        with self._guard:
            if self._hub is None:
                from brickctl.sources.hub.source import HubSource

                self._hub = HubSource(self._ledger, offline=self._offline)
            return self._hub

    @cached_property
    def _registry(self) -> RegistrySource:
        from brickctl.sources.registry import RegistrySource

        return RegistrySource(self.index, (BUILTIN, *self._addresses), self.hub)

    @cached_property
    def _vendored(self) -> VendoredFolder | None:
        """What the project carries with it."""
        folder = VendoredFolder(self._root / VENDOR, self._ledger)
        return folder if folder.is_ours() else None

    def _holder(self, pin: Pin) -> Source | VendoredFolder:
        """Who has the files: what is vendored comes before caches and networks.

        Only a folder of this machine is asked first, as long as it is there: people edit it, and expect to be told.
        """
        if self._vendored is None or not self._vendored.has(pin.files):
            return self._for(pin)
        in_place = pin.source.startswith(PATH) and self._local.places(pin) is not None
        return self._local if in_place else self._vendored

    def _for(self, pin: Pin) -> Source:
        if pin.source.startswith(PATH):
            return self._local
        if pin.is_derived:
            return self._derived
        if pin.source.startswith(INDEX):
            return self._registry
        if pin.source.startswith(HUB):
            return self.hub()
        raise LockInvalid(f"`{shown(pin.source)}` is no source that this brickctl knows", hint="upgrade brickctl")

    def _open_index(self, name: str) -> Index:
        from brickctl.sources.folder_store import FolderStore
        from brickctl.sources.history import History
        from brickctl.sources.index import Index
        from brickctl.sources.pages import Pages

        if name == BUILTIN:  # comes and goes with brickctl itself: nothing to compare with
            return Index(name, FolderStore(builtin_registry(), self._ledger), None, None)
        address = self._addresses[name]
        pages, history = Pages(self._cache / "registries"), History(self._cache / "registries" / "seen")
        folder = _folder(self._root, address)
        if folder is not None:
            return Index(name, FolderStore(folder, self._ledger), pages, history)
        if not address.startswith(("https:", "http:")):
            hint = "write `https://...`, `file:///...`, or a folder such as `./index`"
            raise ManifestInvalid(f"`{shown(address)}` is no address of a registry", hint=hint)
        from brickctl.sources.web import Web
        from brickctl.sources.web_store import WebStore

        web = Web(offline=self._offline)
        store = WebStore(address, web, pages, self._cache / "blobs", self._ledger, self._turns)
        return Index(name, store, pages, history)


def builtin_registry() -> Path:
    """The registry that ships with brickctl: inside the installed package, beside it in a checkout."""
    package = Path(brickctl.__file__).parent
    installed = package / "registry"
    return installed if installed.is_dir() else package.parent / "registry"


def _folder(root: Path, address: str) -> Path | None:
    """The folder that an address means; None for one on a server."""
    if address.startswith(_FOLDER_STARTS):
        return root / address
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    if parts.scheme != "file":
        return None
    if parts.netloc not in {"", "localhost"}:
        raise ManifestInvalid(
            f"`{shown(address)}` is on another machine", hint="write `file:///folder` or `https://...`"
        )
    from urllib.request import url2pathname  # brings ssl with it, 40 ms

    folder = url2pathname(parts.path)
    if not folder.isprintable():
        raise ManifestInvalid(f"`{shown(address)}` is no folder", hint="write `file:///folder`")
    return Path(folder)

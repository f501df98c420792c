"""A registry as its readers see it: names to published versions, each line checked and never changed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from brickctl.core.advisories import FILE as ADVISORIES
from brickctl.core.advisories import parse_advisories
from brickctl.core.document import shown
from brickctl.core.names import did_you_mean, is_brick_name, is_safe_path
from brickctl.core.registry_line import RegistryEntry, parse_line
from brickctl.errors import IntegrityFault, NotFound, Unsupported
from brickctl.sources.naming import place_label
from brickctl.sources.selection import read_json
from brickctl.sources.store import index_path
from brickctl.sources.turns import Turns

if TYPE_CHECKING:
    from brickctl.core.advisories import Advisory
    from brickctl.sources.history import History
    from brickctl.sources.pages import Page, Pages
from brickctl.sources.store import Store

FORMAT = 1
"""Version of the registry's layout, `v` in its config.json."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a registry says of itself: the path of its snapshot, which only searches need."""

    snapshot: str | None = None


class Index:
    """The index of one registry.

    Its pages are kept in `pages`, and what was ever on them in `history`, where given: a published version may change
    in nothing but `yanked`, and may not go away.
    """

    def __init__(self, name: str, store: Store, pages: Pages | None, history: History | None) -> None:
        self.name = name
        self.store = store
        self._pages = pages
        self._history = history
        self._turns = Turns()
        self._found: dict[str, tuple[RegistryEntry, ...] | None] = {}

    def entries(self, name: str) -> tuple[RegistryEntry, ...]:
        """Every published version of a brick that this brickctl can read, in the order of the index.

        Raises:
            NotFound: no such registry, or no such brick in it, or one that it took back.
            IntegrityFault: a line that is malformed, about another brick, there twice, or not what it ever was before;
                or a version that is no longer there.
            Unsupported: every line is of a newer format.
        """
        entries = self.find(name)
        if entries is None:
            others = f"a repository of the Hub is `hf:{shown(name)}`, a folder `./{shown(name)}`"
            near = did_you_mean(name, self.store.names_near(name))
            hint = near or f"look for it with `brickctl search`; {others}"
            raise NotFound(f"registry `{self.name}` has no brick `{shown(name)}`", hint=hint)
        return entries

    def find(self, name: str) -> tuple[RegistryEntry, ...] | None:
        """As `entries`, and None where the registry says that it has no such brick, and never had.

        Asked once: whoever holds this sees the registry as it was at one moment.
        """
        with self._turns.of(name):
            if name not in self._found:
                self._found[name] = self._find(name)
            return self._found[name]

    def _find(self, name: str) -> tuple[RegistryEntry, ...] | None:
        self.layout  # noqa: B018 - raises where there is no registry that can be read
        if not is_brick_name(name):
            return None
        address = f"{self.store.address}/{index_path(name)}"
        page = self.store.page(index_path(name))
        entries = () if page is None else self._parse(page, name, address)
        self._compare(entries, name, address)
        if page is None:
            return None
        if self._pages is not None:
            self._pages.remember(address, page)
        return entries

    def check(self) -> None:
        """Make sure that there is a registry that can be read.

        Raises:
            NotFound, IntegrityFault, Unsupported: there is none.
        """
        self.layout  # noqa: B018 - looked at for what it raises

    def advisories(self) -> tuple[Advisory, ...]:
        """What the registry knows to be bad; nothing where it has no such file.

        Raises:
            NotFound: no such registry.
            IntegrityFault, Unsupported: the file cannot be read.
        """
        self.layout  # noqa: B018 - raises where there is no registry that can be read
        page = self.store.page(ADVISORIES)
        if page is None:
            return ()
        address = f"{self.store.address}/{ADVISORIES}"
        found = parse_advisories(page.body, file=address)
        if self._pages is not None:
            self._pages.remember(address, page)
        return found

    @cached_property
    def layout(self) -> Layout:
        """What config.json says; looked at once.

        Raises:
            NotFound: there is no registry.
            Unsupported: it has a newer layout.
            IntegrityFault: config.json cannot be read.
        """
        page = self.store.page("config.json")
        if page is None:
            hint = f"check the address of `{self.name}` in [registries]: config.json and index/ stand below it"
            raise NotFound(f"there is no registry at {self.store.address}", causes=("no config.json",), hint=hint)
        where = f"{self.store.address}/config.json"
        config = read_json(page.body, where=where)
        version, snapshot = config.get("v"), config.get("snapshot")
        if version != FORMAT:
            message = f"registry `{self.name}` has the layout {shown(version)}; this brickctl reads {FORMAT}"
            raise Unsupported(message, hint="upgrade brickctl: `pip install -U brickctl`")
        if snapshot is not None and not (isinstance(snapshot, str) and is_safe_path(snapshot)):
            reason = f"`snapshot` is {shown(snapshot)}, and no path inside the registry"
            raise IntegrityFault(f"{where} cannot be right", causes=(reason,), hint=self._repair)
        if self._pages is not None:
            self._pages.remember(where, page)
        return Layout(snapshot=snapshot)

    def _parse(self, page: Page, name: str, address: str) -> tuple[RegistryEntry, ...]:
        entries: dict[str, RegistryEntry] = {}
        newer: Unsupported | None = None
        for number, line in enumerate(page.body.splitlines(keepends=True), 1):
            try:
                entry = parse_line(line, file=address, line=number)
            except Unsupported as error:
                newer = error
                continue
            except IntegrityFault as fault:
                message = f"registry `{self.name}` has a line about `{name}` that cannot be read"
                causes = (fault.message, *fault.causes, f"it is line {number} of {address}")
                raise IntegrityFault(message, causes=causes, hint=self._repair) from None
            if entry.name != name or entry.version in entries:
                reason = f"line {number} is about `{entry.name}` {entry.version}"
                causes = (reason, "each line must be about another version of the brick that was asked for")
                message = f"registry `{self.name}` answers wrongly about `{name}`"
                raise IntegrityFault(message, causes=causes, hint=self._repair)
            entries[entry.version] = entry
        if newer is not None and not entries:
            raise newer
        return tuple(entries.values())

    @property
    def _repair(self) -> str:
        return f"ask whoever runs registry `{self.name}` to repair it"

    def _compare(self, entries: tuple[RegistryEntry, ...], name: str, address: str) -> None:
        """Refuse a version that is not what it was when it was first seen here, or that is not there any more."""
        if self._history is None:
            return
        seen = self._history.recall(address)
        offered = {entry.version: entry.fingerprint for entry in entries}
        trust = f"if you trust it, remove {place_label(self._history.place(address))} and run the command again"
        for version, fingerprint in seen.items():
            if version not in offered:
                raise IntegrityFault(
                    f"registry `{self.name}` no longer has `{name}` {version}",
                    causes=(
                        "this machine has seen it there",
                        "a published version may be yanked, and never removed; or this is an old copy of the index",
                    ),
                    hint=f"ask whoever runs the registry why; {trust}",
                )
            if fingerprint != offered[version]:
                raise IntegrityFault(
                    f"registry `{self.name}` has changed `{name}` {version} after it was published",
                    causes=("a published version may be yanked, and never changed",),
                    hint=f"ask whoever runs the registry why; {trust}",
                )
        if offered != seen:
            self._history.remember(address, offered)

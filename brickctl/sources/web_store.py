"""A registry behind an `https:` address; files are kept by digest in brickctl's own cache."""

from __future__ import annotations

import errno
import hashlib
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

from brickctl.errors import BrickctlError, IntegrityFault, NoSpace, NotFound, OfflineMiss, TransportFault
from brickctl.sources.atomic import unfinished
from brickctl.sources.contents import read_contents
from brickctl.sources.naming import file_label, place_label
from brickctl.sources.patience import PAUSES, patiently, pause_after
from brickctl.sources.remote_header import read_remote_header
from brickctl.sources.store import LARGEST_PAGE, brick_folder
from brickctl.sources.verification import put_aside, verified
from brickctl.tensors.header import Header, read_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from brickctl.core.brick import Contents, File, Pin
    from brickctl.core.ports import Progress
    from brickctl.sources.ledger import Ledger
    from brickctl.sources.pages import Page, Pages
    from brickctl.sources.turns import Turns
    from brickctl.sources.web import Web


class WebStore:
    """A `Store` on a server. Pages are asked for with the tag of the copy that is known; files are fetched once.

    Stores that keep their files in the same place share `turns`, so that what several bricks have in common comes once.
    """

    def __init__(self, url: str, web: Web, pages: Pages, blobs: Path, ledger: Ledger, turns: Turns) -> None:
        self.address = url.rstrip("/")
        self._web = web
        self._pages = pages
        self._blobs = blobs
        self._ledger = ledger
        self._turns = turns

    def page(self, path: str) -> Page | None:
        """A document as it is now, or as it was last seen when offline; None when there is none."""
        url = self.url(path)
        known = self._pages.recall(url)
        try:
            return patiently(lambda: self._web.page(url, known, limit=LARGEST_PAGE))
        except NotFound:  # taken back, and so no answer offline either
            self._pages.forget(url)
            raise
        except OfflineMiss:
            if known is None:
                raise
            return known

    def packed(self, path: str, known: Page, *, limit: int) -> Page | None:
        """As it is now."""
        return patiently(lambda: self._web.page(self.url(path), known, limit=limit))

    def names(self, limit: int) -> None:  # noqa: ARG002 - a sparse index on a server cannot be listed
        """Nobody knows."""
        return

    def names_near(self, name: str) -> tuple[str, ...]:  # noqa: ARG002 - a sparse index on a server cannot be listed
        """Nothing."""
        return ()

    def url(self, path: str) -> str:
        """The address of a document or file."""
        return f"{self.address}/{quote(path)}"

    def inspect(self, pin: Pin) -> Contents:
        """Documents and headers; weights that are not here stay where they are."""

        def read(file: File) -> bytes:
            return self.fetch(pin, file).read_bytes()

        def header(file: File) -> Header:
            place = self._present(pin, file)
            if place is not None:
                return read_header(place)
            url = self._file_url(pin, file)
            return patiently(lambda: read_remote_header(partial(self._web.open_range, url), size=file.size, where=url))

        return read_contents(pin, read, header)

    def locate(self, pin: Pin) -> Mapping[str, Path] | None:
        """Cached files, verified; None when one is missing."""
        found = {file.path: self._present(pin, file) for file in pin.files}
        present = {path: place for path, place in found.items() if place is not None}
        return present if len(present) == len(found) else None

    def places(self, pin: Pin) -> Mapping[str, Path] | None:
        """Cached files; None when one is missing."""
        found = {file.path: self._blob(file) for file in pin.files}
        return found if all(place.is_file() for place in found.values()) else None

    def storage(self, pin: Pin) -> Path:  # noqa: ARG002 - one cache for all
        """The folder of files by digest."""
        return self._blobs

    def fetch(self, pin: Pin, file: File, progress: Progress | None = None) -> Path:
        """Bring one file into the cache, verified on the way."""
        place = self._present(pin, file)
        if place is not None:
            return place
        with self._turns.of(file.sha256):
            return self._present(pin, file) or self._download(pin, file, progress)

    def _blob(self, file: File) -> Path:
        return self._blobs / "sha256" / file.sha256

    def _present(self, pin: Pin, file: File) -> Path | None:
        place = self._blob(file)
        if not place.is_file():
            return None
        return verified(place, file, self._ledger, cache=self._blobs, where=file_label(pin.source, file.path))

    def _file_url(self, pin: Pin, file: File) -> str:
        return self.url(f"{brick_folder(pin)}/{file.path}")

    def _download(self, pin: Pin, file: File, progress: Progress | None) -> Path:
        blob, label = self._blob(file), file_label(pin.source, file.path)
        advance = None if progress is None else partial(progress.advance, label)
        if progress is not None:
            progress.start(label, file.size)
        try:
            self._receive(self._file_url(pin, file), file, blob, advance)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                hint = (
                    f"make room on the disk of {place_label(self._blobs)}, or set BRICKCTL_CACHE to a folder on another"
                )
                raise NoSpace(f"no space left for {label}", hint=hint) from error
            reason = f"{error.strerror or error}"
            hint = "set BRICKCTL_CACHE to a folder that you may write"
            raise BrickctlError(f"{place_label(blob)} cannot be written", causes=(reason,), hint=hint) from error
        self._ledger.record(blob, file.sha256)
        if progress is not None:
            progress.finish(label)
        return blob

    def _receive(self, url: str, file: File, blob: Path, advance: Callable[[int], None] | None) -> None:
        """Bring a file under a name that nobody knows, hashing on the way, and give it its own name in the end."""
        state = hashlib.sha256()
        with unfinished(blob) as new:
            for piece in self._pieces(url, file.size):
                new.file.write(piece)
                state.update(piece)
                if advance is not None:
                    advance(len(piece))
            new.file.flush()
            if state.hexdigest() != file.sha256:
                aside = new.path.rename(blob.with_name(f"{blob.name}.incoming"))
                reason = f"the server's bytes have sha256 {state.hexdigest()[:12]}... instead of {file.sha256[:12]}..."
                raise put_aside(aside, self._blobs, where=url, reason=reason)
            new.path.replace(blob)

    def _pieces(self, url: str, size: int) -> Iterator[bytes]:
        """The body of a file, refused as soon as it is too long; gone on with where a connection ended early.

        Nobody is asked for no bytes: a range of an empty file is an error (416) to some servers.
        """
        seen, pauses = 0, iter(PAUSES)
        while seen < size:
            try:
                for piece in self._rest(url, seen, size):
                    seen += len(piece)
                    yield piece
            except TransportFault as fault:
                pause = next(pauses, None)
                if pause is None:
                    raise
                pause_after(fault, pause)

    def _rest(self, url: str, begin: int, size: int) -> Iterator[bytes]:
        """The bytes of a file from `begin` on; a server may send the others too."""
        with self._web.open_range(url, begin, size) as answer:
            seen = answer.begin
            for piece in answer.chunks:
                fresh = piece[max(0, begin - seen) :]
                seen += len(piece)
                if seen > size:
                    break
                yield fresh
            if seen > size or answer.total not in {None, size}:
                reason = f"it has another length than the {size:,} bytes that were pinned"
                hint = "the server has another file than the registry says: ask whoever runs the registry"
                raise IntegrityFault(f"{url} is not what was pinned", causes=(reason,), hint=hint)
            if seen < size:
                reason = f"the connection ended after {seen:,} of {size:,} bytes"
                raise TransportFault(f"{url} could not be read", causes=(reason,), hint="run the command again")

"""Bricks on the Hugging Face Hub: `hf:owner/name`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from brickctl.core.brick import File, Pin
from brickctl.core.document import shown
from brickctl.core.names import is_hub_id, is_safe_path
from brickctl.core.reference import HubReference
from brickctl.errors import IntegrityFault, LockInvalid
from brickctl.sources.contents import LARGEST_DOCUMENT, read_contents
from brickctl.sources.hub.client import Client
from brickctl.sources.hub.listing import git_blob, is_commit
from brickctl.sources.naming import file_label
from brickctl.sources.patience import patiently
from brickctl.sources.remote_header import read_remote_header
from brickctl.sources.selection import DAMAGED, select, unsafe
from brickctl.sources.verification import put_aside, verified
from brickctl.tensors.header import Header, read_header

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from brickctl.core.brick import Contents
    from brickctl.core.ports import Progress
    from brickctl.core.reference import Reference
    from brickctl.sources.hub.listing import Listed, Listing
    from brickctl.sources.ledger import Ledger

SCHEME = "hf:"
_AT_ONCE = 4


class HubSource:
    """A `Source` of Hub repositories; files live in the Hugging Face cache, shared with every other tool.

    The client compares no digests on plain HTTP and trusts what its cache holds. Here nothing is returned whose sha256
    is not the pin's; what differs is moved aside, so that the next fetch brings it anew. Safe between threads.
    """

    def __init__(
        self, ledger: Ledger, *, offline: bool = False, endpoint: str | None = None, cache: Path | None = None
    ) -> None:
        self._ledger = ledger
        self._client = Client(offline=offline, endpoint=endpoint, cache=cache)

    def pin(self, reference: Reference, old: Pin | None = None) -> Pin:
        """Resolve a revision: one request, and two for each selected file that the Hub lists without a sha256.

        Those are the small documents; weights are downloaded here only in the rare repository that keeps them outside
        LFS and Xet, where hashing them is the only way to pin them.

        `old` saves work, never changes the answer: nothing is downloaded if the revision is still at its commit, and
        offline nothing is asked if the reference names that commit itself. Whether a branch that moved is followed is
        the caller's decision. The licence is always the Hub's own; that of `old` may be what a user wrote.
        """
        if not isinstance(reference, HubReference):
            raise TypeError(reference)
        if old is not None and self._client.offline and _is_at(old, reference, reference.revision):
            return old
        listing = self._client.list(reference.repository, reference.revision, reference.subfolder)
        if old is not None and _is_at(old, reference, listing.commit):
            return replace(old, license=listing.license)
        where = str(reference) if reference.subfolder is None else file_label(str(reference), reference.subfolder)
        of = partial(self._pin_file, reference, listing)

        def read(path: str) -> bytes:
            return self._read_index(reference, listing, path)

        chosen = select(listing.files, read, where=where)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            files = tuple(pool.map(of, chosen))
        return Pin(
            source=str(reference),
            subfolder=reference.subfolder,
            commit=listing.commit,
            license=listing.license,
            files=files,
        )

    def inspect(self, pin: Pin) -> Contents:
        """Documents from the cache or the Hub; headers from verified cached files, else by ranged requests.

        A header that came by a ranged request is as good as the server's word: after `fetch`, inspect again before
        using offsets from it.
        """

        def read(file: File) -> bytes:
            return self._bring(pin, file).read_bytes()

        def header(file: File) -> Header:
            place = self._cached(pin, file)
            if place is not None:
                return read_header(place)
            repository, commit, path = _address(pin, file.path)
            opener = partial(self._client.open_range, repository, commit, path)
            where = file_label(pin.source, path)
            return patiently(lambda: read_remote_header(opener, size=file.size, where=where))

        return read_contents(pin, read, header)

    def locate(self, pin: Pin) -> Mapping[str, Path] | None:
        """Cached files of the pinned commit, each verified: no request, and no byte read if the ledger knows them."""
        places = self.places(pin)
        return places and {file.path: self._verified(pin, file, places[file.path]) for file in pin.files}

    def places(self, pin: Pin) -> Mapping[str, Path] | None:
        """Cached files of the pinned commit; None when one is missing."""
        found = {file.path: place for file in pin.files if (place := self.unverified(pin, file)) is not None}
        return found if len(found) == len(pin.files) else None

    def published(self, pin: Pin) -> datetime:
        """When the pinned commit was made, as the Hub says."""
        repository, commit, _ = _address(pin, "config.json")
        return self._client.commit_date(repository, commit)

    def unsafe_files(self, pin: Pin) -> tuple[str, ...]:
        """Pickles and Python of the pinned commit."""
        repository, commit, _ = _address(pin, "config.json")
        return unsafe(self._client.list(repository, commit, pin.subfolder).files)

    def unverified(self, pin: Pin, file: File) -> Path | None:
        """Where a file of a pin is cached, if it is; whoever asks will read it."""
        return self._client.cached(*_address(pin, file.path))

    def storage(self, pin: Pin) -> Path:  # noqa: ARG002 - one cache for all
        """The shared cache."""
        return self._client.cache

    def fetch(self, pin: Pin, file: File, progress: Progress) -> Path:
        """Bring a file into the shared cache unless it is there, and verify it."""
        return self._bring(pin, file, progress)

    def _bring(self, pin: Pin, file: File, progress: Progress | None = None) -> Path:
        place = self._cached(pin, file)
        if place is not None:
            return place
        address = _address(pin, file.path)
        label = file_label(pin.source, address[2])
        if progress is None:
            return self._verified(pin, file, self._client.download(*address, size=file.size))
        progress.start(label, file.size)
        place = self._client.download(*address, size=file.size, advance=partial(progress.advance, label))
        progress.finish(label)
        return self._verified(pin, file, place)

    def _cached(self, pin: Pin, file: File) -> Path | None:
        place = self._client.cached(*_address(pin, file.path))
        return None if place is None else self._verified(pin, file, place)

    def _verified(self, pin: Pin, file: File, place: Path) -> Path:
        where = file_label(pin.source, _address(pin, file.path)[2])
        return verified(place, file, self._ledger, cache=self._client.cache, where=where)

    def _read_index(self, reference: HubReference, listing: Listing, path: str) -> bytes:
        size = listing.files[path].size
        if size is not None and size > LARGEST_DOCUMENT:
            reason = f"it has {size:,} bytes; brickctl parses up to {LARGEST_DOCUMENT:,}"
            message = f"{file_label(str(reference), path)} is too large to be read"
            raise IntegrityFault(message, causes=(reason,), hint=DAMAGED)
        return self._download_listed(reference, listing, listing.files[path]).read_bytes()

    def _pin_file(self, reference: HubReference, listing: Listing, path: str) -> File:
        listed = listing.files[path]
        if listed.sha256 is not None and listed.size is not None:
            return File(path=path, size=listed.size, sha256=listed.sha256)
        place = self._download_listed(reference, listing, listed)
        return File(path=path, size=place.stat().st_size, sha256=self._ledger.digest(place))

    def _download_listed(self, reference: HubReference, listing: Listing, listed: Listed) -> Path:
        """A file of the listing, checked against the git id that the Hub lists, since its cached copy may be bad."""
        path = listed.path if reference.subfolder is None else f"{reference.subfolder}/{listed.path}"
        address = (reference.repository, listing.commit, path)
        size = LARGEST_DOCUMENT if listed.size is None else listed.size
        place = self._client.cached(*address) or self._client.download(*address, size=size)
        if listed.sha256 is not None:
            sound = self._ledger.digest(place) == listed.sha256
        else:
            sound = listed.blob is None or git_blob(place.read_bytes()) == listed.blob
        if not sound:
            reason = "its content differs from what the Hub lists"
            raise put_aside(place, self._client.cache, where=file_label(str(reference), path), reason=reason)
        return place


def _is_at(old: Pin, reference: HubReference, commit: str) -> bool:
    """Whether a pin is of this very commit of the same repository and folder."""
    same = (old.source, old.subfolder, old.commit) == (str(reference), reference.subfolder, commit)
    return same and old.brick is None


def _address(pin: Pin, path: str) -> tuple[str, str, str]:
    """Repository, commit and path of a pinned file, checked: a lock is a text file that anyone may have edited."""
    repository = pin.source.removeprefix(SCHEME)
    full = path if pin.subfolder is None else f"{pin.subfolder}/{path}"
    if not is_hub_id(repository) or pin.commit is None or not is_commit(pin.commit) or not is_safe_path(full):
        raise LockInvalid(
            f"{shown(pin.source)} is not pinned to a commit and safe paths", hint="run `brickctl lock` again"
        )
    return repository, pin.commit, full

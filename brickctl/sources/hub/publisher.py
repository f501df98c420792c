"""Putting files into a repository of the Hub: one commit, on top of the one that was looked at."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from huggingface_hub import CommitOperationAdd, HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)

from brickctl.core.digests import sha256_bytes
from brickctl.core.document import shown
from brickctl.errors import BrickctlError, Busy, Gated, IntegrityFault, OfflineMiss, TransportFault
from brickctl.sources.hub.client import Client
from brickctl.sources.hub.faults import CLIENT_ERROR, plain, translate
from brickctl.sources.hub.listing import git_blob

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from brickctl.core.brick import File
    from brickctl.sources.hub.listing import Listed

_UNAUTHORIZED, _FORBIDDEN, _CONFLICT, _CHANGED = 401, 403, 409, 412


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose:
    """What files are sent for, in the words of errors: what to do again, and what has not come to harm."""

    again: str = "publish again"
    unharmed: str = "nothing was written into the registry"

    def hint(self, advice: str, *, last: bool = True) -> str:
        """The advice, with what has not come to harm behind or before it."""
        parts = (advice, self.unharmed) if last else (self.unharmed, advice)
        return "; ".join(filter(None, parts))


class Publisher:
    """Somebody who may write to the Hub, with the token in HF_TOKEN; it goes nowhere else.

    What `hf auth login` keeps on this machine is not used: who may publish is said for each command.
    """

    def __init__(self, *, offline: bool = False, endpoint: str | None = None, purpose: Purpose | None = None) -> None:
        self._purpose = purpose or Purpose()
        self._endpoint = endpoint or constants.ENDPOINT
        self._client = Client(offline=offline, endpoint=endpoint)
        self._token = os.environ.get("HF_TOKEN", "").strip()
        self._api = HfApi(endpoint=self._endpoint, token=self._token or False)

    def check(self, repository: str) -> None:
        """Make sure that writing may be tried.

        Raises:
            OfflineMiss: the network is not to be used.
            Gated: there is no token.
        """
        if self._client.offline:
            raise OfflineMiss(f"hf:{repository} cannot be written without the network", hint="leave out `--offline`")
        if not self._token:
            raise self._unauthorized(repository, "HF_TOKEN is not set, and nothing else is used to publish")

    def put(self, repository: str, files: Mapping[File, Path], *, message: str, private: bool = False) -> str:
        """Make sure that a commit of `main` has these files, and return its full id; nothing is sent if one has.

        The repository is made if need be. What was sent is read back: the Hub must list what is in the files.

        Raises:
            Gated: the token may not write there.
            Busy: somebody else has written to the repository meanwhile.
            IntegrityFault: the Hub lists something else than was sent.
            TransportFault, OfflineMiss: it cannot be reached.
        """
        self.check(repository)
        with self._writing(repository), _without_bars():
            self._api.create_repo(repository, exist_ok=True, private=private or None)
        listing = self._client.list(repository, "main", None)
        if all(_is(listing.files.get(file.path), file, place) for file, place in files.items()):
            return listing.commit
        operations = [
            CommitOperationAdd(path_in_repo=file.path, path_or_fileobj=str(place)) for file, place in files.items()
        ]
        with self._writing(repository), _without_bars():
            made = self._api.create_commit(
                repository, operations, commit_message=message, parent_commit=listing.commit, revision="main"
            )
        return self._read_back(repository, made.oid, files)

    def others(self, repository: str, commit: str, files: Mapping[File, Path]) -> tuple[str, ...]:
        """What a commit has beside these files, sorted, but for what the Hub puts there itself."""
        listing = self._client.list(repository, commit, None)
        return tuple(sorted(listing.files.keys() - {".gitattributes", *(file.path for file in files)}))

    def _read_back(self, repository: str, commit: str, files: Mapping[File, Path]) -> str:
        listing = self._client.list(repository, commit, None)
        for file, place in files.items():
            if not _is(listing.files.get(file.path), file, place):
                message = f"hf:{repository} has another {shown(file.path)} than was sent"
                causes = (f"it is listed at {listing.commit[:12]}", f"sent sha256:{file.sha256[:12]}...")
                hint = self._purpose.hint(f"look at the repository, then {self._purpose.again}", last=False)
                raise IntegrityFault(message, causes=causes, hint=hint)
        return listing.commit

    @contextmanager
    def _writing(self, repository: str) -> Iterator[None]:
        """Turn what the client raises while writing into our errors."""
        try:
            yield
        except (CLIENT_ERROR, OSError) as error:
            raise self._refused(error, repository) from error
        except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            inner = error.__cause__
            if isinstance(inner, (CLIENT_ERROR, OSError)):  # the client says of an upload only which file it was
                raise self._refused(inner, repository) from error
            reason = f"{type(error).__name__}: {plain(error)}"
            message = f"the Hub's answer about hf:{repository} cannot be read"
            raise BrickctlError(message, causes=(reason,), hint="see whether HF_ENDPOINT is a Hub") from error

    def _refused(self, error: Exception, repository: str) -> BrickctlError:
        status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
        if status in {_UNAUTHORIZED, _FORBIDDEN} or isinstance(error, RepositoryNotFoundError):
            cause = "the token in HF_TOKEN is not valid, or may not write to this repository"
            return self._unauthorized(repository, cause)
        if status in {_CONFLICT, _CHANGED}:
            cause = "somebody else has written to it meanwhile"
            return Busy(
                f"hf:{repository} has moved on", causes=(cause,), hint=f"look at it, then {self._purpose.again}"
            )
        fault = translate(error, self._client.asked(repository, "main"))
        if type(fault) is not TransportFault:
            return fault
        hint = self._purpose.hint(f"{self._purpose.again}: what has arrived is not sent twice")
        return TransportFault(f"hf:{repository} could not be written", causes=fault.causes, hint=hint)

    def _unauthorized(self, repository: str, cause: str) -> Gated:
        hint = self._purpose.hint("set HF_TOKEN to a token with write access to it")
        return Gated(f"the Hub does not let you write to hf:{repository}", causes=(cause,), hint=hint)


def _is(listed: Listed | None, file: File, place: Path) -> bool:
    """Whether the Hub lists these very bytes; files outside of LFS have only their git id there."""
    if listed is None:
        return False
    if listed.sha256 is not None:
        return listed.sha256 == file.sha256
    content = place.read_bytes()  # it may have changed since it was checked, and the line says what was checked
    return sha256_bytes(content) == file.sha256 and listed.blob == git_blob(content)


@contextmanager
def _without_bars() -> Iterator[None]:
    """The client draws bars of its own, over ours."""
    were_off = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not were_off:
            enable_progress_bars()

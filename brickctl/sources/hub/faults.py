"""What the client raises, as errors that say what to do next. Tokens and signed addresses never reach a message."""

from __future__ import annotations

import errno
import re
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from brickctl.core.document import shown
from brickctl.errors import BrickctlError, Gated, NoSpace, NotFound, OfflineMiss, TransportFault
from brickctl.sources.naming import file_label

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLIENT_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]
"""`HTTPError` of httpx2, or of httpx under huggingface_hub 1: timeouts, refused connections, broken answers."""

_QUERY = re.compile(r"\?[^\s'\")>]*")
_TOKEN = re.compile(r"hf_[A-Za-z0-9_]{4,}|Bearer\s+\S+")
_LONGEST_REASON = 300
_SLOW_DOWN, _UNAUTHORIZED, _FORBIDDEN = 429, 401, 403
_ABSENT = {404, 410}
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FAILING = {errno.EIO, errno.ESTALE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked for, for messages."""

    endpoint: str
    repository: str
    revision: str
    path: str | None = None
    cache: str = "the Hub's cache"

    def __str__(self) -> str:
        return f"hf:{self.repository}" if self.path is None else file_label(f"hf:{self.repository}", self.path)


@contextmanager
def translated(asked: Asked) -> Iterator[None]:
    """Turn everything that the client raises inside into one of our errors."""
    try:
        yield
    except BrickctlError:
        raise
    except (CLIENT_ERROR, OSError, EntryNotFoundError, HFValidationError) as error:
        raise translate(error, asked) from error
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        # Answers that are JSON of another shape, or no JSON; failures inside the Xet library.
        reason = f"{type(error).__name__}: {plain(error)}"
        raise unreadable(asked, reason) from error


def unreadable(asked: Asked, reason: str) -> TransportFault:
    """An answer that no Hub would give."""
    return TransportFault(
        f"the Hub's answer about {asked} cannot be read",
        causes=(reason,),
        hint=f"is {shown(asked.endpoint)} a Hugging Face Hub? HF_ENDPOINT says where it is",
    )


def translate(error: Exception, asked: Asked) -> BrickctlError:
    """Our error for one of the client's."""
    if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        return translate(error.__cause__, asked)  # the client looked into its cache after the network had failed
    for kind, explain in _EXPLAINED:
        if isinstance(error, kind):
            return explain(asked)
    if isinstance(error, HfHubHTTPError):
        return _refused(error.response.status_code, asked)
    if isinstance(error, OSError):
        refused = _refused_by_disk(error, asked)
        if refused is not None:
            return refused
    host = shown(asked.endpoint.split("//")[-1])
    return TransportFault(
        f"{asked} could not be fetched from {host}",
        causes=(_waited(error) or f"{type(error).__name__}: {plain(error)}",),
        hint="check the connection and proxy settings, then run the command again; finished files are kept",
    )


def _refused_by_disk(error: OSError, asked: Asked) -> BrickctlError | None:
    """What the disk of the cache says; None where it is the network that failed."""
    if error.errno in _FULL:
        hint = f"make room on the disk of {asked.cache}, or set HF_HOME to a folder on another"
        return NoSpace(f"no space left for {asked}", hint=hint)
    if error.errno == errno.EFBIG:
        hint = f"the disk of {asked.cache} takes no file of that size: set HF_HOME to a folder on another"
        return NoSpace(f"{asked} is too large", causes=(plain(error),), hint=hint)
    if error.errno in _FAILING:
        hint = f"look after the disk of {asked.cache}, or set HF_HOME to a folder on another"
        return BrickctlError(f"no place to put {asked}: the disk fails", causes=(plain(error),), hint=hint)
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        hint = f"let {asked.cache} be written, or set HF_HOME to a folder that you may write"
        return BrickctlError(f"no place to put {asked}: the Hub's cache is closed", causes=(plain(error),), hint=hint)
    return None


def _waited(error: Exception) -> str | None:
    """What a timeout of the client means, which says only that it timed out."""
    if "Timeout" not in type(error).__name__:
        return None
    what = "no connection" if "Connect" in type(error).__name__ else "not one more byte"
    limit = constants.HF_HUB_DOWNLOAD_TIMEOUT
    return f"{what} for {limit:g} s, several times over (HF_HUB_DOWNLOAD_TIMEOUT sets the limit)"


def plain(error: BaseException) -> str:
    """The first line of an error's text without what must not be shown: queries of addresses, tokens, escapes."""
    text = (str(error).strip() or "no details").splitlines()[0][:_LONGEST_REASON]
    return shown(_TOKEN.sub("***", _QUERY.sub("", text)), longest=_LONGEST_REASON)


def offline(asked: Asked, why: str) -> OfflineMiss:
    """The network would be needed and may not be used."""
    return OfflineMiss(
        f"{asked} is not in the cache",
        causes=(f"the network would be needed, and {why}",),
        hint="run the command once with the network; offline runs then find everything",
    )


def no_revision(asked: Asked, known: str | None = None) -> NotFound:
    """The repository has no such branch, tag or commit; `known` is a sentence about what it has."""
    return NotFound(
        f"hf:{asked.repository} has no revision `{shown(asked.revision)}`",
        causes=("it is no branch, tag or full commit of the repository (or was deleted)",),
        hint=known or f"see {shown(asked.endpoint)}/{asked.repository}/tree/main for what there is",
    )


def _gated(asked: Asked) -> Gated:
    return Gated(
        f"hf:{asked.repository} asks for access first",
        causes=("its publisher decides who may download it",),
        hint=(
            f"ask for access at {shown(asked.endpoint)}/{asked.repository},"
            " then sign in with `hf auth login` or set HF_TOKEN to a token of that account"
        ),
    )


def _no_repository(asked: Asked) -> NotFound:
    return NotFound(
        f"hf:{asked.repository} was not found",
        causes=("there is no such model, or it is private and the token (if any) may not see it",),
        hint="check the spelling; for a private repository set HF_TOKEN or run `hf auth login`",
    )


def _no_file(asked: Asked) -> NotFound:
    return NotFound(
        f"{asked} is not there at revision {asked.revision[:12]}",
        causes=("the repository was rewritten after it was locked, or its server lacks the file",),
        hint="`brickctl update` with the brick's name pins what is there now",
    )


def _refused(status: int, asked: Asked) -> BrickctlError:
    if status in {_UNAUTHORIZED, _FORBIDDEN}:
        return Gated(
            f"the Hub refuses to hand out {asked}",
            causes=(f"status {status}: the token is not valid, or may not read this repository",),
            hint="sign in with `hf auth login`, or set HF_TOKEN to a token with read access; public models need none",
        )
    if status in _ABSENT:  # a mirror, which has no name for what it does not have
        return _no_repository(asked) if asked.path is None else _no_file(asked)
    if status == _SLOW_DOWN:
        return TransportFault(
            f"{asked} could not be fetched",
            causes=(f"status {status}: the Hub has had too many requests from here",),
            hint="wait some minutes; requests with a token (HF_TOKEN) have a higher limit",
        )
    return TransportFault(
        f"{asked} could not be fetched",
        causes=(f"{shown(asked.endpoint)} answered with status {status}",),
        hint="run the command again later; finished files are kept",
    )


_EXPLAINED: tuple[tuple[type[Exception], Callable[[Asked], BrickctlError]], ...] = (
    # Some of them are subclasses of later ones: the first that fits counts.
    (OfflineModeIsEnabled, partial(offline, why="HF_HUB_OFFLINE forbids it")),
    (GatedRepoError, _gated),
    (RepositoryNotFoundError, _no_repository),
    (RevisionNotFoundError, no_revision),
    (LocalEntryNotFoundError, partial(offline, why="it could not be reached")),
    (EntryNotFoundError, _no_file),
)

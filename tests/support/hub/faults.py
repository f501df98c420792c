"""What can go wrong between a client and the Hub, one small value a fault.

A fault either answers instead of the Hub, or alters the answer that the Hub gave. The occurrence counts from 0 the
requests that this fault has met.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from tests.support.hub.contents import InMemory, Tampered, Zeros
from tests.support.hub.errors import Refusal, entry_not_found, gated, repository_not_found, revision_not_found
from tests.support.hub.messages import Request, Response, redirect, refuse

if TYPE_CHECKING:
    from typing import Literal

FOREVER = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Does nothing; the others change one of its two methods.

    Attributes:
        times: how many requests it meets before it is over; None for all.
    """

    times: int | None = None

    def answer(self, request: Request, occurrence: int) -> Response | None:  # noqa: ARG002
        """Answer instead of the Hub, which then does not act on the request; None lets the Hub answer."""
        return None

    def alter(self, response: Response, occurrence: int) -> Response:  # noqa: ARG002
        """Change the Hub's answer, on which it has acted."""
        return response


@dataclass(frozen=True, slots=True)
class Status(Fault):
    """An error status, such as 503 or 429."""

    status: int
    retry_after: int | None = None
    message: str = "The Hub is not well"

    def answer(self, request: Request, occurrence: int) -> Response | None:  # noqa: ARG002
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return refuse(Refusal(self.status, self.message, headers=headers))


@dataclass(frozen=True, slots=True)
class Gated(Fault):
    """The files are for people on a list: 401 to strangers, 403 to those who are signed in."""

    def answer(self, request: Request, occurrence: int) -> Response | None:  # noqa: ARG002
        return refuse(gated(repository_in(request.path), signed_in=request.token is not None))


@dataclass(frozen=True, slots=True)
class Deleted(Fault):
    """The repository, the revision or the file is gone."""

    what: Literal["repository", "revision", "file"] = "file"

    def answer(self, request: Request, occurrence: int) -> Response | None:  # noqa: ARG002
        if self.what == "repository":
            return refuse(repository_not_found(signed_in=request.token is not None))
        return refuse(revision_not_found("gone") if self.what == "revision" else entry_not_found())


@dataclass(frozen=True, slots=True)
class Renamed(Fault):
    """The repository has moved to another name: 307, as the Hub answers for old names."""

    to: str

    def answer(self, request: Request, occurrence: int) -> Response | None:  # noqa: ARG002
        return redirect(request.target.replace(repository_in(request.path), quote(self.to), 1), 307)


@dataclass(frozen=True, slots=True)
class Elsewhere(Fault):
    """A redirect to the same path on another host."""

    endpoint: str

    def answer(self, request: Request, occurrence: int) -> Response | None:  # noqa: ARG002
        return redirect(f"{self.endpoint}{request.target}", 302)


@dataclass(frozen=True, slots=True)
class Delay(Fault):
    """Silence before the answer."""

    seconds: float

    def alter(self, response: Response, occurrence: int) -> Response:  # noqa: ARG002
        return replace(response, delivery=replace(response.delivery, delay=self.seconds))


@dataclass(frozen=True, slots=True)
class Cut(Fault):
    """The body ends after `after` bytes: closed in an orderly way, or with a reset."""

    after: int
    reset: bool = False

    def alter(self, response: Response, occurrence: int) -> Response:  # noqa: ARG002
        return replace(response, delivery=replace(response.delivery, stop_after=self.after, reset=self.reset))


@dataclass(frozen=True, slots=True)
class HangUp(Fault):
    """The connection ends in the middle of the request, when the Hub has read `after` bytes of its body."""

    after: int = 0

    def answer(self, request: Request, occurrence: int) -> Response | None:  # noqa: ARG002
        left = self.after
        while left > 0 and (piece := next(request.body, b"")):
            left -= len(piece)
        raise ConnectionAbortedError


@dataclass(frozen=True, slots=True)
class Says(Fault):
    """Wherever the answer says `old`, it says `new`."""

    old: str
    new: str

    def alter(self, response: Response, occurrence: int) -> Response:  # noqa: ARG002
        text = b"".join(response.body.pieces(0, response.body.size))
        return replace(response, body=InMemory(text.replace(self.old.encode(), self.new.encode())))


@dataclass(frozen=True, slots=True)
class Stall(Fault):
    """The body stops after `after` bytes, for as long as the Hub lives unless `seconds` is given."""

    after: int
    seconds: float = FOREVER

    def alter(self, response: Response, occurrence: int) -> Response:  # noqa: ARG002
        return replace(response, delivery=replace(response.delivery, stop_after=self.after, stall=self.seconds))


@dataclass(frozen=True, slots=True)
class Tamper(Fault):
    """One byte of the body is another one; length, etag and digests say what they said before."""

    position: int = 0

    def alter(self, response: Response, occurrence: int) -> Response:  # noqa: ARG002
        return replace(response, body=Tampered(response.body, self.position))


@dataclass(frozen=True, slots=True)
class LyingLength(Fault):
    """Content-Length is `excess` bytes more (or fewer) than what is sent; the connection is then closed."""

    excess: int

    def alter(self, response: Response, occurrence: int) -> Response:  # noqa: ARG002
        return replace(response, delivery=replace(response.delivery, excess=self.excess))


@dataclass(frozen=True, slots=True)
class ChangingEtag(Fault):
    """Every request sees another etag, as if the file were replaced between any two of them."""

    def alter(self, response: Response, occurrence: int) -> Response:
        changed = {"ETag", "X-Linked-Etag"} & response.headers.keys()
        return replace(response, headers={**response.headers, **dict.fromkeys(changed, f'"{occurrence:064x}"')})


@dataclass(frozen=True, slots=True)
class RangeIgnored(Fault):
    """Range is not obeyed: 200 with the whole body."""

    def alter(self, response: Response, occurrence: int) -> Response:  # noqa: ARG002
        return replace(response, ranged=False)


@dataclass(frozen=True, slots=True)
class Endless(Fault):
    """A body without a declared length that does not end; at `until` bytes it does, to spare the disk."""

    until: int = 1 << 30

    def alter(self, response: Response, occurrence: int) -> Response:  # noqa: ARG002
        delivery = replace(response.delivery, excess=None)
        return replace(response, body=Zeros(self.until), ranged=False, delivery=delivery)


def repository_in(path: str) -> str:
    """The repository that a path is about: two parts of it, after `/api/models` if it begins so."""
    parts = path.removeprefix("/api/models").strip("/").split("/")
    return "/".join(parts[:2])

"""A request as the endpoints see it, and the response that they give."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tests.support.hub.contents import Content, InMemory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.support.hub.errors import Refusal


NOTHING = InMemory(b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request.

    Attributes:
        method: HTTP method.
        path: as sent: still percent-encoded, without the query.
        query: parameters after the `?`, as sent.
        headers: names in lower case.
        body: pieces of the body, which can be read once.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: Iterator[bytes]

    @property
    def token(self) -> str | None:
        return self.headers.get("authorization", "").removeprefix("Bearer ") or None

    @property
    def target(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path

    def read(self) -> bytes:
        return b"".join(self.body)

    def json(self) -> Any:
        return json.loads(self.read())


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How the body travels; the defaults are a network without faults.

    Attributes:
        delay: seconds before the first byte of the answer.
        stop_after: bytes of the body after which something happens: `stall`, or the connection ends.
        stall: seconds of silence at `stop_after`, then the rest follows; None ends the connection there.
        reset: the connection ends with a reset instead of being closed.
        excess: added to the declared length; None declares no length and sends the body in chunks.
    """

    delay: float = 0
    stop_after: int | None = None
    stall: float | None = None
    reset: bool = False
    excess: int | None = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One answer.

    Attributes:
        status: HTTP status before ranges are looked at.
        headers: without those that follow from the body.
        body: the whole content, whatever part of it is asked for.
        ranged: whether a Range in the request is obeyed.
        weights: whether the body is a weight file.
        delivery: how it travels.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    body: Content = NOTHING
    ranged: bool = False
    weights: bool = False
    delivery: Delivery = Delivery()


def answer(payload: Any, status: int = 200) -> Response:
    """A JSON answer."""
    body = InMemory(json.dumps(payload).encode())
    return Response(status=status, headers={"Content-Type": "application/json; charset=utf-8"}, body=body)


def redirect(location: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return Response(status=status, headers={**(headers or {}), "Location": location})


def refuse(refusal: Refusal) -> Response:
    """A refusal as JSON, with the headers that the client reads."""
    body = InMemory(json.dumps({"error": refusal.message}).encode())
    headers = {"Content-Type": "application/json; charset=utf-8", "X-Error-Message": refusal.message}
    if refusal.code is not None:
        headers["X-Error-Code"] = refusal.code
    return Response(status=refusal.status, headers={**headers, **refusal.headers}, body=body)

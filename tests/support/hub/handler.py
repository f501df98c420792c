"""The socket side: reads a request, asks the faults and the routes, sends the response."""

from __future__ import annotations

from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING
from urllib.parse import unquote

from tests.support.hub.bodies import incoming
from tests.support.hub.errors import Refusal
from tests.support.hub.log import RequestRecord
from tests.support.hub.messages import Request, Response, refuse
from tests.support.hub.ranges import parse_range
from tests.support.hub.routes import dispatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.hub.server import LoopbackServer

LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Part:
    """What is sent of a body: `[start, stop)`, under this status and with these headers."""

    status: int
    start: int
    stop: int
    headers: dict[str, str]


class Handler(BaseHTTPRequestHandler):
    """One connection, kept open between requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: LoopbackServer

    def handle_request(self) -> None:
        """Answer one request of any method."""
        request = self._request()
        struck = self.server.faults.strike(request.method, unquote(request.path))
        answers = (fault.answer(request, occurrence) for fault, occurrence in struck)
        response = next(filter(None, answers), None) or dispatch(self.server.routes, self.server.store, request)
        for fault, occurrence in struck:
            response = fault.alter(response, occurrence)
        for _ in request.body:
            pass  # a body that nobody read would be taken for the next request
        self._send(request, response)

    do_GET = do_HEAD = do_POST = do_PUT = handle_request  # noqa: N815 - the names that the standard library looks for

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep quiet: the request log is what tests read."""

    def _request(self) -> Request:
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = incoming(self.rfile, headers)
        return Request(method=self.command, path=path, query=query, headers=headers, body=body)

    def _send(self, request: Request, response: Response) -> None:
        try:
            part = _part(request, response)
        except ValueError:
            size = response.body.size
            response = refuse(Refusal(416, "Range not satisfiable", headers={"Content-Range": f"bytes */{size}"}))
            part = _part(request, response)
        self.server.stopping.wait(response.delivery.delay)
        key = self.server.log.add(self._record(request, response, part))
        self._send_head(response, part)
        if request.method != "HEAD":
            self._send_body(key, response, part)

    def _record(self, request: Request, response: Response, part: Part) -> RequestRecord:
        return RequestRecord(
            method=request.method,
            path=unquote(request.path),
            query=request.query,
            headers=request.headers,
            status=part.status,
            weights=response.weights,
            storage=self.server.is_storage,
        )

    def _send_head(self, response: Response, part: Part) -> None:
        self.send_response(part.status)
        excess = response.delivery.excess
        if excess is None:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(part.stop - part.start + excess))
        for name, value in part.headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _send_body(self, key: int, response: Response, part: Part) -> None:
        delivery = response.delivery
        left = part.stop - part.start
        for piece in self._pieces(response, part):
            self.server.log.count(key, len(piece))
            self.wfile.write(_chunk(piece) if delivery.excess is None else piece)
            left -= len(piece)
        if delivery.excess is None and left == 0:
            self.wfile.write(LAST_CHUNK)
        if delivery.excess or left > 0:
            self.close_connection = True
        if delivery.reset:
            self.server.reset_when_closed(self.connection)

    def _pieces(self, response: Response, part: Part) -> Iterator[bytes]:
        """Yield what is sent, with the pause or the end that the delivery asks for."""
        delivery = response.delivery
        if delivery.stop_after is None:
            yield from response.body.pieces(part.start, part.stop)
            return
        middle = min(part.start + delivery.stop_after, part.stop)
        yield from response.body.pieces(part.start, middle)
        if delivery.stall is not None and not self.server.stopping.wait(delivery.stall):
            yield from response.body.pieces(middle, part.stop)


def _part(request: Request, response: Response) -> Part:
    size = response.body.size
    if not response.ranged or request.method != "GET" or response.status != 200:
        return Part(response.status, 0, size, dict(response.headers))
    wanted = parse_range(request.headers.get("range"), size)
    if wanted is None:
        return Part(response.status, 0, size, dict(response.headers))
    start, stop = wanted
    return Part(206, start, stop, {**response.headers, "Content-Range": f"bytes {start}-{stop - 1}/{size}"})


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)

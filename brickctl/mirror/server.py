"""HTTP for the mirror, on the standard library's server.

One thread a connection is what a few machines of a network need: the kernel moves the bytes of a file (`sendfile`), and
all else is looked up in memory. A web framework would bring a dozen packages for seven routes.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from brickctl.errors import BrickctlError
from brickctl.mirror.replies import Reply, refusal
from brickctl.mirror.routes import LARGEST_BODY, Request, reply_to

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from brickctl.core.brick import File
    from brickctl.mirror.repositories import Shelf

MOST_CONNECTIONS = 256
"""Connections that are served at once; who comes later is hung up on, and tries again."""

_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)

PATIENCE = 60.0
"""Seconds that a client may be silent, or not take what it is sent."""


class Mirror(ThreadingHTTPServer):
    """Serves a shelf read-only until it is told to stop.

    Args:
        shelf: what there is.
        place: gives the verified place of a file; may raise any error of brickctl.
        host: a name or an address of this machine.
        port: 0 to take one that is free.
        warn: is told what went wrong while a file was served.

    Raises:
        OSError: the address is in use, or not one of this machine.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(
        self, shelf: Shelf, place: Callable[[File], Path], *, host: str, port: int, warn: Callable[[str], None]
    ) -> None:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, _, _, _, address = found[0]
        self.shelf = shelf
        self.place = place
        self.warn = warn
        self._slots = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__(address[:2], Handler)  # type: ignore[arg-type]  # the host is a text for both families

    @property
    def is_local(self) -> bool:
        """Whether only programs of this machine can connect."""
        return ipaddress.ip_address(str(self.server_address[0])).is_loopback

    @property
    def url(self) -> str:
        """Its address; where it listens at all of them, by the name of this machine."""
        host, port = str(self.server_address[0]), self.server_address[1]
        address = ipaddress.ip_address(host)
        if address.is_unspecified:
            host = socket.gethostname()
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def server_bind(self) -> None:
        """Without asking a name server for our own name, which may take seconds where there is none."""
        socketserver.TCPServer.server_bind(self)

    def knows(self, host: str) -> bool:
        """Whether a Host header may be meant for us.

        Pages in a browser of this machine cannot read what a server of another name says, unless a name of theirs
        leads to it, which is then what they call us.
        """
        if not self.is_local:
            return True
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        try:
            return ipaddress.ip_address(name.strip("[]")).is_loopback
        except ValueError:
            return name.lower() == "localhost"

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 - the library's signature
        """Whether there is room for one more connection."""
        return self._slots.acquire(blocking=False)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """As the library does it; then there is room for another."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the library's signature
        """A client that hung up is no error; what else there may be is ours, and told without its traceback."""
        error = sys.exception()
        if not isinstance(error, (ConnectionError, TimeoutError)):
            self.warn(f"a request could not be answered: {type(error).__name__}: {error}")


class Handler(BaseHTTPRequestHandler):
    """One connection, kept open between requests."""

    protocol_version = "HTTP/1.1"
    timeout = PATIENCE
    disable_nagle_algorithm = True
    server: Mirror

    def answer(self) -> None:
        """Answer one request; a body that nobody asked for ends the connection, lest it be taken for a request."""
        body = self._body()
        if isinstance(body, Reply):
            self.close_connection = True
            self._send(body)
            return
        wanted = self.headers.get("Range") if self.command == "GET" else None
        kind = self.headers.get("Content-Type", "")
        request = Request(method=self.command, target=self.path, wanted=wanted, kind=kind, body=body)
        self._send(reply_to(self.server.shelf, request))

    do_GET = do_HEAD = do_POST = answer  # noqa: N815 - the names that the standard library looks for

    def version_string(self) -> str:
        """Who answers, without a version, which would tell strangers what to try."""
        return "brickctl"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's signature
        """Nothing: what strangers ask for belongs into no terminal."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """What the library refuses by itself: lines that are no HTTP, too long, or of another method."""
        self.close_connection = True
        self.command = getattr(self, "command", None) or "GET"
        self._send(refusal(405 if code == 501 else int(code), "This is no request that is answered here"))  # noqa: PLR2004

    def _body(self) -> bytes | Reply:
        """The body of a POST, which has to say how long it is."""
        lengths = self.headers.get_all("Content-Length", [])
        if not self.server.knows(self.headers.get("Host", "")):
            return refusal(403, "This machine is not called so")
        if "Transfer-Encoding" in self.headers or (self.command == "POST" and not lengths):
            return refusal(411, "The length of the body is not known")
        if len(lengths) > 1 or not all(_LENGTH.fullmatch(length) for length in lengths):
            return refusal(400, "The length of the body is no number")
        length = int(lengths[0]) if lengths else 0
        if length > (LARGEST_BODY if self.command == "POST" else 0):
            return refusal(413, "The body is too large")
        return self.rfile.read(length)

    def _send(self, reply: Reply) -> None:
        place = None
        if reply.file is not None:
            try:
                place = self.server.place(reply.file)
            except (BrickctlError, OSError) as error:
                self.server.warn(str(error))
                reply = refusal(409, "The file is not what was vendored")
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(reply.length))
        self.send_header("X-Content-Type-Options", "nosniff")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD" and reply.length:
            self._send_body(reply, place)

    def _send_body(self, reply: Reply, place: Path | None) -> None:
        if place is None:
            self.wfile.write(reply.content)
            return
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            sent = self.connection.sendfile(file, reply.start, reply.length)
        if sent < reply.length:  # somebody cut it: the client must see that bytes are missing
            self.close_connection = True

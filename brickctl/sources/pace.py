"""Connections on which something comes: a server that sends a byte now and then cannot hold a command for ever.

A limit for each read does not see that. Here the whole answer, from the first byte of its head, must come at a pace.
"""

from __future__ import annotations

import io
import time
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from typing import TYPE_CHECKING, Any
from urllib.request import HTTPHandler, HTTPSHandler

if TYPE_CHECKING:
    import socket
    import ssl
    from urllib.request import Request

    from _typeshed import WriteableBuffer

SILENCE = 20.0
"""Seconds without a byte."""

GRACE = 30.0
"""Seconds before anything is expected of the pace."""

SLOWEST = 10_000
"""Bytes a second that must have come after that, on the whole."""


class _Paced(io.RawIOBase):
    """The bytes of a socket."""

    def __init__(self, raw: io.RawIOBase, connection: socket.socket) -> None:
        self._raw = raw
        self._connection = connection
        self._begun = time.monotonic()
        self._came = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        """As that of the socket.

        Raises:
            TimeoutError: nothing came for too long, or too little on the whole.
        """
        left = GRACE + self._came / SLOWEST - (time.monotonic() - self._begun)
        too_slow = f"it came more slowly than {SLOWEST:,} bytes a second"
        if left <= 0:
            raise TimeoutError(too_slow)
        self._connection.settimeout(min(SILENCE, left))
        try:
            count: int | None = self._raw.readinto(buffer)
        except TimeoutError:
            raise TimeoutError(f"nothing came for {SILENCE:g} s" if left > SILENCE else too_slow) from None
        self._came += count or 0
        return count

    def close(self) -> None:
        """As that of the socket."""
        self._raw.close()
        super().close()


class _Response(HTTPResponse):
    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp = io.BufferedReader(_Paced(self.fp.detach(), sock))


class _Connection(HTTPConnection):
    response_class = _Response


class _SecureConnection(HTTPSConnection):
    response_class = _Response


class PacedHandler(HTTPHandler):
    """Opens `http:`."""

    def http_open(self, req: Request) -> HTTPResponse:
        """Ask."""
        return self.do_open(_Connection, req)


class PacedSecureHandler(HTTPSHandler):
    """Opens `https:`."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(context=context)
        self._trusted = context

    def https_open(self, req: Request) -> HTTPResponse:
        """Ask."""
        return self.do_open(_SecureConnection, req, context=self._trusted)

"""A threaded HTTP server on loopback that can be stopped while clients are connected."""

from __future__ import annotations

import socket
import struct
import sys
import threading
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from tests.support.hub.handler import Handler

if TYPE_CHECKING:
    from tests.support.hub.faultbook import FaultBook
    from tests.support.hub.log import RequestLog
    from tests.support.hub.routes import Route
    from tests.support.hub.store import Store

ON_CLOSE_RESET = struct.pack("ii", 1, 0)
POLL_SECONDS = 0.02


class LoopbackServer(ThreadingHTTPServer):
    """Serves routes over a store on a port that the system chooses.

    Attributes:
        stopping: set when the server goes away; whatever waits inside a fault waits on it.
        crashes: errors in our own code: a test must not pass over them.
    """

    daemon_threads = False

    def __init__(self, *, routes: tuple[Route, ...], store: Store, faults: FaultBook, log: RequestLog) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.routes = routes
        self.store = store
        self.faults = faults
        self.log = log
        self.is_storage = False
        self.stopping = threading.Event()
        self.crashes: list[BaseException] = []
        self._open: set[socket.socket] = set()
        self._to_reset: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(POLL_SECONDS,))

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End every wait, hang up on every client, and wait for the threads."""
        self.stopping.set()
        self.shutdown()
        self._thread.join()
        for connection in tuple(self._open):
            _hang_up(connection)
        self.server_close()

    def reset_when_closed(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ON_CLOSE_RESET)
        self._to_reset.add(connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        if request in self._to_reset:
            self._to_reset.discard(request)
            request.close()  # without the orderly farewell, which would come before the reset
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Forgive a client that hung up; keep everything else."""
        error = sys.exception()
        if error is not None and not isinstance(error, ConnectionError):
            self.crashes.append(error)


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it is closed already

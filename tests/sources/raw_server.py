"""A server that sends exactly the bytes it is told, as slowly as it is told, and writes down what it was asked."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    Speaker = Callable[[socket.socket], None]

_LONGEST = 30.0


class RawServer:
    """`with RawServer(say(b"HTTP/1.1 200 OK\\r\\n...")) as server: server.url`; what is said last is said again."""

    def __init__(self, *speakers: Speaker) -> None:
        self.requests: list[bytes] = []
        self._speakers = list(speakers)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(0.05)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while not self._done.is_set():
            with suppress(TimeoutError):
                connection, _ = self._socket.accept()
                threading.Thread(target=self._speak, args=(connection,), daemon=True).start()

    def _speak(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(_LONGEST)
            self.requests.append(connection.recv(1 << 16))
            speaker = self._speakers.pop(0) if len(self._speakers) > 1 else self._speakers[0]
            speaker(connection)


def say(content: bytes) -> Speaker:
    """All of it at once, then the connection ends."""
    return lambda connection: connection.sendall(content)


def drip(begin: bytes, piece: bytes, pause: float) -> Speaker:
    """A beginning, then the same piece again and again, until the other side has enough."""

    def speak(connection: socket.socket) -> None:
        connection.sendall(begin)
        end = time.monotonic() + _LONGEST
        while time.monotonic() < end:
            connection.sendall(piece)
            time.sleep(pause)

    return speak


def reset(begin: bytes) -> Speaker:
    """A beginning, and the connection is torn."""

    def speak(connection: socket.socket) -> None:
        connection.sendall(begin)
        time.sleep(0.05)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return speak


def head(status: str = "200 OK", **headers: object) -> bytes:
    """The head of an answer; `content_length` is `Content-Length`."""
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode()

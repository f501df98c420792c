"""A static file server with entity tags and ranges, as any host of a registry is; it writes down what it was asked."""

from __future__ import annotations

import hashlib
import re
import threading
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote

if TYPE_CHECKING:
    from pathlib import Path

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


class StaticServer:
    """`with StaticServer(folder) as server: server.url`; `override` answers some paths in another way."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.requests: list[tuple[str, int, int]] = []  # path, status, bytes of the body
        self.headers: list[dict[str, str]] = []
        self.override: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.ranges = True
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, path: str, headers: Any) -> tuple[int, dict[str, str], bytes]:
        if path in self.override:
            return self.override[path]
        place = self.root / path.lstrip("/")
        if not place.is_file():
            return 404, {}, b""
        body = place.read_bytes()
        tag = f'"{hashlib.sha256(body).hexdigest()}"'
        if headers.get("If-None-Match") == tag:
            return 304, {"ETag": tag}, b""
        match = _RANGE.fullmatch(headers.get("Range", "")) if self.ranges else None
        if match is None:
            return 200, {"ETag": tag}, body
        part = body[int(match[1]) : int(match[2]) + 1]
        return 206, {"Content-Range": f"bytes {match[1]}-{int(match[1]) + len(part) - 1}/{len(body)}"}, part


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, world: StaticServer, *arguments: Any) -> None:
        self.world = world
        super().__init__(*arguments)

    def do_GET(self) -> None:
        path = unquote(self.path)
        status, headers, body = self.world.answer(path, self.headers)
        self.world.requests.append((path, status, len(body)))
        self.world.headers.append({name.lower(): value for name, value in self.headers.items()})
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        with suppress(ConnectionError):  # a client that has read enough hangs up, which is no error to tell of
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's signature
        pass

"""A registry of containers on loopback, which serves one OCI layout to whoever pulls."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def serving(layout: Path) -> Iterator[str]:
    """The address of a registry in which any name is this layout."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, reference = self.path.split("?")[0].split("/")[-2:]
            (named,) = json.loads((layout / "index.json").read_text())["manifests"]
            digest = named["digest"] if kind == "manifests" else reference
            content = (layout / "blobs" / digest.replace(":", "/")).read_bytes()
            self.send_response(200)
            self.send_header("Content-Type", named["mediaType"] if kind == "manifests" else "application/octet-stream")
            self.send_header("Docker-Content-Digest", digest)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

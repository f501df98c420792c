"""Plain GETs for registries: HTTPS only (HTTP for loopback), bounded, no cookies, no credentials.

The standard library suffices and loads faster than the Hub's client.
"""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPRedirectHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

import brickctl
from brickctl.core.document import shown
from brickctl.errors import BrickctlError, NotFound, OfflineMiss, TransportFault
from brickctl.sources.address import check_address
from brickctl.sources.pace import SILENCE, PacedHandler, PacedSecureHandler
from brickctl.sources.pages import Page, too_large
from brickctl.sources.remote_header import Answer, answer_bounds, unread
from brickctl.sources.statuses import Absent, Unchanged, answered

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE = 1 << 16
_LONGEST_ETAG = 256
_LONGEST_REASON = 300


class Web:
    """Somebody who asks servers.

    Raises from every method: NotFound, Gated, TransportFault, OfflineMiss, PolicyViolation for an address that is not
    HTTPS.
    """

    def __init__(self, *, offline: bool = False) -> None:
        self._offline = offline
        self._opener = OpenerDirector()  # unlike build_opener, nothing here opens file: or ftp:
        for handler in (ProxyHandler, PacedHandler, HTTPDefaultErrorHandler, _Redirects, HTTPErrorProcessor):
            self._opener.add_handler(handler())
        self._opener.add_handler(PacedSecureHandler(ssl.create_default_context()))

    def page(self, url: str, known: Page | None, *, limit: int) -> Page | None:
        """A document of at most `limit` bytes; `known` itself if it has not changed, None if there is none.

        Raises:
            IntegrityFault: it is larger.
        """
        headers = {} if known is None or known.etag is None else {"If-None-Match": known.etag}
        try:
            with self._open(url, headers) as response:
                body = response.read(limit + 1)
                if len(body) > limit:
                    raise too_large(url, limit)
                if response.headers.get("Content-Length", str(len(body))) != str(len(body)):
                    raise unread(url, "the connection ended early")
                return Page(body, _sound_etag(response.headers.get("ETag")))
        except Absent:
            return None
        except Unchanged:
            if known is None:
                raise unread(url, "the server answered 304 unasked") from None
            return known

    @contextmanager
    def open_range(self, url: str, begin: int, end: int) -> Iterator[Answer]:
        """Ask for some bytes of a file, end excluded; the server may send it from its start."""
        try:
            with self._open(url, {"Range": f"bytes={begin}-{end - 1}"}) as response:
                headers = {name.lower(): value for name, value in response.headers.items()}
                start, total = answer_bounds(response.status, headers, begin, where=url)
                yield Answer(start, total, _pieces(response))
        except Absent:
            hint = "check the registry's address in [registries], or ask whoever runs the registry"
            raise NotFound(f"{url} is not there", causes=("the server answered with status 404",), hint=hint) from None

    @contextmanager
    def _open(self, url: str, headers: dict[str, str]) -> Iterator[Any]:
        check_address(url)
        if self._offline:
            raise OfflineMiss(
                f"{url} is not in the cache",
                causes=("the network would be needed, and `--offline` forbids it",),
                hint="run the command once with the network; offline runs then find everything",
            )
        agent = {"User-Agent": f"brickctl/{brickctl.__version__}", "Accept-Encoding": "identity"}
        request = Request(url, headers={**agent, **headers})  # noqa: S310 - the address was checked
        try:
            with self._ask(request) as response:
                _check_encoding(url, response.headers.get("Content-Encoding"))
                yield response
        except BrickctlError:
            raise
        except HTTPError as error:
            error.close()
            raise answered(url, error.code, error.headers.get("Retry-After")) from None
        except (URLError, OSError, HTTPException) as error:
            reason = error.reason if isinstance(error, URLError) else error
            raise TransportFault(
                f"{url} could not be read",
                causes=(f"{type(error).__name__}: {shown(str(reason), longest=_LONGEST_REASON)}",),
                hint="check the connection and proxy settings, then run the command again",
            ) from error

    def _ask(self, request: Request) -> Any:
        try:
            return self._opener.open(request, timeout=SILENCE)
        except ValueError as error:  # what the library says of a redirect or a proxy that is no address
            raise URLError(error) from error


class _Redirects(HTTPRedirectHandler):
    """Follows redirects to addresses that could have been asked for directly, and never from HTTPS to HTTP."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        check_address(newurl, schemes=("https",) if req.type == "https" else ("https", "http"))
        return super().redirect_request(req, fp, code, msg, headers, newurl)

    def http_error_302(self, req: Request, fp: Any, code: int, msg: str, headers: Any) -> Any:
        """As the library does it, which leaves the connection open where it raises."""
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except BaseException:
            fp.close()
            raise

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _sound_etag(etag: str | None) -> str | None:
    """A tag that can be sent back as it came."""
    return etag if etag is not None and len(etag) <= _LONGEST_ETAG and etag.isascii() and etag.isprintable() else None


def _pieces(response: Any) -> Iterator[bytes]:
    while piece := response.read1(_PIECE):
        yield piece


def _check_encoding(url: str, encoding: str | None) -> None:
    """Refuse what is compressed: a small answer could become one without end, and nobody asked for it."""
    if encoding not in {None, "", "identity"}:
        fault = unread(url, f"the server sent it compressed ({shown(encoding)}), and plain bytes were asked for")
        fault.wait = None
        raise fault

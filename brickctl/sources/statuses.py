"""What servers of registries say instead of an answer, each with what somebody can do about it."""

from __future__ import annotations

import re
import time
from email.utils import mktime_tz, parsedate_tz

from brickctl.errors import BrickctlError, Gated, NotFound
from brickctl.sources.remote_header import unread

_WITHDRAWN = "what brick.lock pins still installs from the cache of a machine that has it"
_SECONDS = re.compile(r"\d{1,9}", re.ASCII)
_NOT_MODIFIED, _NOT_FOUND, _GONE, _WITHHELD = 304, 404, 410, 451
_TOO_MANY, _UNAVAILABLE = 429, 503


class Unchanged(Exception):
    """What was known is so still: no failure, and caught where it was asked."""


class Absent(Exception):
    """There is no such thing: to some who ask no failure either."""


def answered(url: str, status: int, retry_after: str | None) -> BrickctlError | Unchanged | Absent:
    """What a status means, to be raised by the caller."""
    said = f"the server answered with status {status}"
    if status == _NOT_MODIFIED:
        return Unchanged()
    if status == _NOT_FOUND:
        return Absent()
    if status == _GONE:
        hint = f"ask whoever runs the registry what replaces it; {_WITHDRAWN}"
        return NotFound(f"{url} was removed for good", causes=(said,), hint=hint)
    if status == _WITHHELD:
        hint = f"ask whoever runs the registry why, before you take it from elsewhere; {_WITHDRAWN}"
        return NotFound(f"{url} may not be given out, for legal reasons", causes=(said,), hint=hint)
    if status in {401, 403}:
        hint = "use an address that needs none, or a copy of the registry in a folder"
        causes = (said, "brickctl sends no token and no password to registries")
        return Gated(f"{url} is only for those who may read it", causes=causes, hint=hint)
    return _failed(url, status, said, retry_after)


def _failed(url: str, status: int, said: str, retry_after: str | None) -> BrickctlError:
    """Servers in trouble are asked again; those that do not like the question are not."""
    wait = _seconds(retry_after) if status in {_TOO_MANY, _UNAVAILABLE} else 0.0
    fault = unread(url, f"{said}, and asks to wait {wait:.0f} s" if wait else said)
    fault.wait = wait if status >= 500 or status == _TOO_MANY else None  # noqa: PLR2004 - classes of HTTP
    return fault


def _seconds(retry_after: str | None) -> float:
    """How long a server asks to wait: a number of seconds, or a date."""
    text = (retry_after or "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    date = parsedate_tz(text)
    try:
        return 0.0 if date is None else max(0.0, mktime_tz(date) - time.time())
    except (ValueError, OverflowError):
        return 0.0

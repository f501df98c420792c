"""Addresses of servers, looked at before anything is asked: HTTPS, or HTTP on this very machine."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from brickctl.core.document import shown
from brickctl.errors import PolicyViolation

if TYPE_CHECKING:
    from urllib.parse import SplitResult

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,63}")
_LONGEST_HOST = 253
_USER = re.compile(r"//.*@", re.DOTALL)
_QUERY = re.compile(r"[?#].*", re.DOTALL)


def check_address(url: str, *, schemes: tuple[str, ...] = ("https", "http")) -> None:
    """Refuse what is not HTTPS, or HTTP on this very machine, and whatever is no address at all.

    `schemes` can narrow that down to `https`.

    Raises:
        PolicyViolation: it is something else. The message shows no user, password or query.
    """
    parts = _split(url)
    if parts.scheme in schemes and (parts.scheme == "https" or parts.hostname in _LOOPBACK):
        return
    raise PolicyViolation(
        f"brickctl does not ask {shown(parts.scheme)}://{shown(parts.hostname or '')}",
        causes=("registries are read over https only, and no redirect to anything else is followed",),
        hint="write the registry's https address in [registries]; if it stands there, its server redirects to another",
    )


def _split(url: str) -> SplitResult:
    if not url.isascii() or not url.isprintable() or " " in url:
        raise _malformed(url, "it has other characters than addresses have: `%..` stands for them, `xn--...` in a host")
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises where there is none that can be
    except ValueError:
        raise _malformed(url, "its host or its port cannot be read") from None
    if "@" in parts.netloc:
        raise _malformed(url, "it holds a user or a password, and brickctl sends none")
    if parts.scheme in {"http", "https"} and not _is_host(parts.hostname or ""):
        raise _malformed(url, "it names no host" if not parts.netloc else "no host can have this name")
    return parts


def _is_host(host: str) -> bool:
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            return False
        return True
    labels = host.removesuffix(".").split(".")
    return len(host) <= _LONGEST_HOST and all(_LABEL.fullmatch(label) for label in labels)


def _malformed(url: str, reason: str) -> PolicyViolation:
    public = _USER.sub("//***@", _QUERY.sub("", url))
    return PolicyViolation(
        f"`{shown(public)}` is no address that can be asked",
        causes=(reason,),
        hint="an address of a registry looks like `https://bricks.example/index`",
    )

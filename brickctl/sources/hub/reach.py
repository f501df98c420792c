"""Whether the Hub answers, and how fast; any answer counts, and no token is sent."""

from __future__ import annotations

import time
from dataclasses import dataclass

from huggingface_hub import constants, get_session, get_token

from brickctl.sources.hub.faults import CLIENT_ERROR, plain
from brickctl.sources.naming import address_label

_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What came back: the endpoint, seconds until it answered or why it did not, and whether a token is set."""

    endpoint: str
    seconds: float | None
    reason: str | None
    has_token: bool


def reach() -> Reach:
    """Ask once."""
    begun, reason = time.perf_counter(), None
    try:
        get_session().get(f"{constants.ENDPOINT}/api/models", params={"limit": 1}, timeout=_TIMEOUT)
    except (CLIENT_ERROR, OSError, ValueError) as error:
        reason = plain(error) or type(error).__name__
    seconds = None if reason else time.perf_counter() - begun
    return Reach(
        endpoint=address_label(constants.ENDPOINT), seconds=seconds, reason=reason, has_token=get_token() is not None
    )

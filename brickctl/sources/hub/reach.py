"""Whether the Hub answers, how fast, and whether it takes the token; the token itself goes nowhere else."""

from __future__ import annotations

import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from huggingface_hub import constants, get_session, get_token
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

from brickctl.core.document import shown
from brickctl.sources.hub.faults import CLIENT_ERROR, plain

_WHO_AM_I = "/api/whoami-v2"
_TIMEOUT = 5.0
_UNAUTHORIZED = 401
_BROKEN = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """What came of one request.

    `refusal` says why the Hub cannot be used; `seconds` is None where nothing was asked or nothing answered.
    """

    host: str
    token: bool
    seconds: float | None = None
    refusal: str | None = None
    token_refused: bool = False


def reach(*, offline: bool) -> Reached:
    """Ask the Hub at HF_ENDPOINT who we are: answered with a valid token, refused (401) without, both in no time."""
    host, token = _host(constants.ENDPOINT), _has_token()
    if offline or constants.is_offline_mode():
        return Reached(host=host, token=token)
    before = time.perf_counter()
    try:
        response = get_session().get(constants.ENDPOINT + _WHO_AM_I, headers=build_hf_headers(), timeout=_TIMEOUT)
    except (CLIENT_ERROR, OSError, ValueError) as error:
        return Reached(host=host, token=token, refusal=f"{type(error).__name__}: {plain(error)}")
    seconds = time.perf_counter() - before
    if response.status_code >= _BROKEN:
        return Reached(
            host=host, token=token, seconds=seconds, refusal=f"it answers with status {response.status_code}"
        )
    refused = token and response.status_code == _UNAUTHORIZED
    return Reached(host=host, token=token, seconds=seconds, token_refused=refused)


def _has_token() -> bool:
    try:
        return get_token() is not None
    except OSError:  # its file cannot be read: a finding about the folder says so
        return False


def _host(endpoint: str) -> str:
    """An endpoint without what must not be shown: user and password."""
    try:
        parts = urlsplit(endpoint)
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:
        return "HF_ENDPOINT, which is no address"
    return shown(f"{parts.scheme}://{parts.hostname}{port}")

"""How long the Hub's client waits for a sign of life before it asks again.

When the first question about a file goes unanswered, the client asks six times more and waits a minute each time,
whatever HF_HUB_ETAG_TIMEOUT says: without a network, six minutes in which nothing is said.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from huggingface_hub import constants, set_client_factory
from huggingface_hub.utils._http import default_client_factory

from brickctl.sources.hub.heads import check_head


@cache
def limit_waiting() -> None:
    """Let questions about files wait no longer than the bytes of a file may: HF_HUB_DOWNLOAD_TIMEOUT.

    The same client looks at what is answered to them: there is one factory of clients.
    """
    set_client_factory(_hasty_client)


def _hasty_client() -> Any:
    client = default_client_factory()
    hooks = client.event_hooks
    client.event_hooks = {"request": [*hooks["request"], _limit], "response": [*hooks["response"], check_head]}
    return client


def _limit(request: Any) -> None:
    if request.method == "HEAD":
        limits = request.extensions.get("timeout", {})
        longest = constants.HF_HUB_DOWNLOAD_TIMEOUT
        shorter = {what: longest if seconds is None else min(seconds, longest) for what, seconds in limits.items()}
        request.extensions = {**request.extensions, "timeout": shorter}

"""A real HTTP Hub on loopback, for the real Hugging Face client.

Layers, each importing only those before it: contents, blobs, errors; repository, store; messages; the endpoints
(reading, resolving, writing) and routes; faults; handler and server; hub, which tests use.
"""

from tests.support.hub.contents import Content, Zeros
from tests.support.hub.faults import (
    ChangingEtag,
    Cut,
    Delay,
    Deleted,
    Elsewhere,
    Endless,
    Fault,
    Gated,
    HangUp,
    LyingLength,
    RangeIgnored,
    Renamed,
    Says,
    Stall,
    Status,
    Tamper,
)
from tests.support.hub.hub import Hub
from tests.support.hub.log import RequestRecord
from tests.support.hub.repository import Repository

__all__ = [
    "ChangingEtag",
    "Content",
    "Cut",
    "Delay",
    "Deleted",
    "Elsewhere",
    "Endless",
    "Fault",
    "Gated",
    "HangUp",
    "Hub",
    "LyingLength",
    "RangeIgnored",
    "Renamed",
    "Repository",
    "RequestRecord",
    "Says",
    "Stall",
    "Status",
    "Tamper",
    "Zeros",
]

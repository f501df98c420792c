"""What is said when the Hub does not give what was asked for: read the snapshot as a user would."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support import sandbox as bricks
from tests.support.hub import Cut, Deleted, Endless, Gated, Hub, LyingLength, Stall, Status, Tamper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from syrupy.assertion import SnapshotAssertion

    from tests.support.hub import Fault
    from tests.support.sandbox import Outcome, Sandbox

WEIGHTS = "*adapter_model.safetensors"
LISTING = "/api/models/acme/sql*"
LAST = len(bricks.adapter()["adapter_model.safetensors"]) - 1
PROJECT = """\
[project]
name = "support"

[base]
source = "hf:acme/base"

[bricks]
sql = { source = "hf:acme/sql" }

[targets.assistant]
apply = [{ op = "merge", method = "task_arithmetic", bricks = { sql = 0.5 } }]
"""

FAULTS: dict[str, tuple[str, str, Fault]] = {
    "lock, no such repository": ("lock", LISTING, Deleted(what="repository")),
    "lock, no such revision": ("lock", LISTING, Deleted(what="revision")),
    "lock, gated": ("lock", LISTING, Gated()),
    "lock, not well": ("lock", LISTING, Status(503)),
    "lock, too many requests": ("lock", LISTING, Status(429, retry_after=0)),
    "lock, forbidden": ("lock", LISTING, Status(403)),
    "install, the file is gone": ("install", WEIGHTS, Deleted(what="file")),
    "install, gated": ("install", WEIGHTS, Gated()),
    "install, cut": ("install", WEIGHTS, Cut(10)),
    "install, reset": ("install", WEIGHTS, Cut(10, reset=True)),
    "install, tampered with": ("install", WEIGHTS, Tamper(position=LAST)),
    "install, tampered with in front": ("install", WEIGHTS, Tamper(position=300)),
    "install, too long": ("install", WEIGHTS, LyingLength(7)),
    "install, stalled": ("install", WEIGHTS, Stall(10)),
    "install, endless": ("install", WEIGHTS, Endless(1 << 24)),
}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        running.repository("acme/base", card={"license": "apache-2.0"}).commit(bricks.model())
        running.repository("acme/sql").commit(bricks.adapter(base_model_name_or_path="acme/base"))
        yield running


@pytest.fixture
def online(hub: Hub, empty: Sandbox) -> Sandbox:
    empty.write({"brick.toml": PROJECT})
    quick = {"HF_HUB_DOWNLOAD_TIMEOUT": "1", "HF_HUB_ETAG_TIMEOUT": "1"}
    return replace(empty, variables={**hub.environment(empty.home / "hf"), **quick})


@pytest.mark.full
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_hub(
    name: str, hub: Hub, online: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    verb, glob, fault = FAULTS[name]
    if verb != "lock":
        assert online.spawn("lock").code == 0
    hub.fault(glob, fault)
    outcome = online.spawn(verb)
    assert outcome.code != 0
    assert said(outcome) == snapshot


@pytest.mark.full
def test_offline(online: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion) -> None:
    assert said(online.spawn("lock", "--offline")) == snapshot

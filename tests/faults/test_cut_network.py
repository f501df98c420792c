"""A cable that is pulled: before a verb begins, and while a file is coming."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.support import stages
from tests.support.hub import Hub, Stall
from tests.support.network import Network
from tests.support.stages import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.full, pytest.mark.skipif(sys.platform != "linux", reason="other systems have no namespaces")]

VERBS = {
    "lock": ("lock",),
    "install": ("install",),
    "build": ("build",),
    "add": ("add", "hf:acme/mail", "--name", "mail"),
    "merge": ("merge", "hf:acme/base", "hf:acme/mail", "-o", "dist/other"),
}
LONGEST = 120
"""Seconds until a verb that should have given up is called hung."""


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network() as network:
        yield network


@pytest.fixture(scope="module")
def hub(network: Network) -> Iterator[Hub]:
    with network.joined():
        hub = Hub()
    with hub:
        stages.fill_hub(hub)
        yield hub


@pytest.fixture
def stage(tmp_path: Path, hub: Hub) -> Stage:
    quick = {"HF_HUB_DOWNLOAD_TIMEOUT": "1", "HF_HUB_ETAG_TIMEOUT": "1"}
    stage = Stage.new(tmp_path / "stage", {**hub.environment(tmp_path / "stage/home/hf"), **quick})
    stage.sandbox.write({"brick.toml": stages.HUB_MANIFEST})
    return stage


def begin(network: Network, stage: Stage, *arguments: str) -> subprocess.Popen[str]:
    """Begin a verb in the network, and go on."""
    return subprocess.Popen(
        [*network.enter, sys.executable, "-m", "brickctl", *arguments],
        cwd=stage.sandbox.root,
        env=stage.sandbox.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def must(network: Network, stage: Stage, *arguments: str) -> None:
    """Run a verb in the network that has to succeed."""
    process = begin(network, stage, *arguments)
    _, err = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, err


@pytest.mark.parametrize("verb", VERBS)
def test_without_a_network_a_verb_says_so_and_loses_nothing(verb: str, network: Network, stage: Stage) -> None:
    if verb != "lock":
        must(network, stage, "lock")
    before = stage.project()
    network.cut()
    try:
        process = begin(network, stage, *VERBS[verb])
        _, err = process.communicate(timeout=LONGEST)
    finally:
        network.mend()
    assert process.returncode == 6, err
    assert "could not be fetched" in err
    assert "check the connection" in err
    assert stage.project() == before
    must(network, stage, *VERBS[verb])


@pytest.mark.parametrize("verb", ["install", "build", "add", "merge"])
@pytest.mark.parametrize("mended", [False, True], ids=["for good", "for a moment"])
def test_a_cable_that_is_pulled_while_a_file_is_coming(
    verb: str,
    mended: bool,  # noqa: FBT001 - a parameter of the table
    hub: Hub,
    network: Network,
    stage: Stage,
) -> None:
    must(network, stage, "lock")
    before, weights = stage.project(), "/acme/*/resolve/*/*.safetensors"
    hub.reset_log()
    hub.fault(weights, Stall(4, seconds=0.5), method="GET")
    try:
        process = begin(network, stage, *VERBS[verb])
        while not any(record.weights and record.method == "GET" for record in hub.requests):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        network.cut()
        if mended:
            time.sleep(0.3)
            network.mend()
        _, err = process.communicate(timeout=LONGEST)
    finally:
        hub.clear_faults()
        network.mend()
    assert process.returncode == (0 if mended else 6), err
    if not mended:
        assert "hf:acme/" in err
        assert stage.project() == before
        must(network, stage, *VERBS[verb])
    must(network, stage, "install")
    must(network, stage, "verify") if verb == "build" else None
    left = [path.name for path in stage.folder.rglob("*") if "incomplete" in path.name or ".brickctl-new" in path.name]
    assert left == []

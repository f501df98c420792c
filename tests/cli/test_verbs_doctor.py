"""`brickctl doctor`: what is well, what is slow, and what is broken, each with what to do."""

from __future__ import annotations

from dataclasses import replace
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pytest

from brickctl.workflows import doctor
from brickctl.workflows.disk_probe import Disk
from tests.support.hub import Hub, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.sandbox import Outcome, Sandbox

SECRET = "hf_nobodyMayReadThis"  # noqa: S105 - opens nothing
WELL = Disk(free=10**12, locks=True, links=True, hard_links=True, write=1e9, read=1e9)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        yield running


def findings(outcome: Outcome) -> dict[str, dict[str, Any]]:
    """By name."""
    return {each["name"]: each for each in outcome.json["findings"]}


def at(hub: Hub, sandbox: Sandbox, **variables: str) -> Sandbox:
    return replace(sandbox, variables={**hub.environment(sandbox.home / "hf"), **variables})


def test_a_machine_that_is_well_is_told_so(hub: Hub, project: Sandbox) -> None:
    before = sorted(project.root.rglob("*"))
    outcome = at(hub, project, HF_TOKEN=hub.token).spawn("doctor", "--json")
    assert outcome.code == 0, outcome
    found = findings(outcome)
    assert {"brickctl", "python", "torch", "peft", "huggingface-hub", "safetensors"} <= set(found)
    assert found["torch"]["version"] == metadata.version("torch")
    assert {each["status"] for each in found.values()} <= {"ok", "slow"}
    for place in ("hub cache", "brickctl cache", "project"):
        measured = found[place]
        assert min(measured[f"{what}-bytes-per-second"] for what in ("write", "read")) > 0
        assert measured["free"] > 0
    assert found["sha256"]["bytes-per-second"] > 0
    assert found["hub"]["token"] is True
    assert found["hub"]["seconds"] > 0
    assert len(hub.requests) == 1
    assert hub.token not in outcome.out + outcome.err
    assert sorted(project.root.rglob("*")) == before, "scratch files are gone"
    assert not list(project.home.rglob(".*new-*"))


def test_a_hub_that_asks_for_a_token_is_a_hub_that_answers(hub: Hub, empty: Sandbox) -> None:
    outcome = at(hub, empty).spawn("doctor", "--json")
    found = findings(outcome)["hub"]
    assert (outcome.code, found["status"], found["token"]) == (0, "ok", False)
    assert "project" not in findings(outcome)


def test_a_token_that_is_refused_is_broken_and_never_printed(hub: Hub, empty: Sandbox) -> None:
    sandbox = at(hub, empty, HF_TOKEN=SECRET)
    outcomes = [sandbox.spawn("doctor", "--json"), sandbox.spawn("doctor")]
    assert [outcome.code for outcome in outcomes] == [1, 1]
    found = findings(outcomes[0])["hub"]
    assert (found["status"], found["token"]) == ("broken", True)
    assert "hf auth login" in found["advice"]
    assert "hf auth login" in outcomes[1].out
    assert not any(SECRET in outcome.out + outcome.err for outcome in outcomes)


def test_a_hub_that_fails_is_broken(hub: Hub, empty: Sandbox) -> None:
    hub.fault("*", Status(503))
    outcome = at(hub, empty).spawn("doctor", "--json")
    assert (outcome.code, outcome.json["error"]["code"]) == (1, "unhealthy")
    assert "status 503" in outcome.json["error"]["cause"][0]


def test_a_hub_that_is_not_there_is_broken_and_its_password_is_not_printed(empty: Sandbox) -> None:
    variables = {"HF_ENDPOINT": "http://ada:lovelace@127.0.0.1:1", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    outcome = replace(empty, variables=variables).spawn("doctor", "--json")
    assert (outcome.code, findings(outcome)["hub"]["status"]) == (1, "broken")
    assert "lovelace" not in outcome.out + outcome.err
    assert findings(outcome)["hub"]["endpoint"] == "http://127.0.0.1:1"


@pytest.mark.parametrize(("arguments", "variables"), [(["--offline"], {}), ([], {"HF_HUB_OFFLINE": "1"})])
def test_offline_asks_nobody(arguments: list[str], variables: dict[str, str], hub: Hub, empty: Sandbox) -> None:
    outcome = at(hub, empty, **variables).spawn("doctor", "--json", *arguments)
    assert (outcome.code, findings(outcome)["hub"]["status"]) == (0, "skipped")
    assert hub.requests == ()


def test_a_cache_that_cannot_be_written_is_broken(empty: Sandbox) -> None:
    file = empty.write({"file": b""}) / "file"
    outcome = replace(empty, variables={"HF_HOME": str(file / "hf")}).spawn("doctor", "--offline", "--json")
    assert outcome.code == 1
    assert findings(outcome)["hub cache"]["status"] == "broken"
    assert "HF_HOME" in outcome.json["error"]["hint"]
    assert findings(outcome)["brickctl cache"]["status"] != "broken"


@pytest.mark.parametrize(
    ("disk", "status", "advice"),
    [
        (replace(WELL, write=1e6), "slow", "the disk is slow"),
        (replace(WELL, free=10**6), "slow", "little room"),
        (replace(WELL, locks=False), "slow", "file locks"),
        (replace(WELL, hard_links=False), "ok", None),
    ],
)
def test_what_is_wrong_with_a_disk_is_told_with_what_to_do(
    disk: Disk, status: str, advice: str | None, project: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "probe", lambda folder: disk if folder == project.root else WELL)
    outcome = project.run("doctor", "--offline", "--json")
    found = findings(outcome)["project"]
    assert (outcome.code, found["status"]) == (0, status)
    assert (found.get("advice") is None) if advice is None else (advice in found["advice"])
    text = project.run("doctor", "--offline").out
    assert advice is None or f"project ({status}): " in text


def test_a_hub_cache_without_links_is_slow(empty: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "probe", lambda _: replace(WELL, links=False))
    outcome = empty.run("doctor", "--offline", "--json")
    found = findings(outcome)
    assert [found[name]["status"] for name in ("hub cache", "brickctl cache")] == ["slow", "ok"]
    assert outcome.code == 0


@pytest.mark.parametrize("version", [None, "0.1"])
def test_a_package_that_is_missing_or_too_old_is_broken(
    version: str | None, empty: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = metadata.version

    def installed(name: str) -> str:
        if name != "torch":
            return real(name)
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(metadata, "requires", lambda _: ["torch>=2.6", 'mergekit==0.1.5; extra == "real"'])
    monkeypatch.setattr(metadata, "version", installed)
    outcome = empty.run("doctor", "--offline", "--json")
    assert (outcome.code, findings(outcome)["torch"]["status"]) == (1, "broken")
    assert "pip install 'torch>=2.6'" in outcome.json["error"]["hint"]
    assert "mergekit" not in findings(outcome), "what only developers need"


def test_hashing_that_is_slow_is_told(empty: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "SLOW_HASHING", float("inf"))
    outcome = empty.run("doctor", "--offline", "--json")
    assert (outcome.code, findings(outcome)["sha256"]["status"]) == (0, "slow")


def test_arithmetic_that_was_not_compiled_is_told(empty: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    assert findings(empty.run("doctor", "--offline", "--json"))["arithmetic"]["status"] == "ok"
    monkeypatch.setattr(doctor, "machine", lambda: None)
    outcome = empty.run("doctor", "--offline", "--json")
    found = findings(outcome)["arithmetic"]
    assert (outcome.code, found["status"]) == (0, "slow")
    assert "install a C compiler" in found["advice"]


def test_a_hub_that_takes_its_time_is_slow(hub: Hub, empty: Sandbox) -> None:
    patience = "from brickctl.workflows import doctor; doctor.SLOW_HUB = 0.0"
    script = f"import sys; from brickctl.cli import main; {patience}; sys.exit(main())"
    outcome = at(hub, empty).spawn("doctor", "--json", python=("-c", script))
    assert (outcome.code, findings(outcome)["hub"]["status"]) == (0, "slow")

"""`--format hf`: an artifact goes to the Hub in one commit, with a card that says what it is, and by licence only."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support import sandbox as bricks
from tests.support.hub import Hub

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.sandbox import Outcome, Sandbox

MANIFEST = """\
[project]
name = "chat"

[base]
source = "hf:acme/base"

[bricks]
sql = { source = "path:sql", license = "MIT" }

[targets.assistant]
apply = [{ op = "merge", method = "task_arithmetic", bricks = { sql = 0.5 } }]
"""
SEND = ("export", "assistant", "--format", "hf", "--to", "ada/assistant")


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        running.repository("acme/base", card={"license": "apache-2.0"}).commit(bricks.model())
        yield running


@pytest.fixture
def mine(empty: Sandbox, hub: Hub) -> Sandbox:
    """A project on a base of the Hub, and the token of somebody who may write."""
    empty.write({"brick.toml": MANIFEST})
    empty.write(bricks.adapter(), "sql")
    return replace(empty, variables={**hub.environment(empty.home / "hf"), "HF_TOKEN": hub.token})


def good(outcome: Outcome) -> Outcome:
    assert outcome.code == 0, outcome.err
    return outcome


def test_an_artifact_arrives_whole_in_one_commit_and_is_not_sent_twice(mine: Sandbox, hub: Hub) -> None:
    told = good(mine.spawn(*SEND, "--json")).json

    commit = hub.find("ada/assistant").at("main")
    artifact = mine.root / "dist/assistant"
    assert told["place"] == "hf:ada/assistant"
    assert told["commit"] == commit.oid
    assert commit.files.keys() - {".gitattributes"} == {path.name for path in artifact.iterdir()}
    card = (artifact / "README.md").read_text()
    assert 'base_model: "acme/base"\nbase_model_relation: merge' in card
    assert "Licence of the whole: Apache-2.0 AND MIT." in card

    hub.reset_log()
    again = good(mine.spawn(*SEND, "--json")).json
    assert again["commit"] == told["commit"]
    assert not [record for record in hub.requests if record.method == "PUT"]


def test_files_of_the_repository_that_are_not_of_the_artifact_are_told(mine: Sandbox, hub: Hub) -> None:
    hub.repository("ada/assistant").commit({"notes.txt": b"mine"})

    outcome = good(mine.spawn(*SEND))

    assert "the repository has files of its own, which stay: notes.txt" in outcome.err
    assert "notes.txt" in hub.find("ada/assistant").at("main").files


def test_without_a_token_nothing_is_built(mine: Sandbox) -> None:
    variables = {name: value for name, value in mine.variables.items() if name != "HF_TOKEN"}

    outcome = replace(mine, variables=variables).spawn(*SEND)

    assert outcome.code == 1
    assert "set HF_TOKEN to a token with write access to it" in outcome.err
    assert not (mine.root / "dist").exists()


@pytest.mark.parametrize("license_name", ["unknown", "GPL-2.0-only"])
def test_what_nobody_may_hand_on_is_not_sent(license_name: str, mine: Sandbox, hub: Hub) -> None:
    mine.write({"brick.toml": MANIFEST.replace('license = "MIT"', f'license = "{license_name}"')})

    outcome = mine.spawn(*SEND)

    assert outcome.code == 5, outcome.err
    assert "`assistant` will not be handed on" in outcome.err
    assert not [record for record in hub.requests if record.method == "POST" and "commit" in record.path]
    assert not (mine.root / "dist").exists(), "it is refused before anything is built"

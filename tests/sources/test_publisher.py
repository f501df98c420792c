from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import constants

from brickctl.core.brick import File
from brickctl.core.digests import Sha256
from brickctl.errors import Busy, Gated, IntegrityFault, OfflineMiss, TransportFault
from brickctl.sources.hub.publisher import Publisher
from tests.sources.bricks import model
from tests.support.hub import HangUp, Hub, Says, Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")  # the client's own

NAME = "acme/sql-lora"
ROWS = 640_000
"""Two tensors of 10 MB: more than the system takes before the Hub reads."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No pauses of the client, no Xet, which the local Hub has not, and nobody who is signed in on this machine."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub(separate_storage=True) as running:
        monkeypatch.setenv("HF_TOKEN", running.token)
        yield running


def listed(folder: Path, contents: Mapping[str, bytes]) -> dict[File, Path]:
    """These files in a folder, as somebody who publishes has them."""
    folder.mkdir(exist_ok=True)
    found = {}
    for path, content in sorted(contents.items()):
        (folder / path).write_bytes(content)
        digest = Sha256(hashlib.sha256(content).hexdigest())
        found[File(path=path, size=len(content), sha256=digest)] = folder / path
    return found


def weights(files: Mapping[File, Path]) -> File:
    return next(file for file in files if file.path == "model.safetensors")


def put(hub: Hub, files: Mapping[File, Path]) -> str:
    return Publisher(endpoint=hub.endpoint).put(NAME, files, message="acme/sql 1.0.0")


def uploads(hub: Hub) -> int:
    return len([record for record in hub.requests if record.method == "PUT"])


def commits(hub: Hub) -> int:
    return len([record for record in hub.requests if "/commit/" in record.path])


def test_what_is_sent_is_one_commit_with_these_files(hub: Hub, tmp_path: Path) -> None:
    files = listed(tmp_path / "sql", model())
    commit = put(hub, files)
    there = hub.find(NAME).at(commit).files
    assert {path: blob.sha256 for path, blob in there.items() if path != ".gitattributes"} == {
        file.path: file.sha256 for file in files
    }
    assert (commits(hub), uploads(hub)) == (1, 1)


def test_nothing_is_sent_that_the_hub_has(hub: Hub, tmp_path: Path) -> None:
    files = listed(tmp_path / "sql", model())
    commit = put(hub, files)
    hub.reset_log()
    assert put(hub, files) == commit
    assert (commits(hub), uploads(hub)) == (0, 0)


def test_an_upload_whose_commit_failed_is_not_sent_again(hub: Hub, tmp_path: Path) -> None:
    files = listed(tmp_path / "sql", model())
    hub.fault("/api/models/*/commit/*", Status(500))
    with pytest.raises(TransportFault):
        put(hub, files)
    assert uploads(hub) == 1
    hub.clear_faults()
    put(hub, files)
    assert uploads(hub) == 1


@pytest.mark.parametrize("after", [0, 1_000_000])
def test_a_connection_that_ends_in_an_upload_commits_nothing(after: int, hub: Hub, tmp_path: Path) -> None:
    files = listed(tmp_path / "sql", model(ROWS))
    hub.fault("/uploads/*", HangUp(after))
    with pytest.raises(TransportFault) as caught:
        put(hub, files)
    assert f"hf:{NAME}" in caught.value.message
    assert commits(hub) == 0
    hub.clear_faults()
    put(hub, files)
    assert hub.find(NAME).at("main").files["model.safetensors"].sha256 == weights(files).sha256


def test_a_commit_whose_answer_is_lost_is_found_by_the_next_run(hub: Hub, tmp_path: Path) -> None:
    files = listed(tmp_path / "sql", model())
    hub.fault("/api/models/*/commit/*", Says("commitOid", "somethingElse"))
    with pytest.raises(Exception, match="cannot be read"):
        put(hub, files)
    hub.clear_faults()
    assert put(hub, files) == hub.find(NAME).at("main").oid
    assert commits(hub) == 1


def test_what_the_hub_lists_must_be_what_was_sent(hub: Hub, tmp_path: Path) -> None:
    files = listed(tmp_path / "sql", model())
    hub.fault("/api/models/*/revision/*", Says(weights(files).sha256, "0" * 64))
    with pytest.raises(IntegrityFault, match=r"has another model\.safetensors than was sent"):
        put(hub, files)


def test_a_file_that_changes_while_it_is_sent_is_noticed(hub: Hub, tmp_path: Path) -> None:
    files = listed(tmp_path / "sql", model())
    (tmp_path / "sql/model.safetensors").write_bytes(b"something else")
    with pytest.raises(IntegrityFault, match=r"has another model\.safetensors than was sent"):
        put(hub, files)


@pytest.mark.parametrize("status", [409, 412])
def test_a_repository_that_moved_on_is_not_written_over(status: int, hub: Hub, tmp_path: Path) -> None:
    hub.fault("/api/models/*/commit/*", Status(status))
    with pytest.raises(Busy, match="has moved on"):
        put(hub, listed(tmp_path / "sql", model()))


def test_the_token_of_the_environment_goes_to_the_hub_alone(hub: Hub, tmp_path: Path) -> None:
    put(hub, listed(tmp_path / "sql", model()))
    assert [record.path[:9] for record in hub.requests if record.storage] == ["/uploads/"]
    assert {(record.storage, record.authorization) for record in hub.requests} == {
        (False, f"Bearer {hub.token}"),
        (True, None),
    }


def test_who_is_signed_in_on_this_machine_publishes_nothing_by_that(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    (tmp_path / "token").write_text(hub.token)
    with pytest.raises(Gated) as caught:
        put(hub, listed(tmp_path / "sql", model()))
    assert "HF_TOKEN is not set" in caught.value.causes[0]
    assert hub.requests == ()


def test_a_token_that_may_not_write_is_never_shown(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.issue_token("stranger_stranger"))
    with pytest.raises(Gated) as caught:
        put(hub, listed(tmp_path / "sql", model()))
    assert "stranger" not in str(caught.value)


def test_without_the_network_nothing_is_sent(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(OfflineMiss):
        Publisher(offline=True, endpoint=hub.endpoint).put(NAME, listed(tmp_path / "sql", model()), message="1.0.0")
    assert hub.requests == ()

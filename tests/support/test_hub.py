"""The local Hub, as the real Hugging Face client sees it."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils._http import close_session
from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

from tests.support.hub import (
    ChangingEtag,
    Cut,
    Delay,
    Deleted,
    Elsewhere,
    Endless,
    Fault,
    Gated,
    Hub,
    LyingLength,
    RangeIgnored,
    Renamed,
    Repository,
    Stall,
    Status,
    Tamper,
    Zeros,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "acme/legal"
CONFIG = b'{"hidden_size": 8}'
ELEMENTS = 100_000
FILE = "*/resolve/*/model.safetensors"


def safetensors(elements: int = ELEMENTS) -> bytes:
    """One zero tensor of bytes, as a valid safetensors file."""
    header = json.dumps({"weight": {"dtype": "U8", "shape": [elements], "data_offsets": [0, elements]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(elements)


WEIGHTS = safetensors()


@dataclass(frozen=True, slots=True)
class Client:
    """The real client, pointed at one Hub, with a cache of its own."""

    hub: Hub
    cache: Path

    def api(self, token: str | None = None) -> HfApi:
        return HfApi(endpoint=self.hub.endpoint, token=token or False)

    def download(self, file: str = "model.safetensors", *, revision: str = "main", token: str | None = None) -> Path:
        return Path(self.api(token).hf_hub_download(NAME, file, revision=revision, cache_dir=self.cache))

    def get(self, file: str = "model.safetensors", **headers: str) -> httpx2.Response:
        """A plain GET, without the client's retries."""
        return httpx2.get(f"{self.hub.endpoint}/{NAME}/resolve/main/{file}", headers=headers, timeout=5)


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What `Hub.environment` sets for a subprocess, set in this process; and no waiting between retries."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    disable_progress_bars()
    yield
    enable_progress_bars()
    close_session()


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        yield running


@pytest.fixture
def repository(hub: Hub) -> Repository:
    made = hub.repository(NAME, card={"license": "apache-2.0", "base_model": "acme/base", "tags": ["law"]})
    made.commit({"config.json": CONFIG, "model.safetensors": WEIGHTS, "lora/adapter_model.safetensors": WEIGHTS})
    return made


@pytest.fixture
def commit(repository: Repository) -> str:
    return repository.at("main").oid


@pytest.fixture
def client(hub: Hub, repository: Repository, tmp_path: Path) -> Client:
    assert repository.name == NAME
    return Client(hub, tmp_path / "cache")


# Reading about a repository


def test_model_info_tells_sizes_digests_license_and_commit(client: Client, commit: str) -> None:
    info = client.api().model_info(NAME, files_metadata=True)
    assert (info.sha, info.gated, info.private) == (commit, False, False)
    assert info.card_data is not None
    assert info.card_data.license == "apache-2.0"
    assert info.tags == ["law", "base_model:acme/base", "license:apache-2.0"]
    files = {file.rfilename: file for file in info.siblings or ()}
    assert list(files) == ["config.json", "lora/adapter_model.safetensors", "model.safetensors"]
    assert files["config.json"].lfs is None
    assert files["config.json"].blob_id == git_oid(CONFIG)
    assert files["model.safetensors"].size == len(WEIGHTS)
    assert files["model.safetensors"].lfs is not None
    assert files["model.safetensors"].lfs.sha256 == hashlib.sha256(WEIGHTS).hexdigest()


def test_a_readme_in_the_commit_is_the_card(client: Client, repository: Repository) -> None:
    repository.commit({"README.md": b"---\nlicense: mit\n---\n# Legal\n"})
    card = client.api().model_info(NAME).card_data
    assert card is not None
    assert card.license == "mit"


def test_a_revision_resolves_to_its_full_commit(client: Client, repository: Repository, commit: str) -> None:
    repository.tag("v1", commit)
    newer = repository.commit({"config.json": b"{}"}, branch="refs/heads/main")
    repository.branch("feature/x", commit)
    api = client.api()
    resolved = [
        api.resolve_revision(NAME, revision=revision, cache_dir=client.cache).resolved
        for revision in (None, "main", "v1", "feature/x", "refs/tags/v1", commit[:8], commit)
    ]
    assert resolved == [newer, newer, commit, commit, commit, commit, commit]


def test_paths_info_and_tree_tell_what_is_where(client: Client, commit: str) -> None:
    api = client.api()
    [weights] = api.get_paths_info(NAME, ["model.safetensors", "not-there"], revision=commit)
    assert weights.path == "model.safetensors"
    assert [entry.path for entry in api.list_repo_tree(NAME)] == ["config.json", "lora", "model.safetensors"]
    assert [entry.path for entry in api.list_repo_tree(NAME, recursive=True, revision=commit)] == [
        "config.json",
        "lora",
        "lora/adapter_model.safetensors",
        "model.safetensors",
    ]
    assert [entry.path for entry in api.list_repo_tree(NAME, "lora")] == ["lora/adapter_model.safetensors"]


def test_refs_list_branches_and_tags(client: Client, repository: Repository, commit: str) -> None:
    repository.tag("v1")
    refs = client.api().list_repo_refs(NAME)
    assert [(branch.name, branch.target_commit) for branch in refs.branches] == [("main", commit)]
    assert [(tag.name, tag.ref) for tag in refs.tags] == [("v1", "refs/tags/v1")]


# Files


def test_a_file_downloads_at_a_branch_a_tag_and_a_commit(client: Client, repository: Repository, commit: str) -> None:
    repository.tag("v1")
    repository.commit({"config.json": b"{}"})
    assert client.download("config.json").read_bytes() == b"{}"
    assert client.download("config.json", revision="v1").read_bytes() == CONFIG
    assert client.download("config.json", revision=commit).read_bytes() == CONFIG
    assert client.download("lora/adapter_model.safetensors", revision=commit).read_bytes() == WEIGHTS


def test_a_pinned_download_asks_twice_and_a_cached_one_asks_nothing(hub: Hub, client: Client, commit: str) -> None:
    client.download(revision=commit)
    assert [(record.method, record.status) for record in hub.requests] == [("HEAD", 200), ("GET", 200)]
    assert hub.weight_bytes_sent() == len(WEIGHTS)
    hub.reset_log()
    client.download(revision=commit)
    assert [record.method for record in hub.requests] == []
    client.download(revision="main")
    assert [record.method for record in hub.requests] == ["HEAD"]


def test_a_snapshot_holds_the_files_that_were_asked_for(hub: Hub, client: Client, commit: str) -> None:
    snapshot = Path(
        client.api().snapshot_download(NAME, revision=commit, cache_dir=client.cache, allow_patterns="*.json")
    )
    assert [path.name for path in snapshot.iterdir()] == ["config.json"]
    assert hub.weight_bytes_sent() == 0


def test_safetensors_headers_are_read_without_the_weights(hub: Hub, client: Client, repository: Repository) -> None:
    repository.commit({"model.safetensors": safetensors(10 * ELEMENTS)})
    metadata = client.api().get_safetensors_metadata(NAME)
    assert metadata.files_metadata["model.safetensors"].tensors["weight"].shape == [10 * ELEMENTS]
    [read] = hub.gets("model.safetensors")
    assert (read.range, read.status, read.sent) == ("bytes=0-100000", 206, 100_001)


@pytest.mark.parametrize(
    ("asked", "status", "told", "length"),
    [
        ("bytes=0-7", 206, f"bytes 0-7/{len(WEIGHTS)}", 8),
        ("bytes=8-", 206, f"bytes 8-{len(WEIGHTS) - 1}/{len(WEIGHTS)}", len(WEIGHTS) - 8),
        ("bytes=-5", 206, f"bytes {len(WEIGHTS) - 5}-{len(WEIGHTS) - 1}/{len(WEIGHTS)}", 5),
        ("pages=1-2", 200, None, len(WEIGHTS)),
        (f"bytes={len(WEIGHTS)}-", 416, f"bytes */{len(WEIGHTS)}", None),
    ],
)
def test_ranges_are_obeyed(client: Client, asked: str, status: int, told: str | None, length: int | None) -> None:
    response = client.get(range=asked)
    assert (response.status_code, response.headers.get("content-range")) == (status, told)
    assert length in (None, len(response.content))


def test_a_large_file_is_streamed_from_disk(hub: Hub, client: Client, repository: Repository, tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    with large.open("wb") as file:
        file.truncate(50_000_000)
    repository.commit({"large.bin": large})
    assert client.download("large.bin").stat().st_size == 50_000_000
    assert hub.weight_bytes_sent() == 50_000_000


def test_the_token_does_not_follow_to_the_storage(tmp_path: Path) -> None:
    with Hub(separate_storage=True) as hub:
        hub.repository(NAME).commit({"config.json": CONFIG, "model.safetensors": WEIGHTS})
        client = Client(hub, tmp_path)
        assert client.download(token=hub.token).read_bytes() == WEIGHTS
        client.api(hub.token).get_safetensors_metadata(NAME)
        assert {(record.storage, record.authorization) for record in hub.requests} == {
            (False, f"Bearer {hub.token}"),
            (True, None),
        }
        assert [record.status for record in hub.gets("model.safetensors")] == [200, 302, 206]


# Refusals


def test_an_unknown_repository_is_401_to_strangers_and_404_to_those_signed_in(hub: Hub, client: Client) -> None:
    for token, status in ((None, 401), (hub.token, 404)):
        with pytest.raises(RepositoryNotFoundError) as caught:
            client.api(token).model_info("acme/nothing")
        assert caught.value.response.status_code == status


def test_unknown_revisions_and_files_have_their_own_errors(client: Client) -> None:
    with pytest.raises(RevisionNotFoundError):
        client.download(revision="v9")
    with pytest.raises(RemoteEntryNotFoundError):
        client.download("tokenizer.json")


def test_an_invalid_token_is_refused(client: Client) -> None:
    with pytest.raises(HfHubHTTPError, match="Invalid credentials"):
        client.api("hf_made_up").model_info(NAME)


def test_a_gated_repository_shows_its_card_and_keeps_its_files(
    hub: Hub, client: Client, repository: Repository
) -> None:
    repository.gated = "manual"
    stranger = hub.issue_token("stranger")
    reader = hub.issue_token("reader")
    repository.readers.add(reader)
    assert client.api().model_info(NAME).gated == "manual"
    for token, status in ((None, 401), (stranger, 403)):
        with pytest.raises(GatedRepoError) as caught:
            client.download(token=token)
        assert caught.value.response.status_code == status
    assert client.download(token=reader).read_bytes() == WEIGHTS


def test_a_private_repository_is_hidden_from_others(hub: Hub, client: Client, repository: Repository) -> None:
    repository.private = True
    with pytest.raises(RepositoryNotFoundError):
        client.api(hub.issue_token("stranger")).model_info(NAME)
    assert client.api(hub.token).model_info(NAME).private


def test_an_old_name_redirects_until_somebody_takes_it(hub: Hub, client: Client) -> None:
    hub.rename(NAME, "acme/law")
    assert client.api().model_info(NAME).id == "acme/law"
    assert client.download().read_bytes() == WEIGHTS
    hub.repository(NAME).commit({"config.json": b"someone else's"})
    assert client.api().model_info(NAME).id == NAME


def test_a_deleted_repository_is_not_found(hub: Hub, client: Client) -> None:
    hub.delete(NAME)
    with pytest.raises(RepositoryNotFoundError):
        client.download()


# Uploads


def test_a_repository_is_created_once(hub: Hub, client: Client) -> None:
    api = client.api(hub.token)
    assert api.create_repo("acme/new").repo_id == "acme/new"
    assert api.create_repo("acme/new", exist_ok=True).repo_id == "acme/new"
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo("acme/new")
    assert api.whoami()["name"] == hub.user


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's own call of httpx2
def test_an_uploaded_folder_becomes_a_commit(hub: Hub, client: Client, commit: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    (folder / "config.json").write_bytes(CONFIG)
    (folder / "new.safetensors").write_bytes(b"other weights")
    info = client.api(hub.token).upload_folder(repo_id=NAME, folder_path=folder, token=hub.token)
    made = hub.find(NAME).at("main")
    assert (made.oid, made.parent) == (info.oid, commit)
    assert made.files["new.safetensors"].is_lfs
    assert client.download("new.safetensors", revision=info.oid).read_bytes() == b"other weights"
    assert client.api().model_info(NAME).card_data.license == "mit"  # type: ignore[union-attr]


def test_a_commit_deletes_and_refuses_a_stale_parent(hub: Hub, client: Client, commit: str) -> None:
    api = client.api(hub.token)
    api.create_commit(
        NAME,
        [CommitOperationDelete("lora/"), CommitOperationAdd("extra.json", b"{}")],
        commit_message="Replace",
        parent_commit=commit,
    )
    assert sorted(hub.find(NAME).at("main").files) == ["config.json", "extra.json", "model.safetensors"]
    with pytest.raises(HfHubHTTPError, match="412"):
        api.create_commit(NAME, [CommitOperationAdd("late.json", b"{}")], commit_message="Late", parent_commit=commit)


def test_the_client_makes_branches_and_tags(hub: Hub, client: Client, commit: str) -> None:
    api = client.api(hub.token)
    api.create_branch(NAME, branch="next")
    api.create_tag(NAME, tag="v1", revision=commit)
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_tag(NAME, tag="v1")
    assert hub.find(NAME).at("v1").oid == hub.find(NAME).at("next").oid == commit


def test_only_the_owner_writes(hub: Hub, client: Client) -> None:
    for token in (None, hub.issue_token("stranger")):
        with pytest.raises(HfHubHTTPError):
            client.api(token).create_tag(NAME, tag="v1")


# Faults


def test_a_status_strikes_as_often_as_it_is_told(hub: Hub, client: Client) -> None:
    hub.fault(FILE, Status(503, retry_after=1, times=2))
    assert [client.get().status_code for _ in range(3)] == [503, 503, 200]
    assert client.get("config.json").status_code == 200
    assert hub.requests[0].status == 503


def test_the_client_retries_a_status_and_then_gives_up(hub: Hub, client: Client) -> None:
    hub.fault(FILE, Status(503, times=2), method="HEAD")
    assert client.download().read_bytes() == WEIGHTS
    hub.fault("*/config.json", Status(503))
    with pytest.raises(LocalEntryNotFoundError):
        client.download("config.json")


def test_a_fault_that_answers_keeps_the_hub_from_acting(hub: Hub, client: Client, commit: str) -> None:
    hub.fault("*/commit/*", Status(500))
    with pytest.raises(HfHubHTTPError):
        client.api(hub.token).create_commit(NAME, [CommitOperationAdd("a", b"")], commit_message="Add")
    assert hub.find(NAME).at("main").oid == commit
    hub.clear_faults()
    hub.fault("*/commit/*", Cut(0))
    with pytest.raises(httpx2.RemoteProtocolError):
        client.api(hub.token).create_commit(NAME, [CommitOperationAdd("a", b"")], commit_message="Add")
    assert hub.find(NAME).at("main").oid != commit


def test_a_delay_comes_before_the_answer(hub: Hub, client: Client) -> None:
    hub.fault(FILE, Delay(0.2))
    before = time.monotonic()
    assert client.get().status_code == 200
    assert time.monotonic() - before >= 0.2


def test_a_cut_body_ends_early_and_the_client_begins_again(hub: Hub, client: Client) -> None:
    hub.fault(FILE, Cut(1000, times=1), method="GET")
    assert client.download().read_bytes() == WEIGHTS
    assert [(record.status, record.range, record.sent) for record in hub.gets("model.safetensors")] == [
        (200, None, 1000),
        (200, None, len(WEIGHTS)),
    ]


def test_a_cut_after_whole_pieces_is_resumed_with_a_range(
    hub: Hub, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # the client's own is 10 MiB
    hub.fault(FILE, Cut(1500, times=1), method="GET")
    assert client.download().read_bytes() == WEIGHTS
    assert [(record.status, record.range, record.sent) for record in hub.gets("model.safetensors")] == [
        (200, None, 1500),
        (206, "bytes=1000-", len(WEIGHTS) - 1000),
    ]


def test_a_reset_reaches_the_caller_as_a_read_error(hub: Hub, client: Client) -> None:
    hub.fault(FILE, Cut(1000, reset=True), method="GET")
    with pytest.raises(httpx2.ReadError):
        client.download()


def test_a_stalled_body_goes_on_after_its_pause(hub: Hub, client: Client) -> None:
    hub.fault(FILE, Stall(1000, seconds=0.2))
    before = time.monotonic()
    assert client.get().content == WEIGHTS
    assert time.monotonic() - before >= 0.2


def test_a_body_that_stalls_for_good_times_out_and_does_not_hold_up_the_end(client: Client, hub: Hub) -> None:
    hub.fault(FILE, Stall(1000))
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.get(f"{client.hub.endpoint}/{NAME}/resolve/main/model.safetensors", timeout=0.2)
    [stalled] = hub.requests
    assert stalled.sent == 1000


def test_a_tampered_body_has_the_same_length_and_etag(hub: Hub, client: Client) -> None:
    hub.fault(FILE, Tamper(position=70_000), method="GET")
    tampered = client.download().read_bytes()
    assert len(tampered) == len(WEIGHTS)
    assert [at for at, pair in enumerate(zip(tampered, WEIGHTS, strict=True)) if pair[0] != pair[1]] == [70_000]
    assert client.get().headers["etag"] == f'"{hashlib.sha256(WEIGHTS).hexdigest()}"'
    assert client.get(range="bytes=70000-70000").content == b"\xff"


def test_a_length_that_lies_is_noticed_by_http(hub: Hub, client: Client) -> None:
    hub.fault(FILE, LyingLength(excess=10), method="GET")
    with pytest.raises(httpx2.RemoteProtocolError):
        client.get()


def test_a_length_that_is_too_small_cuts_the_body_for_the_client(hub: Hub, client: Client) -> None:
    hub.fault(FILE, LyingLength(excess=-10), method="GET")
    assert client.get().content == WEIGHTS[:-10]
    with pytest.raises(OSError, match="Consistency check failed"):
        client.download()


def test_an_etag_can_change_with_every_request(hub: Hub, client: Client) -> None:
    hub.fault(FILE, ChangingEtag())
    etags = {client.get().headers["etag"] for _ in range(3)}
    assert len(etags) == 3


def test_an_ignored_range_is_answered_with_everything(hub: Hub, client: Client) -> None:
    hub.fault(FILE, RangeIgnored())
    response = client.get(range="bytes=0-7")
    assert (response.status_code, response.content) == (200, WEIGHTS)


def test_the_clients_header_reader_takes_the_whole_file_when_its_range_is_ignored(
    hub: Hub, client: Client, repository: Repository
) -> None:
    large = safetensors(10 * ELEMENTS)
    repository.commit({"model.safetensors": large})
    hub.fault(FILE, RangeIgnored())
    client.api().parse_safetensors_file_metadata(NAME, "model.safetensors")
    assert hub.weight_bytes_sent() == len(large)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Gated(), GatedRepoError),
        (Deleted(), EntryNotFoundError),
        (Deleted("revision"), RevisionNotFoundError),
        (Deleted("repository"), RepositoryNotFoundError),
    ],
)
def test_what_is_taken_away_has_the_clients_own_errors(
    hub: Hub, client: Client, fault: Fault, error: type[Exception]
) -> None:
    hub.fault(FILE, fault)
    with pytest.raises(error):
        client.download()


def test_a_renamed_path_redirects(hub: Hub, client: Client) -> None:
    hub.repository("acme/law").commit({"model.safetensors": b"moved"})
    hub.fault(f"/{NAME}/*", Renamed("acme/law"))
    assert client.download().read_bytes() == b"moved"


def test_no_token_follows_a_redirect_to_another_host(hub: Hub, client: Client) -> None:
    with Hub() as other:
        other.repository(NAME).commit({"model.safetensors": WEIGHTS})
        hub.fault(FILE, Elsewhere(other.endpoint))
        client.api(hub.token).parse_safetensors_file_metadata(NAME, "model.safetensors")
        [arrived] = other.requests
        assert arrived.authorization is None
        assert hub.requests[0].authorization == f"Bearer {hub.token}"


def test_an_endless_body_goes_on_past_the_file(hub: Hub, client: Client) -> None:
    hub.fault(FILE, Endless())
    with httpx2.stream("GET", f"{client.hub.endpoint}/{NAME}/resolve/main/model.safetensors") as response:
        assert "content-length" not in response.headers
        received = 0
        for piece in response.iter_raw():
            received += len(piece)
            if received > 2 * len(WEIGHTS):
                break
    assert received > 2 * len(WEIGHTS)


# The Hub itself


def test_a_connection_is_kept_for_the_next_request(hub: Hub, client: Client) -> None:
    with httpx2.Client() as session:
        for _ in range(2):
            session.get(f"{hub.endpoint}/{NAME}/resolve/main/config.json")
        assert session.get(f"{hub.endpoint}/api/nowhere").status_code == 404
    assert client.hub is hub


def test_a_subprocess_with_its_environment_knows_only_this_hub(hub: Hub, client: Client, tmp_path: Path) -> None:
    script = f"from huggingface_hub import hf_hub_download as get; print(get({NAME!r}, 'config.json'))"
    environment = hub.environment(tmp_path / "home", token=hub.token)
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).read_bytes() == CONFIG
    assert done.stdout.startswith(str(tmp_path / "home"))
    assert client.hub.requests[0].authorization == f"Bearer {hub.token}"


def test_a_file_of_zeros_needs_no_disk(hub: Hub, client: Client, repository: Repository) -> None:
    repository.commit({"zeros.bin": Zeros(1_000_000)})
    assert client.get("zeros.bin").content == bytes(1_000_000)
    assert hub.gets("zeros.bin")[0].weights


def test_after_its_end_nobody_listens() -> None:
    with Hub() as hub:
        port = int(hub.endpoint.rsplit(":", 1)[1])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()

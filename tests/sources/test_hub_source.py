from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import constants

from brickctl.core.reference import HubReference
from brickctl.errors import (
    Gated,
    IntegrityFault,
    LockInvalid,
    NotFound,
    OfflineMiss,
    PolicyViolation,
    TransportFault,
)
from brickctl.sources import patience
from brickctl.sources.hub.source import HubSource
from tests.sources.bricks import model, sharded, weights
from tests.support import hub as world
from tests.support.hub import Hub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from brickctl.core.brick import Pin
    from brickctl.sources.ledger import Ledger
    from tests.sources.bricks import Amounts

LEGAL = HubReference(repository="acme/legal")
MANY_ROWS = 160_000  # two tensors of 2.56 MB


@pytest.fixture(autouse=True)
def no_pauses_and_no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(patience, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        yield running


def source(hub: Hub, ledger: Ledger, cache: Path, *, offline: bool = False) -> HubSource:
    return HubSource(ledger, offline=offline, endpoint=hub.endpoint, cache=cache)


def install(bricks: HubSource, pin: Pin, amounts: Amounts) -> dict[str, Path]:
    return {file.path: bricks.fetch(pin, file, amounts) for file in pin.files}


def test_a_pin_names_commit_licence_and_the_digest_of_every_file(hub: Hub, ledger: Ledger, tmp_path: Path) -> None:
    files = model()
    commit = hub.repository("acme/legal", card={"license": "apache-2.0"}).commit({**files, "notes.md": b"hello"})
    pin = source(hub, ledger, tmp_path / "cache").pin(LEGAL)
    assert (pin.source, pin.commit, pin.license) == ("hf:acme/legal", commit, "Apache-2.0")
    digests = {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
    assert {file.path: file.sha256 for file in pin.files} == digests
    assert {file.path: file.size for file in pin.files} == {path: len(content) for path, content in files.items()}


def test_locking_moves_no_weights(hub: Hub, ledger: Ledger, tmp_path: Path) -> None:
    hub.repository("acme/legal").commit(model(MANY_ROWS))
    bricks = source(hub, ledger, tmp_path / "cache")
    pin = bricks.pin(LEGAL)
    assert hub.weight_bytes_sent() == 0
    assert hub.requests[0].path == "/api/models/acme/legal/revision/main"
    assert len(hub.requests) == 1 + 2 * 2  # the listing, then HEAD and GET for config.json and tokenizer.json
    hub.reset_log()
    contents = bricks.inspect(pin)
    assert {name: tensor.spec.shape for name, tensor in contents.tensors.items()} == {
        "a": (MANY_ROWS, 8),
        "b": (MANY_ROWS, 8),
    }
    assert contents.documents["config.json"] == {"model_type": "llama"}
    assert len(hub.requests) == 2
    assert hub.weight_bytes_sent() == contents.shards["model.safetensors"]


def test_a_header_takes_a_request_for_its_length_and_one_for_itself(hub: Hub, ledger: Ledger, tmp_path: Path) -> None:
    shapes = {f"model.layers.{number}.self_attn.q_proj.weight": (1, 8) for number in range(1000)}
    hub.repository("acme/legal").commit({"model.safetensors": weights(shapes), "config.json": b"{}"})
    bricks = source(hub, ledger, tmp_path / "cache")
    contents = bricks.inspect(bricks.pin(LEGAL))
    ranges = [record.range for record in hub.gets("model.safetensors")]
    assert ranges == ["bytes=0-7", f"bytes=8-{contents.shards['model.safetensors'] - 1}"]
    assert list(contents.tensors) == list(shapes)


def test_a_server_that_ignores_ranges_is_left_behind_the_header(hub: Hub, ledger: Ledger, tmp_path: Path) -> None:
    rows = 4_000_000  # 128 MB
    size = len(weights({"a": (rows, 8)}))
    header = weights({"a": (rows, 8)})[: size - rows * 16]
    hub.repository("acme/legal").commit({"config.json": b"{}", "model.safetensors": header + bytes(rows * 16)})
    hub.fault("*/model.safetensors", world.RangeIgnored())
    bricks = source(hub, ledger, tmp_path / "cache")
    contents = bricks.inspect(bricks.pin(LEGAL))
    assert contents.tensors["a"].spec.shape == (rows, 8)
    assert hub.weight_bytes_sent() < size // 8  # what fits into the buffers of two sockets


def test_the_second_look_makes_no_request_and_reads_no_weights(
    hub: Hub, ledger: Ledger, tmp_path: Path, amounts: Amounts, hashed: list[str]
) -> None:
    hub.repository("acme/legal").commit(model(MANY_ROWS))
    bricks = source(hub, ledger, tmp_path / "cache")
    pin = bricks.pin(LEGAL)
    install(bricks, pin, amounts)
    hub.reset_log()
    hashed.clear()
    located = source(hub, ledger, tmp_path / "cache").locate(pin)
    assert located is not None
    assert sorted(located) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert hub.requests == ()
    assert hashed == []


def test_a_fetch_tells_how_far_it_is(hub: Hub, ledger: Ledger, tmp_path: Path, amounts: Amounts) -> None:
    files = model(MANY_ROWS)
    hub.repository("acme/legal").commit(files)
    bricks = source(hub, ledger, tmp_path / "cache")
    install(bricks, bricks.pin(LEGAL), amounts)
    label = "hf:acme/legal/model.safetensors"
    assert amounts.totals[label] == amounts.done[label] == len(files["model.safetensors"])
    assert label in amounts.finished


def test_a_tampered_body_of_equal_length_is_put_aside_and_never_returned(
    hub: Hub, ledger: Ledger, tmp_path: Path, amounts: Amounts
) -> None:
    hub.repository("acme/legal").commit(model())
    bricks = source(hub, ledger, tmp_path / "cache")
    pin = bricks.pin(LEGAL)
    file = pin.file("model.safetensors")
    assert file is not None
    hub.fault("*/model.safetensors", world.Tamper(position=200), method="GET")
    with pytest.raises(IntegrityFault, match=r"hf:acme/legal/model\.safetensors is not what was promised") as caught:
        bricks.fetch(pin, file, amounts)
    assert caught.value.exit_code == 4
    assert bricks.locate(pin) is None
    assert len(list((tmp_path / "cache").rglob("*.corrupt-1"))) == 1
    hub.clear_faults()
    assert hashlib.sha256(bricks.fetch(pin, file, amounts).read_bytes()).hexdigest() == file.sha256
    assert bricks.locate(pin) is not None


def test_a_cached_file_that_rots_is_noticed_once_and_then_fetched_anew(
    hub: Hub, ledger: Ledger, tmp_path: Path, amounts: Amounts
) -> None:
    hub.repository("acme/legal").commit(model())
    bricks = source(hub, ledger, tmp_path / "cache")
    pin = bricks.pin(LEGAL)
    place = install(bricks, pin, amounts)["model.safetensors"]
    content = bytearray(place.read_bytes())
    content[-1] ^= 1
    place.resolve().write_bytes(content)
    with pytest.raises(IntegrityFault, match="the copy is kept as"):
        bricks.locate(pin)
    assert bricks.locate(pin) is None
    install(bricks, pin, amounts)
    assert bricks.locate(pin) is not None


def test_a_rotten_config_in_the_cache_is_not_pinned(hub: Hub, ledger: Ledger, tmp_path: Path) -> None:
    hub.repository("acme/legal").commit(model())
    bricks = source(hub, ledger, tmp_path / "cache")
    bricks.pin(LEGAL)
    config = next((tmp_path / "cache").rglob("snapshots/*/config.json"))
    config.resolve().write_bytes(b'{"model_type": "other"}')
    with pytest.raises(IntegrityFault, match="differs from what the Hub lists"):
        bricks.pin(LEGAL)
    assert bricks.pin(LEGAL).file("config.json") is not None


def test_everything_works_offline_from_the_cache(hub: Hub, ledger: Ledger, tmp_path: Path, amounts: Amounts) -> None:
    hub.repository("acme/legal").commit(model())
    online = source(hub, ledger, tmp_path / "cache")
    pin = online.pin(LEGAL)
    install(online, pin, amounts)
    hub.reset_log()
    bricks = source(hub, ledger, tmp_path / "cache", offline=True)
    assert bricks.pin(replace(LEGAL, revision=pin.commit or ""), pin) == pin
    assert len(bricks.inspect(pin).tensors) == 2
    assert bricks.locate(pin) is not None
    assert install(bricks, pin, amounts)
    assert hub.requests == ()


def test_offline_says_what_is_missing_and_asks_nobody(
    hub: Hub, ledger: Ledger, tmp_path: Path, amounts: Amounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repository("acme/legal").commit(model())
    pin = source(hub, ledger, tmp_path / "cache").pin(LEGAL)
    hub.reset_log()
    bricks = source(hub, ledger, tmp_path / "elsewhere", offline=True)
    with pytest.raises(OfflineMiss, match="hf:acme/legal is not in the cache"):
        bricks.pin(LEGAL)
    with pytest.raises(OfflineMiss, match="`--offline` forbids it"):
        bricks.inspect(pin)
    with pytest.raises(OfflineMiss):
        bricks.fetch(pin, pin.files[0], amounts)
    assert bricks.locate(pin) is None
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(OfflineMiss, match="HF_HUB_OFFLINE forbids it"):
        source(hub, ledger, tmp_path / "elsewhere").pin(LEGAL)
    assert hub.requests == ()


def test_a_branch_that_did_not_move_costs_one_request(hub: Hub, ledger: Ledger, tmp_path: Path) -> None:
    hub.repository("acme/legal").commit(model())
    bricks = source(hub, ledger, tmp_path / "cache")
    old = bricks.pin(LEGAL)
    hub.reset_log()
    assert source(hub, ledger, tmp_path / "empty").pin(LEGAL, old) == old
    assert len(hub.requests) == 1


def test_a_licence_that_a_user_wrote_into_the_lock_does_not_stick(hub: Hub, ledger: Ledger, tmp_path: Path) -> None:
    commit = hub.repository("acme/legal", card={"license": "mit"}).commit(model())
    bricks = source(hub, ledger, tmp_path / "cache")
    claimed = replace(bricks.pin(LEGAL), license="Apache-2.0")
    assert bricks.pin(replace(LEGAL, revision=commit), claimed).license == "MIT"


def test_a_branch_that_moved_is_pinned_where_it_is_now(hub: Hub, ledger: Ledger, tmp_path: Path) -> None:
    repository = hub.repository("acme/legal")
    first = repository.commit(model())
    bricks = source(hub, ledger, tmp_path / "cache")
    old = bricks.pin(LEGAL)
    second = repository.commit(model(fill=9))
    assert (old.commit, bricks.pin(LEGAL, old).commit) == (first, second)


def test_another_commit_or_folder_does_not_keep_the_old_pin(hub: Hub, ledger: Ledger, tmp_path: Path) -> None:
    repository = hub.repository("acme/legal")
    first = repository.commit({**model(), **{f"sub/{path}": content for path, content in model(fill=3).items()}})
    second = repository.commit(model(fill=9))
    bricks = source(hub, ledger, tmp_path / "cache")
    old = bricks.pin(LEGAL)
    assert old.commit == second
    assert bricks.pin(replace(LEGAL, revision=first), old).commit == first
    assert bricks.pin(replace(LEGAL, subfolder="sub"), old).subfolder == "sub"


def test_a_subfolder_is_a_brick_of_its_own(hub: Hub, ledger: Ledger, tmp_path: Path, amounts: Amounts) -> None:
    inner = {f"checkpoint-300/{path}": content for path, content in model(fill=3).items()}
    hub.repository("acme/legal").commit({"README.md": b"two of them", **inner})
    bricks = source(hub, ledger, tmp_path / "cache")
    pin = bricks.pin(replace(LEGAL, subfolder="checkpoint-300"))
    assert [file.path for file in pin.files] == ["config.json", "model.safetensors", "tokenizer.json"]
    assert len(bricks.inspect(pin).tensors) == 2
    install(bricks, pin, amounts)
    assert bricks.locate(pin) is not None


def test_candidates_are_listed_where_the_weights_lie_deeper(hub: Hub, ledger: Ledger, tmp_path: Path) -> None:
    hub.repository("acme/legal").commit({"checkpoint-300/adapter_model.safetensors": weights({"a": (1, 8)})})
    with pytest.raises(NotFound, match=r"checkpoint-300/adapter_model\.safetensors") as caught:
        source(hub, ledger, tmp_path / "cache").pin(LEGAL)
    assert caught.value.hint == 'to use one of the folders, add `subfolder = "checkpoint-300"` in brick.toml'


def test_shards_are_pinned_by_their_index(hub: Hub, ledger: Ledger, tmp_path: Path) -> None:
    hub.repository("acme/legal").commit({**sharded(), "model.safetensors": weights({"other": (1, 1)})})
    bricks = source(hub, ledger, tmp_path / "cache")
    pin = bricks.pin(LEGAL)
    assert [file.path for file in pin.files] == sorted(sharded())
    contents = bricks.inspect(pin)
    assert list(contents.tensors) == ["a", "b"]
    assert hub.weight_bytes_sent() == sum(contents.shards.values())


def test_pickles_are_refused_before_anything_is_downloaded(hub: Hub, ledger: Ledger, tmp_path: Path) -> None:
    hub.repository("acme/legal").commit({"config.json": b"{}", "pytorch_model.bin": b"\x80\x04"})
    with pytest.raises(PolicyViolation, match="pickle only"):
        source(hub, ledger, tmp_path / "cache").pin(LEGAL)
    assert len(hub.requests) == 1


def test_remote_code_is_refused(hub: Hub, ledger: Ledger, tmp_path: Path) -> None:
    config = json.dumps({"auto_map": {"AutoModel": "modeling_evil.Model"}}).encode()
    hub.repository("acme/legal").commit({**model(), "config.json": config})
    bricks = source(hub, ledger, tmp_path / "cache")
    with pytest.raises(PolicyViolation, match="`auto_map`"):
        bricks.inspect(bricks.pin(LEGAL))


def test_a_missing_repository_points_to_spelling_and_token(hub: Hub, ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="hf:acme/legal was not found") as caught:
        source(hub, ledger, tmp_path / "cache").pin(LEGAL)
    assert "HF_TOKEN" in (caught.value.hint or "")


def test_a_gated_repository_says_where_to_ask(hub: Hub, ledger: Ledger, tmp_path: Path) -> None:
    hub.repository("acme/legal", gated="manual").commit(model())
    with pytest.raises(Gated) as caught:
        source(hub, ledger, tmp_path / "cache").pin(LEGAL)
    assert f"ask for access at {hub.endpoint}/acme/legal" in (caught.value.hint or "")
    assert caught.value.exit_code == 1


def test_a_token_that_is_not_valid_is_told_apart(
    hub: Hub, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    hub.repository("acme/legal").commit(model())
    with pytest.raises(Gated, match="status 401: the token is not valid") as caught:
        source(hub, ledger, tmp_path / "cache").pin(LEGAL)
    assert "of_nobody" not in str(caught.value)


def test_a_misspelt_branch_is_recognised(hub: Hub, ledger: Ledger, tmp_path: Path) -> None:
    repository = hub.repository("acme/legal")
    repository.commit(model())
    repository.tag("v2.0")
    with pytest.raises(NotFound, match=r"no revision `v2\.1`") as caught:
        source(hub, ledger, tmp_path / "cache").pin(replace(LEGAL, revision="v2.1"))
    assert caught.value.hint == "did you mean `v2.0`?"


def test_a_renamed_repository_is_found_under_its_old_name(
    hub: Hub, ledger: Ledger, tmp_path: Path, amounts: Amounts
) -> None:
    hub.repository("acme/legal").commit(model())
    hub.rename("acme/legal", "acme/law")
    bricks = source(hub, ledger, tmp_path / "cache")
    pin = bricks.pin(LEGAL)
    assert pin.source == "hf:acme/legal"
    assert len(bricks.inspect(pin).tensors) == 2
    install(bricks, pin, amounts)
    assert bricks.locate(pin) is not None


def test_a_file_that_went_away_after_locking_is_named(
    hub: Hub, ledger: Ledger, tmp_path: Path, amounts: Amounts
) -> None:
    hub.repository("acme/legal").commit(model())
    bricks = source(hub, ledger, tmp_path / "cache")
    pin = bricks.pin(LEGAL)
    hub.fault("*/model.safetensors", world.Deleted("file"))
    file = pin.file("model.safetensors")
    assert file is not None
    with pytest.raises(NotFound, match=r"hf:acme/legal/model\.safetensors is not there"):
        bricks.fetch(pin, file, amounts)


def test_a_server_in_trouble_is_asked_again_and_then_named(hub: Hub, ledger: Ledger, tmp_path: Path) -> None:
    hub.repository("acme/legal").commit(model())
    bricks = source(hub, ledger, tmp_path / "cache")
    hub.fault("/api/models/*", world.Status(503, times=2))
    assert bricks.pin(LEGAL).files
    hub.fault("/api/models/*", world.Status(503))
    with pytest.raises(TransportFault, match="status 503") as caught:
        bricks.pin(LEGAL)
    assert caught.value.exit_code == 6


def test_a_header_request_that_fails_once_is_repeated(hub: Hub, ledger: Ledger, tmp_path: Path) -> None:
    hub.repository("acme/legal").commit(model())
    bricks = source(hub, ledger, tmp_path / "cache")
    pin = bricks.pin(LEGAL)
    hub.fault("*/model.safetensors", world.Status(503, times=1))
    assert len(bricks.inspect(pin).tensors) == 2


def test_nobody_at_the_endpoint_is_a_transport_fault(ledger: Ledger, tmp_path: Path) -> None:
    bricks = HubSource(ledger, endpoint="http://127.0.0.1:9", cache=tmp_path)
    with pytest.raises(TransportFault, match="could not be fetched from 127"):
        bricks.pin(LEGAL)


def test_a_file_of_another_size_than_listed_is_refused(hub: Hub, ledger: Ledger, tmp_path: Path) -> None:
    hub.repository("acme/legal").commit(model())
    bricks = source(hub, ledger, tmp_path / "cache")
    pin = bricks.pin(LEGAL)
    longer = tuple(replace(file, size=file.size + 16) if "model" in file.path else file for file in pin.files)
    with pytest.raises(IntegrityFault, match="another size than it was listed with"):
        bricks.inspect(replace(pin, files=longer))


def test_the_token_does_not_leave_the_hub(
    ledger: Ledger, tmp_path: Path, amounts: Amounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Hub(separate_storage=True) as hub:
        monkeypatch.setenv("HF_TOKEN", hub.token)
        hub.repository("acme/legal", private=True).commit(model())
        bricks = source(hub, ledger, tmp_path / "cache")
        pin = bricks.pin(LEGAL)
        bricks.inspect(pin)
        install(bricks, pin, amounts)
        assert [record for record in hub.requests if record.storage]
        assert not [record for record in hub.requests if record.storage and record.authorization]
        assert [record for record in hub.requests if not record.storage and record.authorization]


def test_no_message_shows_a_token(hub: Hub, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecret")
    hub.fault("*", world.Status(500, message="you sent hf_secretsecretsecret"))
    with pytest.raises(TransportFault) as caught:
        source(hub, ledger, tmp_path / "cache").pin(LEGAL)
    assert "secret" not in str(caught.value)


def test_a_lock_that_was_edited_cannot_lead_elsewhere(hub: Hub, ledger: Ledger, tmp_path: Path) -> None:
    hub.repository("acme/legal").commit(model())
    bricks = source(hub, ledger, tmp_path / "cache")
    pin = bricks.pin(LEGAL)
    outside = (replace(pin.files[0], path="../../../secret"),)
    for edited in (replace(pin, files=outside), replace(pin, commit="main"), replace(pin, source="hf:../x")):
        with pytest.raises(LockInvalid):
            bricks.locate(edited)


def test_nothing_of_the_client_reaches_stderr(
    hub: Hub, ledger: Ledger, tmp_path: Path, amounts: Amounts, capfd: pytest.CaptureFixture[str]
) -> None:
    hub.repository("acme/legal").commit(model(MANY_ROWS))
    hub.fault("/acme/legal/resolve/*", world.Status(503, times=1), method="HEAD")
    bricks = source(hub, ledger, tmp_path / "cache")
    install(bricks, bricks.pin(LEGAL), amounts)
    assert capfd.readouterr() == ("", "")

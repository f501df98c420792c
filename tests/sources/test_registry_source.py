from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import constants

from brickctl.core.reference import PathReference
from brickctl.core.registry_line import encode_line
from brickctl.errors import (
    IntegrityFault,
    LockInvalid,
    ManifestInvalid,
    NotFound,
    OfflineMiss,
    PolicyViolation,
    TransportFault,
    Unsupported,
)
from brickctl.sources import folder_store
from brickctl.sources.hub.source import HubSource
from brickctl.sources.open import builtin_registry
from tests.sources.bricks import model, write
from tests.sources.registries import SQL, entry, install, opened, publish
from tests.support.hub import Hub

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sources.bricks import Amounts
    from tests.sources.static_server import StaticServer


@pytest.mark.parametrize("form", ["./registry", "{root}", "file://{root}"])
def test_a_folder_is_a_registry_and_its_files_are_used_in_place(
    form: str, registry: Path, tmp_path: Path, amounts: Amounts
) -> None:
    bricks = opened(tmp_path, form.format(root=registry))
    pin = bricks.pin(SQL)
    assert (pin.brick, pin.version, pin.registry, pin.license) == ("acme/sql", "1.1.0", "corp", "MIT")
    assert pin.source == "index:acme/sql/1.1.0"
    assert list(bricks.inspect(pin).tensors) == ["a", "b"]
    located = bricks.locate(pin)
    assert located is not None
    assert located["model.safetensors"] == registry / "files/acme/sql/1.1.0/model.safetensors"
    assert install(bricks, pin, amounts) == located


def test_the_newest_version_in_the_range_wins_and_a_yanked_one_never(registry: Path, tmp_path: Path) -> None:
    bricks = opened(tmp_path, str(registry))
    assert bricks.pin(SQL).version == "1.1.0"
    assert bricks.pin(replace(SQL, version="*")).version == "2.0.0"
    assert bricks.pin(replace(SQL, version="=1.0.0")).version == "1.0.0"


def test_a_locked_version_stays_even_when_it_is_yanked(registry: Path, tmp_path: Path) -> None:
    bricks = opened(tmp_path, str(registry))
    old = entry("1.2.0", model()).pin("corp")
    assert bricks.pin(SQL, old).version == "1.2.0"
    assert bricks.pin(replace(SQL, version="^2"), old).version == "2.0.0"
    assert bricks.pin(SQL, replace(old, registry="other")).version == "1.1.0"


def test_a_range_without_a_version_says_which_there_are(registry: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no version of `acme/sql` is in `\^3`") as caught:
        opened(tmp_path, str(registry)).pin(replace(SQL, version="^3"))
    assert caught.value.causes == ("registry `corp` has 2.0.0, 1.2.0 (yanked), 1.1.0, 1.0.0",)


def test_names_that_do_not_exist_are_told_with_what_was_probably_meant(registry: Path, tmp_path: Path) -> None:
    bricks = opened(tmp_path, str(registry))
    with pytest.raises(NotFound, match="registry `corp` has no brick `acme/sqll`") as caught:
        bricks.pin(replace(SQL, name="acme/sqll"))
    assert caught.value.hint == "did you mean `acme/sql`?"
    with pytest.raises(NotFound, match="no registry `crop`") as caught:
        bricks.pin(replace(SQL, registry="crop"))
    assert caught.value.hint == "did you mean `corp`?"


def test_what_was_probably_meant_is_looked_for_near_the_name_alone(registry: Path, tmp_path: Path) -> None:
    bricks = opened(tmp_path, str(registry))
    store = bricks.index("corp").store  # type: ignore[union-attr]
    for namespace in range(40):
        publish(registry, entry("1.0.0", model(), name=f"team-{namespace}/tool"))
    for number in range(30):
        (registry / "index/acme" / f"brick-{number}").touch()
    (registry / "index/acme" / "No Brick").touch()
    names = store.names_near("acme/sqll")
    assert "acme/sql" in names
    assert {name.partition("/")[0] for name in names} <= {"acme"}
    assert store.names_near("acmee/sql") == names
    assert len(store.names_near("SQL")) <= 31 + 10
    assert store.names_near("../../x") == store.names_near("\0/x") == ()


def test_a_namespace_of_any_size_is_not_read_whole(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_store, "_MOST_LISTED", 5)
    for number in range(30):
        (registry / "index/acme" / f"brick-{number}").touch()
    store = opened(tmp_path, str(registry)).index("corp").store  # type: ignore[union-attr]
    assert len(store.names_near("acme/brick")) == 5


def test_a_folder_without_a_config_is_no_registry(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no registry at file://"):
        opened(tmp_path, str(tmp_path / "nothing")).pin(SQL)


def test_a_newer_layout_is_refused(registry: Path, tmp_path: Path) -> None:
    (registry / "config.json").write_text('{"v":2}')
    with pytest.raises(Unsupported, match="has the layout 2"):
        opened(tmp_path, str(registry)).pin(SQL)


def test_lines_of_a_newer_format_are_passed_over_while_others_will_do(registry: Path, tmp_path: Path) -> None:
    line = encode_line(entry("1.9.0", model())).replace(b'"v":1', b'"v":2')
    with (registry / "index/acme/sql").open("ab") as file:
        file.write(line)
    assert opened(tmp_path, str(registry)).pin(SQL).version == "1.1.0"
    (registry / "index/acme/sql").write_bytes(line)
    with pytest.raises(Unsupported, match="format 2"):
        opened(tmp_path / "other", str(registry)).pin(SQL)


@pytest.mark.parametrize("name", ["acme/other", "acme/sql"])
def test_a_line_about_another_brick_or_a_second_one_about_a_version_is_refused(
    name: str, registry: Path, tmp_path: Path
) -> None:
    with (registry / "index/acme/sql").open("ab") as file:
        file.write(encode_line(entry("2.0.0", model(), name=name)))
    with pytest.raises(IntegrityFault, match="answers wrongly about `acme/sql`"):
        opened(tmp_path, str(registry)).pin(SQL)


@pytest.mark.parametrize("place", ["folder", "web"])
def test_a_published_version_may_be_yanked_and_never_changed(
    place: str, registry: Path, server: StaticServer, tmp_path: Path
) -> None:
    address = server.url if place == "web" else str(registry)
    assert opened(tmp_path, address).pin(SQL).version == "1.1.0"
    later = (entry("1.1.0", model(), yanked=True), entry("1.2.0", model(), yanked=True), entry("2.0.0", model()))
    publish(registry, entry("1.0.0", model()), *later)
    assert opened(tmp_path, address).pin(SQL).version == "1.0.0"
    publish(registry, entry("1.0.0", model(fill=9)), *later, files=model(fill=9))
    for _ in range(2):
        with pytest.raises(IntegrityFault, match=r"has changed `acme/sql` 1\.0\.0") as caught:
            opened(tmp_path, address).pin(SQL)
        assert caught.value.exit_code == 4
    assert opened(tmp_path / "elsewhere", address).pin(SQL).version == "1.0.0"


def test_a_version_with_other_files_than_the_lock_is_an_integrity_fault(registry: Path, tmp_path: Path) -> None:
    old = entry("1.1.0", model(fill=9)).pin("corp")
    with pytest.raises(IntegrityFault, match=r"other files for `acme/sql` 1\.1\.0 than brick\.lock"):
        opened(tmp_path, str(registry)).pin(SQL, old)


def test_a_changed_file_in_a_folder_is_an_integrity_fault(registry: Path, tmp_path: Path) -> None:
    bricks = opened(tmp_path, str(registry))
    pin = bricks.pin(SQL)
    (registry / "files/acme/sql/1.1.0/config.json").write_bytes(b'{"model_type": "other"}')
    with pytest.raises(IntegrityFault, match=r"index:acme/sql/1\.1\.0/config\.json is not what was locked"):
        bricks.locate(pin)


def test_pinning_over_the_web_takes_two_requests_and_later_two_unchanged(server: StaticServer, tmp_path: Path) -> None:
    first = opened(tmp_path, server.url).pin(SQL)
    assert [(path, status) for path, status, _ in server.requests] == [("/config.json", 200), ("/index/acme/sql", 200)]
    server.requests.clear()
    assert opened(tmp_path, server.url).pin(SQL) == first
    assert server.requests == [("/config.json", 304, 0), ("/index/acme/sql", 304, 0)]


def test_of_many_bricks_the_pages_of_those_that_are_asked_for_are_read_once(
    registry: Path, server: StaticServer, tmp_path: Path
) -> None:
    names = [f"team-{number % 7}/brick-{number}" for number in range(300)]
    for name in names:
        (registry / "index" / name).parent.mkdir(parents=True, exist_ok=True)
        (registry / "index" / name).write_bytes(encode_line(entry("1.0.0", model(), name=name)))
    bricks = opened(tmp_path, server.url)
    for name in [*names[::30], *names[::30]]:
        assert bricks.pin(replace(SQL, name=name)).version == "1.0.0"
    asked = [path for path, _, _ in server.requests]
    assert sorted(asked) == sorted(["/config.json", *(f"/index/{name}" for name in names[::30])])


def test_over_the_web_headers_come_without_weights_and_files_once(
    registry: Path, server: StaticServer, tmp_path: Path, amounts: Amounts, hashed: list[str]
) -> None:
    files = model(160_000)
    publish(registry, entry("1.5.0", files), files=files)
    bricks = opened(tmp_path, server.url)
    pin = bricks.pin(SQL)
    assert bricks.locate(pin) is None
    server.requests.clear()
    contents = bricks.inspect(pin)
    assert len(contents.tensors) == 2
    sent = [size for path, _, size in server.requests if path.endswith("model.safetensors")]
    assert sent == [8, contents.shards["model.safetensors"] - 8]
    places = install(bricks, pin, amounts)
    assert places["model.safetensors"].read_bytes() == files["model.safetensors"]
    label = "index:acme/sql/1.5.0/model.safetensors"
    assert amounts.totals[label] == amounts.done[label] == len(files["model.safetensors"])
    server.requests.clear()
    hashed.clear()
    assert opened(tmp_path, server.url).locate(pin) == places
    assert len(opened(tmp_path, server.url, offline=True).inspect(pin).tensors) == 2
    assert (server.requests, hashed) == ([], [])


def test_offline_uses_what_was_seen_and_asks_nobody(server: StaticServer, tmp_path: Path) -> None:
    with pytest.raises(OfflineMiss, match="`--offline` forbids it"):
        opened(tmp_path, server.url, offline=True).pin(SQL)
    first = opened(tmp_path, server.url).pin(SQL)
    server.requests.clear()
    assert opened(tmp_path, server.url, offline=True).pin(SQL) == first
    assert server.requests == []


@pytest.mark.parametrize("change", [b"", b"longer than it was"])
def test_a_server_with_other_bytes_is_caught(
    change: bytes, server: StaticServer, tmp_path: Path, amounts: Amounts
) -> None:
    bricks = opened(tmp_path, server.url)
    pin = bricks.pin(SQL)
    content = bytearray(model()["model.safetensors"])
    content[-1] ^= 1
    server.override["/files/acme/sql/1.1.0/model.safetensors"] = (200, {}, bytes(content) + change)
    with pytest.raises(IntegrityFault) as caught:
        install(bricks, pin, amounts)
    assert caught.value.exit_code == 4
    assert bricks.locate(pin) is None
    server.override.clear()
    assert install(bricks, pin, amounts)
    assert not list((tmp_path / "cache").rglob(".brickctl-new-*"))


def test_a_shorter_file_is_not_the_file_and_a_cut_connection_is_a_transport_fault(
    server: StaticServer, tmp_path: Path, amounts: Amounts
) -> None:
    bricks = opened(tmp_path, server.url)
    pin = bricks.pin(SQL)
    path, content = "/files/acme/sql/1.1.0/model.safetensors", model()["model.safetensors"]
    server.override[path] = (200, {}, content[:-1])
    with pytest.raises(IntegrityFault, match="another length"):
        install(bricks, pin, amounts)
    server.override[path] = (200, {"Content-Length": str(len(content))}, content[:-1])
    with pytest.raises(TransportFault, match="the connection ended after"):
        install(bricks, pin, amounts)
    assert not list((tmp_path / "cache").rglob(".brickctl-new-*"))


def test_half_an_index_is_not_taken_for_the_whole(server: StaticServer, registry: Path, tmp_path: Path) -> None:
    body = (registry / "index/acme/sql").read_bytes()
    half = body[: body.index(b"\n") + 1]
    server.override["/index/acme/sql"] = (200, {"Content-Length": str(len(body))}, half)
    with pytest.raises(TransportFault, match="the connection ended early"):
        opened(tmp_path, server.url).pin(SQL)


def test_an_index_without_end_is_cut_off(server: StaticServer, tmp_path: Path) -> None:
    server.override["/index/acme/sql"] = (200, {}, bytes(8_000_001))
    with pytest.raises(IntegrityFault, match="larger than 8,000,000 bytes"):
        opened(tmp_path, server.url).pin(SQL)


def test_a_server_in_trouble_is_a_transport_fault(server: StaticServer, tmp_path: Path) -> None:
    server.override["/index/acme/sql"] = (503, {}, b"")
    with pytest.raises(TransportFault, match="could not be read") as caught:
        opened(tmp_path, server.url).pin(SQL)
    assert len(server.requests) == 1 + 3
    assert caught.value.causes == ("the server answered with status 503",)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://bricks.example/index"])
def test_no_redirect_leads_away_from_https(target: str, server: StaticServer, tmp_path: Path) -> None:
    server.override["/config.json"] = (302, {"Location": target}, b"")
    with pytest.raises((PolicyViolation, TransportFault)):
        opened(tmp_path, server.url).pin(SQL)
    assert len(server.requests) <= 3


@pytest.mark.parametrize("address", ["http://bricks.example", "ftp://bricks.example", "file://other/index"])
def test_addresses_that_are_not_safe_are_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises((PolicyViolation, ManifestInvalid)):
        opened(tmp_path, address).pin(SQL)


def test_a_lock_that_was_edited_cannot_lead_out_of_the_registry(registry: Path, tmp_path: Path) -> None:
    bricks = opened(tmp_path, str(registry))
    pin = bricks.pin(SQL)
    outside = (replace(pin.files[0], path="../../secret"),)
    sources = ("index:../x/1.0.0", "index:acme/sql/..", "ftp:acme")
    for edited in (replace(pin, files=outside), *(replace(pin, source=source) for source in sources)):
        with pytest.raises(LockInvalid):
            bricks.locate(edited)


def test_a_path_goes_to_the_folder_and_the_hub_client_is_never_loaded(tmp_path: Path, registry: Path) -> None:
    write(tmp_path / "bricks/date", model())
    bricks = opened(tmp_path, str(registry))
    assert bricks.locate(bricks.pin(PathReference(path="bricks/date"))) is not None
    assert bricks.locate(bricks.pin(SQL)) is not None
    assert bricks._hub is None


def test_a_line_may_point_to_the_hub_and_pins_without_asking_it(
    tmp_path: Path, amounts: Amounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    with Hub() as hub:
        commit = hub.repository("acme/sql-lora").commit(model())
        line = replace(entry("1.0.0", model()), source="hf:acme/sql-lora", commit=commit)
        write(tmp_path / "hubward", {"config.json": b'{"v":1}', "index/acme/sql": encode_line(line)})
        bricks = opened(tmp_path, "./hubward")
        bricks._hub = HubSource(bricks._ledger, endpoint=hub.endpoint, cache=tmp_path / "hf")
        pin = bricks.pin(SQL)
        assert (pin.source, pin.commit, pin.version) == ("hf:acme/sql-lora", commit, "1.0.0")
        assert hub.requests == ()
        assert len(bricks.inspect(pin).tensors) == 2
        install(bricks, pin, amounts)
        assert bricks.locate(pin) is not None


def test_opening_imports_neither_the_hub_client_nor_torch() -> None:
    code = (
        "import sys, pathlib; from brickctl.sources.open import open_sources;"
        "open_sources(pathlib.Path('.'), {}, offline=False, cache=pathlib.Path('.'));"
        "print(sorted({'huggingface_hub', 'torch', 'safetensors', 'ssl'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_builtin_registry_is_found_in_a_checkout() -> None:
    assert builtin_registry().name == "registry"

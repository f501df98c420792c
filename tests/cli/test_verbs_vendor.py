"""`vendor`: a project that carries its bricks, on machines that have nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
from typing import TYPE_CHECKING

import pytest

from tests.support.projects import states
from tests.support.vendoring import cut_off, elsewhere, every_source

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.sandbox import Sandbox

OFFLINE = ("--offline", "--locked")


@pytest.fixture
def vendored(project: Sandbox) -> Sandbox:
    """A project of folders that carries its bricks."""
    assert project.run("vendor").code == 0
    return project


def weights_of(project: Sandbox, alias: str) -> Path:
    """The vendored weights of a brick."""
    content = (project.root / f"bricks/{alias}/adapter_model.safetensors").read_bytes()
    return project.root / "vendor/blobs" / hashlib.sha256(content).hexdigest()


def test_bricks_of_every_source_install_build_and_verify_without_a_network(empty: Sandbox, tmp_path: Path) -> None:
    with every_source(empty) as project:
        assert project.spawn("vendor").code == 0
        assert project.spawn("build").code == 0
    fresh = elsewhere(project, tmp_path / "fresh")
    assert cut_off(fresh, "install", *OFFLINE).code == 6, "without vendor/ there is nothing to install from"
    shutil.copytree(project.root / "vendor", fresh.root / "vendor")

    outcomes = [cut_off(fresh, *verb) for verb in (("install", *OFFLINE), ("build", *OFFLINE), ("verify",))]

    assert [outcome.code for outcome in outcomes] == [0, 0, 0], [outcome.err for outcome in outcomes]
    assert outcomes[0].out.startswith("everything is here: 4 bricks, ")
    artifacts = [root / "dist/assistant/model.safetensors" for root in (project.root, fresh.root)]
    assert artifacts[0].read_bytes() == artifacts[1].read_bytes()
    assert not (tmp_path / "fresh/other-hf/hub").exists()
    assert not (fresh.home / "cache/blobs").exists()


def test_every_file_stands_there_under_its_sha256_beside_the_lock(vendored: Sandbox) -> None:
    folder = vendored.root / "vendor"
    blobs = sorted((folder / "blobs").iterdir())
    assert [blob.name for blob in blobs] == [hashlib.sha256(blob.read_bytes()).hexdigest() for blob in blobs]
    assert all(f'sha256 = "{blob.name}"' in vendored.lock for blob in blobs)
    assert (folder / "brick.lock").read_text() == vendored.lock
    assert json.loads((folder / "brickctl.json").read_text()) == {"v": 1}
    assert {oct(path.stat().st_mode & 0o777) for path in folder.rglob("*") if path.is_file()} == {"0o644"}


def test_what_several_bricks_have_in_common_is_kept_once(project: Sandbox) -> None:
    shutil.copytree(project.root / "bricks/sql", project.root / "bricks/mail", dirs_exist_ok=True)
    answer = project.run("vendor", "--json").json
    assert (answer["files"], answer["written"]) == (5, 5)
    assert len(list((project.root / "vendor/blobs").iterdir())) == 5


def test_vendoring_again_writes_nothing(vendored: Sandbox) -> None:
    before = states(vendored.root)
    assert vendored.run("vendor").out.endswith("; everything was there\n")
    assert states(vendored.root) == before


def test_what_the_lock_no_longer_names_is_removed_and_what_is_not_ours_stays(vendored: Sandbox) -> None:
    weights = weights_of(vendored, "mail")
    (vendored.root / "vendor/blobs/notes.txt").write_text("mine")
    vendored.run("remove", "mail")
    answer = vendored.run("vendor", "--json").json
    assert answer["removed"] == [weights.name]
    assert not weights.exists()
    assert (vendored.root / "vendor/blobs/notes.txt").read_text() == "mine"
    assert (vendored.root / "vendor/brick.lock").read_text() == vendored.lock


@pytest.mark.parametrize("content", ["folder of another program", "a link"])
def test_a_folder_that_is_not_ours_is_refused_before_anything_is_done(project: Sandbox, content: str) -> None:
    if content == "a link":
        (project.root / "elsewhere").mkdir()
        (project.root / "vendor").symlink_to("elsewhere")
    else:
        project.write({"vendor/modules.txt": "# github.com/acme/thing"})
    before = states(project.root)
    assert project.run("vendor").code == 2
    assert states(project.root) == before


def test_a_folder_of_another_program_is_not_looked_into(project: Sandbox) -> None:
    project.write({"vendor/modules.txt": "# github.com/acme/thing", "vendor/blobs/file": "x"})
    assert project.run("build").code == 0


def test_another_folder_can_be_named_relative_to_where_one_is(project: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "usb").mkdir()
    outcome = project.run("vendor", "stick", "--project", str(project.root), cwd=tmp_path / "usb")
    assert outcome.code == 0
    assert "only `vendor/` in the folder of brick.toml is looked into" in outcome.err
    assert (tmp_path / "usb/stick/brickctl.json").exists()


def flipped(blob: Path) -> None:
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)


def cut(blob: Path) -> None:
    blob.write_bytes(blob.read_bytes()[:-1])


def linked(blob: Path) -> None:
    moved = blob.with_name("moved")
    blob.rename(moved)
    blob.symlink_to(moved)


def pipe(blob: Path) -> None:
    blob.unlink()
    os.mkfifo(blob)


@pytest.mark.parametrize("change", [flipped, cut, linked, pipe])
@pytest.mark.parametrize("verb", [("install", *OFFLINE), ("build", *OFFLINE), ("verify",)])
def test_a_changed_file_is_named_and_never_used(
    vendored: Sandbox, change: Callable[[Path], None], verb: tuple[str, ...]
) -> None:
    weights = weights_of(vendored, "sql")
    change(weights)
    shutil.rmtree(vendored.root / "bricks/sql")

    outcome = vendored.run(*verb)
    assert outcome.code == 4
    assert "adapter_model.safetensors" in outcome.err
    assert "`brickctl vendor`" in outcome.err
    assert not (vendored.root / "dist/assistant").exists()
    assert os.path.lexists(weights), "it is left as it is"


@pytest.mark.parametrize("change", [flipped, cut, linked])
def test_vendoring_again_puts_the_right_file_in_the_place_of_a_changed_one(
    vendored: Sandbox, change: Callable[[Path], None]
) -> None:
    weights = weights_of(vendored, "sql")
    change(weights)
    outcome = vendored.run("vendor")
    assert outcome.code == 0
    assert f"{weights} is made anew" in outcome.err
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == weights.name
    assert not weights.is_symlink()
    assert [path.name for path in weights.parent.iterdir() if "corrupt" in path.name] == []


def test_a_changed_file_that_cannot_be_had_is_kept_aside(vendored: Sandbox) -> None:
    weights = weights_of(vendored, "sql")
    flipped(weights)
    shutil.rmtree(vendored.root / "bricks/sql")
    assert vendored.run("vendor", *OFFLINE).code == 1
    assert weights.with_name(f"{weights.name}.corrupt-1").exists()


def test_a_folder_that_somebody_edits_is_not_hidden_by_what_was_vendored(vendored: Sandbox) -> None:
    vendored.run("build")
    flipped(vendored.root / "bricks/sql/adapter_model.safetensors")
    assert vendored.run("build", *OFFLINE).code == 4


def test_a_brick_in_a_folder_that_is_gone_is_found(vendored: Sandbox) -> None:
    shutil.rmtree(vendored.root / "bricks")
    shutil.rmtree(vendored.root / "models")
    assert vendored.run("build", *OFFLINE).code == 0
    assert vendored.run("verify").code == 0


def test_a_lock_may_not_be_made_when_it_is_to_stay_as_it_is(project: Sandbox) -> None:
    assert project.run("vendor", "--locked").code == 3
    assert not (project.root / "vendor").exists()


def test_what_a_killed_command_left_is_gone_on_with(vendored: Sandbox) -> None:
    folder = vendored.root / "vendor"
    (folder / "brick.lock").unlink()
    weights_of(vendored, "sql").unlink()
    (folder / "blobs/.brickctl-new-x").write_bytes(b"half")
    assert vendored.run("vendor", "--json").json["written"] == 1
    assert (folder / "brick.lock").read_text() == vendored.lock
    assert vendored.run("verify").code == 0


@pytest.mark.parametrize("name", ["bricks.tar", "bricks.tar.gz"])
def test_a_tarball_is_the_same_wherever_and_whenever_it_is_made(project: Sandbox, tmp_path: Path, name: str) -> None:
    project.run("lock")
    copy = tmp_path / "copy"
    shutil.copytree(project.root, copy)
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
    first = project.run("vendor", "--tar", str(tmp_path / f"1-{name}"), "--json").json
    second = project.run("vendor", "--tar", str(tmp_path / f"2-{name}"), "--json", "--project", str(copy)).json
    assert (first["digest"], first["files"]) == (second["digest"], 6)
    content = (tmp_path / f"1-{name}").read_bytes()
    assert content == (tmp_path / f"2-{name}").read_bytes()
    assert first["digest"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
    with tarfile.open(tmp_path / f"1-{name}") as archive:
        members = archive.getmembers()
    assert [member.name for member in members] == sorted(member.name for member in members)
    assert {(member.mtime, member.uid, member.gid, member.uname, member.gname) for member in members} == {
        (0, 0, 0, "", "")
    }


def test_a_tarball_that_is_unpacked_in_the_project_is_all_that_is_needed(project: Sandbox, tmp_path: Path) -> None:
    assert project.run("vendor", "--tar", "bricks.tar").code == 0
    fresh = elsewhere(project, tmp_path / "fresh")
    with tarfile.open(project.root / "bricks.tar") as archive:
        archive.extractall(fresh.root, filter="data")
    assert fresh.run("build", *OFFLINE).code == 0
    assert fresh.run("verify").code == 0
    assert fresh.run("vendor").out.endswith("; everything was there\n")


def test_a_tarball_appears_whole_or_not_at_all(project: Sandbox) -> None:
    project.run("lock")
    project.write({"bricks.tar": b"an older one"})
    flipped(project.root / "bricks/sql/adapter_model.safetensors")
    assert project.run("vendor", "--tar", "bricks.tar", "--locked").code == 4
    assert (project.root / "bricks.tar").read_bytes() == b"an older one"
    assert not list(project.root.glob(".brickctl-new-*"))


@pytest.mark.parametrize(
    "arguments", [("--tar", "bricks.zip"), ("there", "--tar", "bricks.tar"), ("--tar", "bricks"), ("--tar", "link.tar")]
)
def test_a_tarball_that_cannot_be_is_refused(project: Sandbox, arguments: tuple[str, ...]) -> None:
    (project.root / "link.tar").symlink_to("brick.toml")
    manifest = project.manifest
    assert project.run("vendor", *arguments).code == 2
    assert not (project.root / "brick.lock").exists()
    assert project.manifest == manifest


def test_empty_files_are_carried_too(project: Sandbox) -> None:
    project.write({"vocab.txt": b""}, "bricks/sql")
    assert project.run("vendor").code == 0
    shutil.rmtree(project.root / "bricks/sql")
    assert project.run("install", *OFFLINE).code == 0

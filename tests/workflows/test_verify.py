"""Verify reads every byte, and believes no ledger."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brickctl.errors import IntegrityFault, NotFound
from brickctl.tensors.executor import Budget
from brickctl.workflows.lock import LockMode
from brickctl.workflows.parallel import cores_of_process
from brickctl.workflows.provenance import FILE
from brickctl.workflows.verify import load_on_meta, verify_artifact, verify_project
from tests.support.projects import Listener, build_targets, opened, rewrite, starter_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    project = starter_project(tmp_path, monkeypatch)
    build_targets(opened(project), [], LockMode.REFRESH, Budget(threads=2))
    return project


def test_everything_that_was_installed_and_built_is_verified(project: Path) -> None:
    events = Listener()
    names = [result.name for result in verify_project(opened(project, events))]

    dist = project / "dist"
    bricks = ["base", "next", "odd", "reverse", "sort", "upper"]
    assert names == [*bricks, *(str(dist / target) for target in ("assistant", "sorter", "bundle"))]
    assert "checking base/model.safetensors" in events.hashed


def test_a_flipped_bit_is_found_although_size_and_times_are_as_before(project: Path) -> None:
    weights = project / "dist" / "assistant" / "model.safetensors"
    before = weights.stat()
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))

    with pytest.raises(IntegrityFault, match=r"model\.safetensors"):
        verify_artifact(weights.parent, Listener())


@pytest.mark.parametrize(("name", "reason"), [("config.json", "is missing"), ("extra.py", "does not belong there")])
def test_a_missing_and_an_extra_file_are_found(project: Path, name: str, reason: str) -> None:
    folder = project / "dist" / "assistant"
    if (folder / name).exists():
        (folder / name).unlink()
    else:
        (folder / name).write_text("print()")

    with pytest.raises(IntegrityFault, match=reason):
        verify_artifact(folder, Listener())


def test_the_largest_file_of_a_project_is_read_first_whatever_it_belongs_to(project: Path) -> None:
    session = opened(project, events := Listener())
    verify_project(session)

    read = [size for label, size in events.work if label.startswith("checking ")]
    cores = cores_of_process()
    assert all(size <= max(read[: at + 1]) for at, size in enumerate(read))
    assert max(read) in read[:cores]
    assert min(read) in read[-cores:]


def test_every_file_is_read_once_although_nothing_was_known_of_it(project: Path) -> None:
    shutil.rmtree(project.parent / "cache")
    session = opened(project, events := Listener())
    verified = verify_project(session)

    assert len(events.hashed) == sum(result.files for result in verified)
    assert len(events.hashed) == len(set(events.hashed)), "files of one name in several bricks are told apart"


def test_of_several_changes_the_first_in_order_is_told_although_a_later_one_is_read_sooner(project: Path) -> None:
    for path in ("assistant/config.json", "bundle/model.safetensors"):
        content = bytearray((project / "dist" / path).read_bytes())
        content[-1] ^= 1
        (project / "dist" / path).write_bytes(content)

    with pytest.raises(IntegrityFault, match=r"assistant/config\.json is not what it should be"):
        verify_project(opened(project))


def test_a_folder_that_is_no_artifact_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no artifact"):
        verify_artifact(tmp_path, Listener())


def test_an_artifact_of_another_lock_is_found(project: Path) -> None:
    lock = project / "brick.lock"
    rewrite(project, 'next = "starter/next@^1"', 'next = "starter/odd@^1"')
    rewrite(project, '"upper", "next", "reverse", "odd"', '"upper", "reverse"')
    build_targets(opened(project), ["bundle"], LockMode.REFRESH, Budget(threads=2))
    assert "starter/next" not in lock.read_text()

    with pytest.raises(IntegrityFault, match="another lock") as found:
        verify_project(opened(project))
    assert "`next`" in found.value.causes[0]


def test_artifacts_load_in_transformers_without_a_missing_or_unexpected_key(project: Path) -> None:
    for target in ("assistant", "sorter", "bundle"):
        load_on_meta(project / "dist" / target)


@pytest.mark.parametrize("name", ["config.json", "more.json"])
def test_links_in_an_artifact_are_found_wherever_they_lead(project: Path, name: str) -> None:
    folder = project / "dist" / "assistant"
    moved = project / "config.json"
    (folder / "config.json").rename(moved)
    (folder / name).symlink_to(moved)

    with pytest.raises(IntegrityFault, match=f"{name} does not belong there") as found:
        verify_artifact(folder, Listener())
    assert found.value.causes == ("it is a link",)


def test_a_link_to_a_folder_in_an_artifact_is_found(project: Path) -> None:
    folder = project / "dist" / "bundle"
    (folder / "more").symlink_to(project)

    with pytest.raises(IntegrityFault, match="more does not belong there"):
        verify_artifact(folder, Listener())


def pipe(record: Path) -> None:
    os.mkfifo(record)


def large(record: Path) -> None:
    with record.open("wb") as file:
        file.truncate(1 << 40)


@pytest.mark.parametrize("make", [pipe, large, Path.mkdir, lambda record: record.symlink_to("/dev/zero")])
def test_a_record_that_is_no_small_file_is_not_read(project: Path, make: Callable[[Path], None]) -> None:
    record = project / "dist" / "assistant" / FILE
    record.unlink()
    make(record)

    with pytest.raises(IntegrityFault, match="is damaged"):
        verify_artifact(record.parent, Listener())
    with pytest.raises(IntegrityFault, match="is damaged"):
        verify_project(opened(project))


def edit_record(record: Path, edit: Callable[[Any], object]) -> None:
    statement = json.loads(record.read_text())
    edit(statement["predicate"]["buildDefinition"])
    record.write_text(json.dumps(statement))


def test_a_record_that_leaves_out_what_it_was_made_of_is_found(project: Path) -> None:
    edit_record(project / "dist" / "assistant" / FILE, lambda made: made["resolvedDependencies"].clear())

    with pytest.raises(IntegrityFault, match="another lock or recipe") as found:
        verify_project(opened(project))
    assert "`base`" in found.value.causes[0]


@pytest.mark.parametrize("dependencies", [None, 1, [1], [{}], [{"name": 1}], ["name"], {"name": "base"}])
def test_a_record_with_malformed_dependencies_is_damaged(project: Path, dependencies: object) -> None:
    record = project / "dist" / "assistant" / FILE
    edit_record(record, lambda made: made.update(resolvedDependencies=dependencies))

    with pytest.raises(IntegrityFault, match="is damaged"):
        verify_artifact(record.parent, Listener())


def test_an_artifact_of_another_recipe_is_found(project: Path) -> None:
    rewrite(project, "upper = 0.9", "upper = 0.5")

    with pytest.raises(IntegrityFault, match="another lock or recipe") as found:
        verify_project(opened(project))
    assert "parameters" in found.value.causes[0]
    assert found.value.hint == "run `brickctl build assistant`"

"""The record of an artifact is taken only for what it is: a statement of in-toto about one build by brickctl."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from brickctl.errors import IntegrityFault
from brickctl.tensors.executor import Budget
from brickctl.workflows.lock import LockMode
from brickctl.workflows.provenance import FILE, read_statement
from brickctl.workflows.verify import verify_artifact, verify_project
from tests.support.projects import Listener, build_targets, opened, starter_project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Edit = Callable[[Any], object]

BUDGET = Budget(threads=2)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    project = starter_project(tmp_path, monkeypatch)
    build_targets(opened(project), ["assistant", "sorter"], LockMode.REFRESH, BUDGET)
    return project


@pytest.fixture
def artifact(project: Path) -> Path:
    return project / "dist" / "assistant"


def edited(artifact: Path, edit: Edit) -> Path:
    """The artifact, with a record that somebody changed and wrote again."""
    record = json.loads((artifact / FILE).read_text())
    edit(record)
    (artifact / FILE).write_text(json.dumps(record))
    return artifact


def built(record: Any) -> Any:
    return record["predicate"]["buildDefinition"]


def test_a_record_that_was_only_written_in_another_form_says_the_same(project: Path, artifact: Path) -> None:
    before = read_statement(artifact)
    edited(artifact, lambda record: record.update({"_comment": "later versions may say more"}))
    assert read_statement(artifact) == before
    verify_project(opened(project))


MALFORMED: dict[str, tuple[Edit, str]] = {
    "another statement": (lambda one: one.update(_type="https://in-toto.io/Statement/v0.1"), "`_type`"),
    "another predicate": (lambda one: one.update(predicateType="https://slsa.dev/provenance/v0.2"), "`predicateType`"),
    "no predicate type": (lambda one: one.pop("predicateType"), "`predicateType` in brick.build.json is missing"),
    "another type of build": (lambda one: built(one).update(buildType="https://example.org/v1"), "`buildType`"),
    "another builder": (lambda one: one["predicate"]["runDetails"]["builder"].update(id="https://x.org"), "`id`"),
    "no builder": (lambda one: one["predicate"].pop("runDetails"), "`runDetails`"),
    "no parameters": (lambda one: built(one).pop("externalParameters"), "`externalParameters`"),
    "another promise": (lambda one: built(one)["internalParameters"].update(reproducible="surely"), "`reproducible`"),
    "no subject": (lambda one: one.update(subject=[]), "`subject` in brick.build.json names nothing"),
    "a subject twice": (lambda one: one["subject"].append(one["subject"][0]), "stands twice in `subject`"),
    "a subject without a digest": (lambda one: one["subject"][0].pop("digest"), "`digest`"),
    "a subject by another digest": (lambda one: one["subject"][0].update(digest={"md5": "ab"}), "`sha256`"),
    "a digest in capitals": (
        lambda one: one["subject"][0]["digest"].update(sha256="AB" * 32),
        "has no sha256, but ABAB",
    ),
    "a subject that leaves the folder": (lambda one: one["subject"][0].update(name="../x"), "which no build makes"),
    "the record as its own subject": (lambda one: one["subject"][0].update(name=FILE), "which no build makes"),
    "the signature as a subject": (lambda one: one["subject"][0].update(name="model.sig"), "which no build makes"),
    "a dependency twice": (
        lambda one: built(one)["resolvedDependencies"].append(built(one)["resolvedDependencies"][0]),
        "stands twice in `resolvedDependencies`",
    ),
    "a dependency without a digest": (
        lambda one: built(one)["resolvedDependencies"][0].pop("digest"),
        "`digest`",
    ),
    "a list for a table": (lambda one: one.update(predicate=[]), "`predicate`"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_record_that_brickctl_did_not_write_is_damaged(name: str, artifact: Path) -> None:
    edit, reason = MALFORMED[name]
    with pytest.raises(IntegrityFault, match="is damaged") as found:
        verify_artifact(edited(artifact, edit), Listener())
    assert reason in found.value.causes[0]


def test_a_key_that_stands_twice_is_not_read_as_either(artifact: Path) -> None:
    text = (artifact / FILE).read_text()
    (artifact / FILE).write_text(text.replace('"predicateType":', '"predicateType": "x", "predicateType":'))
    with pytest.raises(IntegrityFault, match="is damaged") as found:
        verify_artifact(artifact, Listener())
    assert "stands twice" in found.value.causes[0]


def swap_names(record: Any) -> None:
    one, other = record["subject"][:2]
    one["name"], other["name"] = other["name"], one["name"]


def test_subjects_whose_names_were_swapped_are_found(artifact: Path) -> None:
    with pytest.raises(IntegrityFault, match=r"(README\.md|config\.json) is not what it should be"):
        verify_artifact(edited(artifact, swap_names), Listener())


def test_a_subject_more_and_a_subject_fewer_are_found(artifact: Path) -> None:
    record = (artifact / FILE).read_text()
    more = {"name": "more.json", "digest": {"sha256": "ab" * 32}}
    with pytest.raises(IntegrityFault, match=r"more\.json is missing"):
        verify_artifact(edited(artifact, lambda one: one["subject"].append(more)), Listener())
    (artifact / FILE).write_text(record)
    with pytest.raises(IntegrityFault, match=r"README\.md does not belong there"):
        verify_artifact(edited(artifact, lambda one: one["subject"].pop(0)), Listener())


DEPENDENCIES: dict[str, Edit] = {
    "another digest": lambda one: one["digest"].update(sha256="ab" * 32),
    "another place": lambda one: one.update(uri="pkg:huggingface/eve/base@" + "1" * 40),
    "another commit": lambda one: one["digest"].update(gitCommit="1" * 40),
    "something more": lambda one: one.update(mediaType="text/plain"),
}


@pytest.mark.parametrize("name", DEPENDENCIES)
def test_a_dependency_that_is_not_the_one_of_the_lock_is_found(name: str, project: Path, artifact: Path) -> None:
    edited(artifact, lambda one: DEPENDENCIES[name](built(one)["resolvedDependencies"][0]))
    verify_artifact(artifact, Listener())  # the record alone does not know better
    with pytest.raises(IntegrityFault, match="another lock or recipe") as found:
        verify_project(opened(project))
    assert found.value.causes == ("`base` in its record is not the one in brick.lock",)


def test_a_parameter_that_brickctl_does_not_know_is_found(project: Path, artifact: Path) -> None:
    edited(artifact, lambda one: built(one)["externalParameters"].update(backdoor=True))
    with pytest.raises(IntegrityFault, match="another lock or recipe"):
        verify_project(opened(project))


def test_the_record_of_another_target_is_found(project: Path, artifact: Path) -> None:
    other = project / "dist" / "sorter"
    shutil.copy(other / FILE, artifact / FILE)
    with pytest.raises(IntegrityFault, match="is not what it should be"):
        verify_artifact(artifact, Listener())


def test_another_target_in_the_place_of_one_is_found_by_its_name(project: Path, artifact: Path) -> None:
    shutil.rmtree(artifact)
    shutil.copytree(project / "dist" / "sorter", artifact)
    verify_artifact(artifact, Listener())
    with pytest.raises(IntegrityFault, match="another lock or recipe") as found:
        verify_project(opened(project))
    assert found.value.causes == ("its record is of the target `sorter`",)

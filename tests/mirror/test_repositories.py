"""Which names, commits and paths the bricks of a lock get."""

from __future__ import annotations

import pytest

from brickctl.errors import IntegrityFault
from brickctl.mirror.repositories import shelf_of
from tests.support.mirroring import COMMIT, CONTENTS, OTHER, lock_of, pinned

BASE = pinned("hf:acme/base", commit=COMMIT)


def test_a_brick_of_the_hub_keeps_its_commit_and_the_revision_that_was_asked_for() -> None:
    shelf = shelf_of(lock_of(BASE, {"base": "v2"}))
    repository = shelf.repositories["acme/base"]
    assert repository.refs == {"v2": COMMIT}
    assert list(repository.commits) == [COMMIT]
    assert set(repository.commits[COMMIT]) == set(CONTENTS)
    assert repository.commit("main") is None, "nobody asked what `main` is"


def test_a_commit_that_was_asked_for_is_no_name() -> None:
    assert shelf_of(lock_of(BASE, {"base": COMMIT})).repositories["acme/base"].refs == {}


def test_the_beginning_of_a_commit_means_it_unless_it_is_short() -> None:
    repository = shelf_of(lock_of(BASE)).repositories["acme/base"]
    assert [repository.commit(COMMIT[:length]) for length in (40, 7, 6)] == [COMMIT, COMMIT, None]


def test_the_beginning_of_two_commits_means_neither() -> None:
    near = COMMIT[:-1] + "b"
    lock = lock_of(BASE, near=pinned("hf:acme/base", {"config.json": b"{}"}, commit=near))
    repository = shelf_of(lock).repositories["acme/base"]
    assert repository.commit(COMMIT[:7]) is None
    assert repository.commit(near) == near


def test_a_subfolder_stays_in_the_paths_and_bricks_of_one_commit_lie_beside_each_other() -> None:
    adapter = {"adapter_config.json": b"{}"}
    lock = lock_of(
        BASE,
        early=pinned("hf:acme/base", adapter, commit=COMMIT, subfolder="checkpoint-100"),
        late=pinned("hf:acme/base", adapter, commit=COMMIT, subfolder="checkpoint-200"),
    )
    paths = set(shelf_of(lock).repositories["acme/base"].commits[COMMIT])
    assert paths == {*CONTENTS, "checkpoint-100/adapter_config.json", "checkpoint-200/adapter_config.json"}


def test_a_brick_of_a_registry_has_its_version_and_main() -> None:
    pin = pinned("index:acme/sql/1.2.3", brick="acme/sql", version="1.2.3", registry="corp")
    repository = shelf_of(lock_of(BASE, sql=pin)).repositories["acme/sql"]
    assert repository.refs == {"1.2.3": pin.digest[:40], "main": pin.digest[:40]}


def test_a_brick_of_a_registry_whose_files_are_on_the_hub_has_both_names() -> None:
    pin = pinned("hf:acme/sql-lora", commit=OTHER, brick="acme/sql", version="1.2.3", registry="corp")
    shelf = shelf_of(lock_of(BASE, sql=pin))
    assert shelf.repositories["acme/sql"].refs["1.2.3"] == pin.digest[:40]
    assert (shelf.repositories["acme/sql-lora"].refs, shelf.notes) == ({}, ())
    assert shelf.repositories["acme/sql-lora"].commit(OTHER) == OTHER


def test_of_two_commits_by_one_name_the_first_is_served_and_the_other_told() -> None:
    lock = lock_of(
        BASE, {"base": "main", "new": "main"}, new=pinned("hf:acme/base", {"config.json": b"{}"}, commit=OTHER)
    )
    shelf = shelf_of(lock)
    assert shelf.repositories["acme/base"].refs == {"main": COMMIT}
    assert shelf.notes == (
        f"`main` of acme/base is commit {COMMIT[:12]}; `new` is at {OTHER}, and has to be asked for by that commit",
    )


def test_a_repository_of_the_hub_goes_before_a_brick_of_a_registry_by_the_same_name() -> None:
    lock = lock_of(
        pinned("index:acme/sql/1.0.0", brick="acme/sql", version="1.0.0"),
        {"sql": "main"},
        sql=pinned("hf:acme/sql", {"config.json": b"{}"}, commit=OTHER),
    )
    shelf = shelf_of(lock)
    assert shelf.repositories["acme/sql"].refs["main"] == OTHER
    assert len(shelf.notes) == 1


def test_a_brick_in_a_folder_is_not_served_and_that_is_told() -> None:
    shelf = shelf_of(lock_of(BASE, sql=pinned("path:bricks/sql")))
    assert list(shelf.repositories) == ["acme/base"]
    assert shelf.notes == ("`sql` lies in a folder, has no name on a Hub, and is not served",)


def test_a_lock_that_says_two_things_of_one_file_is_refused() -> None:
    other = pinned("hf:acme/base", {"config.json": b"{}"}, commit=COMMIT)
    with pytest.raises(IntegrityFault, match=r"brick\.lock says two things of config\.json"):
        shelf_of(lock_of(BASE, other=other))


def test_every_file_is_there_once() -> None:
    shelf = shelf_of(lock_of(BASE, again=pinned("hf:acme/again", commit=OTHER)))
    assert len(shelf.files) == len(CONTENTS)
    assert list(shelf.files) == sorted(shelf.files, key=lambda one: one.sha256)

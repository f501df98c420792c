"""Derived bricks in the hands of verbs for bricks of any sort: listed, described, removed, carried."""

import os
import shutil
from pathlib import Path

import pytest

from brickctl.core.names import Alias
from brickctl.errors import NotFound, UsageFault
from brickctl.workflows.caches import Caches
from brickctl.workflows.describe import describe
from brickctl.workflows.edit import remove
from brickctl.workflows.install import install
from brickctl.workflows.inventory import inventory
from brickctl.workflows.lock import LockMode
from brickctl.workflows.project_tree import draw, project_tree
from brickctl.workflows.prune import Pruned, prune
from brickctl.workflows.vendor import vendor
from brickctl.workflows.why import why
from tests.support.loud_projects import LOUD, append, built, loud_project, made
from tests.support.projects import Listener, opened, rewrite


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return loud_project(tmp_path, monkeypatch)


def test_a_derived_brick_is_listed_drawn_and_explained(project: Path) -> None:
    before = {item.alias: item for item in inventory(opened(project).manifest, None)}["loud"]
    assert (before.source, before.revision, before.size) == ("scale from base", "-", None)
    entry = made(project)["loud"].entry
    session = opened(project)
    lock = session.read_lock()
    item = {item.alias: item for item in inventory(session.manifest, lock)}["loud"]
    assert (item.kind, item.revision) == ("module", entry.pin.digest[:12])
    assert "loud" not in project_tree(session.manifest, lock).unused
    (told,) = why(session, "loud")
    assert [reason.words for reason in told.reasons] == ["scale from base", "merge"]


def test_bricks_of_a_prune_are_drawn_as_names_that_its_partition_knows(project: Path) -> None:
    """A partition may come from elsewhere, and name bricks that this project does not have."""
    step = '{ op = "prune", brick = "loud", keep = 2, bricks = ["odd", "sql"] }'
    append(project, f"[targets.small]\napply = [{step}]\n")
    drawn = draw(project_tree(opened(project).manifest, None).branches())
    assert drawn.splitlines()[-2:] == ["└── small", "    └── prune brick=loud keep=2 bricks=[odd, sql]"]


def test_a_derived_brick_is_described(project: Path) -> None:
    with pytest.raises(NotFound, match="`loud` was never made"):
        describe(project, "loud", Listener(), offline=True)
    entry = made(project)["loud"].entry
    told = describe(project, "loud", Listener(), offline=True)
    assert (told.kind, told.pin.digest, told.license) == ("module", entry.pin.digest, "Apache-2.0")


def test_what_a_derived_brick_is_made_of_is_not_removed(project: Path) -> None:
    append(project, '[derived.mine]\nop = "scale"\nfrom = "odd"\nlines = "data/lines.txt"\n')
    rewrite(project, "bundle", "bundled")
    text = (project / "brick.toml").read_text()
    with pytest.raises(UsageFault, match="`odd` is still used") as used:
        remove(opened(project), ["odd"])
    assert any(cause.startswith("[derived.mine] uses `odd`") for cause in used.value.causes)
    assert (project / "brick.toml").read_text() == text


def test_a_derived_brick_is_carried_with_the_project(project: Path) -> None:
    loud = made(project)["loud"].entry
    vendor(opened(project), LockMode.LOCKED, project / "vendor")
    shutil.rmtree(project / ".brickctl")

    installed = install(opened(project), LockMode.LOCKED)

    assert installed.lock.derived[Alias("loud")].pin.digest == loud.pin.digest
    assert not made(project)["loud"].fresh
    assert built(project, LockMode.LOCKED)


def test_a_derived_brick_is_used_elsewhere_like_any_other(project: Path) -> None:
    loud = made(project)["loud"]
    assert loud.folder is not None
    norm = built(project)["model.norm.weight"]
    shutil.copytree(loud.folder, project / "bricks/loud")
    rewrite(project, LOUD, LOUD.replace(LOUD[: LOUD.index("[targets")], ""))
    rewrite(project, "[bricks]\n", '[bricks]\nloud = { source = "path:bricks/loud", kind = "module" }\n')

    assert built(project)["model.norm.weight"].equal(norm)
    lock = opened(project).read_lock()
    assert lock is not None
    assert lock.bricks[Alias("loud")].pin.digest == loud.entry.pin.digest


def test_versions_that_the_lock_does_not_name_are_pruned_once_they_are_old(project: Path) -> None:
    old = made(project)["loud"].folder
    (project / "data/lines.txt").write_text("one\n")
    new = made(project)["loud"].folder
    assert old is not None
    assert new is not None
    mine = project / ".brickctl/derived/notes"
    mine.mkdir()

    assert old in pruned(project).busy
    for path in (*old.iterdir(), old, *new.iterdir(), new):
        os.utime(path, (0, 0))
    assert [one.path for one in pruned(project, lock=False).gone] == []
    assert [one.path for one in pruned(project).gone] == [old]

    assert (old.exists(), mine.exists()) == (False, True)
    assert not made(project)["loud"].fresh


def pruned(project: Path, *, lock: bool = True) -> Pruned:
    caches = Caches(hub=project / "hub", own=project / "own", project=project / ".brickctl")
    return prune(caches, opened(project).read_lock() if lock else None, Listener(), quarantined=False, dry_run=False)

"""A plan is data: it travels as JSON, and each of its files can be made by itself."""

import json
from pathlib import Path

import pytest

from brickctl.core.nodes import Node
from brickctl.core.plan import Plan, Shard
from brickctl.core.plan_format import VERSION, plan_digest, plan_document, read_plan
from brickctl.errors import EngineMissing
from brickctl.tensors.blobs import Blobs
from brickctl.tensors.executor import Budget, LocalExecutor, provide
from brickctl.tensors.journal import Journal
from brickctl.workflows.build import build, make_plan, read_recipes
from brickctl.workflows.install import bring
from brickctl.workflows.lock import LockMode, current_lock
from tests.support.projects import Listener, opened, rewrite, starter_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    project = starter_project(tmp_path, monkeypatch)
    rewrite(project, '[targets.assistant]\nfrom = "base"', '[targets.assistant]\nshard-size = "1MB"')
    return project


def plan_of(project: Path, target: str) -> Plan:
    session = opened(project)
    (recipe,) = read_recipes(session, [target])
    return make_plan(session, recipe, current_lock(session, LockMode.REFRESH))


@pytest.mark.parametrize("target", ["assistant", "sorter", "bundle"])
def test_a_plan_comes_back_from_json_as_it_was(project: Path, target: str) -> None:
    plan = plan_of(project, target)
    assert read_plan(json.loads(json.dumps(plan_document(plan)))) == plan


def test_equal_recipes_have_equal_plans_and_other_weights_another(project: Path) -> None:
    first = plan_digest(plan_of(project, "assistant"))
    assert plan_digest(plan_of(project, "assistant")) == first
    rewrite(project, "next = 0.9", "next = 0.8")
    assert plan_digest(plan_of(project, "assistant")) != first


def test_each_shard_can_be_made_by_itself_from_the_json_of_the_plan(project: Path, tmp_path: Path) -> None:
    session = opened(project)
    (recipe,) = read_recipes(session, ["assistant"])
    lock = current_lock(session, LockMode.REFRESH)
    whole = build(session, recipe, session.artifact_folder("assistant"), lock, Budget(threads=2))
    sent = json.dumps(plan_document(make_plan(session, recipe, lock)))

    shards = [task for task in read_plan(json.loads(sent)).tasks if isinstance(task, Shard)]
    assert len(shards) == 4
    for number, shard in enumerate(reversed(shards)):
        folder = tmp_path / f"machine-{number}"
        folder.mkdir()
        with Blobs(bring(session, lock, ("base", *recipe.aliases)).files) as blobs:  # type: ignore[arg-type]
            alone = Plan(tasks=(shard,))
            executor = LocalExecutor(blobs, provide(alone, Budget(threads=1)), Listener(), "shard")
            executor.run(alone, folder, Journal(folder / "journal"))
        assert (folder / shard.path).read_bytes() == (whole.folder / shard.path).read_bytes()


def test_a_build_asks_each_tensor_once_whether_it_needs_torch(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Node] = []

    def ask(node: Node) -> bool:
        asked.append(node)
        return False

    monkeypatch.setattr("brickctl.tensors.executor.needs_torch", ask)
    session = opened(project)
    (recipe,) = read_recipes(session, ["assistant"])
    lock = current_lock(session, LockMode.REFRESH)
    build(session, recipe, session.artifact_folder("assistant"), lock, Budget(threads=1))
    assert asked == [node for _, node in make_plan(session, recipe, lock).computed]


def test_a_plan_of_a_newer_brickctl_is_refused(project: Path) -> None:
    document = plan_document(plan_of(project, "sorter"))
    with pytest.raises(EngineMissing, match=f"version {VERSION + 1}"):
        read_plan({**document, "version": VERSION + 1})

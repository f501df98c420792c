"""Targets whose arithmetic is PEFT's own: recorded as `numeric`, and compared within a bound."""

import hashlib
import re
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from brickctl.errors import NoSpace, NotReproducible
from brickctl.tensors.executor import Budget
from brickctl.tensors.memory import peak_memory, share
from brickctl.workflows import build as building
from brickctl.workflows import provenance
from brickctl.workflows.build import Built, outline, read_recipes
from brickctl.workflows.lock import LockMode, current_lock
from brickctl.workflows.reproduce import NUMERIC_BOUND, reproduce
from brickctl.workflows.show_plan import describe_plan
from tests.support.adapters import adapter_of
from tests.support.building import manifest, prepare, sum_of
from tests.support.models import tiny_model
from tests.support.projects import Listener, build_targets, opened, states

BUDGET = Budget(threads=2)
NAME = "model.layers.1.self_attn.q_proj.weight"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("numeric")
    base = tiny_model(folder / "base")
    return {
        "base": base,
        "oft": adapter_of("OFT", base, folder / "oft"),
        "hra": adapter_of("HRA", base, folder / "hra"),
    }


@pytest.fixture
def project(folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BRICKCTL_CACHE", str(tmp_path / "cache"))
    bricks = {name: folder for name, folder in folders.items() if name != "base"}
    more = f"[targets.exact]\napply = [{sum_of(hra=1.0)}]"
    (tmp_path / "brick.toml").write_text(manifest(folders["base"], bricks, sum_of(oft=1.0, hra=0.5), more=more))
    return tmp_path


def build(project: Path, *names: str) -> tuple[Built, ...]:
    return build_targets(opened(project), names, LockMode.REFRESH, BUDGET)


def check(project: Path, name: str) -> Built:
    session = opened(project)
    (recipe,) = read_recipes(session, [name])
    lock = current_lock(session, LockMode.LOCKED)
    return reproduce(session, recipe, session.artifact_folder(recipe.name), lock, BUDGET)


def nudge(project: Path, target: str, amount: float) -> None:
    """Move one weight of an artifact, and its record along: as another machine would have made it."""
    folder = project / "dist" / target
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors[NAME][3, 4] += amount * float(tensors[NAME].abs().max())
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    save_file(tensors, path, {"format": "pt"})
    record = folder / provenance.FILE
    record.write_text(record.read_text().replace(before, hashlib.sha256(path.read_bytes()).hexdigest()))


def test_the_record_says_how_far_the_bits_are_promised(project: Path) -> None:
    build(project)
    classes = {}
    for target in ("t", "exact"):
        recorded = provenance.read_statement(project / "dist" / target)
        assert recorded is not None
        classes[target] = recorded[0]["internalParameters"]
    assert classes == {"t": {"reproducible": "numeric"}, "exact": {"reproducible": "bitwise"}}


def test_a_second_build_of_a_numeric_target_does_nothing(project: Path) -> None:
    build(project, "t")
    before = states(project)
    (again,) = build(project, "t")
    assert not again.fresh
    assert states(project) == before


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_threads_change_nothing(threads: int, project: Path) -> None:
    (first,) = build(project, "t")
    session = opened(project)
    again = build_targets(session, ["t"], LockMode.LOCKED, Budget(threads=threads), force=True)
    assert again[0].digest == first.digest


def test_a_difference_within_the_bound_is_no_difference(project: Path) -> None:
    build(project, "t")
    nudge(project, "t", NUMERIC_BOUND / 3)
    assert check(project, "t").target == "t"


def test_a_difference_beyond_the_bound_is_told(project: Path) -> None:
    build(project, "t")
    nudge(project, "t", NUMERIC_BOUND * 3)
    with pytest.raises(NotReproducible, match=r"model\.safetensors differs"):
        check(project, "t")


def test_the_smallest_difference_of_a_bitwise_target_is_told(project: Path) -> None:
    build(project, "exact")
    nudge(project, "exact", 1e-7)
    with pytest.raises(NotReproducible, match=r"model\.safetensors differs"):
        check(project, "exact")


def test_dry_runs_and_builds_say_what_whole_matrices_take(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here it is less than 1 MiB; builds speak of more than the 128 MiB that blocks may take."""
    events = Listener()
    session = opened(project, events)
    whole, exact = read_recipes(session, [])
    lock = current_lock(session, LockMode.REFRESH)
    said = {
        recipe.name: describe_plan(outline(session, recipe, session.artifact_folder(recipe.name), lock, BUDGET))
        for recipe in (whole, exact)
    }
    assert re.search(r"needs .* of buffers, \d+ kB for whole matrices; numeric;", said["t"])
    assert "whole matrices" not in said["exact"]
    build_targets(session, ["t"], LockMode.LOCKED, BUDGET)
    assert not any("as a whole" in note for note in events.notes)
    monkeypatch.setattr(building, "DEFAULT_MEMORY", 1000)
    build_targets(session, ["t"], LockMode.LOCKED, BUDGET, force=True)
    assert any(re.search(r"t: `model\..*` is made as a whole, in \d+ kB of memory", note) for note in events.notes)


def test_a_whole_module_that_does_not_fit_into_the_budget_is_named(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", hidden_size=256, intermediate_size=1024, num_hidden_layers=1)
    brick = adapter_of("OFT", base, tmp_path / "oft", target_modules=["down_proj"])
    plan = prepare(manifest(base, {"oft": brick}, sum_of(oft=1.0)), tmp_path).plan
    with pytest.raises(NoSpace, match="the memory budget is too small") as caught:
        share(plan, threads=2, memory=8 << 20)
    assert "`model.layers.0.mlp.down_proj.weight`, made as a whole, needs" in str(caught.value)
    assert share(plan, threads=2, memory=peak_memory(plan)).bundles == 8 * 1024 * 256

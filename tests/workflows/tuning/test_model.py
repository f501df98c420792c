"""A model in memory has the weights that a build of the same recipe writes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file

from brickctl.core.names import Alias
from brickctl.workflows.analyzing.subject import Workplace
from brickctl.workflows.build import build
from brickctl.workflows.lock import LockMode, current_lock
from brickctl.workflows.tuning.model import opened_model
from brickctl.workflows.tuning.space import Space, start_of
from brickctl.workflows.tuning.wish import Wish
from tests.support.projects import opened, rewrite
from tests.workflows.tuning.conftest import BUDGET

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import pytest
    from torch import Tensor

    from brickctl.core.nodes import Node
    from brickctl.workflows.tuning.model import ModelInMemory
    from brickctl.workflows.tuning.space import Values

NAME = "model.layers.0.self_attn.q_proj.weight"
TIES = ('method = "task_arithmetic", bricks = { upper', 'method = "ties", density = 0.5, bricks = { upper')


@contextmanager
def in_memory(project: Path) -> Iterator[tuple[ModelInMemory, Space, Workplace]]:
    session = opened(project)
    text = (project / "brick.toml").read_text()
    space = start_of(session.manifest, text, Wish(target=Alias("assistant"), data=()))
    lock = current_lock(session, LockMode.REFRESH)
    workplace = Workplace(session=session, lock=lock, budget=BUDGET)
    scratch = project.parent / "scratch"
    scratch.mkdir()
    with opened_model(workplace, (space,), space.recipe(space.start), scratch) as model:
        yield model, space, workplace


def built(workplace: Workplace, space: Space, values: Values, folder: Path) -> Mapping[str, Tensor]:
    build(workplace.session, space.recipe(values), folder, workplace.lock, BUDGET)
    return load_file(folder / "model.safetensors")


def test_a_method_that_is_no_sum_has_the_bits_of_a_build(project: Path, tmp_path: Path) -> None:
    rewrite(project, *TIES)
    with in_memory(project) as (model, space, workplace):
        model.become(space.recipe((0.7, 0.2, 0.3)))
        wanted = built(workplace, space, (0.7, 0.2, 0.3), tmp_path / "built")
        parameters = dict(model.loaded.model.named_parameters())
        assert all(torch.equal(parameters[name].to(tensor.dtype), tensor) for name, tensor in wanted.items())


def test_a_weighted_sum_differs_from_a_build_by_a_rounding_at_most(project: Path, tmp_path: Path) -> None:
    with in_memory(project) as (model, space, workplace):
        for values in ((1.1, 0.0), (0.7, 1.2)):
            model.become(space.recipe(values))
        wanted = built(workplace, space, (0.7, 1.2), tmp_path / "built")
        parameters = dict(model.loaded.model.named_parameters())
        others = total = 0
        for name, tensor in wanted.items():
            torch.testing.assert_close(parameters[name].to(tensor.dtype), tensor, rtol=2**-7, atol=1e-6, msg=name)
            others += int((parameters[name].to(tensor.dtype) != tensor).sum())
            total += tensor.numel()
        assert others <= total / 1000


def test_other_weights_of_a_sum_cost_no_kernel(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with in_memory(project) as (model, space, _):
        model.become(space.recipe((1.1, 0.3)))
        made: list[Node] = []
        monkeypatch.setattr(model.whole, "tensor", made.append)
        for values in ((0.7, 1.2), (0.0, 1.0)):
            before = model.parameters[NAME].clone()
            model.become(space.recipe(values))
            assert not torch.equal(model.parameters[NAME], before)
        assert made == []


def test_a_candidate_reads_the_same_whatever_was_tried_before(project: Path) -> None:
    """A build rounds sums otherwise: what was loaded from one is made anew, or a resumed search sees other bits."""
    with in_memory(project) as (model, space, _):
        first = {name: parameter.clone() for name, parameter in model.parameters.items()}
        for values in ((0.7, 1.2), space.start):
            model.become(space.recipe(values))
        assert all(torch.equal(model.parameters[name], tensor) for name, tensor in first.items())


def test_only_what_differs_is_made(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with in_memory(project) as (model, space, _):
        made: list[str] = []
        monkeypatch.setattr(type(model), "_set", lambda *given: made.append(given[1]))
        model.become(space.recipe(space.start))
        assert made == []


def test_where_tensors_have_other_names_in_transformers_candidates_are_built(project: Path, tmp_path: Path) -> None:
    with in_memory(project) as (model, space, workplace):
        model.is_plain = False
        before = model.loaded.model
        for values in ((0.3, 0.4), (0.7, 1.2)):
            model.become(space.recipe(values))
        assert model.loaded.model is not before
        wanted = built(workplace, space, (0.7, 1.2), tmp_path / "built")
        parameters = dict(model.loaded.model.named_parameters())
        assert all(torch.equal(parameters[name].to(tensor.dtype), tensor) for name, tensor in wanted.items())


def test_a_parameter_that_is_not_what_its_file_says_is_noticed(project: Path) -> None:
    with in_memory(project) as (model, _, __):
        assert model.is_plain
        name = next(name for name in model.parameters if "q_proj" in name)
        with torch.no_grad():
            model.parameters[name].add_(1.0)
        model.look()
        assert not model.is_plain

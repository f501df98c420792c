"""Bundles that are made at once, and those that are not."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from safetensors.torch import load_file

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Bundle, Op, Output
from brickctl.core.plan import Plan
from brickctl.core.regions import Spec
from brickctl.tensors.kernels import bundle_kernel
from brickctl.tensors.memory import share
from brickctl.tensors.stacked import stacked
from tests.support.building import Prepared, Runner
from tests.tensors.test_executor import shard

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from brickctl.core.nodes import Node


MEETING = threading.Barrier(2)


@bundle_kernel("test-meeting", scratch=0)
def run_meeting(inputs: Sequence[Tensor], outs: Sequence[Tensor], arguments: Any) -> None:
    """Write the number, once somebody else is at work, too; or fail after a while."""
    del inputs
    MEETING.wait(timeout=arguments["patience"])
    outs[0].fill_(arguments["number"])


def meetings(patience: float) -> dict[str, Node]:
    spec = Spec(DType.F64, (40, 30))
    ops = [Op.make("test-meeting", 1, number=number, patience=patience) for number in range(4)]
    return {str(at): Output(Bundle(op, (), (spec,)), 0) for at, op in enumerate(ops)}


@pytest.mark.parametrize("threads", [2, 3])
def test_several_bundles_are_made_at_once_where_memory_is_given_for_them(threads: int, tmp_path: Path) -> None:
    """Two of 9,600 bytes each, beside those that are kept and 128 MiB for blocks; each waits for another one."""
    MEETING.reset()
    nodes = meetings(60)
    plan = Plan(tasks=(shard("out.safetensors", nodes),))
    nothing: Any = None
    Runner(threads=threads, memory=160 << 20).run(Prepared(artifact=nothing, plan=plan, paths={}), tmp_path)
    found = load_file(tmp_path / "out.safetensors")
    assert {name: float(tensor.mean()) for name, tensor in found.items()} == {"0": 0.0, "1": 1.0, "2": 2.0, "3": 3.0}


def test_several_matrices_of_one_tensor_are_made_at_once_too(tmp_path: Path) -> None:
    """Of 300,000 elements each, more than a block has: the second is begun while the first is made."""
    MEETING.reset()
    spec = Spec(DType.F64, (1000, 300))
    ops = [Op.make("test-meeting", 1, number=number, patience=60) for number in range(4)]
    node = stacked(tuple(Output(Bundle(op, (), (spec,)), 0) for op in ops), (4, 1000, 300))
    plan = Plan(tasks=(shard("out.safetensors", {"x": node}),))
    nothing: Any = None
    Runner(threads=2, memory=320 << 20).run(Prepared(artifact=nothing, plan=plan, paths={}), tmp_path)
    assert load_file(tmp_path / "out.safetensors")["x"].mean(dim=(1, 2)).tolist() == [0.0, 1.0, 2.0, 3.0]


def test_without_a_budget_bundles_are_made_one_after_another() -> None:
    plan = Plan(tasks=(shard("out.safetensors", meetings(1)),))
    assert share(plan, threads=4, memory=None).at_once == 1
    assert share(plan, threads=1, memory=160 << 20).at_once == 1
    assert share(plan, threads=4, memory=160 << 20).at_once == 3


def test_a_bundle_that_needs_another_one_has_no_company() -> None:
    spec = Spec(DType.F64, (40, 30))
    inner = meetings(1)["0"]
    outer = Output(Bundle(Op.make("test-meeting", 1, number=9, patience=1), (inner,), (spec,)), 0)
    plan = Plan(tasks=(shard("out.safetensors", {"inner": inner, "outer": outer}),))
    assert share(plan, threads=4, memory=160 << 20).at_once == 1

"""Whole matrices made on a device: what goes there, in how much of its memory, and what is said where there is none.

Most of it is tested with a device of another name in this machine's memory; some needs a real one, and runs where torch
finds one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from brickctl.core.digests import sha256_bytes
from brickctl.core.dtypes import DType
from brickctl.core.nodes import Bundle, Op, Output, Stored
from brickctl.core.plan import Plan
from brickctl.core.regions import Spec
from brickctl.errors import NoSpace, UsageFault
from brickctl.merging.iso_c import IsoC
from brickctl.merging.knots import Knots
from brickctl.merging.linear import Linear
from brickctl.merging.tsv import Tsv
from brickctl.merging.wudi import Wudi
from brickctl.tensors.bundle_memory import ON_DEVICE, bundle_memory
from brickctl.tensors.device import Cuda
from brickctl.tensors.kernels import bundle_kernel
from brickctl.tensors.memory import expected_memory, peak_memory, share
from tests.support.devices import Elsewhere
from tests.support.evaluating import evaluated
from tests.support.merging import combined, merged, random_tensors
from tests.tensors.test_executor import shard

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from brickctl.core.nodes import Node

METHODS: list[Any] = [IsoC(), Knots(density=0.6, elect="count"), Knots(divide="weight"), Tsv(), Wudi(steps=5)]
WIDE = Spec(DType.BF16, (2048, 1024))

each_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: f"{method.declared.name}")
on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no device")


@bundle_kernel("test-here", scratch=0)
def run_here(inputs: Sequence[Tensor], outs: Sequence[Tensor], arguments: Any) -> None:
    """Write twice what it gets; nobody said that it may be moved."""
    del arguments
    assert inputs[0].device == outs[0].device == torch.device("cpu")
    torch.mul(inputs[0], 2.0, out=outs[0])


def plan_of(node: Node) -> Plan:
    return Plan(tasks=(shard("out.safetensors", {"x": node}),))


def deltas(spec: Spec = WIDE) -> list[Node]:
    return [Stored(spec, sha256_bytes(b""), at) for at in range(3)]


@each_method
def test_a_device_makes_whole_matrices_of_the_same_numbers(method: Any, tmp_path: Path) -> None:
    inputs, device = [one.bfloat16() for one in random_tensors((70, 40), 3)], Elsewhere()
    usual = merged(tmp_path / "here", method, inputs, [1.0, 0.5, -0.7])
    assert torch.equal(merged(tmp_path / "there", method, inputs, [1.0, 0.5, -0.7], device=device), usual)
    assert device.made == 1


def test_a_device_is_not_looked_for_where_it_would_make_nothing(tmp_path: Path) -> None:
    device = Elsewhere()
    merged(tmp_path / "linear", Linear(), random_tensors((70, 40), 3), device=device)
    merged(tmp_path / "vector", IsoC(), random_tensors((70,), 3), device=device)
    assert (device.asked, device.made) == (0, 0)


def test_what_cannot_be_moved_is_made_here(tmp_path: Path) -> None:
    """As PEFT's own layers; what needs both has both."""
    device, tensors = Elsewhere(), dict(zip("ab", random_tensors((30, 20), 2), strict=True))

    def made(nodes: Any) -> Node:
        bundle = Bundle(Op.make("test-here", 1), (nodes["a"],), (Spec(DType.F64, (30, 20)),))
        return combined(IsoC(), [Output(bundle, 0), nodes["b"]])

    expected = merged(tmp_path / "here", IsoC(), [2.0 * tensors["a"].double(), tensors["b"].double()])
    torch.testing.assert_close(evaluated(tmp_path / "both", tensors, made, device=device), expected)
    assert device.made == 1


@each_method
def test_matrices_on_a_device_take_no_memory_here(method: Any) -> None:
    """16 MiB each in fp64, of which at least two are there at once; here are the blocks that they are read in."""
    plan, device = plan_of(combined(method, deltas())), Elsewhere()
    there = bundle_memory(plan, memory=ON_DEVICE)[0]
    assert there > 32 << 20
    assert peak_memory(plan, device) < 16 << 20
    assert peak_memory(plan) > there / 1.5
    assert expected_memory(plan, threads=2, memory=None, device=device) < (128 + 16) << 20
    assert share(plan, threads=2, memory=20 << 20, device=device).device is device


def test_what_does_not_fit_into_a_device_is_refused_when_planning() -> None:
    plan = plan_of(combined(IsoC(), deltas()))
    need = bundle_memory(plan, memory=ON_DEVICE)[0]
    assert share(plan, threads=1, memory=None, device=Elsewhere(need)).device is not None
    with pytest.raises(NoSpace, match="the memory of cpu:0 is too small") as caught:
        share(plan, threads=1, memory=None, device=Elsewhere(need - 1))
    assert "`x`, made as a whole, needs" in caught.value.causes[0]
    assert "without --device" in (caught.value.hint or "")


def test_several_matrices_are_on_their_way_at_once_where_the_device_has_room() -> None:
    nodes = {name: combined(IsoC(scale=scale), deltas()) for scale, name in enumerate("abc", 1)}
    plan = Plan(tasks=(shard("out.safetensors", nodes),))
    one = share(plan, threads=1, memory=None, device=Elsewhere())
    assert one.at_once == 1
    assert share(plan, threads=4, memory=None, device=Elsewhere()).at_once == 3
    tight = bundle_memory(plan, 2, 16, ON_DEVICE)[0]
    part = share(plan, threads=4, memory=None, device=Elsewhere(tight))
    assert (part.at_once, part.on_device) == (2, tight)


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch finds a device")
def test_a_machine_without_a_device_says_why_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageFault, match="there is no device `cuda:1` here") as caught:
        Cuda("cuda:1").free()
    assert "is built for CPUs alone" in caught.value.causes[0]
    assert "leave out --device" in (caught.value.hint or "")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with pytest.raises(UsageFault) as caught:
        Cuda("cuda").free()
    assert "sees none, with CUDA_VISIBLE_DEVICES='7'" in caught.value.causes[0]


def test_a_number_too_high_is_told_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageFault, match="no device `cuda:2`") as caught:
        Cuda("cuda:2").free()
    assert caught.value.hint == "take one up to cuda:1"


@on_cuda
@each_method
@pytest.mark.parametrize("shape", [(70, 40), (40, 700), (900, 700)], ids=str)
def test_cuda_gives_what_this_machine_gives(method: Any, shape: tuple[int, int], tmp_path: Path) -> None:
    """Within 1e-9 of the largest entry, of experts, of zeros among them, and of factors."""
    inputs = [one.double() for one in random_tensors(shape, 3)]
    inputs[1] = torch.zeros_like(inputs[1])
    here = merged(tmp_path / "here", method, inputs)
    there = merged(tmp_path / "there", method, inputs, device=Cuda("cuda"))
    assert float((here - there).abs().max()) <= 1e-9 * float(here.abs().max())


@on_cuda
def test_a_device_that_others_have_filled_is_named() -> None:
    device = Cuda("cuda")
    with pytest.raises(NoSpace, match="the memory of cuda is full"), device.at_work():
        torch.empty(1 << 50, dtype=torch.uint8, device="cuda")

"""Whole matrices made on a device: what goes there, in how much of its memory, and what is said where there is none.

Most of it is tested with a device of another name in this machine's memory; some needs a real one, and runs where torch
finds one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
import torch
from safetensors.torch import save_file

from brickctl.core.digests import sha256_bytes
from brickctl.core.dtypes import DType
from brickctl.core.nodes import Bundle, Op, Output, Stored
from brickctl.core.plan import Plan
from brickctl.core.regions import Spec
from brickctl.errors import BrickctlError, NoSpace, UsageFault
from brickctl.merging import election, knots
from brickctl.merging.iso_c import IsoC
from brickctl.merging.knots import Knots
from brickctl.merging.linear import Linear
from brickctl.merging.tsv import Tsv
from brickctl.merging.wudi import Wudi
from brickctl.tensors.bundle_memory import ON_DEVICE, bundle_memory
from brickctl.tensors.device import Cuda
from brickctl.tensors.header import read_header
from brickctl.tensors.kernels import bundle_kernel
from brickctl.tensors.memory import expected_memory, peak_memory, share
from tests.support.building import Prepared, Runner
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


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_each_matrix_is_made_once_however_many_are_under_way(threads: int, tmp_path: Path) -> None:
    """Twelve tensors in a file: what is begun ahead is kept until it is asked for, by a thread that is not held up."""
    device, stored = Elsewhere(), dict(zip(map(str, range(24)), random_tensors((200, 150), 24), strict=True))
    place = tmp_path / "source.safetensors"
    save_file(stored, place)
    blob = sha256_bytes(place.read_bytes())
    nodes = [Stored(entry.spec, blob, entry.begin) for entry in read_header(place).entries]
    merges = {f"{at:02}": combined(IsoC(), nodes[2 * at : 2 * at + 2]) for at in range(12)}
    plan, nothing = Plan(tasks=(shard("out.safetensors", merges),)), cast("Any", None)
    prepared = Prepared(artifact=nothing, plan=plan, paths={blob: place})
    Runner(threads=threads, device=device).run(prepared, tmp_path / "out")
    assert 12 <= device.made < 16


def test_each_memory_keeps_what_was_made_in_it() -> None:
    """One matrix of 4 MiB goes to the device, twelve small ones stay here: 8 and 1 MiB of them are kept."""
    here, there = Spec(DType.F64, (128, 128)), Spec(DType.F64, (724, 724))
    nodes = [Output(Bundle(Op.make("test-here", 1, at=at), (), (here,)), 0) for at in range(12)]
    moved: list[Node] = [Stored(Spec(DType.BF16, there.shape), sha256_bytes(b""), at) for at in range(2)]
    tensors = {"a": combined(IsoC(), moved), **{f"b{at}": node for at, node in enumerate(nodes)}}
    part = share(Plan(tasks=(shard("x", tensors),)), threads=4, memory=None, device=Elsewhere())
    assert part.bundles == 4 * here.bytes
    assert part.bundles_there == 4 * there.bytes


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
    """Within 1e-9 of the largest entry, also where one of three deltas is nothing."""
    inputs = [one.double() for one in random_tensors(shape, 3)]
    inputs[1] = torch.zeros_like(inputs[1])
    here = merged(tmp_path / "here", method, inputs)
    there = merged(tmp_path / "there", method, inputs, device=Cuda("cuda"))
    assert float((here - there).abs().max()) <= 1e-9 * float(here.abs().max())


def test_masks_and_limits_for_devices_are_those_of_this_machine() -> None:
    """What NumPy does here torch does there; it can do it here, too."""
    generator = torch.Generator().manual_seed(3)
    votes, block = (torch.randn(500, generator=generator, dtype=torch.float64) for _ in range(2))
    votes[::7], votes[::11], block[::5], block[::13], votes[5] = 0.0, -0.0, 0.0, -0.0, float("nan")
    masks = [one(votes.clone()).mask(block).bool() for one in (election._Agreeing, election._AgreeingOnDevice)]
    assert torch.equal(*masks)
    sizes = torch.tensor([3.0, 1.0, 2.0, 2.0, 2.0, 5.0, 0.0, 0.0], dtype=torch.float64)
    for count in range(1, 8):
        edge = sizes.kthvalue(len(sizes) - count + 1).values
        assert knots._edge(sizes.clone(), count) == (float(edge), int((sizes >= edge).sum()) - count)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), "the memory of cuda:1 is full"),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), "the memory of cuda:1 is full"),
        (RuntimeError("CUDA error: an illegal memory access\nCompile with"), "cuda:1 failed"),
    ],
    ids=str,
)
def test_what_a_device_says_is_told_with_its_name(told: Exception, said: str) -> None:
    with pytest.raises(BrickctlError, match=said) as caught, Cuda("cuda:1")._faults():
        raise told
    assert caught.value.causes == (str(told).partition("\n")[0],)
    with pytest.raises(RuntimeError, match="of torch's own"), Cuda("cuda:1")._faults():
        raise RuntimeError("a fault of torch's own")


@on_cuda
def test_a_device_that_others_have_filled_is_named() -> None:
    device = Cuda("cuda")
    with pytest.raises(NoSpace, match="the memory of cuda is full"), device.at_work():
        torch.empty(1 << 50, dtype=torch.uint8, device="cuda")

"""What all methods of whole matrices have in common: of vectors, zeros, hostile values, budgets, absent bricks."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from brickctl.core.digests import sha256_bytes
from brickctl.core.dtypes import DType
from brickctl.core.nodes import Stored
from brickctl.core.plan import Plan, Shard
from brickctl.core.regions import Spec
from brickctl.errors import BrickctlError, NoSpace
from brickctl.merging.iso_c import IsoC
from brickctl.merging.knots import Knots
from brickctl.merging.tsv import Tsv
from brickctl.merging.wudi import Wudi
from brickctl.tensors.bundle_memory import bundle_memory
from brickctl.tensors.memory import DEFAULT_MEMORY, expected_memory, peak_memory, share
from tests.support.building import build, manifest
from tests.support.merging import combined, merged, random_tensors
from tests.support.models import adapter, tiny_model, tuned

if TYPE_CHECKING:
    from pathlib import Path

METHODS: list[Any] = [IsoC(), Knots(density=0.6), Tsv(), Wudi(steps=5, learning_rate=0.01)]
MEANS = [method for method in METHODS if not isinstance(method, Knots)]


def named(methods: list[Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("method", methods, ids=lambda method: method.declared.name)


@named(MEANS)
@pytest.mark.parametrize("shape", [(), (1,), (300_000,), (3, 4, 5)], ids=str)
def test_what_is_no_matrix_gets_the_weighted_sum_divided_by_the_number_of_bricks(
    method: Any, shape: tuple[int, ...], tmp_path: Path
) -> None:
    first, second, third = random_tensors(shape, 3)
    expected = (0.5 * first.double() + 2.0 * second.double() - third.double()) / 3
    torch.testing.assert_close(merged(tmp_path, method, [first, second, third], [0.5, 2.0, -1.0]), expected)


@named(METHODS)
@pytest.mark.parametrize("shape", [(5, 3), (1, 1), (7,), (4, 3, 2)], ids=str)
def test_zeros_give_zeros(method: Any, shape: tuple[int, ...], tmp_path: Path) -> None:
    assert not merged(tmp_path, method, [torch.zeros(shape)] * 3).count_nonzero()


@named(METHODS)
@pytest.mark.parametrize("size", [1e-40, 1e38], ids=["denormal", "large"])
def test_the_size_of_numbers_does_not_matter(method: Any, size: float, tmp_path: Path) -> None:
    """But to the steps of Adam, which have a size of their own."""
    inputs = [tensor.double() for tensor in random_tensors((6, 5), 2)]
    if isinstance(method, Wudi):
        method = Wudi(steps=0)
    usual = merged(tmp_path, method, inputs)
    torch.testing.assert_close(merged(tmp_path, method, [tensor * size for tensor in inputs]) / size, usual)


@named(METHODS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("shape", [(4, 3), (12,)], ids=str)
def test_what_holds_no_numbers_is_refused_with_the_name_of_the_file(
    method: Any, value: float, shape: tuple[int, ...], tmp_path: Path
) -> None:
    spoilt = torch.ones(shape)
    spoilt.view(-1)[5] = value
    with pytest.raises(BrickctlError, match="NaN or infinity") as caught:
        merged(tmp_path, method, [torch.ones(shape), spoilt])
    assert "source.safetensors holds" in caught.value.causes[0]


@named(METHODS)
def test_no_budget_changes_a_bit(method: Any, tmp_path: Path) -> None:
    inputs = [tensor.bfloat16() for tensor in random_tensors((700, 400), 3)]
    usual = merged(tmp_path, method, inputs, [1.0, 0.5, -0.7], threads=1, memory=1 << 30)
    for budget in ({"threads": 2, "memory": 1 << 30}, {"threads": 4, "memory": 80 << 20}):
        assert torch.equal(merged(tmp_path, method, inputs, [1.0, 0.5, -0.7], **budget), usual)


@named([IsoC(), Tsv(), Wudi(steps=3)])
def test_memory_does_not_grow_with_the_number_of_bricks(method: Any) -> None:
    def peak(count: int) -> int:
        spec = Spec(DType.BF16, (4096, 4096))
        nodes = [Stored(spec, sha256_bytes(b""), at) for at in range(count)]
        node = combined(method, nodes)
        return peak_memory(Plan(tasks=(Shard(path="x", header=b"", tensors=(("x", node),)),)))

    assert peak(8) == peak(2)
    assert peak(2) < 13 * 8 * 4096 * 4096


def test_a_matrix_that_is_too_wide_for_the_memory_is_refused_when_planning(tmp_path: Path) -> None:
    """Wudi's A would have 300,000 rows and columns: 720 GB, more than this machine has and more than is allowed."""
    with pytest.raises(NoSpace, match="the memory of this machine is too small") as caught:
        merged(tmp_path, Wudi(), random_tensors((2, 300_000), 2))
    assert "`out`, made as a whole, needs 7" in caught.value.causes[0]
    assert caught.value.hint == "give that tensor another method, one that works block by block"
    with pytest.raises(NoSpace, match="the memory budget is too small") as caught:
        merged(tmp_path, Wudi(), random_tensors((2, 300_000), 2), memory=1 << 30)
    assert "MiB of buffers, and 1.02e+03 MiB are allowed" in caught.value.causes[0]


def test_whole_matrices_get_what_they_need_unless_the_budget_is_given(tmp_path: Path) -> None:
    """900 x 900 takes 6 MiB in fp64 and iso_c about five times that, beside 128 MiB for blocks; 24 MiB are too few."""
    inputs = random_tensors((900, 900), 2)
    merged(tmp_path, IsoC(), inputs)
    with pytest.raises(NoSpace, match="too small") as caught:
        merged(tmp_path, IsoC(), inputs, memory=24 << 20)
    need = re.search(r"pass --memory (\d+)MiB", caught.value.hint or "")
    assert need is not None
    assert 24 < int(need[1]) < 48
    merged(tmp_path, IsoC(), inputs, memory=int(need[1]) << 20)


def test_all_threads_have_blocks_to_make_beside_a_whole_matrix() -> None:
    spec = Spec(DType.BF16, (2048, 2048))
    nodes = [Stored(spec, sha256_bytes(b""), at) for at in range(2)]
    plan = Plan(tasks=(Shard(path="x", header=b"", tensors=(("x", combined(IsoC(), nodes)),)),))
    assert share(plan, threads=4, memory=None).threads == 4
    assert expected_memory(plan, threads=4, memory=None) <= bundle_memory(plan)[0] + DEFAULT_MEMORY


def test_experts_and_adapters_mix_and_one_that_leaves_a_tensor_alone_counts_as_zeros(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    bricks = {"lora": adapter(base, tmp_path / "lora"), "expert": tuned(base, tmp_path / "expert")}
    apply = '{ op = "merge", method = "iso_c", bricks = { lora = 1.0, expert = 1.0 } }'
    out = load_file(build(manifest(base, bricks, apply, 'dtype = "float32"'), tmp_path / "out") / "model.safetensors")
    before, after = load_file(base / "model.safetensors"), load_file(tmp_path / "expert/model.safetensors")
    norm, query = "model.norm.weight", "model.layers.0.self_attn.q_proj.weight"
    torch.testing.assert_close(out[norm], before[norm] + (after[norm] - before[norm]) / 2)
    values = torch.linalg.svdvals(out[query].double() - before[query].double())
    torch.testing.assert_close(values, values.mean().expand_as(values), rtol=1e-4, atol=0)

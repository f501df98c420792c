"""Experts that lie in one tensor: each is a matrix of its own to the methods of whole matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from brickctl.core.digests import sha256_bytes
from brickctl.core.dtypes import DType
from brickctl.core.experts import are_fused
from brickctl.core.graph import walk
from brickctl.core.nodes import Output, Stored
from brickctl.core.plan import Plan, Shard
from brickctl.core.regions import Spec
from brickctl.merging.iso_c import IsoC
from brickctl.merging.knots import Knots
from brickctl.merging.tsv import Tsv
from brickctl.merging.wudi import Wudi
from brickctl.tensors.arithmetic import scaled, zeros
from brickctl.tensors.exact import exact_product
from brickctl.tensors.memory import peak_memory, share
from brickctl.tensors.views import stack_rows
from tests.merging.test_iso_c import close
from tests.support.architectures import adapter_on, model_of
from tests.support.building import build, manifest
from tests.support.evaluating import evaluated
from tests.support.merging import combined, merged, random_tensors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from brickctl.core.nodes import Node

EXPERTS = "model.layers.3.mlp.experts.gate_up_proj"
KERNEL = "model.layers.3.convolution.weight"
WEIGHTS = [1.0, 0.5, -0.7]
METHODS: list[Any] = [IsoC(scale=1.5), Knots(density=0.6), Tsv(), Wudi(steps=5, learning_rate=0.01)]

named = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.declared.name)


def apart(folder: Path, method: Any, inputs: Sequence[Tensor]) -> Tensor:
    """The same experts, each merged as a matrix in a tensor of its own."""
    each = zip(*(tensor.unbind() for tensor in inputs), strict=True)
    return torch.stack([merged(folder / str(at), method, one, WEIGHTS) for at, one in enumerate(each)])


@pytest.mark.parametrize(
    "name",
    [
        EXPERTS,
        "model.language_model.layers.0.feed_forward.experts.down_proj",
        "model.layers.0.mlp.experts.w13_weight",
        "model.layers.0.mlp.experts.fc1.weight",
        "model.layers.0.block_sparse_moe.input_linear.weight",
    ],
)
def test_names_of_experts_in_one_tensor(name: str) -> None:
    assert are_fused(name, (8, 4, 3))
    assert not are_fused(name, (8, 4)), "their biases"
    assert not are_fused(name, (8, 4, 3, 3))


@pytest.mark.parametrize("name", [KERNEL, "mixer.conv1d.weight", "experts.3.conv.weight", "mlp.shared_experts.weight"])
def test_names_of_other_tensors(name: str) -> None:
    assert not are_fused(name, (8, 4, 3))


@named
@pytest.mark.parametrize("shape", [(5, 24, 16), (3, 9, 30), (3, 700, 500), (2, 1024, 512)], ids=str)
def test_experts_in_one_tensor_are_merged_as_those_in_tensors_of_their_own(
    method: Any, shape: tuple[int, ...], tmp_path: Path
) -> None:
    """The same bits: of many in one block, of blocks with rows of two, of whole blocks."""
    inputs = [tensor.bfloat16() for tensor in random_tensors(shape, 3)]
    together = merged(tmp_path, method, inputs, WEIGHTS, tensor=EXPERTS)
    assert torch.equal(together, apart(tmp_path, method, inputs))


@named
@pytest.mark.parametrize("count", [0, 1])
def test_one_expert_and_none(method: Any, count: int, tmp_path: Path) -> None:
    inputs = random_tensors((count, 12, 7), 3)
    together = merged(tmp_path, method, inputs, WEIGHTS, tensor=EXPERTS)
    assert together.shape == (count, 12, 7)
    if count:
        assert torch.equal(together, apart(tmp_path, method, inputs))


@named
@pytest.mark.parametrize("shape", [(6, 5, 3), (6, 5, 3, 2)], ids=str)
def test_kernels_of_convolutions_are_no_experts(method: Any, shape: tuple[int, ...], tmp_path: Path) -> None:
    """A mean, but that knots sees them as matrices (first, all other dimensions)."""
    inputs = random_tensors(shape, 3)
    found = merged(tmp_path, method, inputs, WEIGHTS, tensor=KERNEL)
    if isinstance(method, Knots):
        flat = merged(tmp_path, method, [tensor.reshape(6, -1) for tensor in inputs], WEIGHTS)
        assert torch.equal(found, flat.reshape(shape))
    else:
        mean = sum(weight * tensor.double() for weight, tensor in zip(WEIGHTS, inputs, strict=True))
        torch.testing.assert_close(found, mean * method.scale / 3)


@named
def test_no_budget_changes_a_bit(method: Any, tmp_path: Path) -> None:
    inputs = [tensor.bfloat16() for tensor in random_tensors((7, 300, 200), 3)]
    usual = merged(tmp_path, method, inputs, WEIGHTS, tensor=EXPERTS, threads=1, memory=1 << 30)
    for budget in ({"threads": 2, "memory": 1 << 30}, {"threads": 4, "memory": 20 << 20}, {"threads": 3}):
        assert torch.equal(merged(tmp_path, method, inputs, WEIGHTS, tensor=EXPERTS, **budget), usual)


def plan_of(method: Any, shape: tuple[int, ...], tensor: str) -> Plan:
    nodes = [Stored(Spec(DType.BF16, shape), sha256_bytes(b""), at) for at in range(2)]
    node = combined(method, nodes, tensor=tensor)
    return Plan(tasks=(Shard(path="x", header=b"", tensors=(("x", node),)),))


@named
def test_memory_is_that_of_one_expert(method: Any) -> None:
    """1024 x 512 are two blocks; of 1000 x 512 two are there where a block has rows of both."""
    one = peak_memory(plan_of(method, (1024, 512), "x"))
    assert peak_memory(plan_of(method, (128, 1024, 512), EXPERTS)) <= one + (2 << 20), "a block is copied once more"
    assert peak_memory(plan_of(method, (8, 1000, 512), EXPERTS)) <= one + (2 << 20) + 8 * 1000 * 512
    assert peak_memory(plan_of(method, (8, 1000, 512), EXPERTS)) == peak_memory(
        plan_of(method, (128, 1000, 512), EXPERTS)
    )


def test_blocks_under_way_have_their_experts_at_hand_where_memory_allows() -> None:
    """Eight blocks in a row are half a block for each of 16 experts; 17 where they do not begin with one."""
    plan = plan_of(IsoC(), (128, 256, 512), EXPERTS)
    assert share(plan, threads=2, memory=None).bundles == 16 * 8 * 256 * 512
    assert share(plan, threads=2, memory=peak_memory(plan)).bundles == 2 * 8 * 256 * 512


def low_rank(nodes: Any, at: int, experts: int) -> Node:
    products = [exact_product(nodes[f"B{at}{one}"], nodes[f"A{at}{one}"], 0.3) for one in range(experts)]
    return stack_rows(tuple(products), (experts, 40, 30))


@named
def test_experts_of_adapters_are_merged_through_their_factors(method: Any, tmp_path: Path) -> None:
    """Within 1e-11 of what whole matrices give; the third of four bricks leaves the tensor alone."""
    generator = torch.Generator().manual_seed(1)
    stored = {f"B{at}{one}": torch.randn(40, 3, generator=generator) for at in range(3) for one in range(4)}
    stored |= {f"A{at}{one}": torch.randn(3, 30, generator=generator) for at in range(3) for one in range(4)}
    results = []
    for suffix, seen in ((".factors", lambda node: node), ("", lambda node: scaled(node, 1.0))):

        def made(nodes: Any, suffix: str = suffix, seen: Any = seen) -> Node:
            deltas = [low_rank(nodes, at, 4) for at in range(3)]
            with_zeros = [*map(seen, deltas[:2]), zeros(deltas[0]), seen(deltas[2])]
            node = combined(method, with_zeros, [1.0, 0.5, 1.0, -0.7], tensor=EXPERTS)
            found = {one.bundle.op.name for one in walk(node) if isinstance(one, Output)}
            assert found == {f"merge.{method.declared.name}{suffix}"}
            return node

        results.append(evaluated(tmp_path / f"to{suffix}", stored, made))
    close(*results, 1e-11)


def test_experts_of_a_project_get_flat_spectra_of_their_own(tmp_path: Path) -> None:
    """GPT-OSS keeps them in one tensor: of rank 2 twice, each has four equal singular values."""
    base = model_of("gpt_oss", tmp_path / "base")
    settings = {"target_modules": ["q_proj"], "target_parameters": ["mlp.experts.down_proj"], "r": 2, "lora_alpha": 6}
    bricks = {
        "one": adapter_on(base, tmp_path / "one", **settings),
        "two": adapter_on(base, tmp_path / "two", seed=3, **settings),
    }
    apply = '{ op = "merge", method = "iso_c", bricks = { one = 1.0, two = 0.5 } }'
    out = load_file(build(manifest(base, bricks, apply, 'dtype = "float32"'), tmp_path / "out") / "model.safetensors")
    before, name = load_file(base / "model.safetensors"), "model.layers.0.mlp.experts.down_proj"
    assert out[name].dim() == 3
    values = torch.linalg.svdvals(out[name].double() - before[name].double())
    assert int((values > 1e-4 * values[:, :1]).sum()) == 4 * len(values)
    torch.testing.assert_close(values[:, :4], values[:, :1].expand(-1, 4), rtol=1e-4, atol=0)

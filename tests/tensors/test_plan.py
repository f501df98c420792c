"""Plans as values: keys that stay, and blocks that tile every tensor."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brickctl.core.digests import Sha256
from brickctl.core.dtypes import DType
from brickctl.core.graph import each_once, walk
from brickctl.core.nodes import Input, Map, Node, Op, Statistic, Stored, key, needs_whole_rows
from brickctl.core.plan import Shard
from brickctl.core.regions import BLOCK_ELEMENTS, Access, Region, Spec, blocks
from brickctl.tensors.arithmetic import add, cast
from brickctl.tensors.exact import exact_product

BLOB = Sha256("ab" * 32)


def stored(*shape: int, dtype: DType = DType.BF16, offset: int = 128) -> Stored:
    return Stored(Spec(dtype, shape), BLOB, offset)


def test_keys_are_the_same_in_every_version_of_brickctl() -> None:
    """Caches, journals and other machines know nodes by these: whoever changes one lets them begin anew."""
    product = exact_product(stored(8, 2), stored(2, 4), 0.5)
    assert key(stored(8, 4)) == "2b689fe8ed261f62d0bb4b2a0cac1079608c3df1914dc4a79ecd52992783d7a9"
    assert key(product) == "738e4f7514fbac6c0ce3668b801f3080503e708a9d37d1b2630adf8a9e1960f4"
    assert (
        key(cast(add(stored(8, 4), product), DType.BF16))
        == "33e096cfb399b13a06af24858402de1488f8f92109e6d616ae58ee2bd8b96b9c"
    )


def test_keys_tell_apart_whatever_changes_a_byte() -> None:
    node = add(stored(8, 4), stored(8, 4, offset=256))
    others = [
        add(stored(8, 4), stored(8, 4, offset=512)),
        add(stored(8, 4, offset=256), stored(8, 4)),
        add(stored(8, 4, dtype=DType.F16), stored(8, 4, offset=256)),
        dataclasses.replace(node, op=Op.make("subtract", 1)),
        dataclasses.replace(node, op=Op.make("add", 2)),
        dataclasses.replace(node, op=Op.make("add", 1, scale=2)),
        dataclasses.replace(node, whole_rows=True),
        dataclasses.replace(node, inputs=(node.inputs[0], Input(node.inputs[1].node, Access.ROWS))),
    ]
    assert len({key(node), *map(key, others)}) == len(others) + 1


def test_a_shard_is_known_by_its_header_and_its_nodes() -> None:
    shard = Shard(path="a.safetensors", header=b"head", tensors=(("a", stored(8, 4)),))
    assert shard.size == 4 + 64
    assert shard.key == dataclasses.replace(shard, path="b.safetensors").key
    assert shard.key != dataclasses.replace(shard, header=b"tail").key


def test_walking_gives_inputs_first() -> None:
    left, right = stored(2, 2), stored(2, 2, offset=999)
    node = add(left, right)
    assert list(walk(node)) == [left, cast(left, DType.F64), right, cast(right, DType.F64), node]


shapes = st.one_of(
    st.lists(st.integers(0, 40), max_size=4),
    st.tuples(st.integers(1, 5), st.integers(BLOCK_ELEMENTS - 2, 2 * BLOCK_ELEMENTS + 2)).map(list),
    st.tuples(st.integers(1, 3000), st.integers(1, 3000)).map(list),
)


@given(shapes, st.booleans())
def test_blocks_tile_a_tensor_in_the_order_of_its_bytes(shape: list[int], whole_rows: bool) -> None:  # noqa: FBT001
    spec = Spec(DType.F32, tuple(shape))
    position = 0
    for region in blocks(spec, whole_rows=whole_rows):
        assert region.top * spec.columns + region.left == position
        one_run = region.bottom - region.top == 1 or (region.left, region.right) == (0, spec.columns)
        assert one_run, "a block that is no single run of bytes could not be written at once"
        assert region.elements <= BLOCK_ELEMENTS or whole_rows
        assert not whole_rows or (region.left, region.right) == (0, spec.columns)
        position += region.elements
    assert position == spec.elements


def test_blocks_of_common_shapes() -> None:
    assert list(blocks(Spec(DType.F32, ()))) == [Region(0, 1, 0, 1)]
    assert list(blocks(Spec(DType.F32, (0, 4)))) == []
    assert [region.shape for region in blocks(Spec(DType.F32, (600, 1024)))] == [(256, 1024)] * 2 + [(88, 1024)]
    assert [region.shape for region in blocks(Spec(DType.F32, (2, 300, 1024)))] == [(256, 1024)] * 2 + [(88, 1024)]
    long = [region.shape for region in blocks(Spec(DType.F32, (2, 600_000)))]
    assert long == [(1, 262_144), (1, 262_144), (1, 75_712)] * 2
    assert [region.shape for region in blocks(Spec(DType.F32, (2, 600_000)), whole_rows=True)] == [(1, 600_000)] * 2


@pytest.mark.parametrize(
    ("access", "expected"),
    [
        (Access.BLOCK, Region(2, 5, 3, 7)),
        (Access.ROWS, Region(2, 5, 0, 30)),
        (Access.COLUMNS, Region(0, 20, 3, 7)),
        (Access.ACROSS, Region(0, 20, 2, 5)),
        (Access.BESIDE, Region(3, 7, 0, 30)),
        (Access.ALL, Region(0, 20, 0, 30)),
    ],
)
def test_each_access_names_a_part_of_the_input(access: Access, expected: Region) -> None:
    assert access.region(Region(2, 5, 3, 7), Spec(DType.F32, (20, 30))) == expected


def test_whole_rows_are_asked_for_by_any_kernel_that_a_block_passes_through() -> None:
    norm = Map(Spec(DType.F64, (4, 4)), Op.make("norm", 1), (Input(stored(4, 4)),), whole_rows=True)
    inside = add(stored(4, 4), norm)
    aside = Map(Spec(DType.F64, (4, 4)), Op.make("other", 1), (Input(norm, Access.ALL),))
    summed = Statistic(Spec(DType.F64, (4,)), Op.make("sum", 1), (norm,))
    assert needs_whole_rows(inside)
    assert not needs_whole_rows(aside)
    assert not needs_whole_rows(summed)
    assert not needs_whole_rows(stored(4, 4))


def test_nodes_that_are_read_twice_at_every_step_are_visited_once_and_inputs_first() -> None:
    spec = Spec(DType.F64, (2, 2))
    node: Node = Stored(spec, Sha256("0" * 64), 0)
    chain = [node]
    for _ in range(60):  # 2^60 ways down
        node = Map(spec, Op.make("merge.linear", 1), (Input(node), Input(node)))
        chain.append(node)
    assert list(map(id, each_once((node, chain[3])))) == list(map(id, chain))
    short = chain[6]
    assert list(each_once((short,))) == list(dict.fromkeys(walk(short)))

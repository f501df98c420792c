"""For which blocks of a tensor its bundles are needed."""

from __future__ import annotations

from brickctl.core.digests import sha256_bytes
from brickctl.core.dtypes import DType
from brickctl.core.nodes import Bundle, Node, Op, Output, Stored
from brickctl.core.regions import Spec
from brickctl.tensors.arithmetic import add, cast
from brickctl.tensors.spans import in_order, most_at_once, spans
from brickctl.tensors.stacked import stacked
from brickctl.tensors.views import reshape, transpose

COUNT, ROWS, COLUMNS = 4, 768, 512
"""A block has 512 rows: three for two matrices."""


def matrix(number: int, *below: Node) -> Output:
    return Output(Bundle(Op.make("test", 1, number=number), below, (Spec(DType.F64, (ROWS, COLUMNS)),)), 0)


def numbers(node: Node) -> dict[int, tuple[int, int]]:
    return {
        bundle.op.arguments()["number"]: span for bundle, span in sorted(spans(node).items(), key=lambda one: one[1])
    }


MATRICES = tuple(map(matrix, range(COUNT)))
STACKED = stacked(MATRICES, (COUNT, ROWS, COLUMNS))
EXPECTED = {0: (0, 1), 1: (1, 2), 2: (3, 4), 3: (4, 5)}


def test_each_matrix_of_a_tensor_is_needed_for_its_own_blocks() -> None:
    assert numbers(STACKED) == EXPECTED
    assert numbers(matrix(7)) == {7: (0, 1)}


def test_sums_and_other_shapes_need_the_same() -> None:
    running = Stored(Spec(DType.BF16, (COUNT, ROWS, COLUMNS)), sha256_bytes(b""), 0)
    assert numbers(cast(add(running, STACKED), DType.BF16)) == EXPECTED
    assert numbers(reshape(STACKED, (COUNT * ROWS, COLUMNS))) == EXPECTED


def test_what_moves_elements_needs_all_for_every_block() -> None:
    turned = transpose(reshape(STACKED, (COUNT * ROWS, COLUMNS)))
    assert set(numbers(turned).values()) == {(0, 6)}, "of 512 rows a block has 85"


def test_what_a_bundle_is_made_of_is_needed_where_it_is() -> None:
    outer = stacked((matrix(10, matrix(20)), matrix(11, matrix(21))), (2, ROWS, COLUMNS))
    assert numbers(outer) == {10: (0, 1), 20: (0, 1), 11: (1, 2), 21: (1, 2)}


def test_bytes_that_some_blocks_in_a_row_need() -> None:
    size = 8 * ROWS * COLUMNS
    assert [most_at_once(spans(STACKED), blocks, lambda _: size) // size for blocks in (1, 2, 3, 4, 6, 99)] == [
        2,
        2,
        3,
        4,
        4,
        4,
    ]
    assert most_at_once({}, 4, lambda _: size) == 0


def test_bundles_come_in_the_order_of_blocks() -> None:
    assert in_order(STACKED) == [(span[0], MATRICES[at]) for at, span in EXPECTED.items()]

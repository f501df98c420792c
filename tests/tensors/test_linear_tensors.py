"""What is merged linearly is made of terms that stay the same, and comes out as a build makes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from brickctl.core.nodes import Stored
from brickctl.tensors.blobs import Blobs
from brickctl.tensors.factored import product_of
from brickctl.tensors.linear_tensors import LinearTensors
from brickctl.tensors.linear_terms import terms_of
from brickctl.tensors.whole_tensors import WholeTensors
from tests.support.building import manifest, prepare, sum_of
from tests.support.models import adapter, tiny_model, tuned

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.core.nodes import Node
    from tests.support.building import Prepared

NAME = "model.layers.0.self_attn.q_proj.weight"
MEAN = '{ op = "merge", method = "linear", bricks = { lora = 3.0, expert = 1.0 } }'
TIES = '{ op = "merge", method = "ties", density = 0.5, bricks = { lora = 3.0, expert = 1.0 } }'
AFTER = '{ op = "merge", method = "slerp", t = 0.3, bricks = ["base", "expert"] }'


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("linear")


@pytest.fixture(scope="module")
def bricks(scratch: Path) -> dict[str, Path]:
    base = tiny_model(scratch / "base")
    return {
        "lora": adapter(base, scratch / "lora", seed=1),
        "dora": adapter(base, scratch / "dora", seed=2, use_dora=True),
        "expert": tuned(base, scratch / "expert", seed=3),
    }


def prepared(scratch: Path, bricks: dict[str, Path], apply: str) -> Prepared:
    return prepare(manifest(scratch / "base", bricks, apply), scratch)


def in_fp64(node: Node) -> Node:
    """What a tensor is before it is rounded to its type."""
    return node.inputs[0].node  # type: ignore[union-attr]  # a merged tensor is a cast


def test_a_sum_of_deltas_is_taken_apart_into_the_base_and_what_each_brick_adds(
    scratch: Path, bricks: dict[str, Path]
) -> None:
    node = prepared(scratch, bricks, sum_of(lora=0.5, dora=-2.0)).artifact.root.tensors[NAME]
    terms = terms_of(in_fp64(node))

    assert sorted(terms.values()) == [-2.0, 0.5, 1.0]
    assert [isinstance(term, Stored) for term in terms if terms[term] == 1.0] == [True]
    assert [product_of(term) is not None for term in terms if terms[term] == 0.5] == [True]


def test_two_steps_are_one_sum_with_the_base_once(scratch: Path, bricks: dict[str, Path]) -> None:
    steps = f"{sum_of(lora=0.5)}, {sum_of(lora=0.25, dora=1.0)}"
    node = prepared(scratch, bricks, steps).artifact.root.tensors[NAME]

    assert sorted(terms_of(in_fp64(node)).values()) == [0.75, 1.0, 1.0]


def test_a_mean_of_models_has_three_quarters_of_a_delta(scratch: Path, bricks: dict[str, Path]) -> None:
    node = prepared(scratch, bricks, MEAN).artifact.root.tensors[NAME]
    shares = {isinstance(term, Stored): factor for term, factor in terms_of(in_fp64(node)).items()}

    assert shares[False] == pytest.approx(0.75)
    assert sum(terms_of(in_fp64(node)).values()) == pytest.approx(1.75)


@pytest.mark.parametrize("apply", [sum_of(lora=0.7, dora=-0.3, expert=0.5), sum_of(lora=[0.0, 1.0]), MEAN])
def test_sums_are_what_a_build_makes_up_to_the_last_bits_of_fp32(
    apply: str, scratch: Path, bricks: dict[str, Path]
) -> None:
    ready = prepared(scratch, bricks, apply)
    with Blobs(ready.paths) as blobs:
        whole = WholeTensors(blobs)
        for name, node in ready.artifact.root.tensors.items():
            terms = terms_of(in_fp64(node)) if not isinstance(node, Stored) else terms_of(node)
            found = LinearTensors(whole, terms).tensor(node)
            assert found is not None
            torch.testing.assert_close(found, whole.tensor(node), rtol=1e-6, atol=1e-7, msg=name)


@pytest.mark.parametrize("apply", [TIES, AFTER])
def test_what_is_no_sum_of_the_terms_is_left_to_others(apply: str, scratch: Path, bricks: dict[str, Path]) -> None:
    ready = prepared(scratch, bricks, apply)
    terms = terms_of(in_fp64(prepared(scratch, bricks, sum_of(lora=1.0)).artifact.root.tensors[NAME]))
    with Blobs(ready.paths) as blobs:
        assert LinearTensors(WholeTensors(blobs), terms).tensor(ready.artifact.root.tensors[NAME]) is None


def test_terms_without_room_are_made_again_with_the_same_result(scratch: Path, bricks: dict[str, Path]) -> None:
    ready = prepared(scratch, bricks, sum_of(lora=0.7, expert=0.5))
    node = ready.artifact.root.tensors[NAME]
    with Blobs(ready.paths) as blobs:
        whole, terms = WholeTensors(blobs), terms_of(in_fp64(node))
        tight, roomy = LinearTensors(whole, terms, room=0), LinearTensors(whole, terms)
        first = roomy.tensor(node)
        for maker in (tight, tight, roomy):
            again = maker.tensor(node)
            assert first is not None
            assert again is not None
            assert torch.equal(again, first)

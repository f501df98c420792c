"""Figures about two deltas: what they are for deltas that are known, and that no way of reading them changes them."""

from __future__ import annotations

import math

import pytest
import torch

from brickctl.analysis.interference import Interference, Thin, Whole, interference, known

ROWS, COLUMNS, RANK = 48, 40, 3


def thin(seed: int, size: float = 1.0) -> Thin:
    generator = torch.Generator().manual_seed(seed)
    left = torch.randn(ROWS, RANK, generator=generator, dtype=torch.float64)
    return Thin(left * size, torch.randn(RANK, COLUMNS, generator=generator, dtype=torch.float64))


def between(one: Thin | Whole, other: Thin | Whole) -> Interference:
    return interference(known(one), known(other))


def test_figures_are_those_of_the_formulas() -> None:
    one, other = thin(1), thin(2, 3.0)
    found = between(one, other)
    mine, theirs = one.left @ one.right, other.left @ other.right
    assert found.norms == pytest.approx((float(mine.norm()), float(theirs.norm())))
    assert found.cosine == pytest.approx(float((mine * theirs).sum() / mine.norm() / theirs.norm()))
    assert found.joint_norm == pytest.approx(float((mine + theirs).norm()))
    assert found.distance == pytest.approx(float((mine - theirs).norm()))
    lengths = (mine.T @ mine).norm() * (theirs.T @ theirs).norm()
    assert found.input_overlap == pytest.approx(float((mine @ theirs.T).norm() ** 2 / lengths))
    assert found.output_overlap == pytest.approx(float((mine.T @ theirs).norm() ** 2 / lengths))
    reading = [float((theirs @ mine.T).norm() / (delta @ delta.T).norm()) for delta in (mine, theirs)]
    assert found.loudness == pytest.approx(tuple(reading))
    limits = [delta.square().mean().sqrt() for delta in (mine, theirs)]
    large = (mine.abs() > limits[0]) & (theirs.abs() > limits[1])
    assert found.conflicts == pytest.approx(float((mine * theirs < 0)[large].double().mean()))


def test_a_delta_is_itself_and_the_opposite_of_its_negative() -> None:
    delta = thin(1)
    same, opposite = between(delta, delta), between(delta, Thin(-2.0 * delta.left, delta.right))
    for found, sign, ratio in ((same, 1.0, 1.0), (opposite, -1.0, 2.0)):
        assert found.cosine == pytest.approx(sign)
        assert (found.input_overlap, found.output_overlap) == (pytest.approx(1.0), pytest.approx(1.0))
        assert found.loudness == pytest.approx((ratio, 1.0 / ratio))
        assert found.norm_ratio == pytest.approx(ratio)
    assert (same.conflicts, opposite.conflicts) == (0.0, 1.0)
    assert (same.distance, same.joint_norm) == (0.0, pytest.approx(2.0 * same.norms[0]))


def test_deltas_that_read_and_write_elsewhere_have_nothing_in_common() -> None:
    corner = torch.zeros(ROWS, RANK, dtype=torch.float64), torch.zeros(RANK, COLUMNS, dtype=torch.float64)
    corner[0][:RANK], corner[1][:, :RANK] = torch.eye(RANK), torch.eye(RANK)
    one = Thin(*corner)
    moved = Thin(one.left.roll(RANK, 0), one.right), Thin(one.left, one.right.roll(RANK, 1))
    for other, overlaps in zip(moved, ((1.0, 0.0), (0.0, 1.0)), strict=True):
        found = between(one, other)
        assert (found.cosine, found.input_overlap, found.output_overlap) == pytest.approx((0.0, *overlaps))
        assert found.loudness == pytest.approx((overlaps[0], overlaps[0]))
        assert found.conflicts is None


@pytest.mark.parametrize("whole", [(False, True), (True, False), (True, True)])
def test_factors_and_whole_matrices_tell_the_same(whole: tuple[bool, bool]) -> None:
    deltas = thin(1), thin(2, 3.0)
    expected = between(*deltas)
    made = [Whole((one.left @ one.right).float()) for one in deltas]
    found = between(*(made[at] if is_whole else deltas[at] for at, is_whole in enumerate(whole)))
    for name in ("squares", "dot", "fourths", "inputs", "outputs"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-5), name
    assert abs(found.large - expected.large) <= 1


def test_sums_of_tensors_are_those_of_what_they_would_be_side_by_side() -> None:
    """Block-diagonal deltas: nothing of one block meets anything of another."""
    pairs = [(thin(1), thin(2)), (thin(3, 2.0), thin(4, 0.5))]
    total = between(*pairs[0]) + between(*pairs[1])
    whole = [torch.block_diag(*(pair[side].left @ pair[side].right for pair in pairs)) for side in (0, 1)]
    joint = between(Whole(whole[0].float()), Whole(whole[1].float()))
    assert total.cosine == pytest.approx(joint.cosine, rel=1e-5)
    assert total.input_overlap == pytest.approx(joint.input_overlap, rel=1e-5)
    assert total.output_overlap == pytest.approx(joint.output_overlap, rel=1e-5)
    assert total.loudness == pytest.approx(joint.loudness, rel=1e-5)


def test_a_tensor_that_one_brick_leaves_alone_makes_it_no_louder() -> None:
    both = between(thin(1), thin(2))
    found = both + interference(known(thin(3)), None)
    assert found.norms[0] > both.norms[0]
    assert found.norms[1] == both.norms[1]
    assert found.dot == both.dot


def test_what_cannot_be_known_is_none() -> None:
    zeros = Thin(torch.zeros(4, 1, dtype=torch.float64), torch.zeros(1, 4, dtype=torch.float64))
    found = between(zeros, zeros)
    for name in ("cosine", "norm_ratio", "input_overlap", "output_overlap", "loudness", "conflicts"):
        assert getattr(found, name) is None, name
    vectors = between(Whole(torch.ones(1, 8)), Whole(torch.ones(1, 8)))
    assert vectors.cosine == pytest.approx(1.0)
    assert vectors.input_overlap is None


def test_the_stable_rank_counts_directions_as_strong_as_the_strongest() -> None:
    eye = torch.eye(8, 2, dtype=torch.float64)
    assert known(Thin(eye, eye.T)).stable_rank == pytest.approx(2.0)
    assert known(Thin(eye * torch.tensor([2.0, 1.0], dtype=torch.float64), eye.T)).stable_rank == pytest.approx(1.25)


def test_signs_of_large_tensors_are_those_of_a_sample() -> None:
    """Half of all signs differ where two deltas know nothing of each other, and few of those that are alike."""
    generator = torch.Generator().manual_seed(0)
    one, noise = (torch.randn(600, 512, generator=generator) for _ in range(2))
    independent, half = (
        between(Whole(one), Whole(noise)),
        between(Whole(one), Whole(0.5 * one + math.sqrt(0.75) * noise)),
    )
    assert independent.conflicts == pytest.approx(0.5, abs=0.02)
    assert half.conflicts is not None
    assert half.conflicts < 0.1
    assert independent.large < 600 * 512 / 4

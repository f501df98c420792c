"""Routers learn what an oracle sees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from brickctl.analysis.activations import listening
from brickctl.analysis.ffn import find_ffns
from brickctl.analysis.splitting.dividing import Cut, divide
from brickctl.analysis.splitting.hearing import hear, read
from brickctl.analysis.splitting.lessons import Lesson, lessons
from brickctl.analysis.splitting.marks import FIRING, Marks
from brickctl.analysis.splitting.partition import partition_of
from brickctl.analysis.splitting.routers import LinearRouter, Oracle, group_sums, similarity
from brickctl.analysis.splitting.training import Course, linear_router, logits_of, mlp_router
from tests.support.grouped import GROUPS, grouped_llama, rows, subjects, wanted
from tests.support.successors import SIZE

COURSE = Course(active=1, steps=200, seed=0)


def lesson_of(tokens: int = 400, seed: int = 0) -> Lesson:
    """Six hidden numbers of which the first four, made positive, are what the groups carry."""
    hidden = torch.randn(tokens, 6, generator=torch.Generator().manual_seed(seed)).bfloat16()
    carried = hidden[:, :4].float().exp()
    return Lesson(hidden, carried / carried.sum(dim=1, keepdim=True))


def agreement(scores: torch.Tensor, lesson: Lesson) -> float:
    """On how many tokens the first choice is the oracle's."""
    return float((scores.argmax(dim=1) == lesson.shares.argmax(dim=1)).double().mean())


def test_marks_count_how_often_neurons_fire_together() -> None:
    """A quarter of 8 neurons are the 2 largest magnitudes: 1 and 6, then 1 and 3, then 6 and 7."""
    assert FIRING == 0.25
    activations = torch.tensor([[0, 5, 1, 2, 0, 0, -4, 1.0], [1, -9, 0, 2, 0, 0, 0, 1], [0, 0, 0, 0, 0, 1, 2, -3]])
    marks = Marks(8)
    marks.add(activations[:2])
    marks.add(activations[2:])
    counts = np.zeros((8, 8))
    for pair in ([1, 6], [1, 3], [6, 7]):
        counts[np.ix_(pair, pair)] += 1
    assert marks.coactivations().tolist() == counts.tolist()


@pytest.mark.parametrize("method", ["coactivation", "kmeans"])
def test_groups_that_are_planted_in_a_model_are_found(method: str) -> None:
    model = grouped_llama()
    ffns = find_ffns(model)
    found = tuple(divide(ffns, [one.marks for one in hear(model, ffns, [rows()])], Cut(method=method, groups=GROUPS)))
    assert [one.order.tolist() for one in found] == [wanted(at).order.tolist() for at in range(2)]


def test_the_output_that_each_neuron_makes_is_heard_by_text() -> None:
    """The shares of one text against the sum over its tokens, written out; the other text has no say in it."""
    model = grouped_llama()
    ffns = find_ffns(model)
    one, other = rows(3), rows(2, seed=1)
    found = hear(model, ffns, [one, other])[1].magnitudes()
    kept: list[torch.Tensor] = []
    with torch.inference_mode(), listening(ffns, lambda at, a: kept.append(a.clone()) if at else None):
        model(torch.tensor(one))
    sizes = kept[0].abs() * model.model.layers[1].mlp.down_proj.weight.norm(dim=0)
    assert torch.allclose(found[0], (sizes / sizes.sum(dim=1, keepdim=True)).mean(dim=0), atol=1e-6)
    assert not torch.allclose(found[0], found[1], atol=1e-3)


def test_a_lesson_has_what_goes_in_and_the_share_of_each_group() -> None:
    model = grouped_llama(noise=0.0)
    ffns = find_ffns(model)
    first, _ = lessons(model, ffns, [wanted(0), wanted(1)], rows())
    tokens = torch.tensor(rows()).flatten()
    assert first.hidden.dtype == torch.bfloat16
    assert first.hidden.argmax(dim=1).tolist() == tokens.tolist()
    group_of = torch.from_numpy(np.asarray([_group_of_subject(0, int(token) % GROUPS) for token in tokens]))
    assert torch.allclose(first.shares.gather(1, group_of[:, None]), torch.ones(len(tokens), 1), atol=1e-3)


def _group_of_subject(layer: int, subject: int) -> int:
    return int(wanted(layer).labels[int(np.argmax(subjects(layer) == subject))])


def test_rows_of_one_length_are_read_together_and_none_is_padded() -> None:
    model = grouped_llama()
    read_together: list[tuple[int, ...]] = []
    watched: list[int] = []
    handle = model.model.register_forward_pre_hook(
        lambda _, __, named: read_together.append(tuple(named["input_ids"].shape)), with_kwargs=True
    )
    with handle:
        read(model, [[1] * 40, [1] * 3, [2] * 40, *[[3] * 60] * 40], watch=watched.append)
    assert read_together == [(1, 3), (2, 40), (34, 60), (6, 60)]
    assert watched == [3, 80, 2040, 360]


def test_similarity_takes_the_mean_of_unit_rows() -> None:
    router = similarity(torch.tensor([[2.0, 0], [0, 3], [0, 1], [5, 0]]), partition_of(np.array([0, 1, 1, 0]), 2))
    assert router.weight.tolist() == [[1, 0], [0, 1]]


def test_sums_of_groups_leave_out_what_is_shared() -> None:
    partition = partition_of(np.array([0, -1, 1, 0, 1]), 2)
    assert group_sums(torch.tensor([[1.0, 100, 2, 4, 8]]), partition).tolist() == [[5, 10]]


def test_the_routers_choose_as_the_oracle_does_on_a_planted_model() -> None:
    model = grouped_llama()
    ffns = find_ffns(model)
    partitions = [wanted(0), wanted(1)]
    for at, lesson in enumerate(lessons(model, ffns, partitions, rows(12))):
        unheard = lessons(model, ffns, partitions, rows(4, seed=1))[at]
        gate = ffns[at].parts.inward()[0]
        for router in (
            similarity(gate, partitions[at]),
            linear_router(lesson, replace(COURSE, steps=0)),
            linear_router(lesson, COURSE),
            mlp_router(lesson, COURSE),
        ):
            assert agreement(router.scores(unheard.hidden, unheard.hidden), unheard) == 1.0


def test_training_makes_a_router_better_and_chance_is_a_quarter() -> None:
    lesson, unheard = lesson_of(), lesson_of(seed=1)
    untrained = mlp_router(lesson, replace(COURSE, steps=0))
    assert agreement(untrained.scores(unheard.hidden, unheard.hidden), unheard) < 0.5
    for router in (mlp_router(lesson, COURSE), linear_router(lesson, COURSE)):
        assert agreement(router.scores(unheard.hidden, unheard.hidden), unheard) > 0.9


def test_the_matrix_is_the_solution_of_least_squares() -> None:
    lesson = lesson_of()
    hidden, wish = lesson.hidden.double(), lesson.shares.double() - 0.25
    damping = 0.1 * hidden.square().sum() / 6
    stacked = torch.cat([hidden, damping.sqrt() * torch.eye(6, dtype=torch.float64)])
    expected = torch.linalg.lstsq(stacked, torch.cat([wish, torch.zeros(6, 4, dtype=torch.float64)])).solution.T
    found = linear_router(lesson, replace(COURSE, steps=0)).weight
    assert torch.allclose(found.double(), expected, atol=1e-6)


@pytest.mark.parametrize("train", [linear_router, mlp_router])
def test_the_same_seed_makes_the_same_router(train: type) -> None:
    course = replace(COURSE, steps=5)
    first, second = (train(lesson_of(), course).tensors() for _ in range(2))
    other = train(lesson_of(), replace(course, seed=1)).tensors()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_spread_and_gap_of_logits_are_measured() -> None:
    """Logits (1, 0, -1) times 1 to 100: their spread is sqrt(2/3 mean of squares), the gap below the first 1 and up."""
    hidden = torch.arange(1.0, 101)[:, None]
    lesson = Lesson(hidden, torch.zeros(100, 3))
    spread, gap = logits_of(LinearRouter(torch.tensor([[1.0], [0], [-1]])), lesson, 1)
    assert spread == pytest.approx((2 / 3 * 3383.5) ** 0.5)
    assert gap == 2.0
    assert logits_of(LinearRouter(torch.tensor([[1.0], [0], [-1]])), lesson, 3)[1] == 0.0


def test_an_oracle_knows_the_activations_alone() -> None:
    partition = partition_of(np.repeat(np.arange(2), SIZE // 2), 2)
    activations = torch.ones(1, SIZE)
    activations[0, 0] = -3
    assert Oracle(partition).scores(torch.zeros(1, 1), activations).tolist() == [[18, 16]]

"""Laws that every method keeps, and what each one is for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brickctl.analysis.splitting.clustering import sums_by_group
from brickctl.analysis.splitting.coactivation import fired_together
from brickctl.analysis.splitting.method import Layer, methods
from brickctl.analysis.splitting.partition import SHARED, Partition, partition_of, shared_neurons
from brickctl.errors import Misfit

NAMES = ("coactivation", "contiguous", "kmeans", "random", "shared")


def layer_of(marks: np.ndarray, *, groups: int, shared: int = 0, seed: int = 0) -> Layer:
    """An FFN whose neurons fired so (tokens, neurons); the rows of its weights are those marks as well."""
    marks = marks.astype(np.float32)
    return Layer(
        neurons=marks.shape[1],
        groups=groups,
        shared=shared,
        seed=seed,
        inward=lambda: (np.ascontiguousarray(marks.T),),
        coactivations=lambda: marks.T @ marks,
    )


def random_marks(seed: int, tokens: int = 40, neurons: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).random((tokens, neurons)) < 0.3


def split(name: str, layer: Layer) -> Partition:
    return methods()[name].split(layer)


def planted(groups: int = 4, size: int = 6, tokens: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Marks (tokens, neurons) of neurons that fire with nine in ten of their group on its tokens, and the groups."""
    random = np.random.default_rng(7)
    labels = random.permutation(np.repeat(np.arange(groups), size))
    subject = random.integers(0, groups, size=tokens)
    chance = np.where(labels[None, :] == subject[:, None], 0.9, 0.05)
    return random.random(chance.shape) < chance, labels


def test_there_are_five_methods() -> None:
    assert tuple(methods()) == NAMES


@pytest.mark.parametrize("name", NAMES)
@given(st.integers(0, 1000), st.sampled_from((1, 2, 3, 4, 6, 24)))
def test_every_neuron_is_in_one_group_and_groups_are_of_one_size(name: str, seed: int, groups: int) -> None:
    shared = 24 % groups if name != "shared" or groups == 24 else groups
    partition = split(name, layer_of(random_marks(seed), groups=groups, shared=shared, seed=seed))
    assert sorted(partition.order.tolist()) == list(range(24))
    assert partition.order.dtype == np.int32
    sizes = np.bincount(partition.labels + 1, minlength=groups + 1).tolist()
    assert sizes == [shared, *[(24 - shared) // groups] * groups]


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_the_same_layer_is_split_the_same_way(name: str, seed: int) -> None:
    first, second = (split(name, layer_of(random_marks(seed), groups=4, shared=0, seed=seed)) for _ in range(2))
    assert first.order.tolist() == second.order.tolist()


@pytest.mark.parametrize("name", ["coactivation", "kmeans", "shared"])
def test_neurons_that_are_planted_in_one_group_land_in_one_group(name: str) -> None:
    marks, labels = planted()
    wanted = partition_of(labels, 4)
    assert split(name, layer_of(marks, groups=4)).order.tolist() == wanted.order.tolist()


@pytest.mark.parametrize("name", ["coactivation", "kmeans"])
@pytest.mark.parametrize("seed", range(8))
def test_planted_groups_are_found_in_other_orders_of_neurons(name: str, seed: int) -> None:
    """Both end where nothing near is better: of 200 orders k-means misses one, and co-activation, which swaps, none."""
    marks, labels = planted()
    order = np.random.default_rng(seed).permutation(24)
    found = split(name, layer_of(marks[:, order], groups=4))
    assert found.order.tolist() == partition_of(labels[order], 4).order.tolist()


@settings(max_examples=30)
@given(st.integers(0, 1000))
def test_no_two_neurons_could_change_places_and_fire_more_together(seed: int) -> None:
    marks = random_marks(seed).astype(np.float32)
    edges = marks.T @ marks
    labels = fired_together(edges, 4, seed)
    best = inside(edges, labels)
    for one in range(24):
        for other in range(one):
            swapped = labels.copy()
            swapped[[one, other]] = labels[[other, one]]
            assert inside(edges, swapped) <= best


def inside(edges: np.ndarray, labels: np.ndarray) -> float:
    """The sum of the edges within groups."""
    return float(sums_by_group(edges, labels, 4)[np.arange(len(labels)), labels].sum())


def test_length_of_a_row_does_not_matter_to_kmeans() -> None:
    marks, labels = planted()
    scaled = marks * np.linspace(0.1, 50.0, 24)
    assert split("kmeans", layer_of(scaled, groups=4)).order.tolist() == partition_of(labels, 4).order.tolist()


def test_neurons_of_zeros_do_no_harm_to_kmeans() -> None:
    marks = random_marks(0)
    marks[:, :7] = 0
    assert split("kmeans", layer_of(marks, groups=4)).size == 6


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(value: float) -> None:
    marks = random_marks(0).astype(np.float32)
    marks[0, 5] = value
    with pytest.raises(Misfit, match="NaN or infinite"):
        split("kmeans", layer_of(marks, groups=4))


def test_the_neurons_that_fire_most_are_shared() -> None:
    """Neurons 3 and 20 fire on every token, and 9 on more tokens than any of the rest."""
    marks = random_marks(3)
    marks[:, [3, 20]] = 1
    marks[:30, 9] = 1
    partition = split("shared", layer_of(marks, groups=7, shared=3))
    assert partition.order[:3].tolist() == [3, 9, 20]
    assert (partition.labels[[3, 9, 20]] == SHARED).all()


def test_contiguous_groups_are_neighbours() -> None:
    partition = split("contiguous", layer_of(random_marks(0), groups=4))
    assert partition.order.tolist() == list(range(24))


def test_random_groups_depend_on_the_seed() -> None:
    orders = [split("random", layer_of(random_marks(0), groups=4, seed=seed)).order.tolist() for seed in range(3)]
    assert orders[0] != orders[1] != orders[2]


@given(st.permutations([SHARED, SHARED, 0, 0, 1, 1, 2, 2]), st.permutations(range(3)))
def test_groups_are_numbered_by_their_first_neurons(labels: list[int], names: list[int]) -> None:
    renamed = [SHARED if one == SHARED else names[one] for one in labels]
    first, second = (partition_of(np.array(one), 3) for one in (labels, renamed))
    assert first.order.tolist() == second.order.tolist()
    groups = first.order[2:].reshape(3, 2)
    assert (np.diff(groups, axis=1) > 0).all()
    assert (np.diff(groups[:, 0]) > 0).all()
    assert partition_of(first.labels, 3).order.tolist() == first.order.tolist()


@pytest.mark.parametrize(
    ("neurons", "groups", "share", "shared"),
    [
        (1536, 16, 0.0, 0),
        (1536, 64, 0.125, 192),
        (1536, 16, 0.1, 160),
        (11, 4, 0.5, 7),
        (12, 4, 0.5, 4),
        (8, 8, 0.1, 0),
    ],
)
def test_shared_neurons_leave_groups_of_one_size(neurons: int, groups: int, share: float, shared: int) -> None:
    """Half of 11 is 5.5: 7 is nearer than 3. Half of 12 is as far from 4 as from 8."""
    assert shared_neurons(neurons, groups, share) == shared


@pytest.mark.parametrize(("groups", "share"), [(5, 0.0), (1537, 0.0), (1537, 0.5)])
def test_groups_of_unequal_size_are_refused(groups: int, share: float) -> None:
    with pytest.raises(Misfit, match=f"1536 neurons does not make {groups} groups") as raised:
        shared_neurons(1536, groups, share)
    assert raised.value.hint == "it makes 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96"

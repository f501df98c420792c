"""Which candidates are tried follows from the seed and from what was said of those before."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, get_args

import pytest

from brickctl.core.manifest_format import parse_manifest
from brickctl.core.names import Alias
from brickctl.workflows.tuning.search import Trial, search
from brickctl.workflows.tuning.space import Space, start_of
from brickctl.workflows.tuning.wish import Sampler, Wish

if TYPE_CHECKING:
    from collections.abc import Sequence


MANIFEST = """\
[project]
name = "p"
[base]
source = "path:base"
[bricks]
sql = { source = "path:sql" }
mail = { source = "path:mail" }
[targets.t]
apply = [{ op = "merge", method = "task_arithmetic", bricks = { sql = 1.0, mail = 1.0 } }]
"""
BEST = (0.4, 0.9)


def space(text: str = MANIFEST) -> Space:
    return start_of(parse_manifest(text), text, Wish(target=Alias("t"), data=()))


def distance(values: Sequence[float]) -> float:
    return math.dist(values, BEST[: len(values)])


def trials(sampler: Sampler, seed: int = 0, count: int = 40, text: str = MANIFEST) -> list[Trial]:
    return [*search(space(text), distance, sampler=sampler, seed=seed, trials=count)]


def least(found: Sequence[Trial]) -> float:
    return min(trial.objective for trial in found)


@pytest.mark.parametrize("sampler", get_args(Sampler))
def test_it_comes_near_to_what_is_best(sampler: Sampler) -> None:
    found = trials(sampler)

    assert (found[0].number, found[0].values, len(found)) == (0, (1.0, 1.0), 41)
    assert least(found) < 0.15


@pytest.mark.parametrize("sampler", get_args(Sampler))
def test_the_seed_decides(sampler: Sampler) -> None:
    first, again, other = ([trial.values for trial in trials(sampler, seed, 12)] for seed in (3, 3, 4))
    assert first == again
    assert first != other
    assert [trial.values for trial in trials(sampler, 3, 6)] == first[:7]


def test_a_single_number_is_searched_for_too() -> None:
    text = MANIFEST.replace(", mail = 1.0 }", " }")
    assert least(trials("cmaes", text=text)) < 0.05


@pytest.mark.parametrize("sampler", get_args(Sampler))
def test_candidates_without_a_number_are_passed_over(sampler: Sampler) -> None:
    def broken(values: Sequence[float]) -> float:
        return math.inf if values[0] > 0.5 else distance(values)

    found = [*search(space(), broken, sampler=sampler, seed=0, trials=30)]
    assert least(found) < 0.3

"""Whatever others wrote, only our own errors come out; `python -m tests.fuzz.run` looks for longer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.corpus import CORPUS, seeds
from tests.fuzz.mutation import mutate
from tests.fuzz.targets import TARGETS, survives

if TYPE_CHECKING:
    from random import Random


def test_every_target_has_a_corpus_and_every_corpus_a_target() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_a_corpus_holds_what_is_taken_and_what_is_refused(target: str) -> None:
    """Else the fuzzer would start at one side of the reader alone."""
    assert {survives(target, data) for data in seeds(target)} == {True, False}


@pytest.mark.parametrize("target", TARGETS)
@given(random=st.randoms(use_true_random=False), data=st.data())
@settings(max_examples=300, deadline=None)
def test_only_our_own_errors_come_out(target: str, random: Random, data: st.DataObject) -> None:
    survives(target, mutate(data.draw(st.sampled_from(seeds(target))), random))


@pytest.mark.parametrize("target", TARGETS)
@given(data=st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_noise_is_refused(target: str, data: bytes) -> None:
    survives(target, data)

"""Random draws against Philox written out by hand from its paper, and against chance."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brickctl.tensors.draws import CHANCES, draws, limit_of, stream_key

KEY = stream_key(7, "sha256:" + "0" * 64, "dare_ties", "model.layers.0.mlp.up_proj.weight")
WORD = (1 << 64) - 1


def philox(counter: int, key: tuple[int, int]) -> list[int]:
    """Philox4x64-10: Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", 2011."""
    c = [(counter >> 64 * place) & WORD for place in range(4)]
    k0, k1 = key
    for _ in range(10):
        first, second = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [(second >> 64) ^ c[1] ^ k0, second & WORD, (first >> 64) ^ c[3] ^ k1, first & WORD]
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & WORD, (k1 + 0xBB67AE8584CAA73B) & WORD
    return c


def test_the_key_of_a_stream_is_that_of_the_contract() -> None:
    text = f'[7,"sha256:{"0" * 64}","dare_ties","model.layers.0.mlp.up_proj.weight"]'
    assert hashlib.sha256(text.encode()).hexdigest()[:32] == KEY


def test_draws_are_those_of_philox() -> None:
    raw = bytes.fromhex(KEY)
    key = int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:], "little")
    words = [word for counter in range(1, 9) for word in philox(counter, key)]
    expected = np.frombuffer(b"".join(word.to_bytes(8, "little") for word in words), dtype="<u2")
    assert draws(KEY, 0, len(expected)).tolist() == expected.tolist()


@given(st.integers(0, 1 << 40), st.integers(1, 100), st.integers(0, 99))
def test_a_draw_belongs_to_its_element(first: int, count: int, later: int) -> None:
    later = min(later, count - 1)
    assert draws(KEY, first, count)[later:].tolist() == draws(KEY, first + later, count - later).tolist()


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_as_many_are_kept_as_chance_has_it(probability: float) -> None:
    """Of a million, within four standard deviations."""
    kept = int((draws(KEY, 0, 1_000_000) < limit_of(probability)).sum())
    assert abs(kept - 1e6 * probability) < 4 * (1e6 * probability * (1 - probability)) ** 0.5


def test_certainty_keeps_everything_and_impossibility_nothing() -> None:
    assert limit_of(1.0) == CHANCES
    assert limit_of(0.0) == 0


@pytest.mark.parametrize(
    "other",
    [
        stream_key(8, "sha256:" + "0" * 64, "dare_ties", "model.layers.0.mlp.up_proj.weight"),
        stream_key(7, "sha256:" + "1" * 64, "dare_ties", "model.layers.0.mlp.up_proj.weight"),
        stream_key(7, "sha256:" + "0" * 64, "dare_linear", "model.layers.0.mlp.up_proj.weight"),
        stream_key(7, "sha256:" + "0" * 64, "dare_ties", "model.layers.1.mlp.up_proj.weight"),
    ],
)
def test_another_seed_brick_method_or_tensor_draws_anew(other: str) -> None:
    mine, theirs = draws(KEY, 0, 100_000) < limit_of(0.5), draws(other, 0, 100_000) < limit_of(0.5)
    assert 0.49 < float((mine == theirs).mean()) < 0.51

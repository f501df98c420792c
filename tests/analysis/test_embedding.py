"""Texts as vectors, and how near they are."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from brickctl.analysis.embedding import PooledStates, Sentences, similarities
from brickctl.errors import NotFound, Unsupported
from tests.support.ffn_models import tiny
from tests.support.successors import character_tokenizer


@pytest.fixture
def pooled() -> PooledStates:
    return PooledStates(tiny("Llama").eval(), character_tokenizer(), batch_size=2)


def test_a_text_is_the_mean_of_the_last_hidden_states_of_its_tokens(pooled: PooledStates) -> None:
    model: Any = pooled._model
    ids = torch.tensor([character_tokenizer()("abc")["input_ids"]])
    with torch.inference_mode():
        states = model.model(input_ids=ids).last_hidden_state[0]
    assert torch.allclose(pooled.vectors(["abc"])[0], states.double().mean(dim=0), atol=1e-6)


def test_a_text_has_the_same_vector_beside_longer_ones(pooled: PooledStates) -> None:
    seen: list[int] = []
    texts = ["abc", "ab", "abcdefghi", "c"]
    together = pooled.vectors(texts, seen.append)
    assert together.shape == (4, 16)
    assert torch.allclose(together, torch.cat([pooled.vectors([text]) for text in texts]), atol=1e-5)
    assert sum(seen) == 4


def test_a_text_without_a_token_is_zero() -> None:
    class Lettered:
        eos_token_id = None

        def __call__(self, text: str) -> dict[str, list[int]]:
            return {"input_ids": [ord(letter) % 16 for letter in text]}

    found = PooledStates(tiny("Llama").eval(), cast("Any", Lettered())).vectors(["", "a"])
    assert [row.abs().sum().item() > 0 for row in found] == [False, True]


def test_similarity_is_the_cosine_of_what_is_left_when_the_middle_of_all_bricks_is_taken_away() -> None:
    # means (10, 1), (10, -1) and (10, 3) around a middle of (10, 1); the task is (10, 2) from there (0, 1)
    owned = [torch.tensor([[9.0, 1.0], [11.0, 1.0]]), torch.tensor([[10.0, -1.0]]), torch.tensor([[10.0, 3.0]])]
    found = similarities(torch.tensor([[10.0, 0.0], [10.0, 4.0]]), owned)
    assert found == (None, -1.0, 1.0)


def test_a_brick_with_many_texts_moves_the_middle_no_more_than_one_with_few() -> None:
    few, many = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]] * 50)
    assert similarities(torch.tensor([[1.0, 0.0]]), [few, many]) == pytest.approx((1.0, -1.0))


def test_what_has_no_finite_vector_is_not_like_anything() -> None:
    owned = [torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])]
    assert similarities(torch.tensor([[math.nan, 0.0]]), owned) == (None, None)
    assert similarities(torch.tensor([[1.0, 0.0]]), [*owned, torch.tensor([[math.inf, 0.0]])]) == (None,) * 3


def test_one_brick_is_like_nothing() -> None:
    assert similarities(torch.ones(1, 2), [torch.zeros(1, 2)]) == (None,)


def test_a_folder_that_is_no_embedder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no modules\.json"):
        Sentences(tmp_path)


def test_an_embedder_without_its_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "modules.json").write_text("[]")
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(Unsupported) as raised:
        Sentences(tmp_path)
    assert "brickctl[embed]" in str(raised.value.hint)


class Package:
    """What `Sentences` needs of sentence-transformers."""

    __version__ = "6.2.0"

    class SentenceTransformer:
        def __init__(self, folder: str, **settings: Any) -> None:
            assert settings["trust_remote_code"] is False
            if (Path(folder) / "modules.json").read_text() != "[]":
                raise KeyError("type")

        def encode(self, texts: list[str], **_: object) -> torch.Tensor:
            return torch.tensor([[len(text), 1] for text in texts], dtype=torch.bfloat16)


def test_an_embedder_of_ones_own_makes_the_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "modules.json").write_text("[]")
    monkeypatch.setitem(sys.modules, "sentence_transformers", cast("Any", Package))
    seen: list[int] = []
    found = Sentences(tmp_path).vectors(("ab", "a"), seen.append)
    assert (found.tolist(), found.dtype, seen) == ([[2, 1], [1, 1]], torch.float64, [2])


def test_a_package_that_would_run_code_of_the_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Trusting(Package):
        __version__ = "5.4.1"

    (tmp_path / "modules.json").write_text("[]")
    monkeypatch.setitem(sys.modules, "sentence_transformers", cast("Any", Trusting))
    with pytest.raises(Unsupported) as raised:
        Sentences(tmp_path)
    assert raised.value.causes == ("version 5.4.1 of sentence-transformers runs code that lies in the folder",)


def test_a_folder_that_the_package_cannot_load_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "modules.json").write_text("[{}]")
    monkeypatch.setitem(sys.modules, "sentence_transformers", cast("Any", Package))
    with pytest.raises(Unsupported, match="cannot be loaded"):
        Sentences(tmp_path)

"""Fixtures of the analysis tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedTokenizerFast

from brickctl.analysis.silence import silence
from tests.support.successors import character_tokenizer, following


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tests share a machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """One token a character, `<bos>` before every text."""
    return character_tokenizer()


@pytest.fixture
def stack(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    """A stack: a base that follows `a` with `b`, and under `adapters/other` an adapter that changes it."""
    folder = tmp_path / "stack"
    base = following({"a": "b"})
    base.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with silence():  # PEFT uses what transformers deprecates
        adapted = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj", "o_proj"], init_lora_weights=False))
    adapted.save_pretrained(str(folder / "adapters" / "other"))
    return folder

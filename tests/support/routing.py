"""A tiny model that reads words, prompts by label, and what the guide of a routed model says to questions."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

from tests.support.models import VOCABULARY, edit_tensors, tiny_model

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

_RUN = """
import sys
sys.modules["brickctl"] = None  # any import of it fails
exec(compile({code!r}, "how-to-load.md", "exec"))
import torch
{more}
import json
print("ANSWER" + json.dumps(said))
"""


ASK_LOGITS = f"""
tokens = torch.arange(1, 25).unsqueeze(0) * 7 % {VOCABULARY}
with torch.no_grad():
    said = {{"routed": model(tokens).logits.tolist()}}
    with model.disable_adapter():
        said["none"] = model(tokens).logits.tolist()
"""
"""What a routed model says about the prompt of `models.logits`, with its router and without any adapter."""


def model_of_words(folder: Path, **settings: Any) -> Path:
    """A tiny model whose tokens are the words `w00`, `w01`, ...; the second one ends a text.

    Twenty words in a row point in about the same direction, so that prompts are about something.
    """
    edit_tensors(tiny_model(folder, eos_token_id=1, **settings), _about_something)
    words = Tokenizer(WordLevel({f"w{number:02d}": number for number in range(VOCABULARY)}, unk_token="w00"))  # noqa: S106
    words.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w00", eos_token="w01")  # noqa: S106
    tokenizer.save_pretrained(folder)
    return folder


def _about_something(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    rows = tensors["model.embed_tokens.weight"]
    directions = torch.randn(1 + len(rows) // 20, rows.shape[1], generator=generator)
    subjects = directions.repeat_interleave(20, dim=0)[: len(rows)]
    return {**tensors, "model.embed_tokens.weight": 3 * rows + subjects}


def prompts(first: int, count: int, *, seed: int = 0) -> list[str]:
    """Prompts of four to nine words, among the twelve words from number `first` on."""
    chance = random.Random(seed)  # noqa: S311 - the same words in every run
    lengths = [chance.randint(4, 9) for _ in range(count)]
    return [" ".join(f"w{chance.randrange(first, first + 12):02d}" for _ in range(length)) for length in lengths]


def lines(**labelled: Sequence[str]) -> str:
    """A calibration file."""
    pairs = ((label, text) for label, texts in labelled.items() for text in texts)
    return "".join(json.dumps({"text": text, "label": label}) + "\n" for label, text in pairs)


def run_guide(folder: Path, more: str) -> Any:
    """What `more` puts into `said`, behind the lines of the guide, in a process that cannot import brickctl."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "how-to-load.md").read_text(), re.DOTALL)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", _RUN.format(code=code, more=more)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.split("ANSWER")[1])

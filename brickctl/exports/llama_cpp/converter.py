"""llama.cpp's own converter, where somebody has it: a program of theirs, which is run and trusted with nothing else.

It knows more architectures and tokenizers than brickctl has tried. Adapters that it gets are in canonical form, so what
it passes over in others (rsLoRA, patterns) is not there.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from brickctl.core.document import shown
from brickctl.errors import NotFound, Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence

MODELS = "convert_hf_to_gguf.py"
_ADAPTERS = "convert_lora_to_gguf.py"
_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_MOST_LINES = 3


def convert_model(converter: str, model: Path, path: Path, quantize: str | None) -> None:
    """Let it write the model of a folder; the type is by default its own choice.

    Raises:
        NotFound: there is no such file.
        Unsupported: it fails, and why.
    """
    _run(_found(Path(converter)), [str(model), "--outfile", str(path), "--outtype", quantize or "auto"], path)


def convert_adapter(converter: str, model: Path, adapter: Path, path: Path) -> None:
    """Let the program beside it write an adapter.

    Raises:
        NotFound, Unsupported: as for a model.
    """
    program = _found(Path(converter).with_name(_ADAPTERS))
    _run(program, ["--base", str(model), "--outfile", str(path), "--outtype", "f32", str(adapter)], path)


def _found(program: Path) -> Path:
    if not program.is_file():
        hint = f"it is in a checkout of llama.cpp: `--converter llama.cpp/{MODELS}`"
        raise NotFound(f"there is no {program.name}", causes=(f"it would be {program}",), hint=hint)
    return program.absolute()


def _environment() -> dict[str, str]:
    """That of this process without tokens and without the Hub: all that is converted lies on the disk."""
    return {**{name: text for name, text in os.environ.items() if name not in _TOKENS}, "HF_HUB_OFFLINE": "1"}


def _run(program: Path, arguments: Sequence[str], path: Path) -> None:
    command = [sys.executable, str(program), *arguments]
    done = subprocess.run(  # noqa: S603 - the user's
        command, env=_environment(), capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode or not path.is_file():
        lines = [line for line in done.stderr.splitlines() if line.strip()][-_MOST_LINES:]
        causes = tuple(shown(line, longest=300) for line in lines) or (f"exit code {done.returncode}, and no word",)
        hint = "run it by hand to see all that it says; it needs torch, transformers and its own requirements"
        raise Unsupported(f"{program.name} did not convert it", causes=causes, hint=hint)

"""`gguf`: one file for llama.cpp, and one for every adapter that stands beside the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.exports.export_format import Written, register
from brickctl.exports.llama_cpp.files import check_files, write_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from brickctl.core.model import LazyModel
    from brickctl.exports.export_format import Options, Subject
    from brickctl.vocabulary.tokenizer import Tokenizer


class Gguf:
    """`TARGET.gguf`, and `ADAPTER.gguf` for each stacked adapter."""

    version = 1
    options: tuple[str, ...] = ("quantize", "rank", "converter")
    whole = False
    alike = False

    def check(self, model: LazyModel, tokenizer: Callable[[], Tokenizer | None], options: Options) -> None:
        """Refuse what llama.cpp has no words for; a converter has its own mind."""
        check_files(model, tokenizer, options)

    def write(self, subject: Subject, folder: Path, options: Options) -> Written:
        """Write the files."""
        notes = write_files(subject, folder, options)
        command = f"llama-cli -m {subject.name}.gguf"
        loras = tuple(f"{command} --lora {alias}.gguf" for alias in subject.adapters)
        return Written(commands=(command, *loras), notes=notes)


register("gguf", Gguf())

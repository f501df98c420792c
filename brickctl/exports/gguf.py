"""`gguf`: one file for llama.cpp, and one for every adapter that stands beside the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.exports.export_format import Written, register
from brickctl.exports.llama_cpp.files import write_files

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.exports.export_format import Options, Subject


class Gguf:
    """`TARGET.gguf`, and `ADAPTER.gguf` for each stacked adapter."""

    version = 1
    options: tuple[str, ...] = ("quantize", "rank", "converter")
    whole = False
    alike = False

    def write(self, subject: Subject, folder: Path, options: Options) -> Written:
        """Write the files."""
        notes = write_files(subject, folder, options)
        command = f"llama-cli -m {subject.name}.gguf"
        loras = tuple(f"{command} --lora {alias}.gguf" for alias in subject.adapters)
        return Written(commands=(command, *loras), notes=notes)


register("gguf", Gguf())

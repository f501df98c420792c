"""`gguf`: one file for llama.cpp, and one for every adapter that stands beside the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.exports.export_format import Written, register
from brickctl.exports.llama_cpp.adapter import write_adapter
from brickctl.exports.llama_cpp.model import write_model

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.exports.export_format import Options, Subject


class Gguf:
    """`TARGET.gguf`, and `ADAPTER.gguf` for each stacked adapter."""

    version = 1
    options: tuple[str, ...] = ("quantize", "rank")
    whole = False
    alike = False

    def write(self, subject: Subject, folder: Path, options: Options) -> Written:
        """Write the files."""
        name = f"{subject.name}.gguf"
        notes = write_model(subject, folder / name, options.quantize)
        for alias, adapter in subject.adapters.items():
            write_adapter(subject, alias, adapter, folder / f"{alias}.gguf")
        command = f"llama-cli -m {name}"
        loras = tuple(f"{command} --lora {alias}.gguf" for alias in subject.adapters)
        return Written(commands=(command, *loras), notes=notes)


register("gguf", Gguf())

"""The GGUF files of an artifact: its model, and each adapter that stands beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.exports.llama_cpp.adapter import write_adapter
from brickctl.exports.llama_cpp.converter import convert_adapter, convert_model
from brickctl.exports.llama_cpp.model import check_model, write_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from brickctl.core.model import LazyModel
    from brickctl.exports.export_format import Options, Subject
    from brickctl.vocabulary.tokenizer import Tokenizer


def check_files(model: LazyModel, tokenizer: Callable[[], Tokenizer | None], options: Options) -> None:
    """Refuse what `write_files` would refuse, as far as it can be told before a model is built.

    Raises:
        Unsupported, UsageFault, NotFound, Misfit.
    """
    if options.converter is None:
        check_model(model, tokenizer(), options.quantize)


def write_files(subject: Subject, folder: Path, options: Options) -> tuple[str, ...]:
    """Write `TARGET.gguf` and each `ADAPTER.gguf`; what there is to know about them.

    Raises:
        Unsupported, UsageFault, NotFound, Misfit: llama.cpp has no words for something, or nobody has tried them.
    """
    path = folder / f"{subject.name}.gguf"
    if options.converter is None:
        notes = write_model(subject, path, options.quantize)
        for alias, adapter in subject.adapters.items():
            write_adapter(subject, alias, adapter, folder / f"{alias}.gguf")
        return notes
    convert_model(options.converter, subject.folder, path, options.quantize)
    for alias, adapter in subject.adapters.items():
        convert_adapter(options.converter, subject.folder, adapter, folder / f"{alias}.gguf")
    return ()

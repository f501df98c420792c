"""A model folder as one GGUF file."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.errors import IntegrityFault, Unsupported
from brickctl.exports.llama_cpp.architectures.architecture import Architecture, architecture_of
from brickctl.exports.llama_cpp.element_types import element_type
from brickctl.exports.llama_cpp.gguf_file import gguf_writer, need_package, write_file
from brickctl.exports.llama_cpp.metadata import tell_origins
from brickctl.exports.llama_cpp.shape import Shape
from brickctl.exports.llama_cpp.stored_tensors import StoredTensor, stored_tensors
from brickctl.exports.llama_cpp.tokens import tokens_of
from brickctl.exports.llama_cpp.weights import Names, tensors_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from gguf import GGUFWriter, SpecialVocab

    from brickctl.exports.export_format import Subject
    from brickctl.exports.llama_cpp.element_types import ElementType
    from brickctl.exports.llama_cpp.gguf_file import Tensor

_CONFIG = "config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What is known of a model before a number of it is read."""

    config: Mapping[str, Any]
    architecture: Architecture
    shape: Shape
    stored: Mapping[str, StoredTensor]

    @classmethod
    def at(cls, folder: Path) -> Model:
        """The model in the folder of an artifact.

        Raises:
            Unsupported: llama.cpp has no words for it, or brickctl has not tried them.
        """
        config = json.loads((folder / _CONFIG).read_bytes())
        if "quantization_config" in config:
            cause = "its weights are quantised already, in a way that safetensors alone does not tell"
            raise Unsupported("this model cannot be said in GGUF", causes=(cause,), hint="build it from full weights")
        architecture = architecture_of(config)
        return cls(config=config, architecture=architecture, shape=Shape.of(config), stored=stored_tensors(folder))

    def element(self, wanted: str | None) -> ElementType:
        """In which type matrices are written."""
        matrices = (tensor.spec.dtype for tensor in self.stored.values() if len(tensor.spec.shape) > 1)
        return element_type(wanted, matrices)


def write_model(subject: Subject, path: Path, quantize: str | None) -> tuple[str, ...]:
    """Write the model at the root of an artifact; what there is to know about the file.

    Raises:
        Unsupported, UsageFault, NotFound, Misfit: before anything is written, but where a number does not fit.
    """
    need_package()
    model = Model.at(subject.folder)
    element = model.element(quantize)
    tokens = tokens_of(subject.folder, model.shape.rows)
    names = Names.of(model.architecture, model.shape)
    tied = bool(model.config.get("tie_word_embeddings"))
    tensors = tuple(tensors_of(model.stored, names, element, tied=tied))
    with gguf_writer(model.architecture.name) as writer:
        writer.add_type("model")
        writer.add_name(subject.name)
        tell_origins(writer, subject)
        model.shape.tell(writer, model.architecture)
        writer.add_file_type(element.file_type)
        _tell_sizes(writer, tensors)
        tokens.tell(writer)
        specials = specials_of(subject.folder, rows=model.shape.rows, merges=tokens.merges is None)
        specials.add_to_gguf(writer, quiet=True)
        label = f"writing {path.name}"
        subject.progress.start(label, sum(tensor.nbytes for tensor in tensors))
        write_file(writer, path, tensors, lambda amount: subject.progress.advance(label, amount))
        subject.progress.finish(label)
    return (*model.shape.notes(), *tokens.notes)


def _tell_sizes(writer: GGUFWriter, tensors: Sequence[Tensor]) -> None:
    from gguf import GGML_QUANT_VERSION, size_label

    parameters = sum(math.prod(tensor.shape) for tensor in tensors)
    writer.add_size_label(size_label(parameters, 0, 0, 0))
    writer.add_quantization_version(GGML_QUANT_VERSION)


def specials_of(folder: Path, *, rows: int | None = None, merges: bool = False) -> SpecialVocab:
    """Merges, tokens with a role, and the chat template, as the `gguf` package reads them from a folder.

    Raises:
        IntegrityFault: it cannot read them.
    """
    need_package()
    from gguf import SpecialVocab

    logging.getLogger("gguf").setLevel(logging.ERROR)  # it says what it makes of unusual templates, for its developers
    try:
        found = SpecialVocab(folder, load_merges=merges, n_vocab=rows)
    except (AttributeError, IndexError, KeyError, OSError, TypeError, ValueError) as error:
        cause = f"the `gguf` package cannot read them: {error}"
        hint = "look at tokenizer_config.json and chat_template.jinja of the base"
        raise IntegrityFault("the tokenizer files are damaged", causes=(cause,), hint=hint) from None
    found.add_special_token.setdefault("bos", False)  # some tokenizers of llama.cpp begin texts with one unless told
    return found

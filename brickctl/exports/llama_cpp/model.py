"""A model folder as one GGUF file."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.errors import IntegrityFault, Misfit, Unsupported
from brickctl.exports.llama_cpp.architectures.architecture import Architecture, architecture_of
from brickctl.exports.llama_cpp.chat_templates import tell_templates
from brickctl.exports.llama_cpp.element_types import element_type
from brickctl.exports.llama_cpp.fit import check_shape
from brickctl.exports.llama_cpp.gguf_file import gguf_writer, need_package, write_file
from brickctl.exports.llama_cpp.metadata import tell_origins
from brickctl.exports.llama_cpp.shape import Shape
from brickctl.exports.llama_cpp.stored_tensors import check_type, stored_tensors
from brickctl.exports.llama_cpp.tokens import tokenizer_in, tokens_of
from brickctl.exports.llama_cpp.weights import HEAD, Names, tensors_of
from brickctl.sources.selection import read_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from gguf import GGUFWriter, SpecialVocab

    from brickctl.core.model import LazyModel
    from brickctl.core.regions import Spec
    from brickctl.exports.export_format import Subject
    from brickctl.exports.llama_cpp.element_types import ElementType
    from brickctl.exports.llama_cpp.gguf_file import Tensor
    from brickctl.vocabulary.tokenizer import Tokenizer

_CONFIG = "config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What is known of a model before a number of it is read."""

    architecture: Architecture
    shape: Shape
    specs: Mapping[str, Spec]
    tied: bool

    @classmethod
    def of(cls, config: Mapping[str, Any], specs: Mapping[str, Spec]) -> Model:
        """The model of a `config.json` and of the tensors that are stored.

        Raises:
            Unsupported: llama.cpp has no words for it, or brickctl has not tried them.
            Misfit: the two do not agree.
        """
        if "quantization_config" in config:
            cause = "its weights are quantised already, in a way that safetensors alone does not tell"
            raise Unsupported("this model cannot be said in GGUF", causes=(cause,), hint="build it from full weights")
        tied = bool(config.get("tie_word_embeddings"))
        found = cls(architecture=architecture_of(config), shape=Shape.of(config), specs=specs, tied=tied)
        found._check_tensors()
        return found

    @classmethod
    def at(cls, folder: Path) -> Model:
        """The model in the folder of an artifact.

        Raises:
            IntegrityFault: `config.json` cannot be read.
            Unsupported, Misfit: as for `of`.
        """
        config = read_json((folder / _CONFIG).read_bytes(), where=_CONFIG)
        return cls.of(config, {name: tensor.spec for name, tensor in stored_tensors(folder).items()})

    def names(self) -> Names:
        """llama.cpp's names of its tensors."""
        return Names.of(self.architecture, self.shape)

    def _check_tensors(self) -> None:
        names = self.names()
        for name, spec in self.specs.items():
            check_type(name, spec)
            check_shape(self.shape, name, names.name(name), spec.shape)
        if HEAD not in self.specs and not self.tied:
            cause = f"it has no `{HEAD}`, and config.json does not tie it to the embedding; llama.cpp would"
            raise Misfit("the model has no head", causes=(cause,), hint="set `tie_word_embeddings` in config.json")

    def element(self, wanted: str | None) -> ElementType:
        """In which type matrices are written."""
        matrices = (spec.dtype for spec in self.specs.values() if len(spec.shape) > 1)
        return element_type(wanted, matrices)


def check_model(model: LazyModel, tokenizer: Tokenizer | None, quantize: str | None) -> None:
    """Refuse what `write_model` would refuse, from headers and the tokenizer alone.

    Raises:
        Unsupported, UsageFault, NotFound, Misfit.
    """
    need_package()
    found = Model.of(model.config, {name: node.spec for name, node in model.tensors.items()})
    found.element(quantize)
    tokens_of(tokenizer, found.shape.rows)


def write_model(subject: Subject, path: Path, quantize: str | None) -> tuple[str, ...]:
    """Write the model at the root of an artifact; what there is to know about the file.

    Raises:
        Unsupported, UsageFault, NotFound, Misfit: before anything is written, but where a number does not fit.
    """
    need_package()
    model = Model.at(subject.folder)
    element = model.element(quantize)
    tokens = tokens_of(tokenizer_in(subject.folder), model.shape.rows)
    tensors = tuple(tensors_of(stored_tensors(subject.folder), model.names(), element, tied=model.tied))
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
        tell_templates(writer, subject.folder)
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
    """Merges and tokens with a role, as the `gguf` package reads them from a folder.

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
    found.chat_template = None  # see chat_templates.py
    found.add_special_token.setdefault("bos", False)  # some tokenizers of llama.cpp begin texts with one unless told
    return found

"""One module of the base that an adapter changes, as the formulas see it: its weight is a matrix (out, in)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from brickctl.errors import Misfit, Unsupported
from brickctl.tensors.views import reshape, transpose

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.model import LazyModel
    from brickctl.core.nodes import Node, Stored
    from brickctl.errors import Place

_TRANSPOSED_MODELS = ("clvp", "decision_transformer", "gpt2", "imagegpt", "openai-gpt")
_TRANSPOSED_MODULES = ("c_attn", "c_fc", "c_proj", "q_attn")
_MATRIX = 2
_SIDES = ("out_features", "in_features")

SAVE_AGAIN = "save the adapter again with PEFT's save_pretrained, or ask its publisher"
IN_FLOATS = "ask its publisher for a file in fp32, bf16 or fp16"


class Layout(Enum):
    """How the base stores the weight of a module."""

    LINEAR = "linear"  # (out, in)
    TRANSPOSED = "transposed"  # (in, out): transformers' Conv1D
    CONVOLUTION = "convolution"  # (out, in, ...): one matrix row for each output channel


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A module of the base, and the adapter's tensors for it.

    Attributes:
        owner: the brick's name, for messages.
        name: the module's path in the base.
        tensors: the adapter's tensors by parameter name.
        shared: tensors that all modules of the adapter share, by name.
        stored: the base's weight, or the one that the adapter replaces it with, in the base's own shape.
        bias: the base's bias, if it has one.
        layout: how `stored` is to be read.
        place: what asks for the brick, and `hint` what helps where it does not fit, for messages.
    """

    owner: str
    name: str
    tensors: Mapping[str, Stored]
    shared: Mapping[str, Stored] = field(default_factory=dict)
    stored: Node
    bias: Node | None
    layout: Layout
    place: Place | None = None
    hint: str | None = None

    @property
    def weight(self) -> Node:
        """The weight as a matrix (out, in)."""
        shape = self.stored.spec.shape
        if self.layout is Layout.TRANSPOSED:
            return transpose(self.stored)
        return reshape(self.stored, (shape[0], self.stored.spec.elements // max(shape[0], 1)))

    @property
    def outputs(self) -> int:
        """Rows of the weight."""
        return self.stored.spec.shape[1 if self.layout is Layout.TRANSPOSED else 0]

    @property
    def inputs(self) -> int:
        """Columns of the weight; for a convolution input channels times the size of the kernel."""
        return self.stored.spec.elements // max(self.outputs, 1)

    def restored(self, matrix: Node) -> Node:
        """A matrix (out, in) in the shape that the base stores."""
        if self.layout is Layout.TRANSPOSED:
            return transpose(matrix)
        return reshape(matrix, self.stored.spec.shape)

    def has(self, parameter: str) -> bool:
        """Whether the adapter has this tensor for the module."""
        return parameter in self.tensors

    def tensor(self, parameter: str, shape: tuple[int, ...] | None = None) -> Stored:
        """One of the adapter's tensors, which must be there, in floats, with this shape.

        Raises:
            Misfit: it is not there, or has another shape.
            Unsupported: it is quantised.
        """
        found = self.tensors.get(parameter)
        if found is None:
            cause = f"`{self.name}` has no {parameter}"
            raise Misfit(f"`{self.owner}` is incomplete", causes=(cause,), place=self.place, hint=SAVE_AGAIN)
        return self._checked(parameter, found, shape)

    def common(self, parameter: str) -> Stored:
        """One of the tensors that all modules share.

        Raises:
            Misfit: it is not there.
            Unsupported: it is quantised.
        """
        found = self.shared.get(parameter)
        if found is None:
            cause = f"it has no `{parameter}`, which all of its modules need"
            hint = (
                "save the adapter again with save_projection=True: what is drawn anew at load may come out differently"
            )
            raise Misfit(f"`{self.owner}` is incomplete", causes=(cause,), place=self.place, hint=hint)
        return self._checked(parameter, found, None)

    def matrix(self, parameter: str, rows: int | None = None, columns: int | None = None) -> Stored:
        """One of the adapter's tensors as a matrix; the kernel of a convolution belongs to the columns."""
        found = self.tensor(parameter)
        shape = found.spec.shape
        if len(shape) < _MATRIX:
            raise self.contradiction(f"{parameter} of `{self.name}` has shape {list(shape)}, which is no matrix")
        flat = reshape(found, (shape[0], found.spec.elements // max(shape[0], 1)))
        sides = zip(flat.spec.shape, (rows, columns), (self.outputs, self.inputs), _SIDES, strict=True)
        for number, wanted, own, word in sides:
            if wanted not in {None, number} and wanted == own:
                raise self.misfit(f"`{self.name}.weight` needs {word} {number}; the base has {wanted}")
            if wanted not in {None, number}:
                sizes = ", ".join("any" if wanted is None else str(wanted) for wanted in (rows, columns))
                raise self.contradiction(f"{parameter} of `{self.name}` has shape {list(shape)} instead of [{sizes}]")
        return flat  # type: ignore[return-value]  # a stored tensor stays one when it is reshaped

    def vector(self, parameter: str, size: int) -> Stored:
        """One of the adapter's tensors as a row of `size` numbers, in whatever shape it is stored."""
        found = self.tensor(parameter)
        if found.spec.elements != size:
            fault = self.misfit if size in {self.outputs, self.inputs} else self.contradiction
            raise fault(f"{parameter} of `{self.name}` has {found.spec.elements} numbers instead of {size}")
        return reshape(found, (1, size))  # type: ignore[return-value]

    def misfit(self, cause: str) -> Misfit:
        """An error about this module and the base's, to be raised by the caller."""
        return Misfit(f"`{self.owner}` does not fit the base", causes=(cause,), place=self.place, hint=self.hint)

    def contradiction(self, cause: str) -> Misfit:
        """An error about tensors or a configuration that no base would help, to be raised by the caller."""
        return Misfit(f"`{self.owner}` contradicts itself", causes=(cause,), place=self.place, hint=SAVE_AGAIN)

    def _checked(self, parameter: str, found: Stored, shape: tuple[int, ...] | None) -> Stored:
        if not found.spec.dtype.is_mergeable:
            cause = f"{parameter} of `{self.name}` is stored as {found.spec.dtype.code}"
            message = f"`{self.owner}` is quantised and cannot be merged"
            raise Unsupported(message, causes=(cause,), place=self.place, hint=IN_FLOATS)
        if shape is not None and found.spec.shape != shape:
            have = list(found.spec.shape)
            raise self.misfit(f"{parameter} of `{self.name}` has shape {have} instead of {list(shape)}")
        return found


def layout_of(base: LazyModel, module: str, weight: Node) -> Layout:
    """How the base stores the weight of a module: by its model type, which no header tells."""
    if len(weight.spec.shape) > _MATRIX:
        return Layout.CONVOLUTION
    is_transposed = module.endswith(_TRANSPOSED_MODULES) and base.config.get("model_type") in _TRANSPOSED_MODELS
    return Layout.TRANSPOSED if is_transposed else Layout.LINEAR

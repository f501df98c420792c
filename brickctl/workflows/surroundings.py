"""What a brick needs of a base beside its tensors: the numbers of its tokens, and weights that are plain numbers."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from brickctl.core.made_for import MadeFor, Vocabulary
from brickctl.errors import Misfit
from brickctl.vocabulary.tokenizer import FILE as TOKENIZER
from brickctl.vocabulary.tokenizer import read_tokenizer

if TYPE_CHECKING:
    from brickctl.core.brick import Brick, Contents
    from brickctl.core.dtypes import DType
    from brickctl.core.ports import Progress, Source

_SHORT = 12


def vocabulary_of(base: Brick, source: Source, progress: Progress) -> Vocabulary | None:
    """The vocabulary of a base; None where it has no `tokenizer.json`.

    Raises:
        IntegrityFault: it cannot be read.
        TransportFault, OfflineMiss: it is not here and cannot be fetched.
    """
    file = base.pin.file(TOKENIZER)
    if file is None:
        return None
    content = source.fetch(base.pin, file, progress).read_bytes()
    return Vocabulary.of(read_tokenizer(content, where=f"{TOKENIZER} of `{base.name}`").ids)


def dtype_of(contents: Contents) -> DType | None:
    """The type of most elements; None of a model without tensors."""
    counted: Counter[DType] = Counter()
    for tensor in contents.tensors.values():
        counted[tensor.spec.dtype] += tensor.spec.elements
    return counted.most_common(1)[0][0] if counted else None


def check_dtype(name: str, made_for: MadeFor, base: Brick) -> None:
    """Make sure that the weights of a base are plain numbers if those were that a brick was made for, else quantised.

    Raises:
        Misfit: they are not.
    """
    found = dtype_of(base.contents)
    if made_for.dtype is None or found is None or made_for.dtype.is_mergeable == found.is_mergeable:
        return
    causes = (f"it was made for weights of {made_for.dtype.code}; most of the base are {found.code}",)
    raise Misfit(f"`{name}` does not fit the base", causes=causes, hint=_hint(name, made_for))


def check_vocabulary(name: str, made_for: MadeFor, found: Vocabulary | None) -> None:
    """Make sure that tokens have the numbers of which a brick was told, where its line says which.

    Raises:
        Misfit: they have not.
    """
    told = made_for.vocabulary
    if told is None or found is None or told == found:
        return
    ours, theirs = (f"{one.size:,} (sha256:{one.digest[:_SHORT]}...)" for one in (found, told))
    cause = f"it was made for {theirs.replace(' ', ' tokens ', 1)}; the base has {ours}"
    raise Misfit(f"`{name}` was made for other tokens than the base has", causes=(cause,), hint=_hint(name, made_for))


def _hint(name: str, made_for: MadeFor) -> str:
    return f"it was made for {made_for.source}: set [base] to it, or remove `{name}`"

"""Texts as a tokenizer cuts them: by the library that its file is written for, which needs no torch.

What comes of it are whole numbers, which stand in the plan: so a build is as repeatable as any other.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.errors import IntegrityFault
from brickctl.sources.selection import DAMAGED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


@dataclass(frozen=True, slots=True)
class Cutter:
    """A tokenizer at work; `where` is what messages call its file."""

    _library: Any
    where: str

    def cut(self, texts: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """The numbers of the tokens that each text becomes, without those that begin or end every text.

        None where the tokenizer has nothing to say, as those without a token for what is not known.

        Raises:
            IntegrityFault: the library breaks down.
        """
        with _read(self.where):
            return tuple(self._cut(text) for text in texts)

    def says(self, number: int, text: str) -> bool:
        """Whether one token alone says a text."""
        with _read(self.where):
            return bool(self._library.decode([number], skip_special_tokens=False) == text)

    def _cut(self, text: str) -> tuple[int, ...]:
        try:
            return tuple(self._library.encode(text, add_special_tokens=False).ids)
        except Exception:  # noqa: BLE001 - it raises nothing more special
            return ()

    def numbers(self, tokens: Iterable[str]) -> dict[str, int | None]:
        """The numbers under which the library has tokens; files with gaps it numbers in its own way."""
        return {token: self._library.token_to_id(token) for token in tokens}


def cutter(content: bytes, *, where: str) -> Cutter:
    """The tokenizer of a `tokenizer.json`.

    Raises:
        IntegrityFault: the library cannot read it.
    """
    from tokenizers import Tokenizer

    with _read(where):
        library = Tokenizer.from_str(content.decode())
        library.no_padding()
        library.no_truncation()
        if getattr(library.model, "dropout", None) is not None:
            library.model.dropout = None  # leaves out merges at random, for training: no two builds would be the same
        return Cutter(library, where)


@contextmanager
def _read(where: str) -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - a panic of what is written in Rust is no Exception
        cause = shown(str(error))
        raise IntegrityFault(f"the library of tokenizers cannot use {where}", causes=(cause,), hint=DAMAGED) from None

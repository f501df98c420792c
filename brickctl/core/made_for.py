"""What a published brick was made for: a base, its tensors, its tokens, and the type of its weights."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import Sha256, prefixed
from brickctl.core.document import shown
from brickctl.core.dtypes import DType
from brickctl.core.pin_format import read_commit, read_digest, read_source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.document import Table

_MOST_TOKENS = 100_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Which token has which number: how many there are, and a digest of all pairs."""

    size: int
    digest: Sha256

    @classmethod
    def of(cls, ids: Mapping[str, int]) -> Vocabulary:
        """That of these numbers by token: sha256 over lines `JSON(token) NUMBER`, sorted by number, then by token."""
        lines = (f"{json.dumps(token)} {ids[token]}\n" for token in sorted(ids, key=lambda one: (ids[one], one)))
        return cls(size=len(ids), digest=Sha256(hashlib.sha256("".join(lines).encode()).hexdigest()))


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeFor:
    """The base that a brick was made for: where it is, and what about another one would have to be the same.

    Tensors decide whether another base will do, unless the brick has a dependency on this one. `vocabulary` and
    `dtype`, where they are told, must be those of the base too: a brick that was made for other tokens or for
    quantised weights fits in shape alone.
    """

    source: str
    interface: Sha256
    commit: str | None = None
    vocabulary: Vocabulary | None = None
    dtype: DType | None = None

    def document(self) -> dict[str, Any]:
        """As a registry line writes it."""
        told = self.vocabulary
        document = {
            "commit": self.commit,
            "dtype": None if self.dtype is None else self.dtype.code,
            "interface": prefixed(self.interface),
            "source": self.source,
            "vocabulary": None if told is None else {"digest": prefixed(told.digest), "size": told.size},
        }
        return {key: value for key, value in document.items() if value is not None}


def read_base(table: Table | None) -> MadeFor | None:
    """Read the `base` of a registry line.

    Raises:
        whatever the table raises: a value that cannot be.
    """
    if table is None:
        return None
    source = read_source(table)
    base = MadeFor(
        source=source,
        interface=read_digest(table, "interface"),
        commit=read_commit(table, source),
        vocabulary=_read_vocabulary(table.table_or_none("vocabulary")),
        dtype=_read_dtype(table),
    )
    table.finish()
    return base


def _read_vocabulary(table: Table | None) -> Vocabulary | None:
    if table is None:
        return None
    vocabulary = Vocabulary(size=table.integer("size"), digest=read_digest(table, "digest"))
    if not 0 < vocabulary.size <= _MOST_TOKENS:
        raise table.error(f"a vocabulary cannot have {vocabulary.size} tokens", key="size")
    table.finish()
    return vocabulary


def _read_dtype(table: Table) -> DType | None:
    code = table.string_or_none("dtype")
    dtype = None if code is None else DType.from_code(code)
    if code is not None and dtype is None:
        raise table.error(f"`{shown(code)}` is no type of weights that safetensors knows", key="dtype")
    return dtype

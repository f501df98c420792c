"""What was asked, and how many bytes went out: the evidence that tests look at."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """One request and its answer.

    Attributes:
        method: HTTP method.
        path: decoded, without the query.
        query: as sent.
        headers: of the request, names in lower case.
        status: of the answer.
        sent: bytes of the body handed to the network.
        weights: whether that body was (part of) a weight file.
        storage: whether it came to the storage host instead of the Hub.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    status: int
    sent: int = 0
    weights: bool = False
    storage: bool = False

    @property
    def range(self) -> str | None:
        return self.headers.get("range")

    @property
    def authorization(self) -> str | None:
        return self.headers.get("authorization")

    def is_for(self, file: str) -> bool:
        return self.path.endswith(f"/{unquote(file)}")


@dataclass(slots=True)
class RequestLog:
    """Records in order of arrival.

    A record is there, and its bytes are counted, before the client can see them: a test that looks right after a
    call of the client finds everything.
    """

    _records: dict[int, RequestRecord] = field(default_factory=dict)
    _keys: itertools.count[int] = field(default_factory=itertools.count)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, record: RequestRecord) -> int:
        with self._lock:
            key = next(self._keys)
            self._records[key] = record
        return key

    def count(self, key: int, size: int) -> None:
        """Add to the bytes sent for a record, unless the log was reset meanwhile."""
        with self._lock:
            if key in self._records:
                record = self._records[key]
                self._records[key] = replace(record, sent=record.sent + size)

    def reset(self) -> None:
        with self._lock:
            self._records.clear()

    def records(self) -> tuple[RequestRecord, ...]:
        with self._lock:
            return tuple(self._records.values())

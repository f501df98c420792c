"""Small changes to bytes: to the values inside where they are JSON, to words and lines where they are text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from random import Random

HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 1 << 31, 1 << 63, -(1 << 63), 1 << 64, 10**400, 0.0, -0.0, 0.5, 1e308,
    "", " ", "a", "..", "../x", "/etc/passwd", "C:\\x", "a\0b", "\u202e", "\x1b[31m", "é", "\U0001f600", "a" * 300,
    "all-linear", ".*", "(a+)+$", "(?=x)", "[", "hf:a/b", "path:..", "index:a/b", "F32", "I64", "1.0.0", ">=1,<2", "*",
    [], {}, [[]], [0], [-1], [1, 2, 3], [None], {"": 0}, {"a": {"b": []}}, [""], ["q_proj"], {"q_proj": 2},
)  # fmt: skip
"""Values that a reader might take for others."""

_TOKENS = (
    b'"', b"'", b'"""', b"[", b"]", b"[[", b"{", b"}", b"=", b":", b",", b"\n", b"\r\n", b"\t", b"\0", b"\\",
    b"\\ud800", b"\xff", b"\xef\xbb\xbf", b"\xc3", b"nan", b"inf", b"null", b"true", b"-", b"1e999", b"0x",
    b"#", b"&a ", b"*a", b"!!python/object:os.system ", b"<<: ", b"---\n", b"../", b"1979-05-27", b"07:32:00",
)  # fmt: skip


def mutate(data: bytes, random: Random, longest: int = 1 << 16) -> bytes:
    """A neighbour of `data`, at most `longest` bytes."""
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        inside = _in_json(data, random) if random.random() < 0.7 else None
        data = _in_bytes(data, random) if inside is None else inside
    return data[:longest]


def _in_json(data: bytes, random: Random) -> bytes | None:
    """One value or key changed; None where the bytes are no JSON object, with or without a safetensors length."""
    prefix = 0 if data[:1] == b"{" else 8
    try:
        document = json.loads(data[prefix:])
    except (ValueError, RecursionError):
        return None
    places = list(_places(document))
    if not places:
        return None
    holder, key = random.choice(places)
    _change(holder, key, places, random)
    body = json.dumps(document).encode()
    return body if prefix == 0 else len(body).to_bytes(8, "little") + body


def _places(document: Any) -> list[tuple[Any, Any]]:
    """Every container with each of its keys."""
    found: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting:
        holder = waiting.pop()
        keys = holder if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        for key in keys:
            found.append((holder, key))
            waiting.append(holder[key])
    return found


def _change(holder: Any, key: Any, places: list[tuple[Any, Any]], random: Random) -> None:
    other, other_key = random.choice(places)
    match random.randrange(6):
        case 0:
            del holder[key]
        case 1:  # as it stands elsewhere; a copy, so that nothing holds itself
            holder[key] = json.loads(json.dumps(other[other_key]))
        case 2 if isinstance(holder, dict):
            name = other_key if isinstance(other_key, str) and random.random() < 0.5 else str(random.choice(HOSTILE))
            holder[name] = holder.pop(key)
        case 3 if isinstance(holder[key], int) and not isinstance(holder[key], bool):
            holder[key] += random.choice((-1, 1, 1 << 20, -(1 << 40)))
        case 4 if isinstance(holder[key], str) and holder[key]:
            at = random.randrange(len(holder[key]))
            holder[key] = holder[key][:at] + str(random.choice(HOSTILE)) + holder[key][at + random.randrange(2) :]
        case _:
            holder[key] = random.choice(HOSTILE)


def _in_bytes(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    end = min(len(data), at + random.choice((0, 1, 4, 16, 64)))
    match random.randrange(5):
        case 0:
            return data[:at] + data[end:]
        case 1:
            return data[:end] + data[at:]
        case 2:
            return data[:at] + bytes([random.randrange(256)]) + data[at + 1 :]
        case 3:
            to = random.randrange(len(data) + 1)
            return data[:to] + data[at:end] + data[to:]
        case _:
            return data[:at] + random.choice(_TOKENS) + data[end:]

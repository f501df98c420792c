"""Safetensors headers: what is written reads back, and every lie is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import safetensors
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save

from brickctl.core.dtypes import DType
from brickctl.core.regions import Spec
from brickctl.errors import BrickctlError, HeaderInvalid, Unsupported
from brickctl.tensors.header import LARGEST_HEADER, Header, header_length, parse_header, read_header, write_header

if TYPE_CHECKING:
    from pathlib import Path

GOOD = {
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]},
}


def raw(document: Any) -> bytes:
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    return len(text).to_bytes(8, "little") + text


def parse(document: Any, size: int = 32) -> Header:
    head = raw(document)
    return parse_header(head, file_size=len(head) + size, where="x.safetensors")


def changed(name: str = "a", **fields: Any) -> dict[str, Any]:
    """The good header with fields of one tensor replaced."""
    return {**GOOD, name: {**GOOD[name], **fields}}


def test_a_good_header_says_where_each_tensor_lies() -> None:
    header = parse({**GOOD, "__metadata__": {"format": "pt"}})
    assert [(entry.name, entry.begin - header.start, entry.end - header.start) for entry in header.entries] == [
        ("a", 0, 24),
        ("b", 24, 32),
    ]
    assert header.entries[0].spec == Spec(DType.F32, (2, 3))
    assert header.metadata == {"format": "pt"}


def test_entries_come_in_the_order_of_their_bytes() -> None:
    assert [entry.name for entry in parse(dict(reversed(GOOD.items()))).entries] == ["a", "b"]


def test_files_may_be_larger_than_any_machine() -> None:
    """Two tensors of 8 TB: the product of the offsets of the second is beyond 64 bits, and means nothing."""
    size = 1 << 43
    document = {
        "a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]},
        "b": {"dtype": "U8", "shape": [size], "data_offsets": [size, 2 * size]},
    }
    header = parse(document, 2 * size)
    assert header.entries[1].end - header.start == 2 * size


LIES: dict[str, tuple[Any, str]] = {
    "a name twice": (b'{"a":{"dtype":"U8","shape":[32],"data_offsets":[0,32]},"a":1}', "stands in it twice"),
    "a field twice": (b'{"a":{"dtype":"U8","dtype":"I8","shape":[32],"data_offsets":[0,32]}}', "stands in it twice"),
    "an overlap": (changed("b", data_offsets=[16, 24]), "`b` overlaps"),
    "one tensor over another": (changed("b", data_offsets=[0, 8]), "overlaps"),
    "a hole": (changed("b", data_offsets=[25, 33]), "`b` leaves a hole"),
    "a hole at the start": ({"a": {**GOOD["a"], "data_offsets": [8, 32]}}, "`a` leaves a hole"),
    "bytes behind the last tensor": ({"a": GOOD["a"]}, "the tensors end at byte"),
    "more bytes than the file": (changed("b", shape=[5], data_offsets=[24, 34]), "the tensors end at byte"),
    "offsets backwards": (changed(data_offsets=[24, 0]), "claims -24 bytes"),
    "a shape that does not make the bytes": (changed(shape=[2, 4]), "claims 24 bytes; its shape and type make 32"),
    "no JSON": (b"{this is not json", "not JSON"),
    "JSON that ends early": (b'{"a":', "not JSON"),
    "no UTF-8": (b'{"\xff\xfe":1}', "not JSON"),
    "a list": ([], "not a JSON object"),
    "spaces before the object": (b"  " + json.dumps(GOOD).encode(), "not a JSON object"),
    "nesting without end": (b'{"a":' + b"[" * 200_000, "not JSON"),
    "no tensor": ({}, "holds no tensor"),
    "metadata only": ({"__metadata__": {"format": "pt"}}, "holds no tensor"),
    "metadata of numbers": ({**GOOD, "__metadata__": {"format": 1}}, "must map strings to strings"),
    "metadata that is a list": ({**GOOD, "__metadata__": []}, "must map strings to strings"),
    "a negative dimension": (changed(shape=[-2, -3]), "not lists of counts"),
    "a negative offset": (changed(data_offsets=[-24, 0]), "not lists of counts"),
    "a dimension that is a float": (changed(shape=[2.0, 3]), "not lists of counts"),
    "a dimension that is true": (changed(shape=[True, 6]), "not lists of counts"),
    "a shape that is a number": (changed(shape=6), "not lists of counts"),
    "a product beyond 64 bits": (changed(shape=[1 << 40, 1 << 40]), "more elements than any file can hold"),
    "a product that wraps around to 6": (changed(shape=[(1 << 64) // 2 + 3, 2]), "not lists of counts"),
    "a thousand dimensions": (changed(shape=[1] * 998 + [2, 3]), "1000 dimensions"),
    "three offsets": (changed(data_offsets=[0, 12, 24]), "3 offsets"),
    "a field too many": (changed(extra=1), "dtype, shape and data_offsets"),
    "a field too few": ({"a": {"dtype": "F32", "shape": [8]}}, "dtype, shape and data_offsets"),
    "a tensor that is a number": ({"a": 1}, "dtype, shape and data_offsets"),
    "an empty name": ({"": {"dtype": "U8", "shape": [32], "data_offsets": [0, 32]}}, "no name for a tensor"),
    "a name that is a path": ({"../a": {"dtype": "U8", "shape": [32], "data_offsets": [0, 32]}}, "no name for"),
    "a name with a backslash": ({"a\\b": {"dtype": "U8", "shape": [32], "data_offsets": [0, 32]}}, "no name for"),
    "a name with a line break": ({"a\nb": {"dtype": "U8", "shape": [32], "data_offsets": [0, 32]}}, "no name for"),
    "an endless name": ({"a" * 2000: {"dtype": "U8", "shape": [32], "data_offsets": [0, 32]}}, "no name for"),
}


@pytest.mark.parametrize("lie", LIES)
def test_every_lie_is_refused_with_its_reason(lie: str) -> None:
    document, reason = LIES[lie]
    with pytest.raises(HeaderInvalid) as caught:
        parse(document)
    assert reason in str(caught.value)
    assert "x.safetensors" in str(caught.value)


@pytest.mark.parametrize("code", ["F4", "f32", "", None, 32, ["F32"]])
def test_an_element_type_that_nobody_knows_is_refused_by_name(code: Any) -> None:
    with pytest.raises(Unsupported, match=r"element type .*, which brickctl does not know"):
        parse(changed(dtype=code))


@pytest.mark.parametrize("prefix", [b"", b"\x01", b"\x00" * 7])
def test_fewer_than_eight_bytes_are_no_file(prefix: bytes) -> None:
    with pytest.raises(HeaderInvalid, match=f"only {len(prefix)} bytes"):
        header_length(prefix, where="x")


def test_a_header_of_more_than_100_mb_is_refused_before_it_is_read() -> None:
    assert header_length(LARGEST_HEADER.to_bytes(8, "little"), where="x") == LARGEST_HEADER + 8
    with pytest.raises(HeaderInvalid, match="claims 100,000,001 bytes"):
        header_length((LARGEST_HEADER + 1).to_bytes(8, "little"), where="x")
    with pytest.raises(HeaderInvalid, match="18,446,744,073,709,551,615"):
        header_length(b"\xff" * 8, where="x")


def test_a_file_that_ends_within_its_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "short.safetensors"
    path.write_bytes((1000).to_bytes(8, "little") + b"{")
    with pytest.raises(HeaderInvalid, match="its header needs 1,008 bytes and the file has 9"):
        read_header(path)


dtypes = st.sampled_from([dtype for dtype in DType if not dtype.code.startswith("F8")])
names = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="/\\"), min_size=1)
specs = st.builds(Spec, dtypes, st.lists(st.integers(0, 5), max_size=4).map(tuple))
models = st.dictionaries(names.filter(lambda name: name != "__metadata__"), specs, min_size=1, max_size=8)


@given(models)
def test_what_is_written_reads_back(tensors: dict[str, Spec]) -> None:
    head = write_header(tensors)
    header = parse_header(head, file_size=len(head) + sum(spec.bytes for spec in tensors.values()), where="x")
    assert {entry.name: entry.spec for entry in header.entries} == tensors
    assert len(head) % 8 == 0


@given(models)
def test_the_safetensors_library_reads_what_we_write(tensors: dict[str, Spec]) -> None:
    content = bytes(index % 251 for index in range(sum(spec.bytes for spec in tensors.values())))
    found = dict(safetensors.deserialize(write_header(tensors) + content))
    position = 0
    for name, spec in tensors.items():
        assert found[name]["shape"] == list(spec.shape)
        assert bytes(found[name]["data"]) == content[position : position + spec.bytes]
        position += spec.bytes


def test_our_header_is_byte_for_byte_that_of_the_library() -> None:
    """The library sorts by element size, then name; given that order, nothing differs."""
    tensors = {"a.weight": torch.zeros(3, 5), "b.weight": torch.ones(7), "c": torch.zeros(2, 2, dtype=torch.bfloat16)}
    theirs = save(tensors, {"format": "pt"})
    ours = write_header(
        {"a.weight": Spec(DType.F32, (3, 5)), "b.weight": Spec(DType.F32, (7,)), "c": Spec(DType.BF16, (2, 2))}
    )
    assert theirs[: len(ours)] == ours


@given(st.binary(max_size=300))
def test_random_bytes_raise_nothing_but_our_errors(content: bytes) -> None:
    _parse_or_refuse(content)


@given(models, st.data())
def test_a_good_file_with_some_bytes_changed_is_read_or_refused(tensors: dict[str, Spec], data: st.DataObject) -> None:
    """What is still accepted must still tile the file: the library must accept it as well."""
    content = bytearray(write_header(tensors) + bytes(sum(spec.bytes for spec in tensors.values())))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    if _parse_or_refuse(bytes(content)) is not None:
        load(bytes(content))


def _parse_or_refuse(content: bytes) -> Header | None:
    try:
        length = header_length(content, where="x")
        return parse_header(content[:length], file_size=len(content), where="x")
    except BrickctlError:
        return None

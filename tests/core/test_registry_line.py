from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brickctl.core.dependency import BrickDependency, HubDependency
from brickctl.core.digests import Sha256, canonical_json
from brickctl.core.dtypes import DType
from brickctl.core.made_for import MadeFor, Vocabulary
from brickctl.core.registry_line import encode_line, parse_line
from brickctl.errors import BrickctlError, IntegrityFault, Unsupported

EXAMPLE = (Path(__file__).parent / "index-line.jsonl").read_bytes()
ENTRY = parse_line(EXAMPLE, file="acme/sql")


def changed(**values: Any) -> bytes:
    return canonical_json({**json.loads(EXAMPLE), **values})


def without(key: str) -> bytes:
    return canonical_json({name: value for name, value in json.loads(EXAMPLE).items() if name != key})


def fault(raw: bytes) -> BrickctlError:
    with pytest.raises(BrickctlError) as caught:
        parse_line(raw, file="acme/sql", line=3)
    return caught.value


def test_the_example_of_the_format_is_read_and_written_byte_for_byte() -> None:
    assert (ENTRY.name, ENTRY.version, ENTRY.kind, ENTRY.license) == ("acme/sql", "1.2.3", "adapter", "Apache-2.0")
    assert ENTRY.base is not None
    assert ENTRY.base.source == "hf:HuggingFaceTB/SmolLM2-135M-Instruct"
    assert encode_line(ENTRY) == EXAMPLE


def test_files_in_the_index_itself_have_no_commit_and_a_base_has_no_base() -> None:
    entry = replace(ENTRY, source="index:acme/sql/1.2.3", commit=None, base=None, kind="base", published=None)
    assert b'"commit"' not in encode_line(entry)
    assert parse_line(encode_line(entry), file="acme/sql") == entry


def test_a_project_gets_a_pin_that_says_where_it_was_found() -> None:
    pin = ENTRY.pin("corp")
    assert (pin.brick, pin.version, pin.registry, pin.source) == ("acme/sql", "1.2.3", "corp", "hf:acme/sql-lora")
    assert pin.digest == ENTRY.digest


def test_only_yanked_may_change() -> None:
    assert replace(ENTRY, yanked=True).fingerprint == ENTRY.fingerprint
    assert replace(ENTRY, summary="other").fingerprint != ENTRY.fingerprint


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "a line of the registry is not JSON"),
        (b"\xff", "a line of the registry is not JSON"),
        (b"[" * 100_000, "a line of the registry is not JSON"),
        (b'{"v":NaN}', "a line of the registry is not JSON"),
        (b'{"v":"\\ud800"}', "a line of the registry is not JSON"),
        (b'{"\\udfff":1}', "a line of the registry is not JSON"),
        (b'{"a":' * 20_000 + b"1" + b"}" * 20_000, "a line of the registry is not JSON"),
        (b'{"v":' + b"9" * 5_000 + b"}", "a line of the registry is not JSON"),
        (b'{"v":' + b"9" * 4_000 + b"}", "`v` in acme/sql is too large"),
        (b"[]", "a line of the registry is not in canonical form"),
        (b'{"v":1,"v":1}', "a line of the registry is not in canonical form"),
        (b'{"v": 1}', "a line of the registry is not in canonical form"),
        (b" " * 1_048_577, "a line of the registry is too long"),
        (b"{}", "`v` in acme/sql is missing"),
        (changed(v=0), "there is no format 0 of registry lines"),
        (changed(extra=1), "unknown key `extra` in acme/sql"),
        (changed(name="Acme/SQL"), "`Acme/SQL` is no name of a brick"),
        (without("name"), "a line must have a `name` and a `version`"),
        (changed(version="1.2"), "`1.2` is no version"),
        (changed(source="path:/etc"), "`path:/etc` is no source for `acme/sql` 1.2.3"),
        (changed(source="index:acme/other/1.2.3"), "`index:acme/other/1.2.3` is no source for `acme/sql` 1.2.3"),
        (without("commit"), "`commit` is missing in acme/sql: a branch is no pin"),
        (changed(license="Apache"), "`Apache` is no licence in canonical SPDX form"),
        (changed(license="apache-2.0"), "`apache-2.0` is no licence in canonical SPDX form"),
        (changed(digest="sha256:" + "0" * 64), "`digest` in acme/sql is not that of its files"),
        (changed(files=[]), "acme/sql has no `files`, or too many"),
        (changed(summary="\x1b[2J"), "`summary` in acme/sql has a control or invisible character"),
        (changed(summary="x" * 301), "`summary` has 301 characters; at most 300 are read"),
        (changed(tags=["SQL"]), "`tags` are at most 20 words of lower-case letters, digits and `-`"),
        (changed(published="yesterday"), "`yesterday` is no time such as `2026-11-20T00:00:00Z`"),
        (changed(yanked=1), "`yanked` in acme/sql must be true or false, not an integer"),
    ],
)
def test_a_hostile_line_is_an_integrity_fault_with_its_place(raw: bytes, message: str) -> None:
    error = fault(raw)
    assert isinstance(error, IntegrityFault)
    assert error.message.startswith(message)
    assert str(error.place) == "acme/sql line 3"


def test_what_a_newer_brickctl_may_read_is_unsupported_rather_than_broken() -> None:
    assert isinstance(fault(changed(v=2, new="thing")), Unsupported)


def test_a_base_may_tell_of_its_tokens_and_of_the_type_of_its_weights() -> None:
    told = MadeFor(
        source="index:acme/base/1.0.0",
        interface=Sha256("0" * 64),
        vocabulary=Vocabulary.of({"a": 0, "b": 1}),
        dtype=DType.BF16,
    )
    entry = replace(ENTRY, base=told)
    assert parse_line(encode_line(entry), file="x") == entry
    assert Vocabulary.of({"b": 1, "a": 0}) == told.vocabulary
    assert Vocabulary.of({"a": 1, "b": 0}) != told.vocabulary


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ({"dtype": "Q4"}, "`Q4` is no type of weights that safetensors knows"),
        ({"vocabulary": {"size": 0, "digest": "sha256:" + "0" * 64}}, "a vocabulary cannot have 0 tokens"),
        ({"vocabulary": {"size": 1}}, "`digest` in [base.vocabulary] is missing"),
        ({"vocabulary": {"size": 1, "digest": "sha256:" + "0" * 64, "kind": "BPE"}}, "unknown key `kind`"),
    ],
)
def test_a_base_that_cannot_be_is_refused(base: dict[str, object], message: str) -> None:
    there = json.loads(EXAMPLE)["base"]
    assert message in fault(changed(base={**there, **base})).message


COMMIT = "db1dfd45b163e0f299b0e158a21766a53bb0fa68"


def test_dependencies_are_bricks_in_a_range_commits_of_the_hub_and_one_base() -> None:
    wanted = (
        BrickDependency(brick="acme/expert", version="^1, <1.5"),
        HubDependency(source="hf:acme/base", commit=COMMIT, is_base=True),
        HubDependency(source="hf:acme/other", commit=COMMIT, subfolder="a"),
    )
    entry = replace(parse_line(EXAMPLE, file="x"), dependencies=wanted)
    assert parse_line(encode_line(entry), file="x") == entry


@pytest.mark.parametrize(
    ("dependencies", "message"),
    [
        ([{}], "`source` in dependencies[0] is missing"),
        ([{"brick": "acme"}], "`version` in dependencies[0] is missing"),
        ([{"brick": "acme", "version": "*"}], "`acme` is no name of a brick"),
        ([{"brick": "acme/x", "version": "1"}], "the range `1` is not in its normal form, `^1`"),
        ([{"brick": "acme/x", "version": "new"}], "`new` is not a range of versions"),
        ([{"brick": "acme/x", "version": "*", "commit": COMMIT}], "unknown key `commit` in dependencies[0]"),
        ([{"source": "hf:acme/x"}], "`commit` is missing in dependencies[0]: a branch is no pin"),
        ([{"source": "path:x"}], "`path:x` is no dependency: only registries and the Hub have them"),
        ([{"brick": "acme/x", "version": "*"}] * 2, "`dependencies` in acme/sql are not sorted, or one stands twice"),
        ([{"brick": f"acme/{name}", "version": "*"} for name in "ba"], "`dependencies` in acme/sql are not sorted"),
        ([{"brick": f"acme/x{at}", "version": "*"} for at in range(101)], "acme/sql has 101 dependencies"),
    ],
)
def test_dependencies_that_cannot_be_are_refused(dependencies: list[dict[str, str]], message: str) -> None:
    assert fault(changed(dependencies=dependencies)).message.startswith(message)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_line_or_a_fault(raw: bytes) -> None:
    with contextlib.suppress(BrickctlError):
        parse_line(raw, file="x")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["path", "size", "source"]), inner),
    max_leaves=5,
)


@pytest.mark.parametrize("path", [".git/hooks/x", "README.md", "modeling.py", "pytorch_model.bin"])
def test_a_line_lists_no_file_that_belongs_to_no_brick(path: str) -> None:
    error = fault(changed(files=[{"path": path, "size": 1, "sha256": "0" * 64}]))
    assert isinstance(error, IntegrityFault)
    assert error.message == f"`{path}` is no file that belongs to a brick"


@given(st.sampled_from(sorted(json.loads(EXAMPLE))), anything)
def test_a_line_with_anything_under_one_key_is_a_line_or_a_fault(key: str, value: Any) -> None:
    with contextlib.suppress(UnicodeEncodeError, BrickctlError):
        entry = parse_line(changed(**{key: value}), file="x")
        assert parse_line(encode_line(entry), file="x") == entry

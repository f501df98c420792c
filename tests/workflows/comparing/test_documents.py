"""Documents that differ, key by key."""

from __future__ import annotations

from typing import Any

from brickctl.core.brick import Brick, Contents, File, Pin
from brickctl.core.digests import sha256_bytes
from brickctl.workflows.comparing.documents import digests, file_changes, key_changes


def brick(document: dict[str, Any], **files: str) -> Brick:
    """A brick with this `config.json`, and other files by their content."""
    pinned = tuple(
        File(path=path, size=len(text), sha256=sha256_bytes(text.encode())) for path, text in sorted(files.items())
    )
    pin = Pin(source="path:x", files=pinned)
    return Brick(name="x", kind="base", pin=pin, contents=Contents(documents={"config.json": document}, tensors={}))


def keys(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, str, Any, Any]]:
    return [(one.key, one.what, one.before, one.after) for one in key_changes(brick(before), brick(after))]


def test_keys_have_dots_where_tables_stand_in_tables() -> None:
    found = keys({"a": 1, "b": {"c": 2, "d": {}}, "e": 3}, {"a": 1, "b": {"c": 4, "d": {"f": 5}}})
    assert found == [
        ("b.c", "changed", 2, 4),
        ("b.d", "removed", {}, None),
        ("b.d.f", "added", None, 5),
        ("e", "removed", 3, None),
    ]


def test_a_number_is_no_truth_value_and_null_is_a_value() -> None:
    assert keys({"a": 1, "b": None}, {"a": True}) == [("a", "changed", 1, True), ("b", "removed", None, None)]


def test_tables_may_lie_as_deep_as_they_like() -> None:
    deep: dict[str, Any] = {"x": 1}
    for _ in range(5000):
        deep = {"x": deep}
    assert len(keys(deep, {})) == 1


def test_files_are_compared_by_their_digests_and_weights_are_not_among_them() -> None:
    before = brick({}, **{"a.txt": "a", "b.txt": "b", "model.safetensors": "1"})
    after = brick({}, **{"a.txt": "A", "c.txt": "c", "model.safetensors": "2"})
    found = [(one.path, one.what) for one in file_changes(digests(before), digests(after))]
    assert found == [("a.txt", "changed"), ("b.txt", "removed"), ("c.txt", "added")]

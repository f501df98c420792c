"""Reading an analysis that may be off."""

import math
from typing import Any

import pytest

from brickctl.errors import UsageFault
from brickctl.pages import reading


def table(**values: Any) -> Any:
    return reading.opened({"schema": 1, **values})


@pytest.mark.parametrize("document", [{}, {"schema": 2}, {"schema": "1"}, {"schema": None}])
def test_a_document_of_another_schema_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(UsageFault) as refusal:
        reading.opened(document)
    assert "schema" in refusal.value.message


def test_what_is_null_or_not_finite_is_unknown() -> None:
    read = table(row=[1, None, math.nan, math.inf, 2.5], one=None)
    assert reading.row(read, "row") == (1.0, None, None, None, 2.5)
    assert not read.has("one")


@pytest.mark.parametrize(
    ("key", "value", "read"),
    [
        ("row", [1, "2"], lambda document: reading.row(document, "row")),
        ("row", "12", lambda document: reading.row(document, "row")),
        ("row", [1, 2], lambda document: reading.row(document, "row", 3)),
        ("values", [[1, 2], [3]], lambda document: reading.square(document, "values", 2)),
        ("values", [[1, 2]], lambda document: reading.square(document, "values", 2)),
        ("labels", ["a", 1], lambda document: reading.names(document, "labels")),
        ("labels", ["a", "a"], lambda document: reading.names(document, "labels")),
    ],
)
def test_what_has_another_shape_is_refused_by_its_name(key: str, value: Any, read: Any) -> None:
    with pytest.raises(UsageFault) as refusal:
        read(table(**{key: value}))
    assert f"`{key}`" in refusal.value.message


def test_names_are_on_one_line_and_are_found_again_as_keys() -> None:
    read = table(labels=["two\nlines", "x" * 150], top={"two\nlines": 1, "x" * 150: 2})
    labels = reading.names(read, "labels")
    assert labels == ('"two\\nlines"', "x" * 150)
    assert reading.mapping(read, "top") == dict(zip(labels, (1, 2), strict=True))


def test_experts_of_a_layer_count_alike() -> None:
    assert reading.by_layer([(1, 4.0), (0, 1.0), (0, None), (0, 3.0), (2, None)]) == ((0, 2.0), (1, 4.0))

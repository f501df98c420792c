from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brickctl.core.document import Table
from brickctl.core.numbers import (
    Filtered,
    Gradient,
    Number,
    Rule,
    Scalar,
    check_number,
    depth_of,
    parse_number,
    split_layer,
)
from brickctl.errors import BrickctlError, ManifestInvalid, Place

NAMES = (
    "model.embed_tokens.weight",
    "model.layers.0.mlp.up_proj.weight",
    "model.layers.1.self_attn.q_proj.weight",
    "model.norm.weight",
)


def parse(value: Any) -> Number | None:
    return parse_number(Table({"weight": value}, file="brick.toml", path=("x",)), "weight")


def test_a_scalar_holds_for_every_tensor() -> None:
    assert parse(1) == Scalar(1.0)
    assert Scalar(0.5).at("model.norm.weight", 1.0) == 0.5


def test_an_absent_number_is_none() -> None:
    assert parse_number(Table({}, file="brick.toml"), "weight") is None


def test_a_list_of_numbers_is_a_gradient() -> None:
    assert parse([0, 0.5, 1]) == Gradient((0.0, 0.5, 1.0))


def test_a_list_of_tables_is_a_list_of_rules() -> None:
    rules = [{"filter": "*.mlp.*", "value": 0.5}, {"value": [0.0, 1.0]}]
    assert parse(rules) == Filtered((Rule("*.mlp.*", Scalar(0.5)), Rule(None, Gradient((0.0, 1.0)))))


@pytest.mark.parametrize(
    ("name", "weight"),
    [
        ("model.embed_tokens.weight", 0.0),
        ("model.layers.0.mlp.up_proj.weight", 0.0),
        ("model.layers.1.mlp.up_proj.weight", 0.25),
        ("model.layers.2.mlp.up_proj.weight", 0.5),
        ("model.layers.3.mlp.up_proj.weight", 0.75),
        ("model.layers.4.mlp.up_proj.weight", 1.0),
        ("model.norm.weight", 1.0),
        ("lm_head.weight", 1.0),
        ("embed_out.weight", 1.0),
        ("single_transformer_blocks.3.attn.to_q.weight", 0.75),
    ],
)
def test_a_gradient_runs_from_the_first_layer_to_the_last(name: str, weight: float) -> None:
    """Five layers: layer i lies at i/4, and [0, 1] is a straight line."""
    assert Gradient((0.0, 1.0)).at(name, depth_of(name, 5)) == weight


def test_a_gradient_of_three_values_bends_in_the_middle() -> None:
    gradient = Gradient((0.0, 1.0, 0.5))
    at = [gradient.at(name, depth_of(name, 5)) for name in (f"model.layers.{layer}.x" for layer in range(5))]
    assert at == [0.0, 0.5, 1.0, 0.75, 0.5]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("model.layers.11.mlp.experts.3.up_proj.weight", ("model.layers", 11, ".mlp.experts.3.up_proj.weight")),
        ("transformer.h.0.attn.c_attn.bias", ("transformer.h", 0, ".attn.c_attn.bias")),
        ("encoder.block.2.layer.1.DenseReluDense.wi.weight", ("encoder.block", 2, ".layer.1.DenseReluDense.wi.weight")),
        ("h.7.ln_1.weight", ("h", 7, ".ln_1.weight")),
        ("transformer_blocks.4.attn1.to_q.weight", ("transformer_blocks", 4, ".attn1.to_q.weight")),
        ("model.norm.weight", None),
        ("conv_blocks_0.weight", None),
    ],
)
def test_a_layer_is_told_by_its_name(name: str, place: tuple[str, int, str] | None) -> None:
    assert split_layer(name) == place


def test_a_model_of_one_layer_takes_the_first_value() -> None:
    assert depth_of("model.layers.0.x", 1) == 0.0


def test_the_first_rule_that_matches_wins() -> None:
    rules = Filtered((Rule("*.mlp.*", Scalar(1.0)), Rule("*.layers.0.*", Scalar(2.0)), Rule(None, Scalar(3.0))))
    assert [rules.at(name, 0.0) for name in NAMES] == [3.0, 1.0, 3.0, 3.0]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("1", "`weight` in [x] must be a number, not a string"),
        (True, "`weight` in [x] must be a number, not true or false"),
        ({}, "`weight` in [x] must be a number, not a table"),
        (float("nan"), "`weight` in [x] must be a finite number"),
        ([], "`weight` in [x] is an empty list"),
        ([0.5, float("inf")], "`weight` in [x] must be a finite number"),
        ([0.5, {"value": 1}], "`weight` in [x] must be a number, not a table"),
        ([{"value": 1}, 0.5], "`weight` in [x] must be a list of tables, it contains a number"),
        ([{"filter": "*"}], "`value` in [x] weight[0] is missing"),
        ([{"value": [{"value": 1}]}], "`value` in [x] weight[0] may not hold rules again"),
        ([{"value": 1, "filtr": "*"}], "unknown key `filtr` in [x] weight[0]"),
        ([{"value": 1}, {"filter": "*", "value": 2}], "[x] weight[0] has no `filter`: no rule after it is used"),
    ],
)
def test_what_is_no_number_is_refused_in_plain_words(value: Any, message: str) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        parse(value)
    assert caught.value.message == message


def test_a_filter_that_matches_nothing_is_an_error_that_shows_a_real_name() -> None:
    rules = Filtered((Rule("*.mpl.*", Scalar(1.0)), Rule(None, Scalar(0.0))))
    with pytest.raises(ManifestInvalid) as caught:
        check_number(rules, NAMES, label="`weight` of `sql`", place=Place(file="brick.toml", line=7))
    assert caught.value.message == "the filter `*.mpl.*` of `weight` of `sql` matches no tensor"
    assert str(caught.value.place) == "brick.toml line 7"
    assert caught.value.hint == "filters are matched against whole names, such as `model.embed_tokens.weight`"


def test_a_tensor_without_a_match_and_without_a_default_is_an_error() -> None:
    with pytest.raises(ManifestInvalid) as caught:
        check_number(Filtered((Rule("*.layers.*", Scalar(1.0)),)), NAMES)
    assert caught.value.message == "this number says nothing about 2 of 4 tensors, such as `model.embed_tokens.weight`"


@pytest.mark.parametrize(
    "number", [Scalar(1.0), Gradient((0.0, 1.0)), Filtered((Rule("*.norm.*", Scalar(1.0)), Rule(None, Scalar(0.0))))]
)
def test_numbers_that_speak_of_every_tensor_are_accepted(number: Number) -> None:
    check_number(number, NAMES)


finite = st.floats(-1e6, 1e6)
simple = finite | st.lists(finite, min_size=1, max_size=4)
rules = st.lists(st.fixed_dictionaries({"filter": st.sampled_from(["*", "*.mlp.*"]), "value": simple}), min_size=1)


@given(simple | rules)
def test_a_number_reads_back_from_its_document(value: Any) -> None:
    number = parse(value)
    assert number is not None
    assert parse(number.document()) == number


@given(st.lists(finite, min_size=1, max_size=5), st.integers(1, 80), st.data())
def test_a_gradient_never_leaves_the_range_of_its_values(values: list[float], layers: int, data: st.DataObject) -> None:
    layer = data.draw(st.integers(0, layers - 1))
    value = Gradient(tuple(values)).at("x", depth_of(f"model.layers.{layer}.x", layers))
    assert value is not None
    assert min(values) - 1e-6 <= value <= max(values) + 1e-6


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["filter", "value", "x"]), inner),
    max_leaves=8,
)


@given(anything)
def test_anything_is_a_number_or_a_fault(value: Any) -> None:
    try:
        parse(value)
    except BrickctlError as error:
        str(error)

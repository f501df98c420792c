"""What config.json says of stitched layers: counts, lists with an entry for each, numbers of the first, every n-th."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brickctl.errors import BrickctlError, Misfit, Unsupported
from brickctl.operations.layer_config import Origin, restack

if TYPE_CHECKING:
    from collections.abc import Sequence

LAYERS = 6
STACK = "model.layers"


def restacked(config: dict[str, Any], numbers: Sequence[int], stack: str = STACK) -> dict[str, Any]:
    """The configuration of a base of six layers after its layers of these numbers were put together."""
    layers = [(Origin("base", config, number, LAYERS),) for number in numbers]
    changed, _ = restack(layers[0][0], layers, stack, uniform=True, moved=True, place=None)
    return dict(changed)


def notes_of(config: dict[str, Any], stack: str = STACK) -> list[str]:
    """What the user is told after the first two of six layers were kept, without the words around it."""
    layers = [(Origin("base", config, number, LAYERS),) for number in (0, 1)]
    _, notes = restack(layers[0][0], layers, stack, uniform=True, moved=True, place=None)
    return [note.split("`")[1] for note in notes]


@pytest.mark.parametrize("key", ["num_hidden_layers", "n_layer", "n_layers", "num_layers", "depth"])
def test_the_number_of_layers_is_that_of_the_result(key: str) -> None:
    assert restacked({key: 6, "hidden_size": 6}, [0, 1, 1, 2]) == {key: 4, "hidden_size": 6}


def test_the_number_of_a_text_model_stands_in_its_own_table() -> None:
    config = {"text_config": {"num_hidden_layers": 6}, "vision_config": {"num_hidden_layers": 2}, "image_size": 8}
    assert restacked(config, [0, 5]) == {**config, "text_config": {"num_hidden_layers": 2}}


def test_of_two_towers_of_equal_size_the_name_of_the_stack_decides() -> None:
    config = {"text_config": {"num_hidden_layers": 6}, "vision_config": {"num_hidden_layers": 6}}
    found = restacked(config, [0, 5], "vision_tower.encoder.layers")
    assert found == {**config, "vision_config": {"num_hidden_layers": 2}}
    with pytest.raises(Unsupported, match="does not tell which count"):
        restacked(config, [0, 5], "model.layers")


def test_lists_with_an_entry_for_each_layer_go_along() -> None:
    config = {"num_hidden_layers": 6, "layer_types": list("abcabc"), "eos_token_id": [1, 2, 3, 4, 5, 6]}
    found = restacked(config, [5, 0, 1, 1])
    assert found == {"num_hidden_layers": 4, "layer_types": list("cabb"), "eos_token_id": [1, 2, 3, 4, 5, 6]}


def test_numbers_of_layers_become_those_that_the_layers_have_now() -> None:
    found = restacked({"num_hidden_layers": 6, "mlp_only_layers": [0, 4], "decoder_sparse_step": 1}, [0, 1, 2, 0, 4])
    assert (found["mlp_only_layers"], found["num_hidden_layers"]) == ([0, 3, 4], 5)
    assert restacked({"num_hidden_layers": 6, "mlp_only_layers": []}, [2])["mlp_only_layers"] == []


@pytest.mark.parametrize(
    ("numbers", "leading"), [([0, 1, 2, 3], 2), ([1, 0, 1, 4, 5], 3), ([3, 4], 0), ([0, 0], 2), ([2, 1], None)]
)
def test_a_number_of_first_layers_counts_those_that_are_first_now(numbers: list[int], leading: int | None) -> None:
    config = {"num_hidden_layers": 6, "first_k_dense_replace": 2}
    if leading is None:
        with pytest.raises(Unsupported, match="cannot say what the layers would be"):
            restacked(config, numbers)
    else:
        assert restacked(config, numbers)["first_k_dense_replace"] == leading


def test_a_window_that_is_off_is_left_as_it_is() -> None:
    config = {"num_hidden_layers": 6, "max_window_layers": 3, "use_sliding_window": False}
    assert restacked(config, [5, 0])["max_window_layers"] == 3
    assert restacked({**config, "use_sliding_window": True}, [0, 4, 5])["max_window_layers"] == 1


@pytest.mark.parametrize(
    "more",
    [
        {"decoder_sparse_step": 3},
        {"sliding_window_pattern": 3},
        {"model_type": "gemma3_text", "sliding_window_pattern": 3},
        {"attn_layer_period": 3},
    ],
)
def test_where_every_third_layer_is_special_layers_move_by_threes(more: dict[str, Any]) -> None:
    config = {"num_hidden_layers": 6, **more}
    assert restacked(config, [0, 1, 2, 0, 1, 2, 3, 4, 5])["num_hidden_layers"] == 9
    with pytest.raises(Unsupported) as caught:
        restacked(config, [0, 1, 1, 2])
    assert "layer 1 of `base` becomes layer 2" in caught.value.causes


def test_where_a_list_tells_the_kinds_layers_move_as_they_like() -> None:
    config = {
        "num_hidden_layers": 6,
        "sliding_window_pattern": 3,
        "layer_types": list("aabaab"),
        "model_type": "gemma2",
    }
    assert restacked(config, [0, 1, 1, 2])["layer_types"] == list("aaab")
    del config["layer_types"], config["sliding_window_pattern"]
    with pytest.raises(Unsupported):
        restacked(config, [0, 1, 1, 2])


def test_layers_of_different_kinds_are_not_merged_into_one() -> None:
    base = {"num_hidden_layers": 6, "layer_types": list("ababab")}
    other = {"num_hidden_layers": 4, "layer_types": list("abab")}

    def merged(at: int) -> Any:
        layers = [(Origin("base", base, 0, 6), Origin("other", other, at, 4))]
        return restack(layers[0][0], layers, STACK, uniform=True, moved=True, place=None)[0]["layer_types"]

    assert merged(2) == ["a"]
    with pytest.raises(Misfit, match="layers of different kinds cannot be merged") as caught:
        merged(3)
    assert "`base` layer 0 and `other` layer 3" in caught.value.causes[0]


def test_layers_that_use_what_others_computed_are_not_moved() -> None:
    with pytest.raises(Unsupported) as caught:
        restacked({"num_hidden_layers": 6, "num_kv_shared_layers": 2}, [0, 1, 4, 5])
    assert "`num_kv_shared_layers`" in caught.value.causes[0]
    assert restacked({"num_hidden_layers": 6, "num_kv_shared_layers": 0}, [0, 1])["num_hidden_layers"] == 2


def test_what_goes_by_the_number_of_a_layer_in_a_way_that_is_not_known_is_told() -> None:
    config = {"n_layer": 6, "scale_attn_by_inverse_layer_idx": True, "layer_norm_epsilon": 3, "reorder": True}
    layers = [(Origin("base", config, 5, 6),)]
    notes = restack(Origin("base", config, 0, 6), layers, STACK, uniform=True, moved=True, place=None)[1]
    assert notes == (
        "config.json has `scale_attn_by_inverse_layer_idx = true`, as before: check that it still says what it should",
    )


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"intermediate_size": [8, 8, 8, 8, 9, 9]}, "intermediate_size"),
        ({"linear": {"kda_layers": [1, 2]}}, "linear.kda_layers"),
        ({"moe_layers_enum": "3,4"}, "moe_layers_enum = 3,4"),
        ({"layer_pattern": "MMM*MM"}, "layer_pattern = MMM*MM"),
        ({"layer_kinds": {"0": "dense"}}, "layer_kinds"),
    ],
)
def test_what_may_have_an_entry_for_each_layer_in_a_way_that_is_not_known_is_told(
    more: dict[str, Any], told: str
) -> None:
    assert notes_of({"num_hidden_layers": 6, **more}) == [told]


def test_a_second_count_of_the_same_layers_is_told() -> None:
    config = {
        "num_hidden_layers": 6,
        "text_config": {"num_hidden_layers": 6},
        "vision": {"block_indices": [1], "depth": 2},
    }
    assert notes_of(config, "model.language_model.layers") == ["num_hidden_layers = 6"]


@pytest.mark.parametrize("key", ["moe_layers", "sparse_layers"])
def test_the_numbers_of_all_layers_are_those_of_all_layers_of_the_result(key: str) -> None:
    found = restacked({"num_hidden_layers": 6, key: [0, 1, 2, 3, 4, 5]}, [0, 1, 0, 1, 2, 3, 4, 5])
    assert found[key] == [0, 1, 2, 3, 4, 5, 6, 7]


def test_entries_of_0_and_1_are_no_numbers_of_layers() -> None:
    config = {"num_hidden_layers": 2, "no_rope_layers": [0, 1]}
    layers = [(Origin("base", config, number, 2),) for number in (0, 0, 1)]
    found = restack(layers[0][0], layers, STACK, uniform=True, moved=True, place=None)[0]
    assert found["no_rope_layers"] == [0, 0, 1]


def test_a_fine_tune_whose_configuration_is_silent_has_the_kinds_of_the_base() -> None:
    base = {"num_hidden_layers": 6, "layer_types": list("aabaab")}
    layers = [(Origin("tuned", {"num_hidden_layers": 6}, number, 6),) for number in (2, 3)]
    found = restack(Origin("base", base, 0, 6), layers, STACK, uniform=True, moved=True, place=None)[0]
    assert found["layer_types"] == ["b", "a"]
    with pytest.raises(Misfit, match="does not say what kind of layer each is"):
        restack(Origin("base", base, 0, 6), [(Origin("deep", {}, 0, 8),)], STACK, uniform=True, moved=True, place=None)


def test_kinds_go_along_with_layers_that_keep_their_numbers() -> None:
    layers = [(Origin("other", {"num_hidden_layers": 2, "layer_types": ["b", "a"]}, number, 2),) for number in (0, 1)]
    base = Origin("base", {"num_hidden_layers": 2, "layer_types": ["a", "a"]}, 0, 2)
    assert restack(base, layers, STACK, uniform=True, moved=False, place=None)[0]["layer_types"] == ["b", "a"]


def test_nothing_changes_where_no_layer_moves() -> None:
    config = {"num_hidden_layers": 6, "skip": ["model.layers.3"]}
    layers = [(Origin("base", config, number, 6),) for number in range(6)]
    assert restack(layers[0][0], layers, STACK, uniform=False, moved=False, place=None) == (config, ())


def test_notes_tell_what_layers_were_trained_with_and_errors_what_gives_weights_their_meaning() -> None:
    def notes(**other: Any) -> tuple[str, ...]:
        base = {"num_hidden_layers": 6, "rms_norm_eps": 1e-6, "hidden_act": "silu", "bos_token_id": 1}
        layers = [(Origin("other", {**base, **other}, 0, 6),)]
        return restack(Origin("base", base, 0, 6), layers, STACK, uniform=True, moved=False, place=None)[1]

    assert notes(bos_token_id=2, attention_dropout=0.1, max_position_embeddings=7) == ()
    assert notes(rms_norm_eps=1e-5) == (
        "layers of `other` were trained with `rms_norm_eps` 1e-05 and not 1e-06: they run with what the base has",
    )
    with pytest.raises(Misfit, match="would compute something else"):
        notes(hidden_act="gelu")


KEYS = ("num_hidden_layers", "layer_types", "mlp_only_layers", "first_k_dense_replace", "decoder_sparse_step",
        "model_type", "text_config", "num_attention_heads", "max_window_layers", "use_sliding_window")  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.sampled_from(["a", "gemma2", "layers.0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=6,
)
CONFIGS = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6)


@given(base=CONFIGS, other=CONFIGS, numbers=st.lists(st.integers(0, 1), min_size=1, max_size=4))
def test_whatever_stands_in_a_configuration_it_is_rewritten_or_refused(
    base: dict[str, Any], other: dict[str, Any], numbers: list[int]
) -> None:
    own = Origin("base", base, 0, 2)
    layers = [(Origin("other", other, number, 2), Origin("base", base, number, 2)) for number in numbers]
    try:
        changed, _ = restack(own, layers, STACK, uniform=True, moved=True, place=None)
    except BrickctlError:
        return
    assert changed.keys() == base.keys()
    if type(base.get("num_hidden_layers")) is int and "text_config" not in base:
        assert changed["num_hidden_layers"] == len(numbers)

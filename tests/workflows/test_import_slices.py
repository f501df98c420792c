"""What `brickctl import` writes for recipes with slices, and what it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from brickctl.core.manifest_format import parse_manifest

if TYPE_CHECKING:
    from tests.support.sandbox import Outcome, Sandbox


def source(model: str, first: int, end: int, more: str = "") -> str:
    return f"  - {{model: {model}, layer_range: [{first}, {end}]{more}}}\n"


def recipe(method: str, *slices: str, base: str = "", more: str = "") -> str:
    named = f"base_model: {base}\n" if base else ""
    return f"merge_method: {method}\n{named}slices:\n{''.join(f'- sources:{chr(10)}{text}' for text in slices)}{more}"


def imported(sandbox: Sandbox, text: str) -> Outcome:
    sandbox.write({"recipe.yml": text})
    return sandbox.run("import", "recipe.yml")


def apply_of(sandbox: Sandbox, text: str) -> str:
    """The step of the manifest as it was written, on one line."""
    outcome = imported(sandbox, text)
    assert outcome.code == 0, outcome.err
    parse_manifest(sandbox.manifest)
    return " ".join(sandbox.manifest.partition("apply = [")[2].split())


def test_a_frankenmerge_becomes_a_stitch(empty: Sandbox) -> None:
    text = recipe("passthrough", source("acme/a", 0, 16), source("acme/b", 8, 24), source("acme/a", 16, 32))
    assert apply_of(empty, text) == (
        '{ op = "stitch", slices = [ { brick = "base", layers = [0, 16] }, { brick = "b", layers = [8, 24] }, '
        '{ brick = "base", layers = [16, 32] }, ] }, ]'
    )
    assert 'source = "hf:acme/a"' in empty.manifest
    assert 'b = { source = "hf:acme/b", kind = "expert" }' in empty.manifest


def test_depth_up_scaling_of_one_model_needs_no_brick(empty: Sandbox) -> None:
    apply_of(empty, recipe("passthrough", source("acme/a", 0, 24), source("acme/a", 8, 32), more="dtype: bfloat16\n"))
    assert parse_manifest(empty.manifest).bricks == {}


def test_embeddings_are_those_of_the_first_slice_and_the_head_that_of_the_last(empty: Sandbox) -> None:
    text = recipe("passthrough", source("acme/b", 0, 2), source("acme/c", 0, 2), base="acme/a")
    assert 'before = { brick = "b" }, after = { brick = "c" } }' in apply_of(empty, text)


def test_gradients_run_over_each_slice_and_outside_of_layers_they_have_their_first_value(empty: Sandbox) -> None:
    pair = source("acme/a", 0, 2) + source("acme/b", 0, 2)
    last = source("acme/a", 4, 5) + source("acme/b", 4, 5)
    found = apply_of(empty, recipe("slerp", pair, last, base="acme/a", more="parameters: {t: [0.25, 0.5, 1]}\n"))
    assert 'slices = [ { method = "slerp", layers = [0, 2], t = [0.25, 0.5, 1.0], bricks = ["base", "b"] }' in found
    assert '{ method = "slerp", layers = [4, 5], t = 1.0, bricks = ["base", "b"] }' in found
    assert 'before = { method = "slerp", t = 0.25, bricks = ["base", "b"] }' in found
    assert 'after = { method = "slerp", t = 0.25, bricks = ["base", "b"] }' in found


def test_what_a_slice_says_goes_before_what_the_recipe_says(empty: Sandbox) -> None:
    slices = source("acme/a", 0, 2) + source("acme/b", 2, 4, ", parameters: {weight: 0.5}")
    own = "  parameters: {lambda: 0.7, normalize: true, int8_mask: true}\n"
    common = "parameters: {lambda: 0.3, density: 0.4}\n"
    found = apply_of(empty, recipe("ties", slices + own, base="acme/a", more=common))
    layers = '{ brick = "base", layers = [0, 2] }, { brick = "b", layers = [2, 4], weight = 0.5 }'
    assert f'{{ method = "ties", density = 0.4, scale = 0.7, bricks = [ {layers}, ] }}' in found
    assert "`int8_mask` changes no number" in empty.run("import", "recipe.yml", "-o", "again.toml").err


PAIR = source("a/a", 0, 2) + source("a/b", 0, 2)
REFUSED = [
    (recipe("passthrough", source("a/a", 2, 2)), 2, "no `layer_range` with a layer in it", 4),
    (recipe("passthrough", source("a/a", 3, 1)), 2, "END is the first that is left out", 4),
    (recipe("passthrough", source("a/a", 0, 1 << 64)), 2, "no `layer_range` with a layer in it", 4),
    (recipe("passthrough", "  - {model: a/a}\n"), 2, "no `layer_range`", 4),
    (recipe("passthrough", "  - {model: a/a, layer_rang: [0, 1]}\n"), 2, "did you mean `layer_range`?", 4),
    (recipe("passthrough", PAIR), 2, "passthrough takes 1 models in all, and the recipe has 2", 4),
    (recipe("linear", source("a/a", 0, 2) + source("a/b", 0, 3)), 2, "bring 2 and 3 layers", 3),
    (recipe("linear", source("a/a", 0, 2) + source("a/a", 1, 3)), 2, "a model stands twice in one slice", 5),
    (recipe("ties", PAIR), 2, "ties needs a `base_model`", 4),
    (recipe("ties", PAIR, base="a/c"), 2, "the base of slices[0] is none of its `sources`", 4),
    (recipe("ties", PAIR + "  base_model: a/b\n", base="a/a"), 1, "a slice with a base of its own", 4),
    (recipe("linear", PAIR + "  residual_weight: 0.5\n"), 1, "`residual_weight` scales what layers add", 6),
    (recipe("linear", PAIR + "  parameter: {}\n"), 2, "did you mean `parameters`?", 6),
    (recipe("linear", PAIR + "  parameters: {weigth: 1}\n"), 2, "did you mean `weight`?", 6),
    (recipe("linear", PAIR), 2, "has no `weight`", 4),
    (recipe("linear", PAIR, more="models: [{model: a/a}]\n"), 2, "`models` or `slices`, not both", 2),
    ("merge_method: linear\nslices: []\n", 2, "`slices` in recipe.yml is empty", 2),
    ("merge_method: linear\nslices:\n- parameters: {}\n", 2, "has no `sources`", 3),
    (
        recipe("passthrough", source("a/a", 1, 2, ", parameters: {scale: {filter: layers.1, value: 0}}")),
        1, "the filter `layers.1` names a layer that gets another number", 4,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "code", "message", "line"), REFUSED)
def test_what_would_not_mean_the_same_is_refused_with_its_line(
    empty: Sandbox, text: str, code: int, message: str, line: int
) -> None:
    outcome = imported(empty, text)
    assert (outcome.code, message in outcome.err) == (code, True), outcome.err
    assert f"recipe.yml line {line}\n" in outcome.err, outcome.err
    assert not (empty.root / "brick.toml").exists()

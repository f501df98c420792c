"""What each method of mergekit becomes in a brick.toml, parameter by parameter, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from brickctl.core.manifest_format import parse_manifest
from brickctl.merging.method import methods
from brickctl.workflows.mergekit.methods import METHODS

if TYPE_CHECKING:
    from tests.support.sandbox import Outcome, Sandbox

ONE, BOTH = "- model: acme/a\n", "- model: acme/a\n- model: acme/b\n"
WEIGHED = "- model: acme/a\n  parameters: {weight: 0.25}\n- model: acme/b\n  parameters: {weight: 0.75}\n"
AB = '["a", "b"]'
BASE_WEIGHED = '[ { brick = "base", weight = 0.25 }, { brick = "b", weight = 0.75 }, ]'
AB_WEIGHED = '[ { brick = "a", weight = 0.25 }, { brick = "b", weight = 0.75 }, ]'
SOME = '[{ filter = "*mlp*", value = 0.1 }, { value = 1.0 }]'
DENSE = '{{ brick = "{}", weight = {}, density = {} }}'


def recipe(method: str, models: str, parameters: str = "", base: str = "acme/base") -> str:
    settings = f"parameters: {{{parameters}}}\n" if parameters else ""
    named = f"base_model: {base}\n" if base else ""
    return f"merge_method: {method}\n{named}models:\n{models}{settings}"


def imported(sandbox: Sandbox, text: str) -> Outcome:
    sandbox.write({"recipe.yml": text})
    return sandbox.run("import", "recipe.yml")


STEPS = [
    (recipe("arcee_fusion", ONE), '"arcee_fusion", bricks = ["a"]'),
    (recipe("breadcrumbs", WEIGHED), f'"breadcrumbs", bricks = {AB_WEIGHED}'),
    (
        recipe("breadcrumbs", WEIGHED, "density: 0.5, gamma: 0.1, normalize: true, rescale: true, lambda: 2"),
        '"breadcrumbs", divide = "weight", rescale = "l1", density = 0.5, gamma = 0.1, scale = 2.0, bricks = '
        + AB_WEIGHED,
    ),
    (recipe("breadcrumbs_ties", WEIGHED), f'"breadcrumbs_ties", bricks = {AB_WEIGHED}'),
    (
        recipe("breadcrumbs_ties", WEIGHED, "normalize: true"),
        f'"breadcrumbs_ties", divide = "weight", bricks = {AB_WEIGHED}',
    ),
    (recipe("dare_linear", WEIGHED, "density: 0.5"), f'"dare_linear", density = 0.5, bricks = {AB_WEIGHED}'),
    (recipe("dare_linear", WEIGHED, "rescale: false"), f'"dare_linear", rescale = "none", bricks = {AB_WEIGHED}'),
    (recipe("dare_ties", WEIGHED), f'"dare_ties", divide = "none", bricks = {AB_WEIGHED}'),
    (recipe("dare_ties", WEIGHED, "normalize: true"), f'"dare_ties", bricks = {AB_WEIGHED}'),
    (
        recipe("della", WEIGHED, "density: 0.5, epsilon: 0.1, normalize: false"),
        f'"della", divide = "none", density = 0.5, epsilon = 0.1, bricks = {AB_WEIGHED}',
    ),
    (recipe("della_linear", WEIGHED), f'"della_linear", bricks = {AB_WEIGHED}'),
    (recipe("karcher", BOTH, base=""), '"karcher", bricks = ["base", "b"]'),
    (
        recipe("karcher", BOTH, "max_iter: 20, tol: 1e-6"),
        '"karcher", max_iter = 20, tol = 1e-06, bricks = ["a", "b", "base"]',
    ),
    (
        recipe("linear", WEIGHED, base=""),
        '"linear", bricks = ' + BASE_WEIGHED,
    ),
    (recipe("model_stock", BOTH), f'"model_stock", bricks = {AB}'),
    (recipe("model_stock", BOTH, "filter_wise: true"), f'"model_stock", by = "row", bricks = {AB}'),
    (recipe("multislerp", WEIGHED), f'"multislerp", deltas = true, bricks = {AB_WEIGHED}'),
    (
        recipe("multislerp", WEIGHED, "normalize_weights: false, eps: 1e-5", base=""),
        f'"multislerp", normalize = false, eps = 1e-05, bricks = {BASE_WEIGHED}',
    ),
    (
        recipe("nearswap", ONE, "t: [0.001, 0.01]"),
        '"nearswap", t = [{ filter = "*.[0-9]*.*", value = [0.001, 0.01] }, { value = 0.001 }], bricks = ["a"]',
    ),
    (recipe("nuslerp", WEIGHED), f'"nuslerp", deltas = true, bricks = {AB_WEIGHED}'),
    (
        recipe("nuslerp", WEIGHED, "nuslerp_flatten: false"),
        f'"nuslerp", by = "row", deltas = true, bricks = {AB_WEIGHED}',
    ),
    (
        recipe("nuslerp", WEIGHED, "nuslerp_flatten: false, nuslerp_row_wise: true"),
        f'"nuslerp", by = "column", deltas = true, bricks = {AB_WEIGHED}',
    ),
    (
        recipe("nuslerp", WEIGHED, base=""),
        '"nuslerp", bricks = ' + BASE_WEIGHED,
    ),
    (recipe("passthrough", ONE, "scale: 0.5", base=""), '"passthrough", scale = 0.5, bricks = ["base"]'),
    (
        recipe("passthrough", "- model: acme/a\n  parameters: {scale: {filter: o_proj, value: 0}}\n", base=""),
        '"passthrough", scale = [{ filter = "*o_proj*", value = 0.0 }, { value = 1.0 }], bricks = ["base"]',
    ),
    (recipe("ram", BOTH), f'"ram", bricks = {AB}'),
    (recipe("ram", BOTH, "epsilon: 1e-4"), f'"ram", epsilon = 0.0001, bricks = {AB}'),
    (
        recipe("ramplus_tl", BOTH, "r: 0.2, alpha: 0.3, epsilon: 0"),
        f'"ramplus_tl", r = 0.2, alpha = 0.3, epsilon = 0.0, bricks = {AB}',
    ),
    (recipe("sce", BOTH, "select_topk: 0.1"), f'"sce", select_topk = 0.1, bricks = {AB}'),
    (recipe("slerp", ONE, "t: 0.25"), '"slerp", t = 0.25, bricks = ["base", "a"]'),
    (recipe("slerp", BOTH, "t: 0.5", base="acme/b"), '"slerp", bricks = ["base", "a"]'),
    (
        recipe("task_arithmetic", WEIGHED, "normalize: true, lambda: 0.5"),
        f'"breadcrumbs", divide = "weight", scale = 0.5, bricks = {AB_WEIGHED}',
    ),
    (recipe("ties", WEIGHED, "density: 0.5"), f'"ties", density = 0.5, bricks = {AB_WEIGHED}'),
    (
        recipe(
            "ties",
            "- model: acme/a\n  parameters: {weight: 1, density: 0.1}\n- model: acme/b\n",
            "weight: 2, density: 0.5",
        ),
        f'"ties", bricks = [ {DENSE.format("a", "1.0", 0.1)}, {DENSE.format("b", "2.0", 0.5)}, ]',
    ),
    (
        recipe("ties", "- model: acme/a\n  parameters: {density: {filter: mlp, value: 0.1}}\n", "weight: 2"),
        f'"ties", bricks = [ {DENSE.format("a", "2.0", SOME)}, ]',
    ),
]


@pytest.mark.parametrize(("text", "step"), STEPS)
def test_a_recipe_becomes_one_step_that_says_what_is_not_our_default(text: str, step: str, empty: Sandbox) -> None:
    outcome = imported(empty, text)
    assert outcome.code == 0, outcome.err
    written = " ".join(empty.manifest.partition("apply = [")[2].split())
    assert written == f'{{ op = "merge", method = {step} }}, ]'
    assert list(parse_manifest(empty.manifest).targets) == ["merged"]


def test_every_method_is_imported_and_exists_here() -> None:
    assert {text.splitlines()[0].split()[1] for text, _ in STEPS} == {*METHODS}
    assert {*METHODS} <= {*methods()}


def test_every_parameter_of_mergekit_is_in_the_table() -> None:
    registry = pytest.importorskip("mergekit.merge_methods")
    theirs = {method.spec.name: method.spec.parameters for method in registry.registered_methods()}
    for name, parameters in theirs.items():
        effective = {one.name for one in parameters} - {*IDLE_THERE.get(name, ())}
        assert {*METHODS[name].keys} == effective, name
        for one in parameters:
            if one.name in METHODS[name].switches:
                assert METHODS[name].switches[one.name] is one.default
            elif one.name in METHODS[name].numbers and not one.required and (name, one.name) != ("multislerp", "eps"):
                assert METHODS[name].numbers[one.name].default == (1.0 if one.default is None else one.default)
            if one.name in METHODS[name].numbers:
                assert METHODS[name].numbers[one.name].each is (one.scope.value != "shared")


IDLE_THERE = {"task_arithmetic": ("density", "rescale")}
"""What mergekit declares and never uses."""

SLERP = recipe("slerp", ONE, "t: 0.5")
REFUSED = [
    (recipe("slerp", ONE), "`slerp` has no `t`", 4),
    (recipe("nearswap", ONE), "`nearswap` has no `t`", 4),
    (recipe("slerp", ONE, "t: {filter: mlp, value: 1}"), "`slerp` has no `t` for every tensor", 4),
    (recipe("slerp", ONE, "t: 1.5"), "`t` in [parameters] must lie in [0, 1], not 1.5", 5),
    (recipe("slerp", "- model: acme/a\n  parameters: {t: 0.5}\n"), "mergekit reads it at the top", 5),
    (recipe("slerp", ONE, "t: 0.5", base=""), "slerp needs a `base_model`", 3),
    (recipe("slerp", BOTH, "t: 0.5"), "slerp takes 2 models in all, and the recipe has 3", 4),
    (recipe("slerp", ONE, "t: 0.5, weight: 1"), "`weight` in [parameters] has no effect", 5),
    (recipe("nuslerp", WEIGHED + "- model: acme/c\n", "weight: 1"), "nuslerp takes 2 models beside the base, and", 4),
    (recipe("nuslerp", WEIGHED, "nuslerp_row_wise: true"), "has no effect while `nuslerp_flatten` is true", 8),
    (recipe("multislerp", ONE, "weight: 1"), "multislerp takes at least 2 models beside the base", 4),
    (recipe("model_stock", ONE), "model_stock takes at least 2 models beside the base, and the recipe has 1", 4),
    (recipe("nearswap", BOTH, "t: 0.1"), "nearswap takes 1 models beside the base", 4),
    (recipe("arcee_fusion", BOTH), "arcee_fusion takes 1 models beside the base, and the recipe has 2", 4),
    (recipe("ties", "- model: acme/base\n", "weight: 1"), "ties takes at least 1 models beside the base", 4),
    (recipe("ties", WEIGHED, "density: 0"), "`density` in [parameters] must lie in (0, 1], not 0", 8),
    (recipe("ties", WEIGHED, "density: [0.5, 1.5]"), "`density` in [parameters] must lie in (0, 1], not 1.5", 8),
    (recipe("ties", WEIGHED, "gamma: 0.1"), "`gamma` in [parameters] has no effect", 8),
    (recipe("ties", WEIGHED, "normalize: [{value: true}]"), "`normalize` in [parameters] must be true or false", 8),
    (recipe("ties", ONE), "`hf:acme/a` has no `weight`", 4),
    (recipe("karcher", BOTH, "max_iter: 2.5"), "`max_iter` in [parameters] must be whole, not 2.5", 6),
    (recipe("karcher", BOTH, "tol: [0.1, 0.2]"), "`tol` can only be one number here", 6),
    (recipe("multislerp", WEIGHED, "eps: 1e-9"), "`eps` in [parameters] must lie in [1e-07, 1], not 1e-09", 8),
    (recipe("sce", BOTH, "weight: 1"), "`weight` in [parameters] has no effect", 6),
    (recipe("ram", "- model: acme/a\n  parameters: {epsilon: 0.1}\n"), "mergekit reads it at the top", 5),
    (recipe("linear", WEIGHED, "int8_mask: true"), "`int8_mask` in [parameters] has no effect", 8),
    (
        recipe("dare_linear", "- model: acme/base+acme/lora\n", "weight: 1, normalize: true"),
        "`normalize: true` in dare_linear with an adapter is not built",
        4,
    ),
]


@pytest.mark.parametrize(("text", "message", "line"), REFUSED)
def test_what_a_method_does_not_take_is_refused_with_its_line(
    text: str, message: str, line: int, empty: Sandbox
) -> None:
    outcome = imported(empty, text)
    assert outcome.code in {1, 2}
    assert message in outcome.err
    assert f"recipe.yml line {line}\n" in outcome.err, outcome.err
    assert not (empty.root / "brick.toml").exists()


NOTES = [
    (recipe("dare_ties", WEIGHED), "dare_ties keeps entries by chance: other ones than mergekit"),
    (recipe("task_arithmetic", WEIGHED, "normalize: true"), "written as breadcrumbs that drop nothing"),
    (recipe("ties", WEIGHED, "int8_mask: true"), "`int8_mask` changes no number, and is left out"),
    (
        recipe("ties", WEIGHED + "- model: acme/base\n  parameters: {density: 0.5}\n"),
        "the density of the base has no effect in ties, and is left out",
    ),
]


@pytest.mark.parametrize(("text", "note"), NOTES)
def test_what_is_left_out_is_said(text: str, note: str, empty: Sandbox) -> None:
    outcome = imported(empty, text)
    assert (outcome.code, note in outcome.err) == (0, True), outcome.err
    assert "0.5" not in empty.manifest


EXAMPLE = """\
models:
  - model: psmathur/orca_mini_v3_13b
    parameters:
      density: [1, 0.7, 0.1] # density gradient
      weight: 1.0
  - model: garage-bAInd/Platypus2-13B
    parameters:
      density: 0.5
      weight: [0, 0.3, 0.7, 1] # weight gradient
  - model: WizardLM/WizardMath-13B-V1.0
    parameters:
      density: 0.33
      weight:
        - filter: mlp
          value: 0.5
        - value: 0
merge_method: ties
base_model: TheBloke/Llama-2-13B-fp16
parameters:
  normalize: true
  int8_mask: true
dtype: float16
"""


def test_the_example_that_mergekit_ships_is_imported(empty: Sandbox) -> None:
    outcome = imported(empty, EXAMPLE)
    assert outcome.code == 0, outcome.err
    lines = [line.strip() for line in empty.manifest.splitlines()]
    inside, outside = '{ filter = "*.[0-9]*.*", value = [1.0, 0.7, 0.1] }', "{ value = 1.0 }"
    assert f'{{ brick = "orca_mini_v3_13b", weight = 1.0, density = [{inside}, {outside}] }},' in lines
    mlp = '[{ filter = "*mlp*", value = 0.5 }, { value = 0.0 }]'
    assert f'{{ brick = "wizardmath-13b-v1-0", weight = {mlp}, density = 0.33 }},' in lines
    assert '{ op = "merge", method = "ties", bricks = [' in lines

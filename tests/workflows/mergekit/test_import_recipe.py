from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brickctl.core.manifest_format import parse_manifest
from brickctl.core.numbers import depth_of
from brickctl.workflows.mergekit.numbers import Condition, translate

if TYPE_CHECKING:
    from brickctl.core.manifest import Manifest
    from tests.support.sandbox import Outcome, Sandbox

HEAD = "merge_method: task_arithmetic\nbase_model: acme/base\nmodels:\n  - model: acme/sql\n"
WEIGHT = "    parameters: {weight: 0.5}\n"
LAYERS = 4
NAMES = [
    "model.embed_tokens.weight",
    *(f"model.layers.{layer}.{part}.weight" for layer in range(LAYERS) for part in ("mlp.up_proj", "input_layernorm")),
    "model.norm.weight",
    "lm_head.weight",
]


def imported(sandbox: Sandbox, recipe: str) -> Outcome:
    sandbox.write({"recipe.yml": recipe})
    return sandbox.run("import", "recipe.yml")


def manifest(sandbox: Sandbox, recipe: str) -> Manifest:
    outcome = imported(sandbox, recipe)
    assert outcome.code == 0, outcome.err
    return parse_manifest(sandbox.manifest)


def apply_of(sandbox: Sandbox) -> str:
    """The step of the manifest as it was written, on one line."""
    return " ".join(sandbox.manifest.partition("apply = [")[2].split())


def test_task_arithmetic_becomes_a_base_experts_and_one_target(empty: Sandbox) -> None:
    read = manifest(
        empty, HEAD + WEIGHT + "  - model: acme/code@v2\n    parameters: {weight: -1}\n  - model: acme/base\n"
    )
    assert str(read.base.reference) == "hf:acme/base"
    assert [(alias, brick.kind) for alias, brick in read.bricks.items()] == [("sql", "expert"), ("code", "expert")]
    assert 'code = { source = "hf:acme/code", revision = "v2", kind = "expert" }' in empty.manifest
    assert list(read.targets) == ["merged"]
    assert '{ brick = "sql", weight = 0.5 }, { brick = "code", weight = -1.0 }' in apply_of(empty)


def test_without_a_base_the_first_model_of_a_linear_merge_is_the_base_and_takes_part(empty: Sandbox) -> None:
    recipe = (
        "merge_method: linear\nmodels:\n- model: acme/a\n- model: acme/b\nparameters: {weight: 0.5, normalize: false}\n"
    )
    read = manifest(empty, recipe)
    assert str(read.base.reference) == "hf:acme/a"
    assert list(read.bricks) == ["b"]
    assert "normalize = false" in apply_of(empty)
    assert '{ brick = "base", weight = 0.5 }, { brick = "b", weight = 0.5 }' in apply_of(empty)


def test_a_base_of_a_linear_merge_takes_part_with_the_common_weight(empty: Sandbox) -> None:
    recipe = "merge_method: linear\nbase_model: acme/a\nmodels:\n- model: acme/b\n  parameters: {weight: 3}\n"
    assert "has no `weight`" in imported(empty, recipe).err
    manifest(empty, recipe + "parameters: {weight: 1}\n")
    assert '{ brick = "b", weight = 3.0 }, { brick = "base", weight = 1.0 }' in apply_of(empty)


def test_an_adapter_upon_the_base_is_a_brick_and_upon_another_is_refused(empty: Sandbox) -> None:
    read = manifest(empty, HEAD.replace("acme/sql", "acme/base+acme/SQL-LoRA") + WEIGHT)
    assert [(alias, brick.kind) for alias, brick in read.bricks.items()] == [("sql-lora", "adapter")]
    (empty.root / "brick.toml").unlink()
    outcome = imported(empty, HEAD.replace("acme/sql", "acme/other+acme/sql") + WEIGHT)
    assert outcome.code == 1
    assert "an adapter on another base cannot take part" in outcome.err
    assert "recipe.yml line 4" in outcome.err


def test_folders_become_path_bricks_relative_to_the_manifest(empty: Sandbox) -> None:
    (empty.root / "tuned").mkdir()
    empty.write({"recipe.yml": HEAD.replace("acme/sql", "tuned") + WEIGHT})
    (empty.root / "project").mkdir()
    assert empty.run("import", "recipe.yml", "-o", "project/brick.toml").code == 0
    assert 'tuned = { source = "path:../tuned", kind = "expert" }' in (empty.root / "project/brick.toml").read_text()


def test_lambda_is_the_scale_and_dtypes_are_that_of_the_output(empty: Sandbox) -> None:
    outcome = imported(empty, HEAD + WEIGHT + "parameters: {lambda: 1e-1}\ndtype: bfloat16\nout_dtype: float32\n")
    assert "scale = 0.1" in apply_of(empty)
    assert 'dtype = "float32"' in empty.manifest
    assert "mergekit would round to bfloat16 before it computes" in outcome.err


def test_passthrough_of_one_model_is_the_base_as_it_is_or_with_its_adapter(empty: Sandbox) -> None:
    read = manifest(empty, "merge_method: passthrough\nmodels:\n- model: acme/a\ndtype: float16\n")
    assert (read.bricks, read.targets["merged"].apply) == ({}, ())
    (empty.root / "brick.toml").unlink()
    manifest(empty, "merge_method: passthrough\nmodels:\n- model: acme/a+acme/lora\n")
    assert 'method = "passthrough", bricks = ["lora"] }' in apply_of(empty)


REFUSED = [
    (HEAD.replace("task_arithmetic", "tie"), 2, "did you mean `ties`?", 1),
    (HEAD.replace("task_arithmetic", "task_arithmetik"), 2, "did you mean `task_arithmetic`?", 1),
    (HEAD + "    parameters: {weight: 1, densty: 0.5}\n", 2, "did you mean `density`?", 5),
    (HEAD + "    parameters: {weight: 1, density: 0.5}\n", 2, "`density` in models[0].parameters has no effect", 5),
    (HEAD + "    parameters: {weight: 1, normalize: true}\n", 2, "mergekit reads it at the top", 5),
    (HEAD + WEIGHT + "slices: []\n", 2, "`slices` in recipe.yml is empty", 6),
    (HEAD + WEIGHT + "modules: {}\n", 1, "`modules` merges modules apart", 6),
    (HEAD + WEIGHT + "tokenizer_source: union\ntokenizer: {source: base}\n", 2, "both stand here", 7),
    (HEAD + WEIGHT + "tokenizer: {source: base, token: {}}\n", 2, "did you mean `tokens`?", 6),
    (HEAD + WEIGHT + "tokenizer: {tokens: {a: {source: {kind: none}}}}\n", 2, "`none` is no kind of source", 6),
    (HEAD + WEIGHT + "tokenizer: {tokens: {a: {source: {kind: zero}, forse: 1}}}\n", 2, "did you mean `force`?", 6),
    (HEAD + WEIGHT + "tokenizer: {tokens: {a: {source: {kind: model_token, model: a/b}}}}\n", 2, "names one token", 6),
    (HEAD + WEIGHT + "chat_template: auto\n", 1, "is the template that most models have", 6),
    (HEAD + WEIGHT + "chat_template: llama3\n", 1, "is a template that mergekit brings with it", 6),
    (HEAD + WEIGHT + "chat_template: [auto]\n", 2, "must be a text", 6),
    (HEAD + WEIGHT + "chat_template: lama\n", 2, "`lama` is no chat template", 6),
    (HEAD + WEIGHT + "dtype: bf16\n", 2, "did you mean `bfloat16`?", 6),
    (HEAD + WEIGHT + "merge_metod: linear\n", 2, "did you mean `merge_method`?", 6),
    (HEAD + WEIGHT + "base_model: acme/b\n", 2, "`base_model` stands twice", 6),
    (HEAD + WEIGHT + "  - model: acme/sql\n", 2, "a model stands twice", 6),
    (HEAD, 2, "`hf:acme/sql` has no `weight`", 4),
    (HEAD + "    parameters: {weight: [{filter: mlp, value: 1}]}\n", 2, "no `weight` for every tensor", 4),
    (HEAD + "    parameters: {weight: much}\n", 2, "`much`, which is no number", 5),
    (HEAD.replace("acme/base", "acme/base+acme/lora") + WEIGHT, 1, "a `base_model` with an adapter upon it", None),
    (HEAD.replace("base_model: acme/base\n", "") + WEIGHT, 2, "task_arithmetic needs a `base_model`", 3),
    ("merge_method: linear\n", 2, "names no `models`", None),
    ("merge_method: passthrough\nmodels:\n- model: a/b\n- model: a/c\n", 2, "passthrough takes one model", 2),
    ("base_model: a/b\nexperts:\n- source_model: a/c\n", 1, "a recipe of mergekit-moe, which is not imported", 2),
    ("a: [", 2, "recipe.yml is not YAML", None),
    ("- a\n", 2, "no mapping of keys", 1),
    ("1: 2\n", 2, "a key is no plain string", 1),
    ("a: &a\n- *a\n", 2, "recipe.yml", None),
]


@pytest.mark.parametrize(("recipe", "code", "message", "line"), REFUSED)
def test_what_would_not_mean_the_same_is_refused_with_its_line(
    empty: Sandbox, recipe: str, code: int, message: str, line: int | None
) -> None:
    outcome = imported(empty, recipe)
    assert (outcome.code, message in outcome.err) == (code, True), outcome.err
    assert line is None or f"recipe.yml line {line}\n" in outcome.err, outcome.err
    assert not (empty.root / "brick.toml").exists()


def test_a_manifest_is_never_overwritten(project: Sandbox) -> None:
    before = project.manifest
    outcome = imported(project, HEAD + WEIGHT)
    assert outcome.code == 2
    assert "--output" in outcome.err
    assert project.manifest == before
    assert project.run("import", "no.yml", "-o", "x.toml").code == 1


def mergekit_value(name: str, conditions: list[Condition]) -> float | None:
    """What mergekit takes for a tensor: its `evaluate_setting`, and the depth that its planner gives the tensor."""
    for condition in conditions:
        if condition.part is not None and condition.part not in name:
            continue
        if isinstance(condition.value, float):
            return condition.value
        layer = next((int(part) for part in name.split(".") if part.isdigit()), None)
        depth = 0.0 if layer is None else layer / (LAYERS - 1)
        scaled = depth * (len(condition.value) - 1)
        low = int(scaled)
        high = min(len(condition.value) - 1, low + 1)
        return condition.value[low] * (1 - (scaled - low)) + condition.value[high] * (scaled - low)
    return None


NUMBERS = st.floats(-2, 2).map(lambda value: round(value, 3))
VALUES = NUMBERS | st.lists(NUMBERS, min_size=2, max_size=5).map(tuple)
PARTS = st.sampled_from(
    ["mlp", "up_proj", "layernorm", "norm", "lm_head", "embed_tokens", "weight", "layers.1.", "[x]"]
)


@given(conditions=st.lists(st.builds(Condition, PARTS, VALUES), max_size=4), last=VALUES)
def test_translated_numbers_say_the_same_for_every_tensor(conditions: list[Condition], last: object) -> None:
    conditions = [*conditions, Condition(None, last)]  # type: ignore[arg-type]
    number = translate(tuple(conditions))
    assert number is not None
    for name in NAMES:
        expected = mergekit_value(name, conditions)
        assert number.at(name, depth_of(name, LAYERS)) == pytest.approx(expected, abs=1e-12)


def test_a_part_of_a_name_with_signs_of_globs_means_itself() -> None:
    number = translate((Condition("a[b]*", 1.0), Condition(None, 2.0)))
    assert number is not None
    assert [number.at(name, 0.0) for name in ("x.a[b]*.y", "x.ab.y")] == [1.0, 2.0]
    assert fnmatch.fnmatchcase("x.a[b]*.y", number.document()[0]["filter"])


def test_model_settings_go_before_common_ones() -> None:
    number = translate((Condition("mlp", 1.0),), (Condition("norm", 2.0), Condition(None, 3.0), Condition("head", 4.0)))
    assert number is not None
    assert [number.at(name, 0.0) for name in ("a.mlp.b", "a.norm.b", "lm_head.weight")] == [1.0, 2.0, 3.0]


def test_several_recipes_in_one_file_are_refused_with_the_line_of_the_second(empty: Sandbox) -> None:
    outcome = imported(empty, f"{HEAD}{WEIGHT}---\n{HEAD}{WEIGHT}")
    assert outcome.code == 1
    assert "recipe.yml holds several recipes" in outcome.err
    assert "recipe.yml line 7" in outcome.err
    assert imported(empty, f"---\n{HEAD}{WEIGHT}").code == 0

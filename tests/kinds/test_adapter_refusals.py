"""What cannot be merged exactly is refused before a weight is read: the brick, the tensor or field, the reason."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from peft import LoraConfig
from peft.utils.other import get_pattern_key

from brickctl.errors import Misfit, Unsupported
from brickctl.kinds.adapters.adapter_type import unmergeable_types
from brickctl.kinds.adapters.config import read_config
from tests.support.building import manifest, prepare, sum_of
from tests.support.models import adapter, edit_config, edit_tensors, tiny_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from brickctl.errors import BrickctlError
    from brickctl.kinds.adapters.lora import LoraSettings

    Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]

Q_PROJ = "base_model.model.model.layers.0.self_attn.q_proj"
PREFIX = "base_model.model.model.layers.0.self_attn."
EXAMPLE = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base") / "base")


@pytest.fixture(scope="module")
def original(base: Path) -> Path:
    return adapter(base, base.parent / "adapter", r=4)


@pytest.fixture
def brick(original: Path, tmp_path: Path) -> Path:
    """An adapter to spoil."""
    return shutil.copytree(original, tmp_path / "adapter")


def refused(error: type[BrickctlError], base: Path, brick: Path, *words: str) -> None:
    with pytest.raises(error) as caught:
        prepare(manifest(base, {"sql": brick}, sum_of(sql=1.0)), brick.parent)
    for word in ("sql", *words):
        assert word in str(caught.value)
    assert type(caught.value) is error


def read(name: str, document: dict[str, Any]) -> LoraSettings:
    """What the formula of LoRA needs of a configuration."""
    settings: LoraSettings = read_config(name, document).settings
    return settings


@pytest.mark.parametrize("name", unmergeable_types())
def test_a_type_without_merged_weights_is_refused_with_its_reason(name: str) -> None:
    with pytest.raises(Unsupported, match=f"is of type {name} and cannot be merged") as caught:
        read_config("sql", {**EXAMPLE, "peft_type": name})
    assert unmergeable_types()[name].reason in str(caught.value)
    assert not unmergeable_types()[name].stacks or "`stack` it instead" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("field", "value", "hint"),
    [("alora_invocation_tokens", [1, 2], "`stack` it instead"), ("arrow_config", {"top_k": 3}, "library that made it")],
)
def test_a_variant_of_lora_without_merged_weights_is_refused_with_its_reason(field: str, value: Any, hint: str) -> None:
    with pytest.raises(Unsupported, match="cannot be merged") as caught:
        read_config("sql", {**EXAMPLE, field: value})
    assert hint in (caught.value.hint or "")


def test_a_type_that_nobody_knows_is_refused() -> None:
    with pytest.raises(Unsupported, match="unknown type: LORAA") as caught:
        read_config("sql", {**EXAMPLE, "peft_type": "LORAA"})
    assert "did you mean" in (caught.value.hint or "")


CHANGED: dict[str, Any] = {
    "init_lora_weights": "pissa",
    "kasa_config": {"beta": 1},
    "layer_replication": [[0, 2], [1, 3]],
    "lora_ga_config": {"stable_gamma": 16},
    "monteclora_config": {"samples": 8},
    "use_bdlora": {"nblocks": 2},
    "use_qalora": True,
    "velora_config": {"groups": 4},
}


@pytest.mark.parametrize("field", CHANGED)
def test_a_field_that_changes_the_formula_is_refused_by_name(field: str) -> None:
    with pytest.raises(Unsupported, match=f"`{field} = "):
        read("sql", {**EXAMPLE, field: CHANGED[field]})


@pytest.mark.parametrize(
    "value", ["pissa", "pissa_niter_4", "olora", "corda", "loftq", "lora_ga", "something_new", 1.5, None, ["pissa"]]
)
def test_an_initialisation_that_may_change_the_base_is_refused(value: Any) -> None:
    with pytest.raises(Unsupported, match="replaces the base's weights when PEFT loads it"):
        read("sql", {**EXAMPLE, "init_lora_weights": value})


@pytest.mark.parametrize("value", [True, False, "gaussian", "orthogonal", "eva"])
def test_an_initialisation_that_only_matters_for_training_is_not(value: Any) -> None:
    assert read("sql", {**EXAMPLE, "init_lora_weights": value}).rank == 4


@pytest.mark.parametrize("value", [True, 0, ["all"]])
def test_a_bias_that_is_no_word_is_refused(value: Any) -> None:
    with pytest.raises(Misfit, match="`bias`"):
        read("sql", {**EXAMPLE, "bias": value})


def test_every_field_that_peft_writes_is_known_and_harmless_as_it_comes() -> None:
    """A newer PEFT with a new field makes this test fail, and that is what it is for."""
    document = json.loads(json.dumps(LoraConfig(r=4, target_modules=["q_proj"]).to_dict(), default=list))
    assert read("sql", document).alpha == 8


def test_a_field_that_nobody_knows_is_refused() -> None:
    with pytest.raises(Unsupported, match="use_quora") as caught:
        read("sql", {**EXAMPLE, "use_quora": True})
    assert "newer PEFT" in str(caught.value)


MISTYPED: list[dict[str, Any]] = [
    {"r": "4"},
    {"r": 4.0},
    {"r": True},
    {"lora_alpha": "8"},
    {"lora_alpha": float("inf")},
    {"use_dora": 1},
    {"use_rslora": "yes"},
    {"rank_pattern": [["q_proj", 2]]},
    {"rank_pattern": {"q_proj": 0}},
    {"rank_pattern": {"q_proj": -2}},
    {"rank_pattern": {"q_proj": 0.5}},
    {"alpha_pattern": {"q_proj": "2"}},
    {"modules_to_save": "lm_head"},
]


@pytest.mark.parametrize("change", MISTYPED, ids=str)
def test_a_field_of_the_wrong_type_is_refused_by_name(change: dict[str, Any]) -> None:
    with pytest.raises(Misfit, match=next(iter(change))):
        read("sql", {**EXAMPLE, **change})


def test_a_configuration_without_a_rank_is_refused() -> None:
    with pytest.raises(Misfit, match="`r`"):
        read("sql", {"peft_type": "LORA"})


@pytest.mark.parametrize(
    "pattern",
    [
        "x" * 600,
        "(",
        "[",
        "(?i)q_proj",
        "a{99999999999}",
        "((a{60000}){60000}){60000}",
        "a{,3}",
        "[[:alpha:]]",
        "(?=q)q_proj",
        r"(q)\1",
        "(?R)",
        r"\p{L}",
    ],
)
def test_a_pattern_that_python_and_re2_do_not_both_read_is_refused(pattern: str) -> None:
    for field in ("rank_pattern", "alpha_pattern"):
        with pytest.raises(Misfit, match=field):
            read("sql", {**EXAMPLE, field: {pattern: 4}})


@pytest.mark.parametrize("pattern", ["(a+)+b", "(a|aa)+b", "a?" * 100 + "b", "(.*a){20}b", "a*" * 40 + "b", "(a|a)*b"])
def test_a_pattern_that_takes_python_for_ever_takes_no_time(pattern: str) -> None:
    config = read("sql", {**EXAMPLE, "rank_pattern": {pattern: 4}})
    assert config.rank_pattern.at("model." + "a" * 2000, 7) == 7


NAMES = [
    "model.layers.0.self_attn.q_proj",
    "model.layers.11.self_attn.k_proj",
    "model.layers.1.mlp.down_proj",
    "lm_head",
    "xq_proj",
]
PATTERNS = [
    "q_proj",
    ".q_proj",
    r"model\.layers\.\d+\.mlp\..*",
    r".*\.(q|k)_proj",
    r"layers\.[0-4]\..+",
    "^model.layers.11.self_attn.k_proj",
    "self_attn",
    r"layers\.1.*",
    "q_proj|k_proj",
    r"(?:1|11)\.self_attn\.[^.]+",
    "lm_head$",
    "",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_that_people_write_match_as_in_peft(pattern: str) -> None:
    config = read("sql", {**EXAMPLE, "rank_pattern": {pattern: 99}})
    for name in NAMES:
        assert config.rank_pattern.at(name, 7) == {pattern: 99}.get(get_pattern_key([pattern], name), 7)


TWICE = {
    "two factors": ["q_proj.lora_A", "q_proj.base_layer.lora_A", "q_proj.lora_B"],
    "two magnitudes": [
        "q_proj.lora_A",
        "q_proj.lora_B",
        "q_proj.lora_magnitude_vector",
        "q_proj.base_layer.lora_magnitude_vector",
    ],
    "two wholes": ["o_proj", "o_proj.modules_to_save"],
    "linear and embedding": ["q_proj.lora_A", "q_proj.lora_embedding_B"],
}


@pytest.mark.parametrize("keys", TWICE.values(), ids=TWICE.keys())
def test_tensors_that_mean_the_same_are_refused(keys: list[str], base: Path, brick: Path) -> None:
    ends = {key: "" if "embedding" in key else ".weight" for key in keys}
    tensors = {f"{PREFIX}{key}{end}": torch.zeros(32, 32) for key, end in ends.items()}
    edit_tensors(brick, lambda _: tensors)
    refused(Misfit, base, brick, "contradicts itself")


def without(ending: str) -> Change:
    return lambda found: {key: tensor for key, tensor in found.items() if not key.endswith(ending)}


def with_one(key: str, *shape: int) -> Change:
    return lambda found: {**found, key: torch.zeros(shape)}


def renamed(old: str, new: str) -> Change:
    return lambda found: {key.replace(old, new): tensor for key, tensor in found.items()}


def test_half_a_pair_is_refused(base: Path, brick: Path) -> None:
    edit_tensors(brick, without("layers.0.self_attn.q_proj.lora_B.weight"))
    refused(Misfit, base, brick, "`model.layers.0.self_attn.q_proj` has no lora_B")


@pytest.mark.parametrize("prefix", ["", "model.", "base_model.", "base_model.model.base_model.model."])
def test_keys_that_peft_would_drop_without_a_word_are_refused(prefix: str, base: Path, brick: Path) -> None:
    edit_tensors(brick, renamed("base_model.model.", prefix))
    refused(Misfit, base, brick, "layers.0.mlp.down_proj")


@pytest.mark.parametrize("module", ["lm_head", "model.norm", "mlp"])
def test_a_module_that_should_be_saved_whole_and_is_not_there_is_refused(module: str, base: Path, brick: Path) -> None:
    edit_config(brick, modules_to_save=[module])
    refused(Misfit, base, brick, f"modules_to_save lists `{module}`, and it has no tensor of it")


def test_a_module_to_save_that_the_base_does_not_have_matters_to_nobody(base: Path, brick: Path) -> None:
    """PEFT adds `classifier` and `score` to the list of every adapter that classifies."""
    edit_config(brick, modules_to_save=["classifier", "score", "head"])
    prepare(manifest(base, {"sql": brick}, sum_of(sql=1.0)), brick.parent)


def test_one_key_too_many_is_refused(base: Path, brick: Path) -> None:
    edit_tensors(brick, with_one("base_model.model.model.layers.0.self_attn.gate.weight", 3, 3))
    refused(Misfit, base, brick, "`model.layers.0.self_attn.gate.weight`, which the base does not have")


def test_a_module_that_the_base_does_not_have_is_refused(base: Path, brick: Path) -> None:
    """A base with fewer layers: PEFT loads such an adapter without a word."""
    edit_tensors(brick, renamed("layers.2.", "layers.7."))
    refused(Misfit, base, brick, "it changes `model.layers.7.", "which the base does not have")


def test_another_hidden_size_is_refused_with_both_numbers(base: Path, tmp_path: Path) -> None:
    wide = tiny_model(tmp_path / "wide", hidden_size=64)
    brick = adapter(wide, tmp_path / "adapter", target_modules=["q_proj"])
    refused(Misfit, base, brick, "`model.layers.0.self_attn.q_proj.weight` needs in_features 64; the base has 32")


def test_another_vocabulary_is_refused_with_both_numbers(base: Path, tmp_path: Path) -> None:
    large = tiny_model(tmp_path / "large", vocab_size=128)
    brick = adapter(large, tmp_path / "adapter", target_modules=["embed_tokens"])
    refused(Misfit, base, brick, "model.embed_tokens.weight", "128", "96")


def test_a_saved_module_of_another_shape_is_refused(base: Path, brick: Path) -> None:
    edit_tensors(brick, with_one("base_model.model.lm_head.weight", 97, 32))
    refused(Misfit, base, brick, "`lm_head.weight` is saved with shape [97, 32]; the base has [96, 32]")


def test_ranks_that_contradict_each_other_are_refused(base: Path, brick: Path) -> None:
    edit_tensors(brick, with_one(f"{Q_PROJ}.lora_A.weight", 5, 32))
    refused(Misfit, base, brick, "the factors of `model.layers.0.self_attn.q_proj` have ranks 5 and 4")


def test_a_rank_that_is_not_the_configured_one_is_refused(base: Path, brick: Path) -> None:
    """The scale would be wrong."""
    edit_config(brick, r=8)
    refused(Misfit, base, brick, "has factors of rank 4; its configuration says 8")


def test_dora_without_magnitudes_and_magnitudes_without_dora_are_refused(base: Path, brick: Path) -> None:
    edit_config(brick, use_dora=True)
    refused(Misfit, base, brick, "has no DoRA magnitude and `use_dora` is set")
    edit_config(brick, use_dora=False)
    edit_tensors(brick, with_one(f"{Q_PROJ}.lora_magnitude_vector", 32))
    refused(Misfit, base, brick, "has a DoRA magnitude and `use_dora` is not set")


def test_a_magnitude_of_another_length_is_refused(base: Path, brick: Path) -> None:
    edit_config(brick, use_dora=True)
    edit_tensors(brick, lambda found: {key: found[key] for key in found if key.startswith(Q_PROJ)})
    edit_tensors(brick, with_one(f"{Q_PROJ}.lora_magnitude_vector", 31))
    refused(Misfit, base, brick, "needs a DoRA magnitude of")


@pytest.mark.parametrize("key", ["hada_w1_a", "lokr_w1", "ia3_l", "oft_R.weight", "vera_lambda_b", "lora_E"])
def test_tensors_of_other_methods_are_refused(key: str, base: Path, brick: Path) -> None:
    edit_tensors(brick, with_one(f"{Q_PROJ}.{key}", 4, 4))
    refused(Unsupported, base, brick, f"q_proj.{key}")


def test_an_adapter_without_tensors_that_touch_anything_is_refused(base: Path, brick: Path) -> None:
    edit_tensors(brick, lambda _: {"unrelated": torch.zeros(1)})
    refused(Misfit, base, brick, "`unrelated`")


def test_a_quantised_base_is_refused(base: Path, brick: Path, tmp_path: Path) -> None:
    quantised = shutil.copytree(base, tmp_path / "quantised")
    name = "model.layers.0.self_attn.q_proj.weight"
    edit_tensors(quantised, lambda found: {**found, name: found[name].to(torch.int8)})
    with pytest.raises(Unsupported, match="quantised weights cannot be merged") as caught:
        prepare(manifest(quantised, {"sql": brick}, sum_of(sql=1.0)), tmp_path)
    assert f"`{name}` of the base is stored as I8" in str(caught.value)


def test_messages_name_the_line_of_the_manifest_and_the_model_that_it_was_trained_on(base: Path, brick: Path) -> None:
    edit_config(brick, base_model_name_or_path="meta-llama/Llama-3.1-8B")
    edit_tensors(brick, lambda found: {key.replace("layers.0.", "layers.31."): found[key] for key in found})
    refused(Misfit, base, brick, "required by: brick.toml line 6", "was trained on meta-llama/Llama-3.1-8B")

"""Adapters on models with transposed weights, encoders, convolutions, and with all that PEFT's options change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from brickctl.errors import Unsupported
from tests.support.adapters import adapter_of
from tests.support.architectures import adapter_on, load_any, merged, model_of
from tests.support.building import build, manifest, prepare, sum_of
from tests.support.models import adapter, edit_config, edit_tensors, merged_by_peft, tiny_model, weights, worst_ratio

if TYPE_CHECKING:
    from pathlib import Path

TOLERANCE = 1e-6

GPT2 = {"target_modules": ["c_attn", "c_fc", "c_proj"]}
BERT = {"target_modules": ["query", "output.dense"], "task_type": "SEQ_CLS"}
T5 = {"target_modules": ["q", "wo"]}
CONVOLUTIONS = {"target_modules": ["convolution"]}

ON_OTHERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "LoRA on Conv1D": ("gpt2", "LORA", {**GPT2, "r": 4, "fan_in_fan_out": True}),
    "DoRA on Conv1D": ("gpt2", "LORA", {**GPT2, "r": 4, "fan_in_fan_out": True, "use_dora": True}),
    "AdaLoRA on Conv1D": ("gpt2", "ADALORA", {**GPT2, "init_r": 4, "total_step": 9, "fan_in_fan_out": True}),
    "VeRA on Conv1D": ("gpt2", "VERA", {**GPT2, "r": 4, "fan_in_fan_out": True}),
    "IA3 on Conv1D": ("gpt2", "IA3", {**GPT2, "feedforward_modules": ["c_proj"], "fan_in_fan_out": True}),
    "HiRA on Conv1D": ("gpt2", "HIRA", {**GPT2, "r": 4, "fan_in_fan_out": True}),
    "FourierFT on Conv1D": ("gpt2", "FOURIERFT", {**GPT2, "n_frequency": 40, "fan_in_fan_out": True}),
    "LoRA in an encoder with a new head": ("bert", "LORA", {**BERT, "r": 4}),
    "LoHa in an encoder": ("bert", "LOHA", {**BERT, "r": 4}),
    "LoRA in encoder and decoder": ("t5", "LORA", {**T5, "r": 4}),
    "IA3 in encoder and decoder": ("t5", "IA3", {**T5, "feedforward_modules": ["wo"]}),
    "LoRA on convolutions": ("resnet", "LORA", {**CONVOLUTIONS, "r": 4}),
    "DoRA on convolutions": ("resnet", "LORA", {**CONVOLUTIONS, "r": 4, "use_dora": True}),
    "LoHa on convolutions": ("resnet", "LOHA", {**CONVOLUTIONS, "r": 4}),
    "LoHa on convolutions, decomposed": ("resnet", "LOHA", {**CONVOLUTIONS, "r": 3, "use_effective_conv2d": True}),
    "LoKr on convolutions": ("resnet", "LOKR", {**CONVOLUTIONS, "r": 2}),
    "LoKr on convolutions, decomposed": ("resnet", "LOKR", {**CONVOLUTIONS, "r": 1, "use_effective_conv2d": True}),
    "AdaLoRA on convolutions": ("resnet", "ADALORA", {**CONVOLUTIONS, "init_r": 4, "total_step": 9}),
    "HRA on convolutions": ("resnet", "HRA", {**CONVOLUTIONS, "r": 4}),
    "HiRA on convolutions": ("resnet", "HIRA", {**CONVOLUTIONS, "r": 4}),
    "IA3 on convolutions": ("resnet", "IA3", {**CONVOLUTIONS, "feedforward_modules": ["convolution"]}),
}


@pytest.mark.parametrize("name", ON_OTHERS)
def test_merged_weights_of_other_architectures(name: str, tmp_path: Path) -> None:
    architecture, peft_type, settings = ON_OTHERS[name]
    base = model_of(architecture, tmp_path / "base")
    brick = adapter_on(base, tmp_path / "adapter", peft_type, **settings)
    built = weights(build(manifest(base, {"a": brick}, sum_of(a=1.0)), tmp_path / "built"))
    theirs = {key: tensor for key, tensor in merged(base, brick).items() if key in built and tensor.is_floating_point()}
    assert worst_ratio({key: built[key] for key in theirs}, theirs) <= TOLERANCE
    before = weights(base)
    assert worst_ratio({key: before[key] for key in theirs if key in before}, theirs) > 100 * TOLERANCE


VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "HRA with orthogonal vectors": ("HRA", {"apply_GS": True}),
    "MiSS mini": ("MISS", {"init_weights": "mini", "mini_r": 4}),
    "MiSS bat": ("MISS", {"init_weights": "bat", "r": 8}),
    "MiSS with a remainder": ("MISS", {"r": 7}),
    "LoKr with whole factors": ("LOKR", {"r": 32}),
    "LoKr with a small factor": ("LOKR", {"decompose_factor": 4}),
    "OFT with shared blocks": ("OFT", {"block_share": True}),
    "OFT constrained": ("OFT", {"coft": True, "eps": 1e-2}),
    "OFT exact": ("OFT", {"use_cayley_neumann": False}),
    "BOFT of two factors": ("BOFT", {"boft_n_butterfly_factor": 2}),
    "RandLoRA sparse": ("RANDLORA", {"sparse": True}),
    "RoAd 2": ("ROAD", {"variant": "road_2"}),
    "RoAd 4": ("ROAD", {"variant": "road_4"}),
    "GraLoRA hybrid": ("GRALORA", {"hybrid_r": 2, "r": 4}),
    "PEANuT deep": ("PEANUT", {"depth": 2, "act_fn": "tanh"}),
    "DEFT qr": ("DEFT", {"decomposition_method": "qr"}),
    "C3A by module": ("C3A", {"block_size_pattern": {"q_proj": 8}}),
    "FourierFT with another seed": ("FOURIERFT", {"random_loc_seed": 5}),
    "AdaLoRA of another alpha": ("ADALORA", {"lora_alpha": 1}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_of_a_type(name: str, tmp_path: Path) -> None:
    peft_type, settings = VARIANTS[name]
    base = tiny_model(tmp_path / "base", attention_bias=True)
    brick = adapter_of(peft_type, base, tmp_path / "adapter", **settings)
    built = weights(build(manifest(base, {"a": brick}, sum_of(a=1.0)), tmp_path / "built"))
    theirs = merged_by_peft(base, brick)
    assert worst_ratio(built, theirs) <= TOLERANCE
    assert worst_ratio(weights(base), theirs) > 100 * TOLERANCE, "the adapter changes nothing: the test shows nothing"


LORAS: dict[str, dict[str, Any]] = {
    "biases of the modules": {"bias": "lora_only"},
    "all biases": {"bias": "all"},
    "a bias of B": {"lora_bias": True, "target_modules": ["q_proj", "v_proj"]},
    "trained tokens": {"trainable_token_indices": [3, 90, 0]},
    "trained tokens by module": {"trainable_token_indices": {"embed_tokens": [5]}},
}


@pytest.mark.parametrize("name", LORAS)
def test_options_of_lora(name: str, tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", attention_bias=True)
    brick = adapter(base, tmp_path / "adapter", **LORAS[name])
    built = weights(build(manifest(base, {"a": brick}, sum_of(a=1.0)), tmp_path / "built"))
    theirs = merged_by_peft(base, brick)
    assert worst_ratio(built, theirs) <= TOLERANCE
    assert worst_ratio(weights(base), theirs) > 100 * TOLERANCE, "the adapter changes nothing: the test shows nothing"


def test_what_adalora_kept_of_its_ranks(tmp_path: Path) -> None:
    """PEFT still divides by the rank that training began with."""
    base = tiny_model(tmp_path / "base")
    brick = adapter_of("ADALORA", base, tmp_path / "adapter")
    module = "model.layers.0.self_attn.q_proj"
    edit_config(brick, rank_pattern={f"{module}.lora_E": [True, False, True, False]})

    def cut(found: dict[str, Any]) -> dict[str, Any]:
        prefix = f"base_model.model.{module}"
        for part in ("lora_A", "lora_E"):
            found[f"{prefix}.{part}"] = found[f"{prefix}.{part}"][[0, 2]]
        found[f"{prefix}.lora_B"] = found[f"{prefix}.lora_B"][:, [0, 2]]
        return found

    edit_tensors(brick, cut)
    built = weights(build(manifest(base, {"a": brick}, sum_of(a=1.0)), tmp_path / "built"))
    assert worst_ratio(built, merged_by_peft(base, brick)) <= TOLERANCE


EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]


@pytest.mark.parametrize("parameters", [EXPERTS, EXPERTS[:1], EXPERTS[1:], EXPERTS[::-1]], ids=str)
@pytest.mark.parametrize("architecture", ["gpt_oss", "mixtral", "qwen3_moe"])
def test_experts_that_the_running_model_holds_in_one_tensor(
    architecture: str, parameters: list[str], tmp_path: Path
) -> None:
    """In files they lie together (gpt_oss, transposed) or each for itself; the answer is PEFT's in both cases."""
    base = model_of(architecture, tmp_path / "base")
    settings = {"target_modules": ["q_proj"], "target_parameters": parameters, "r": 2, "lora_alpha": 6}
    brick = adapter_on(base, tmp_path / "adapter", **settings)
    built = build(manifest(base, {"a": brick}, sum_of(a=1.0)), tmp_path / "built")
    ours, theirs = dict(load_any(built).state_dict()), merged(base, brick)
    assert ours.keys() == theirs.keys()
    assert worst_ratio(ours, theirs) <= TOLERANCE
    before = load_any(base).state_dict()
    changed = [key for key in before if not before[key].equal(ours[key])]
    assert {key.rpartition("mlp.")[-1] for key in changed if "experts" in key} == {name[4:] for name in parameters}


def test_lokr_on_a_convolution_of_one_dimension_is_refused(tmp_path: Path) -> None:
    """PEFT multiplies a matrix by a tensor of three dimensions there, and reshapes what comes out."""
    base = tiny_model(tmp_path / "base")
    brick = adapter_of("LOKR", base, tmp_path / "adapter", target_modules=["q_proj"], r=32)

    def widen(found: dict[str, Any]) -> dict[str, Any]:
        return {key: one.unsqueeze(2) if key.endswith("lokr_w2") else one for key, one in found.items()}

    edit_tensors(brick, widen)
    with pytest.raises(Unsupported, match="cannot be merged exactly") as caught:
        prepare(manifest(base, {"a": brick}, sum_of(a=1.0)), tmp_path)
    assert "convolution of one dimension" in str(caught.value)

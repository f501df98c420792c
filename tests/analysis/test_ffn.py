"""FFNs are found by their modules, in models of every shape, and their weights are those that the model uses."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    BertConfig,
    BertModel,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from brickctl.analysis.ffn import find_ffns
from brickctl.errors import Unsupported
from tests.support.ffn_models import MODELS, tiny
from tests.support.models import quietly

_NAMES = {
    "GPT2": "transformer.h.1.mlp",
    "OPT": "model.decoder.layers.1",
    "GPTNeoX": "gpt_neox.layers.1.mlp",
    "Mixtral": "model.layers.1.mlp.experts.3",
    "GptOss": "model.layers.1.mlp.experts.3",
}


@pytest.mark.parametrize("architecture", MODELS)
def test_ffns_stand_in_the_order_of_layers(architecture: str) -> None:
    ffns = find_ffns(tiny(architecture))
    assert [ffn.layer for ffn in ffns] == sorted(ffn.layer for ffn in ffns)
    assert {ffn.layer for ffn in ffns} == {0, 1}
    assert ffns[-1].name == _NAMES.get(architecture, "model.layers.1.mlp")
    assert ffns[-1].neurons == 24
    assert [part.shape for part in ffns[-1].parts.inward()] == [(24, 16)] * (1 + ffns[-1].is_gated)


def test_a_gate_is_known_by_its_weights() -> None:
    plain = {"GPT2", "OPT", "GPTNeoX", "Nemotron"}
    assert {name for name in MODELS if not find_ffns(tiny(name))[0].is_gated} == plain


def test_experts_are_ffns_by_number_and_the_one_that_is_always_on_is_one_without() -> None:
    found = [(ffn.name, ffn.layer, ffn.expert, ffn.neurons) for ffn in find_ffns(tiny("Qwen2Moe"))]
    assert found == [
        *((f"model.layers.0.mlp.experts.{number}", 0, number, 8) for number in range(4)),
        ("model.layers.0.mlp.shared_expert", 0, None, 12),
        ("model.layers.1.mlp", 1, None, 24),
    ]


def test_norms_are_the_lengths_of_output_columns_whichever_way_they_are_stored() -> None:
    gpt2, llama = tiny("GPT2"), tiny("Llama")
    stored = gpt2.transformer.h[0].mlp.c_proj.weight  # (neurons, hidden)
    assert torch.equal(find_ffns(gpt2)[0].output_norms(), stored.norm(dim=1))
    stored = llama.model.layers[0].mlp.down_proj.weight  # (hidden, neurons)
    assert torch.equal(find_ffns(llama)[0].output_norms(), stored.norm(dim=0))


@pytest.mark.parametrize("architecture", ["Phi3", "Mixtral", "GptOss"])
def test_a_gate_that_is_stored_with_the_other_half_comes_first(architecture: str) -> None:
    model = tiny(architecture)
    mlp = model.model.layers[0].mlp
    both = {
        "Phi3": lambda: mlp.gate_up_proj.weight,
        "Mixtral": lambda: mlp.experts.gate_up_proj[0],
        "GptOss": lambda: torch.cat([mlp.experts.gate_up_proj[0, :, ::2], mlp.experts.gate_up_proj[0, :, 1::2]], 1).T,
    }[architecture]()
    assert torch.equal(torch.cat(find_ffns(model)[0].parts.inward()), both)


def test_a_model_that_sees_shows_the_ffns_of_its_language_model() -> None:
    sizes: dict[str, Any] = {
        "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2,
    }  # fmt: skip
    vision = CLIPVisionConfig(**sizes, image_size=8, patch_size=4, projection_dim=8)
    model = LlavaForConditionalGeneration(
        LlavaConfig(vision_config=vision, text_config=LlamaConfig(**sizes, vocab_size=40))
    )
    assert [ffn.name for ffn in find_ffns(model)] == ["model.language_model.layers.0.mlp"]


def test_attention_is_no_ffn() -> None:
    model = BertModel(
        BertConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    )
    with pytest.raises(Unsupported, match="no FFN was found in BertModel"):
        find_ffns(model)


def test_adapters_have_to_be_merged_first() -> None:
    settings = LoraConfig(target_modules=["down_proj"], layers_to_transform=[1])
    adapted = quietly(lambda: get_peft_model(tiny("Llama"), settings))
    with pytest.raises(Unsupported, match=r"layers\.1\.mlp` is not made of plain") as caught:
        find_ffns(adapted)
    assert caught.value.hint == "merge adapters into the model first; quantised weights are not read"
    assert len(find_ffns(adapted.merge_and_unload())) == 2


def test_experts_that_nobody_can_listen_to_are_refused() -> None:
    model = tiny("Llama")
    mlp = model.model.layers[1].mlp
    mlp.down_proj = torch.nn.Parameter(torch.zeros(4, 16, 24))
    with pytest.raises(Unsupported, match=r"`model\.layers\.1\.mlp` \(LlamaMLP\)"):
        find_ffns(model)
    model.model.layers[1].mlp = torch.nn.ModuleDict(
        {"experts": torch.nn.ModuleList([tiny("Llama").model.layers[0].mlp])}
    )
    with pytest.raises(Unsupported, match=r"experts\.0` are modules of their own"):
        find_ffns(model)

"""Every way in which an adapter of PEFT contradicts itself or the base, one type after the other."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import pytest

from brickctl.core.dtypes import DType
from brickctl.core.regions import Spec
from brickctl.tensors.header import write_header
from tests.messages.laying import Q_PROJ, Files, config, manifest, pair, stored, with_tensors
from tests.support import sandbox as bricks
from tests.support.adapters import ADAPTERS, adapter_of
from tests.support.models import tiny_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from syrupy.assertion import SnapshotAssertion

    from tests.support.sandbox import Outcome, Sandbox

EMBEDDING = "base_model.model.model.embed_tokens"
NORM = "base_model.model.model.norm"
STACKED = manifest(apply='{ op = "stack", bricks = ["sql"] }')
Shapes = dict[str, tuple[int, ...]]


def of(peft_type: str, tensors: Shapes, module: str = Q_PROJ, dtype: DType = DType.F32, **fields: Any) -> Files:
    """An adapter with these tensors of one module."""
    keys = {f"{module}.{name}": shape for name, shape in tensors.items()}
    return {**config(peft_type=peft_type, **fields), "adapter_model.safetensors": stored(keys, dtype=dtype, fill=1)}


def lora(more: Shapes | None = None, **fields: Any) -> Files:
    """A LoRA with further tensors of its module."""
    keys = {f"{Q_PROJ}.{name}": shape for name, shape in (more or {}).items()}
    return with_tensors(stored({**pair(), **keys}), **fields)


def places(rows: list[int], columns: list[int]) -> bytes:
    """The tensors of a SHiRA that changes single weights at these places."""
    count = len(rows)
    specs = {
        f"{Q_PROJ}.shira_weight": Spec(DType.F32, (count,)),
        f"{Q_PROJ}.shira_indices": Spec(DType.I64, (2, count)),
    }
    return write_header(specs) + struct.pack(f"<{count}f{2 * count}q", *[0.5] * count, *rows, *columns)


def embedding(tokens: int = 16, more: Shapes | None = None) -> Files:
    factors = {"lora_embedding_A": (2, tokens), "lora_embedding_B": (8, 2), **(more or {})}
    return with_tensors(stored({f"{EMBEDDING}.{name}": shape for name, shape in factors.items()}))


REFUSED: dict[str, Files] = {
    "LoRA, factors of two ranks": with_tensors(stored({**pair(rank=2), f"{Q_PROJ}.lora_B.weight": (8, 3)})),
    "LoRA, another rank than it says": lora(r=4),
    "LoRA, a rank below 1": lora(r=0),
    "LoRA, a pattern of no numbers": lora(rank_pattern={"q_proj": 0}),
    "LoRA, a bias of B that it does not say": lora({"lora_B.bias": (8,)}),
    "LoRA, a bias of B of another size": lora({"lora_B.bias": (9,)}, lora_bias=True),
    "LoRA, no magnitude": lora(use_dora=True),
    "LoRA, a magnitude that it does not say": lora({"lora_magnitude_vector": (8,)}),
    "LoRA, factors of two kinds": lora({"lora_embedding_A": (2, 8)}),
    "LoRA, a factor that is no matrix": with_tensors(stored({**pair(), f"{Q_PROJ}.lora_A.weight": (8,)})),
    "LoRA, an embedding of another size": embedding(tokens=20),
    "LoRA, an embedding that is none": with_tensors(
        stored({f"{NORM}.lora_embedding_A": (2, 8), f"{NORM}.lora_embedding_B": (8, 2)})
    ),
    "LoRA, tokens and factors": embedding(more={"trainable_tokens_delta": (1, 8)}),
    "LoRA, a tensor twice": with_tensors(stored({**pair(), f"{NORM}.weight": (8,), f"{NORM}.base_layer.weight": (8,)})),
    "LoRA, a factor twice": lora({"base_layer.lora_A.weight": (2, 8)}),
    "LoRA, a tensor of another type": lora({"hada_w1_a": (8, 2)}),
    "LoRA, a saved tensor of another shape": with_tensors(stored({**pair(), f"{NORM}.weight": (9,)})),
    "LoRA, a formula that is not built": lora(use_qalora=True),
    "LoRA, the experts of another model": lora(target_parameters=["mlp.experts.down_proj"], target_modules=[])
    | {"adapter_model.safetensors": stored(pair("base_model.model.model.layers.0.mlp.experts"))},
    "AdaLoRA, another rank than it says": of(
        "ADALORA",
        {"lora_A": (2, 8), "lora_B": (8, 2), "lora_E": (2, 1)},
        init_r=2,
        rank_pattern={"model.layers.0.self_attn.q_proj.lora_E": [True, False]},
    ),
    "AdaLoRA, a pattern of no flags": of("ADALORA", {"lora_A": (2, 8)}, init_r=2, rank_pattern={"q_proj": 2}),
    "BEFT, a base without a bias": of("BEFT", {"beft_bias": (8,)}),
    "DeLoRA, two strengths": of(
        "DELORA", {"delora_A": (2, 8), "delora_B": (8, 2), "delora_lambda": (2,), "delora_w_norm": (8,)}, r=2
    ),
    "HiRA, another width": of("HIRA", {"hira_A": (2, 9), "hira_B": (8, 2)}, r=2),
    "HRA, another rank than it says": of("HRA", {"hra_u": (8, 3)}, r=2),
    "IA3, a vector for the other side": of("IA3", {"ia3_l": (8, 1)}, feedforward_modules=["q_proj"]),
    "IA3, another width": of("IA3", {"ia3_l": (1, 9)}, feedforward_modules=["q_proj"]),
    "IA3, an unreadable expression": of("IA3", {"ia3_l": (8, 1)}, feedforward_modules="(?=q)q_proj"),
    "LN tuning, another width": of("LN_TUNING", {"ln_tuning_layers.weight": (9,)}, NORM),
    "LN tuning, a base without a bias": of("LN_TUNING", {"ln_tuning_layers.bias": (8,)}, NORM),
    "LoHa, another rank than it says": of(
        "LOHA", {f"hada_w{at}_{side}": shape for at in (1, 2) for side, shape in (("a", (8, 2)), ("b", (2, 8)))}, r=3
    ),
    "LoKr, another size": of("LOKR", {"lokr_w1": (2, 2), "lokr_w2": (4, 3)}, r=2),
    "LoKr, a convolution of one dimension": of("LOKR", {"lokr_w1": (2, 2), "lokr_w2": (4, 4, 1)}, r=2),
    "MiSS, blocks that do not fill": of("MISS", {"miss_block": (2, 3, 3)}, r=3, init_weights="bat"),
    "MiSS, tiles that do not fill": of("MISS", {"miss_block": (2, 3)}, r=2, init_weights="mini", mini_r=3),
    "SHiRA, no places": of("SHIRA", {"shira_weight": (4,)}),
    "SHiRA, places that are no integers": of("SHIRA", {"shira_weight": (4,), "shira_indices": (2, 4)}),
    "tokens, which ones": of("TRAINABLE_TOKENS", {"trainable_tokens_delta": (1, 8)}, EMBEDDING),
    "tokens, no numbers": of("TRAINABLE_TOKENS", {"trainable_tokens_delta": (1, 8)}, EMBEDDING, token_indices=["a"]),
    "tokens, more than the base has": of(
        "TRAINABLE_TOKENS", {"trainable_tokens_delta": (1, 8)}, EMBEDDING, token_indices=[40]
    ),
    "tokens, another number than it says": of(
        "TRAINABLE_TOKENS", {"trainable_tokens_delta": (3, 8)}, EMBEDDING, token_indices=[4]
    ),
    "VeRA, no projections": of("VERA", {"vera_lambda_b": (8,), "vera_lambda_d": (2,)}, r=2),
    "VeRA, another width": of("VERA", {"vera_lambda_b": (8,), "vera_lambda_d": (2,)}, r=2)
    | {
        "adapter_model.safetensors": stored(
            {
                f"{Q_PROJ}.vera_lambda_b": (8,),
                f"{Q_PROJ}.vera_lambda_d": (2,),
                "base_model.vera_A": (2, 4),
                "base_model.vera_B": (8, 2),
            }
        )
    },
    "BOFT, no matrix": of("BOFT", {"boft_R": (1, 2, 4, 4), "boft_s": (8, 1)}, NORM, boft_block_size=4),
    "a prompt, another number than it says": {
        "adapter_config.json": b'{"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3}',
        "adapter_model.safetensors": stored({"prompt_embeddings": (4, 8)}),
    },
    "a prompt, another width": {
        "adapter_config.json": b'{"peft_type": "PROMPT_TUNING", "base_model_name_or_path": "acme/wide"}',
        "adapter_model.safetensors": stored({"prompt_embeddings": (4, 16)}),
    },
    "stacked, a module that the base lacks": of("LILY", {"lily_A.weight": (2, 8)}, f"{NORM}.deep"),
}
"""Adapters that `lock` refuses."""

BUILT: dict[str, Files] = {
    "SHiRA, places that stand twice": {
        **config(peft_type="SHIRA"),
        "adapter_model.safetensors": places([0, 0], [1, 1]),
    },
    "SHiRA, places outside": {**config(peft_type="SHIRA"), "adapter_model.safetensors": places([0, 9], [1, 1])},
    "C3A, blocks that do not fill": of("C3A", {"c3a_kernel": (2, 2, 3)}, block_size=3),
    "BOFT, another shape than it says": of("BOFT", {"boft_R": (1, 2, 4, 4), "boft_s": (8, 1)}, boft_block_size=2),
    "BOFT, no scale": of("BOFT", {"boft_R": (1, 2, 4, 4)}, boft_block_size=4),
}
"""Adapters that only a build can refuse."""


@pytest.mark.parametrize("name", REFUSED)
def test_an_adapter_that_is_refused(
    name: str, lay: Callable[..., Sandbox], said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    sandbox = lay(REFUSED[name])
    config = json.loads((sandbox.root / "base" / "config.json").read_text())
    sandbox.write({"base/config.json": json.dumps({**config, "hidden_size": bricks.WIDTH})})
    outcome = sandbox.run("lock")
    assert outcome.code != 0, outcome
    assert said(outcome) == snapshot


@pytest.mark.parametrize("name", BUILT)
def test_an_adapter_that_a_build_refuses(
    name: str, lay: Callable[..., Sandbox], said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    sandbox = lay(BUILT[name])
    assert sandbox.run("lock").code == 0
    outcome = sandbox.run("build")
    assert outcome.code != 0, outcome
    assert said(outcome) == snapshot


def test_a_base_that_is_quantised(
    lay: Callable[..., Sandbox], said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    sandbox = lay(bricks.adapter())
    sandbox.write({"base/model.safetensors": stored(bricks.model_shapes(), dtype=DType.I8)})
    assert said(sandbox.run("lock")) == snapshot


@pytest.mark.full
@pytest.mark.parametrize("peft_type", ADAPTERS)
def test_what_info_says_of_every_type(
    peft_type: str, empty: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    """Digest and size depend on the versions of PEFT and torch, and are left out."""
    adapter_of(peft_type, tiny_model(empty.root / "base"), empty.root / "sql")
    lines = said(empty.run("info", "./sql")).splitlines()
    assert [line for line in lines if not line.startswith(("digest", "size"))] == snapshot

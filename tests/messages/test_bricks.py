"""Every way in which a brick does not fit, and what `info` says of bricks: read the snapshot as a user would."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

import pytest

from brickctl.core.dtypes import DType
from brickctl.core.regions import Spec
from brickctl.tensors.header import write_header
from tests.messages.laying import Q_PROJ, Files, config, manifest, pair, stored, with_tensors, without
from tests.support import sandbox as bricks

if TYPE_CHECKING:
    from collections.abc import Callable

    from syrupy.assertion import SnapshotAssertion

    from tests.support.sandbox import Outcome, Sandbox

REFUSED: dict[str, Files] = {
    "a type that only stacks": config(peft_type="PROMPT_TUNING"),
    "a type that depends on the input": config(peft_type="XLORA"),
    "an unknown type": config(peft_type="LORAA", r=2),
    "a type that is no word": config(peft_type=7, r=2),
    "a rank that is no number": bricks.adapter(r="2"),
    "no rank": config(peft_type="LORA", target_modules=["q_proj"]),
    "a field of a newer PEFT": bricks.adapter(use_quora=True),
    "a base that is changed at load": bricks.adapter(init_lora_weights="pissa"),
    "projections that are not saved": config(peft_type="VERA", r=2, save_projection=False),
    "an unreadable pattern": bricks.adapter(rank_pattern={"(?=q)q_proj": 2}),
    "half a pair": with_tensors(stored({f"{Q_PROJ}.lora_A.weight": (2, 8)})),
    "a module that the base lacks": with_tensors(stored(pair(Q_PROJ.replace("layers.0", "layers.7")))),
    "another width": bricks.adapter(width=16),
    "keys without their prefix": with_tensors(stored(pair("model.layers.0.self_attn.q_proj"))),
    "a tensor that nobody asked for": with_tensors(stored({**pair(), "base_model.model.gate.weight": (3, 3)})),
    "no tensor at all": with_tensors(stored({})),
    "a saved module that is missing": bricks.adapter(modules_to_save=["lm_head"]),
    "tensors of whole numbers": with_tensors(stored(pair(), dtype=DType.I8)),
    "pickles": {**without(bricks.adapter(), "adapter_model.safetensors"), "adapter_model.bin": b"\x80\x04"},
    "no weights": without(bricks.adapter(), "adapter_model.safetensors"),
    "no configuration": {"adapter_model.safetensors": bricks.adapter()["adapter_model.safetensors"]},
    "a configuration that is no JSON": {**bricks.adapter(), "adapter_config.json": b"{"},
    "a key that stands twice": {**bricks.adapter(), "adapter_config.json": b'{"r": 1, "r": 2}'},
    "a header that lies": {**bricks.adapter(), "adapter_model.safetensors": struct.pack("<Q", 1 << 62) + b"{}"},
    "a weight file cut short": with_tensors(stored(pair())[:-1]),
    "remote code": {**bricks.adapter(), "config.json": b'{"auto_map": {"AutoModel": "own.Model"}}'},
    "an expert of another width": bricks.model(width=16),
    "an expert that is quantised": {
        **bricks.model(),
        "config.json": b'{"model_type": "llama", "quantization_config": {"quant_method": "gptq"}}',
    },
}
"""Bricks that `lock` refuses."""

INFORMATIVE: dict[str, Files] = {
    "a LoRA": bricks.adapter(base_model_name_or_path="acme/base"),
    "an IA3": {
        **config(peft_type="IA3", target_modules=["q_proj"], feedforward_modules=[]),
        "adapter_model.safetensors": stored({f"{Q_PROJ}.ia3_l": (8, 1)}),
    },
    "a prompt": {
        "adapter_config.json": b'{"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 4}',
        "adapter_model.safetensors": stored({"prompt_embeddings": (4, 8)}),
    },
    "what cannot be merged": config(peft_type="XLORA"),
    "an expert": bricks.model(fill=3),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_brick_that_is_refused(
    name: str, lay: Callable[..., Sandbox], said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    sandbox = lay(REFUSED[name])
    outcome = sandbox.run("lock")
    assert outcome.code != 0
    assert not (sandbox.root / "brick.lock").exists()
    assert said(outcome) == snapshot


@pytest.mark.parametrize("name", INFORMATIVE)
def test_what_info_says(
    name: str, lay: Callable[..., Sandbox], said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    assert said(lay(INFORMATIVE[name]).run("info", "sql")) == snapshot


def test_numbers_that_are_none(
    lay: Callable[..., Sandbox], said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    head = write_header({name: Spec(DType.F32, shape) for name, shape in pair().items()})
    sandbox = lay(with_tensors(head + struct.pack("<32f", *[1.0] * 31, math.nan)))
    outcome = sandbox.run("build")
    assert outcome.code != 0
    assert not (sandbox.root / "dist" / "assistant").exists()
    assert said(outcome) == snapshot


def test_what_has_no_merged_weights(
    lay: Callable[..., Sandbox], said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    """It is locked, because it can be stacked."""
    outcome = lay(config(peft_type="PSOFT", r=2)).run("build")
    assert outcome.code != 0
    assert said(outcome) == snapshot


MODULES: dict[str, tuple[Files, str]] = {
    "a module of another shape": ({"model.safetensors": stored({"lm_head.weight": (16, 9)})}, ', kind = "module"'),
    "a module without a kind": ({"model.safetensors": stored({"lm_head.weight": (16, 8)})}, ""),
    "an unknown kind": (bricks.adapter(), ', kind = "adaptor"'),
    "an adapter called an expert": (bricks.adapter(), ', kind = "expert"'),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_brick_of_the_wrong_kind(
    name: str, lay: Callable[..., Sandbox], said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    files, more = MODULES[name]
    outcome = lay(files, manifest(more=more)).run("lock")
    assert outcome.code != 0
    assert said(outcome) == snapshot

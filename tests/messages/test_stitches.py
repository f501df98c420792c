"""Every way in which a stitch is refused, and what it says about configurations: read the snapshot as a user would."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from brickctl.core.dtypes import DType
from tests.messages.laying import Files, manifest, stored
from tests.support import sandbox as bricks

if TYPE_CHECKING:
    from collections.abc import Callable

    from syrupy.assertion import SnapshotAssertion

    from tests.support.sandbox import Outcome, Sandbox

BASE = '{ brick = "base", layers = [0, 2] }'
SQL = '{ brick = "sql", layers = [0, 2] }'
TWICE = f"{BASE}, {SQL}"
CONFIG = {"model_type": "llama", "tie_word_embeddings": False, "num_hidden_layers": 2}


def stitch(slices: str, more: str = "") -> str:
    return f'{{ op = "stitch", slices = [{slices}]{more} }}'


def merge(method: str, more: str) -> str:
    return f'{{ method = "{method}", {more} }}'


def model(shapes: dict[str, tuple[int, ...]] | None = None, **config: Any) -> Files:
    """A model of two layers with one matrix each, unless told otherwise."""
    tensors = bricks.weights(shapes or bricks.model_shapes())
    return {"config.json": json.dumps({**CONFIG, **config}).encode(), "model.safetensors": tensors}


def renamed(old: str, new: str, **shapes: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {name.replace(old, new): shapes.get("shape", shape) for name, shape in bricks.model_shapes().items()}


WRITTEN: dict[str, str] = {
    "no slices": '{ op = "stitch" }',
    "slices misspelt": f'{{ op = "stitch", slice = [{BASE}] }}',
    "neither a brick nor a method": stitch("{ layers = [0, 2] }"),
    "no layers": stitch('{ brick = "sql" }'),
    "no layer between the numbers": stitch('{ brick = "sql", layers = [2, 2] }'),
    "more layers than can be counted": stitch('{ brick = "sql", layers = [0, 18446744073709551616] }'),
    "a range that goes backward": stitch('{ brick = "sql", layers = [3, 1] }'),
    "a range that is none": stitch('{ brick = "sql", layers = 3 }'),
    "different lengths": stitch(
        merge("slerp", 't = 0.5, bricks = [{ brick = "base", layers = [0, 1] }, { brick = "sql", layers = [0, 2] }]')
    ),
    "no layers of the base for a delta": stitch(merge("ties", 'bricks = [{ brick = "sql", layers = [0, 2] }]')),
    "a weight of the base of deltas": stitch(
        merge("ties", 'layers = [0, 2], bricks = [{ brick = "base", weight = 0.5 }, { brick = "sql" }]')
    ),
    "a method that there is not": stitch(merge("slurp", "layers = [0, 2]")),
    "layers outside of all layers": stitch(BASE, f", before = {SQL}"),
    "a filter that matches nothing": stitch(
        '{ brick = "base", layers = [0, 2], scale = [{ filter = "*.mlp.*", value = 0.0 }, { value = 1.0 }] }'
    ),
    "more layers than there are": stitch('{ brick = "base", layers = [0, 2] }, { brick = "sql", layers = [1, 4] }'),
    "another stack": stitch(BASE, ', stack = "model.blocks"'),
    "a merge after a stitch": f'{stitch(TWICE)}, {{ op = "merge", method = "ties", bricks = {{ sql = 0.5 }} }}',
    "deltas after a stitch": f"{stitch(TWICE)}, {stitch(merge('ties', 'layers = [0, 2], bricks = { sql = 0.5 }'))}",
}
RESIZED = {**bricks.model_shapes(), "model.layers.1.self_attn.q_proj.weight": (4, 8)}
WITH_NORMS = {**bricks.model_shapes(), **{f"model.layers.{number}.norm.weight": (8,) for number in (0, 1)}}
DEEPER = {**bricks.model_shapes(), "model.layers.2.self_attn.q_proj.weight": (8, 8)}
MADE: dict[str, tuple[Files, Files]] = {
    "another shape in a layer": (model(), model(RESIZED)),
    "a tensor more in a layer": (model(), model({**bricks.model_shapes(), "model.layers.1.mlp.weight": (8, 8)})),
    "a tensor less in a layer": (model(WITH_NORMS), model()),
    "layers of two makes": (model({**bricks.model_shapes(), "model.layers.0.mlp.weight": (8, 8)}), model()),
    "layers of another name": (model(), model(renamed("model.layers", "transformer.h"))),
    "a gap between the layers": (model(), model(renamed("layers.0", "layers.2"))),
    "several stacks": (model({**bricks.model_shapes(), "vision.layers.0.mlp.weight": (8, 8)}), model()),
    "no layers at all": (model(renamed(".layers.", ".part_")), model()),
    "another number of heads": (model(num_attention_heads=4), model(num_attention_heads=2)),
    "a configuration that counts otherwise": (model(num_hidden_layers=3), model()),
    "a configuration that does not count": (model(num_hidden_layers=None), model()),
    "two counts": (model(text_config={"num_hidden_layers": 2}), model()),
    "an encoder with a decoder": (model(is_encoder_decoder=True), model()),
    "a list of another length": (model(layer_types=["a"]), model(layer_types=["a"])),
    "a list that one model lacks": (model(layer_types=["a", "b"]), model(DEEPER, num_hidden_layers=3)),
    "every second layer": (model(model_type="qwen2_moe", decoder_sparse_step=3), model(decoder_sparse_step=3)),
    "what only the code knows": (model(model_type="gemma3_text"), model(model_type="gemma3_text")),
    "the first layers": (model(first_k_dense_replace=1), model(first_k_dense_replace=1)),
    "a name of a layer": (model(skip=["model.layers.1.mlp"]), model()),
    "quantised weights": (model(), model(quantization_config={"quant_method": "fp8"})),
    "integers": (model(), {**model(), "model.safetensors": stored(bricks.model_shapes(), dtype=DType.I8)}),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_stitch_that_is_refused(
    name: str, empty: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    empty.write(model(), "base")
    empty.write(model(), "sql")
    empty.write({"brick.toml": manifest(WRITTEN[name])})
    outcome = empty.run("build", "--dry-run")
    assert outcome.code != 0, outcome
    assert said(outcome) == snapshot


@pytest.mark.parametrize("name", MADE)
def test_models_that_cannot_be_stitched(
    name: str, empty: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    for folder, files in zip(("base", "sql"), MADE[name], strict=True):
        empty.write(files, folder)
    empty.write({"brick.toml": manifest(stitch(TWICE))})
    outcome = empty.run("build", "--dry-run")
    assert outcome.code != 0, outcome
    assert said(outcome) == snapshot


def test_what_lies_outside_of_the_layers_must_fit_where_it_is_used(
    empty: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    empty.write(model(), "base")
    empty.write(model({**bricks.model_shapes(), "model.embed_tokens.weight": (24, 8)}), "sql")
    empty.write({"brick.toml": manifest(stitch(SQL))})
    assert empty.run("build", "--dry-run").code == 0
    empty.write({"brick.toml": manifest(stitch(SQL, ', before = { brick = "sql" }'))})
    assert said(empty.run("build", "--dry-run")) == snapshot


def test_an_adapter_does_not_fit_a_stitched_model(
    empty: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    empty.write(model(), "base")
    empty.write(bricks.adapter(), "sql")
    stack, copies = '{ op = "stack", bricks = ["sql"] }', stitch(f"{BASE}, {BASE}")
    refused = []
    for apply in (f"{copies}, {stack}", f"{stack}, {copies}"):
        empty.write({"brick.toml": manifest(apply)})
        refused.append(said(empty.run("build", "--dry-run")))
    assert "\n".join(refused) == snapshot
    empty.write({"brick.toml": manifest(f"{stitch(BASE)}, {stack}")})
    assert empty.run("build").code == 0


def test_settings_that_differ_are_told(
    empty: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    rope: dict[str, Any] = {
        "rope_theta": 1e6,
        "rope_scaling": {"factor": 2.0},
        "vocab_size": 99,
        "bos_token_id": 3,
        "layer_shift": 2,
    }
    empty.write(model(rope_theta=10000.0, layer_shift=2), "base")
    empty.write(model(**rope), "sql")
    empty.write({"brick.toml": manifest(stitch(TWICE))})
    outcome = empty.run("build")
    assert outcome.code == 0
    assert said(outcome) == snapshot

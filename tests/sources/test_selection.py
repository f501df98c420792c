from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brickctl.core.belonging import belongs
from brickctl.core.brick import File, Pin
from brickctl.core.digests import Sha256
from brickctl.core.names import is_safe_path
from brickctl.errors import BrickctlError, IntegrityFault, NotFound, PolicyViolation
from brickctl.sources.contents import read_contents, refuse_remote_code
from brickctl.sources.selection import read_json, select
from brickctl.tensors.header import Header
from tests.sources.bricks import model


def no_reading(path: str) -> bytes:
    raise AssertionError(path)


def index(*shards: str) -> Any:
    body = json.dumps({"weight_map": {f"tensor{number}": shard for number, shard in enumerate(shards)}}).encode()
    return lambda _: body


def test_a_model_takes_weights_configs_and_tokenizer_and_nothing_else() -> None:
    wanted = [
        "added_tokens.json",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "merges.txt",
        "model.safetensors",
        "preprocessor_config.json",
        "special_tokens_map.json",
        "spiece.model",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.json",
    ]
    unwanted = [
        "README.md",
        "adapter_model.safetensors",
        "consolidated.safetensors",
        "modeling_x.py",
        "onnx/config.json",
        "onnx/model.safetensors",
        "original/tokenizer.model",
        "pytorch_model.bin",
        "tokenizer.py",
        "tokenizer/config.json",
        "training_args.bin",
        "vocab.pkl",
        "vocab.pt",
    ]
    assert select([*unwanted, *wanted], no_reading, where="hf:a/b") == tuple(wanted)


def test_an_index_decides_which_shards_belong() -> None:
    paths = [
        "model.safetensors",
        "model.safetensors.index.json",
        "one.safetensors",
        "sub/two.safetensors",
        "stray.safetensors",
    ]
    chosen = select(paths, index("one.safetensors", "sub/two.safetensors", "one.safetensors"), where="hf:a/b")
    assert chosen == ("model.safetensors.index.json", "one.safetensors", "sub/two.safetensors")


def test_an_adapter_is_chosen_where_there_is_no_model() -> None:
    paths = ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"]
    assert select(paths, no_reading, where="hf:a/b") == ("adapter_config.json", "adapter_model.safetensors")


@pytest.mark.parametrize(
    ("shard", "fault"),
    [
        ("../model.safetensors", PolicyViolation),
        ("/etc/passwd", PolicyViolation),
        ("C:\\weights.safetensors", PolicyViolation),
        ("model.bin", PolicyViolation),
        ("missing.safetensors", IntegrityFault),
    ],
)
def test_an_index_cannot_lead_astray(shard: str, fault: type[BrickctlError]) -> None:
    with pytest.raises(fault):
        select(
            ["model.safetensors.index.json", "model.bin", shard.replace("missing", "other")],
            index(shard),
            where="hf:a/b",
        )


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b'{"weight_map": []}', b'{"weight_map": {}}', b'{"weight_map": {"a": 1}}']
)
def test_an_index_must_map_names_to_files(body: bytes) -> None:
    with pytest.raises(IntegrityFault):
        select(["model.safetensors.index.json"], lambda _: body, where="hf:a/b")


def test_pickle_alone_is_refused_with_the_way_out() -> None:
    with pytest.raises(PolicyViolation, match="pickle only") as caught:
        select(["config.json", "pytorch_model.bin"], no_reading, where="hf:a/b")
    assert caught.value.exit_code == 5
    assert "sandbox" in (caught.value.hint or "")


def test_what_was_found_instead_is_listed() -> None:
    with pytest.raises(NotFound, match=r"found lora-00001\.safetensors"):
        select(["lora-00001.safetensors", "config.json"], no_reading, where="hf:a/b")
    with pytest.raises(NotFound, match="found nothing"):
        select([], no_reading, where="hf:a/b")


def test_a_companion_with_a_name_that_misleads_is_refused() -> None:
    with pytest.raises(PolicyViolation, match="refuses"):
        select(["model.safetensors", "tokenizer\\..\\x.json"], no_reading, where="hf:a/b")


@given(st.lists(st.text(max_size=30), max_size=10))
def test_whatever_is_listed_only_safe_names_come_out(paths: list[str]) -> None:
    try:
        chosen = select([*paths, "model.safetensors"], index("model.safetensors"), where="hf:a/b")
    except BrickctlError:
        return
    assert "model.safetensors" in chosen
    assert not any(path.startswith("/") or ".." in path.split("/") or path.endswith(".py") for path in chosen)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"a": 1, "a": 2}',
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'{"a": -1e999}',
        b'{"a": "\\ud800"}',
        b'{"\\udfff": 1}',
        b'{"a":' * 50_000,
    ],
)
def test_only_strict_json_objects_are_read(content: bytes) -> None:
    with pytest.raises(IntegrityFault):
        read_json(content, where="config.json")


@pytest.mark.parametrize(
    "config",
    [
        {"auto_map": {"AutoModel": "evil.Model"}},
        {"text_config": {"auto_map": {"AutoModel": "evil.Model"}}},
        {"custom_pipelines": {"x": {"impl": "evil.Pipeline"}}},
        {"trust_remote_code": True},
        {"_attn_implementation_internal": "attacker/kernel"},
        {"layers": [{"attn_implementation": {"text": "attacker/kernel"}}]},
    ],
)
def test_configs_that_bring_code_are_refused_at_any_depth(config: dict[str, Any]) -> None:
    with pytest.raises(PolicyViolation, match="asks for code from elsewhere"):
        refuse_remote_code(config, where="config.json")


def test_ordinary_configs_pass() -> None:
    refuse_remote_code(
        {"attn_implementation": "sdpa", "auto_map": None, "trust_remote_code": False, "a": ["b/c"]}, where="config.json"
    )


@pytest.mark.parametrize(
    "name",
    [
        "video_preprocessor_config.json",
        "image_processor_config.json",
        "feature_extractor_config.json",
        "generation_config.json",
    ],
)
def test_every_configuration_that_is_taken_along_is_looked_into(name: str) -> None:
    files = {**model(), name: b'{"auto_map": {"AutoModel": "evil.Model"}}'}
    pin = Pin(source="path:x", files=tuple(File(path=path, size=1, sha256=Sha256("0" * 64)) for path in sorted(files)))
    with pytest.raises(PolicyViolation, match=f"path:x/{name} asks for code"):
        read_contents(pin, lambda file: files[file.path], lambda _: Header((), {}, 0))


def test_a_pair_of_surrogates_is_a_character_and_half_of_one_is_none() -> None:
    assert read_json(b'{"a": "\\ud83e\\uddf1"}', where="x") == {"a": "\U0001f9f1"}
    assert not is_safe_path("vocab\ud800")
    assert not belongs("vocab\ud800")

"""Loading artifacts: a plain model, a stack, and what is refused."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from brickctl.analysis import load as load_module
from brickctl.analysis.load import load, unmatched_keys
from brickctl.analysis.tokens import encode
from brickctl.errors import IntegrityFault, NotFound, Unsupported


def logits(folder: Path, active: str | None = None) -> torch.Tensor:
    """What the model in `folder` says after a text."""
    loaded = load(folder, active=active)
    with torch.inference_mode():
        output: torch.Tensor = loaded.model(input_ids=torch.tensor([encode(loaded.tokenizer, "abc")])).logits
    return output


def without(path: Path, ending: str) -> None:
    """Take the tensors whose names end so out of a file."""
    kept = {name: tensor for name, tensor in load_file(path).items() if not name.endswith(ending)}
    save_file(kept, path, metadata={"format": "pt"})


def test_a_stack_without_an_active_adapter_is_its_base(stack: Path) -> None:
    loaded = load(stack, threads=1)
    assert type(loaded.model).__name__ == "LlamaForCausalLM"
    assert not loaded.model.training
    assert torch.get_num_threads() == 1


def test_only_a_large_model_is_computed_with_all_threads(stack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = load(stack, threads=2).model.num_parameters()
    assert torch.get_num_threads() == 1
    monkeypatch.setattr(load_module, "_WORTH_DIVIDING", parameters)
    load(stack, threads=2)
    assert torch.get_num_threads() == 2


def test_the_active_adapter_changes_what_the_model_says(stack: Path) -> None:
    assert load(stack, active="other").model.active_adapter == "other"
    assert not torch.allclose(logits(stack), logits(stack, active="other"))


def test_the_dtype_is_the_stored_one_unless_told_otherwise(stack: Path) -> None:
    load(stack).model.to(torch.bfloat16).save_pretrained(stack)
    assert load(stack).model.dtype == torch.bfloat16
    assert load(stack, dtype="float32").model.dtype == torch.float32


def test_nothing_is_written_to_the_terminal(stack: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load(stack, active="other")
    assert capfd.readouterr() == ("", "")


def test_a_folder_without_a_model_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as raised:
        load(tmp_path)
    assert raised.value.hint == "`brickctl build` makes it"


def test_an_adapter_that_is_not_there_is_not_found(stack: Path) -> None:
    with pytest.raises(NotFound, match="there is no adapter"):
        load(stack, active="none")


def test_a_tensor_that_would_be_made_up_is_refused(stack: Path) -> None:
    without(stack / "model.safetensors", "layers.1.mlp.up_proj.weight")
    with pytest.raises(IntegrityFault) as raised:
        load(stack)
    assert raised.value.causes == ("`model.layers.1.mlp.up_proj.weight` is not there",)


def test_an_adapter_tensor_that_would_be_made_up_is_refused(stack: Path) -> None:
    without(stack / "adapters" / "other" / "adapter_model.safetensors", "layers.1.self_attn.q_proj.lora_A.weight")
    with pytest.raises(IntegrityFault, match="misses tensors"):
        load(stack, active="other")


def test_remote_code_is_not_run(stack: Path) -> None:
    (stack / "model.py").write_text("raise SystemExit('remote code ran')\n")
    config = {"model_type": "novel", "auto_map": {"AutoConfig": "model.Config", "AutoModelForCausalLM": "model.Model"}}
    (stack / "config.json").write_text(json.dumps(config))
    with pytest.raises(Unsupported, match="cannot be loaded"):
        load(stack)


def test_pickle_is_not_read(stack: Path) -> None:
    (stack / "model.safetensors").unlink()
    torch.save({}, stack / "pytorch_model.bin")
    with pytest.raises(Unsupported, match="cannot be loaded"):
        load(stack)


def test_pickle_of_an_adapter_is_not_read(stack: Path) -> None:
    (stack / "adapters" / "other" / "adapter_model.safetensors").rename(
        stack / "adapters" / "other" / "adapter_model.bin"
    )
    with pytest.raises(NotFound, match="there is no adapter"):
        load(stack, active="other")


def test_a_clean_model_has_no_unmatched_keys(stack: Path) -> None:
    assert unmatched_keys(stack) == ()


def test_unmatched_keys_are_named(stack: Path) -> None:
    path = stack / "model.safetensors"
    tensors = load_file(path)
    tensors["model.layers.7.extra"] = torch.zeros(2)
    del tensors["model.norm.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    assert unmatched_keys(stack) == ("`model.norm.weight` is missing", "`model.layers.7.extra` is not in the model")


def test_a_tensor_of_another_shape_is_named(stack: Path) -> None:
    path = stack / "model.safetensors"
    save_file(load_file(path) | {"model.norm.weight": torch.zeros(7)}, path, metadata={"format": "pt"})
    assert unmatched_keys(stack) == ("`model.norm.weight` has another shape",)
    with pytest.raises(Unsupported, match="cannot be loaded"):
        load(stack)

"""Stacks: adapters beside an untouched model, loaded by the lines that come with them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

from brickctl.core.names import Alias, is_alias
from brickctl.errors import ManifestInvalid, Misfit
from brickctl.operations.loading_guide import refuse_taken
from tests.support.building import build, manifest, prepare, sum_of
from tests.support.models import VOCABULARY, adapter, load, load_with_adapter, logits, tiny_model, tuned, weights

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

STEP = '{ op = "stack", bricks = ["lora", "dora"], active = "dora" }'


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stack")


@pytest.fixture(scope="module")
def base(scratch: Path) -> Path:
    """A tiny model with a tokenizer, so that the whole guide can run."""
    folder = tiny_model(scratch / "base")
    words = Tokenizer(WordLevel({f"w{number}": number for number in range(VOCABULARY)}, unk_token="w0"))  # noqa: S106
    words.pre_tokenizer = WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0").save_pretrained(folder)  # noqa: S106
    return folder


@pytest.fixture(scope="module")
def bricks(scratch: Path, base: Path) -> dict[str, Path]:
    return {
        "lora": adapter(base, scratch / "lora", seed=1),
        "dora": adapter(base, scratch / "dora", seed=2, use_dora=True, modules_to_save=["lm_head"]),
        "expert": tuned(base, scratch / "expert"),
    }


@pytest.fixture(scope="module")
def stack(scratch: Path, base: Path, bricks: Mapping[str, Path]) -> Path:
    return build(manifest(base, bricks, STEP), scratch / "stack")


def test_the_model_lies_at_the_root_and_each_adapter_in_a_folder(stack: Path, base: Path) -> None:
    found = sorted(path.relative_to(stack).as_posix() for path in stack.rglob("*") if path.is_file())
    assert found == sorted(
        [
            *(path.name for path in base.iterdir()),
            "how-to-load.md",
            *(
                f"adapters/{name}/adapter_{file}"
                for name in ("dora", "lora")
                for file in ("config.json", "model.safetensors")
            ),
        ]
    )
    for path in base.iterdir():
        assert (stack / path.name).read_bytes() == path.read_bytes()


def test_the_weights_of_the_adapters_are_copied_byte_for_byte(stack: Path, bricks: Mapping[str, Path]) -> None:
    for name in ("lora", "dora"):
        copied = stack / "adapters" / name / "adapter_model.safetensors"
        assert copied.read_bytes() == (bricks[name] / "adapter_model.safetensors").read_bytes()


def test_no_path_of_this_machine_gets_into_a_stack(stack: Path, bricks: Mapping[str, Path]) -> None:
    config = json.loads((stack / "adapters/lora/adapter_config.json").read_text())
    before = json.loads((bricks["lora"] / "adapter_config.json").read_text())
    assert before["base_model_name_or_path"].startswith("/")
    assert "base_model_name_or_path" not in config
    assert config["target_modules"] == sorted(before["target_modules"])


RUN = """
import sys
sys.modules["brickctl"] = None  # any import of it fails
exec(compile({code!r}, "how-to-load.md", "exec"))
import torch
tokens = torch.arange(1, 25).unsqueeze(0) * 7 % {vocabulary}
with torch.no_grad():
    said = {{"active": model.active_adapter, "dora": model.eval()(tokens).logits.tolist()}}
    model.set_adapter("lora")
    said["lora"] = model(tokens).logits.tolist()
    with model.disable_adapter():
        said["none"] = model(tokens).logits.tolist()
    said["words"] = tokenizer("w3 w5")["input_ids"]
import json
print("ANSWER" + json.dumps(said))
"""


def test_the_lines_in_the_guide_load_the_whole_without_brickctl(
    stack: Path, base: Path, bricks: Mapping[str, Path]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (stack / "how-to-load.md").read_text(), re.DOTALL)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", RUN.format(code=code, vocabulary=VOCABULARY)]
    done = subprocess.run(command, cwd=stack, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.split("ANSWER")[1])
    assert said["active"] == "dora"
    assert said["words"] == [3, 5]
    close(said["none"], logits(load(base)))
    for name in ("dora", "lora"):
        close(said[name], logits(load_with_adapter(base, bricks[name])))


def close(said: object, expected: torch.Tensor) -> None:
    torch.testing.assert_close(torch.tensor(said), expected, rtol=0, atol=1e-5)


def test_a_stack_can_stand_on_a_merge(base: Path, bricks: Mapping[str, Path], tmp_path: Path) -> None:
    step = '{ op = "stack", bricks = ["lora"] }'
    built = build(manifest(base, bricks, f"{sum_of(expert=1.0)}, {step}"), tmp_path / "built")
    assert (built / "adapters/lora/adapter_config.json").exists()
    found, expert = weights(built), weights(bricks["expert"])
    assert all(torch.equal(found[name], expert[name]) for name in expert)


def test_two_stacks_in_a_row_hold_the_adapters_of_both(base: Path, bricks: Mapping[str, Path], tmp_path: Path) -> None:
    steps = '{ op = "stack", bricks = ["lora"] }, { op = "stack", bricks = ["dora"] }'
    built = build(manifest(base, bricks, steps), tmp_path / "built")
    guide = (built / "how-to-load.md").read_text()
    assert 'model = PeftModel.from_pretrained(base, "adapters/dora", adapter_name="dora")' in guide
    assert 'model.load_adapter("adapters/lora", adapter_name="lora")' in guide


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (
            '{ op = "stack", bricks = ["expert"] }',
            "adapters and prompts can be stacked; `expert` is of kind expert",
        ),
        ('{ op = "stack", bricks = [] }', "a stack needs `bricks`"),
        ('{ op = "stack", bricks = ["lora", "lora"] }', "names each adapter once"),
        ('{ op = "stack", bricks = ["base"] }', "names each adapter once, and not the base"),
        ('{ op = "stack", bricks = ["lora"], active = "dora" }', "`active = dora` is none of the stacked bricks"),
        ('{ op = "stack", bricks = ["lora"], order = 1 }', "order"),
        ('{ op = "stack", bricks = ["lorra"] }', "uses `lorra`, which is no brick here"),
    ],
)
def test_stacks_that_make_no_sense_are_refused(
    step: str, reason: str, base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        prepare(manifest(base, bricks, step), tmp_path)
    assert reason in str(caught.value)


def test_names_that_torch_has_taken_are_refused(base: Path, bricks: Mapping[str, Path], tmp_path: Path) -> None:
    """PEFT would fail on what was built: every name that this torch has for itself, and no other."""
    with pytest.raises(ManifestInvalid, match="PEFT cannot load an adapter as `half`") as caught:
        prepare(manifest(base, {"half": bricks["lora"]}, '{ op = "stack", bricks = ["half"] }'), tmp_path)
    assert caught.value.hint == "give the brick another name, such as `half-adapter`"
    taken = {Alias(name) for name in dir(torch.nn.ModuleDict()) if is_alias(name)}
    assert len(taken) > 40
    for name in sorted(taken):
        with pytest.raises(ManifestInvalid):
            refuse_taken([name], None)
    refuse_taken([Alias("lora"), Alias("copy"), Alias("default"), Alias("weight")], None)


def test_an_adapter_that_does_not_fit_the_model_below_is_refused(tmp_path: Path) -> None:
    narrow, wide = tiny_model(tmp_path / "narrow"), tiny_model(tmp_path / "wide", hidden_size=64)
    brick = adapter(wide, tmp_path / "adapter")
    with pytest.raises(Misfit, match="features 64; the base has 32"):
        prepare(manifest(narrow, {"a": brick}, '{ op = "stack", bricks = ["a"] }'), tmp_path)


def test_stacking_reads_no_weights_and_plans_no_arithmetic(
    base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    """The base's file is copied whole; where files are to have another size, its tensors are."""
    plan = prepare(manifest(base, bricks, STEP), tmp_path).plan
    assert not plan.shards
    plan = prepare(manifest(base, bricks, STEP, 'shard-size = "20kB"'), tmp_path).plan
    assert {type(node).__name__ for node in plan.nodes().values()} == {"Stored"}

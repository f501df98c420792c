"""Steps of gradients, what they need to go on, and what comes of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from brickctl.analysis.rows import Row
from brickctl.analysis.training.checkpoint import FILE, Checkpoint, read, restore, save
from brickctl.analysis.training.course import Course
from brickctl.analysis.training.lora import Shape, attach, document, put_back, tensors
from brickctl.analysis.training.training import IGNORED, Training, batch, windows
from brickctl.core.digests import readable_json
from brickctl.errors import IntegrityFault, UsageFault
from tests.support.models import load, logits, quietly, tiny_model

if TYPE_CHECKING:
    from pathlib import Path

COURSE = Course(seed=1, steps=8, learning_rate=0.01, batch=2, warmup=2)
ROWS = [Row(tokens=(1, 5, 6, 7), first=2), Row(tokens=(1, 9, 4), first=1)]
SHAPE = Shape(rank=2, alpha=4)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "base", attention_dropout=0.1)


def training_of(base: Path, shape: Shape = SHAPE) -> Training:
    return Training(attach(load(base), shape, seed=1), COURSE)


def taken(training: Training, steps: int) -> list[float]:
    return [training.take(ROWS) for _ in range(steps)]


def test_only_what_is_predicted_has_a_label() -> None:
    ids, mask, labels = batch(ROWS)
    assert ids.tolist() == [[1, 5, 6, 7], [1, 9, 4, 0]]
    assert mask.tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert labels.tolist() == [[IGNORED, IGNORED, 6, 7], [IGNORED, 9, 4, IGNORED]]


def test_the_loss_is_the_mean_surprise_of_what_is_predicted(tmp_path: Path) -> None:
    model = load(tiny_model(tmp_path / "base"))
    training = Training(attach(model, SHAPE, seed=1), COURSE)
    with torch.no_grad():
        said = [load(tmp_path / "base")(torch.tensor([row.tokens])).logits[0].log_softmax(-1) for row in ROWS]
    wanted = [said[0][1, 6], said[0][2, 7], said[1][0, 9], said[1][1, 4]]
    assert training.take(ROWS) == pytest.approx(-float(sum(wanted)) / 4, rel=1e-5)


def test_steps_are_those_that_the_starter_bricks_were_made_by(base: Path) -> None:
    """Written out once more, as they were when the published bytes were made: with no mask, and bit for bit."""
    training, model = training_of(base), attach(load(base), SHAPE, seed=1).train()
    torch.manual_seed(3)
    taken(training, 4)
    torch.manual_seed(3)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=COURSE.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    ids = torch.tensor([[1, 5, 6, 7], [1, 9, 4, 0]])
    labels = torch.tensor([[-100, -100, 6, 7], [-100, 9, 4, -100]])
    for step in range(4):
        optimizer.param_groups[0]["lr"] = COURSE.rate(step)
        optimizer.zero_grad()
        model(input_ids=ids, labels=labels, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
    ours, theirs = tensors(training.model, "float32"), tensors(model, "float32")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_loss_falls_and_the_base_stays_as_it_is(base: Path) -> None:
    training = training_of(base)
    losses = taken(training, 8)
    assert losses[-1] < losses[0] - 0.1
    with training.model.disable_adapter():
        assert torch.equal(logits(training.model.eval()), logits(load(base)))


def test_the_rate_grows_then_falls_as_a_cosine() -> None:
    course = Course(seed=0, steps=100, learning_rate=1.0, warmup=10)
    assert [course.rate(step) for step in (0, 4, 50)] == [0.1, 0.5, pytest.approx(0.5)]
    assert course.rate(99) == pytest.approx((1 + math.cos(0.99 * math.pi)) / 2)


def test_a_training_goes_on_from_its_checkpoint_to_the_same_bytes(base: Path, tmp_path: Path) -> None:
    whole = training_of(base)
    losses = taken(whole, 8)
    half = training_of(base)
    before = taken(half, 3)
    save(tmp_path / FILE, half, before, {"name": "half"})
    taken(half, 2)  # what is not in the checkpoint is lost
    torch.manual_seed(99)
    checkpoint = read(tmp_path / FILE)
    assert checkpoint is not None
    assert (checkpoint.about, checkpoint.steps, checkpoint.losses) == ({"name": "half"}, 3, before)
    second = training_of(base)
    restore(checkpoint, second)
    assert [*checkpoint.losses, *taken(second, 5)] == losses
    after, wanted = tensors(second.model, "float32"), tensors(whole.model, "float32")
    assert list(after) == list(wanted)
    assert all(torch.equal(after[name], wanted[name]) for name in wanted)


def test_a_checkpoint_of_another_model_or_a_damaged_one_is_refused(base: Path, tmp_path: Path) -> None:
    path = tmp_path / FILE
    assert read(path) is None
    training = training_of(base)
    save(path, training, taken(training, 1), {})
    checkpoint = read(path)
    assert checkpoint is not None
    with pytest.raises(IntegrityFault, match="of another training"):
        restore(checkpoint, training_of(base, Shape(rank=3)))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(IntegrityFault, match="cannot be read"):
        read(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(IntegrityFault, match="cannot be read"):
        read(path)


def changed(path: Path, name: str, tensor: Any, **said: str) -> None:
    """Write a checkpoint again with another tensor, or with other words about it."""
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        metadata = {**file.metadata(), **said}
    kept = {key: one for key, one in tensors.items() if key != name}
    save_file(kept if tensor is None else {**kept, name: tensor}, path, metadata)


@pytest.mark.parametrize(
    ("name", "tensor", "said"),
    [
        ("losses", torch.zeros(3), {}),
        ("losses", torch.tensor([math.nan]), {}),
        ("losses", torch.zeros(1), {"about": "[]"}),
        ("losses", torch.zeros(1), {"about": "[" * 100_000}),
        ("losses", torch.zeros(1), {"steps": "-1"}),
        ("losses", torch.zeros(9), {"steps": "9"}),
        ("losses", torch.zeros(0), {"steps": "0"}),
        ("random/cpu", torch.zeros(4), {}),
        ("random/cpu", torch.zeros(4, dtype=torch.uint8), {}),
        ("parameter/{}", torch.zeros(1), {}),
        ("parameter/{}", torch.zeros(2, 32, dtype=torch.float64), {}),
        ("parameter/{}", torch.full((2, 32), math.inf), {}),
        ("memory/exp_avg/{}", torch.zeros(3, 3), {}),
        ("memory/exp_avg_sq/{}", None, {}),
    ],
)
def test_a_checkpoint_that_somebody_changed_is_refused(
    name: str, tensor: Any, said: dict[str, str], base: Path, tmp_path: Path
) -> None:
    training = training_of(base)
    path, first = tmp_path / FILE, next(iter(training.trained))
    assert tuple(training.trained[first].shape) == (2, 32)
    save(path, training, taken(training, 1), {})
    changed(path, name.format(first), tensor, **said)
    with pytest.raises(IntegrityFault):
        restore(_there(read(path)), training_of(base))


def _there(checkpoint: Checkpoint | None) -> Checkpoint:
    assert checkpoint is not None
    return checkpoint


def test_what_is_written_is_what_peft_loads(base: Path, tmp_path: Path) -> None:
    training = training_of(base, Shape(rank=2, alpha=8, targets=("q_proj", "down_proj")))
    taken(training, 3)
    rounded = tensors(training.model, "bfloat16")
    put_back(training.model, rounded)
    folder = tmp_path / "adapter"
    folder.mkdir()
    save_file(rounded, folder / "adapter_model.safetensors", {"format": "pt"})
    said = document(training.model, Shape(rank=2, alpha=8), base="owner/base", revision="0" * 40)
    (folder / "adapter_config.json").write_bytes(readable_json(said))
    assert said["target_modules"] == ["down_proj", "q_proj"]
    loaded: Any = quietly(lambda: PeftModel.from_pretrained(load(base), str(folder)).eval())
    assert torch.equal(logits(loaded), logits(training.model.eval()))


def test_modules_are_named_whole_where_others_end_like_them(base: Path) -> None:
    one = "model.layers.1.mlp.down_proj"
    model = attach(load(base), Shape(targets=(one, "q_proj")), seed=0)
    assert document(model, SHAPE)["target_modules"] == [one, "q_proj"]


def test_all_linear_layers_but_the_head_are_trained_unless_some_are_named(base: Path) -> None:
    found = document(attach(load(base), SHAPE, seed=0), SHAPE)["target_modules"]
    assert found == ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]


def test_modules_that_are_not_there_are_refused(base: Path) -> None:
    with pytest.raises(UsageFault, match="`w_in` cannot be trained"):
        attach(load(base), Shape(targets=("w_in",)), seed=0)


def test_losses_are_told_by_stretches() -> None:
    assert windows([1.0, 2.0, 4.0], 2) == [1.5, 4.0]

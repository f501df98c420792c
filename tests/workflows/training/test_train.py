"""Bricks that are trained for the starter project."""

from __future__ import annotations

import json
import math
import re
import signal
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoTokenizer

from brickctl.analysis.examples import Example
from brickctl.analysis.perplexity import mean_losses
from brickctl.analysis.training.checkpoint import FILE
from brickctl.analysis.training.joining import rows_of
from brickctl.analysis.training.lora import Shape
from brickctl.analysis.training.order import Order
from brickctl.analysis.training.training import Training
from brickctl.core.brick import Pin
from brickctl.core.digests import sha256_bytes
from brickctl.core.lock import Locked
from brickctl.core.names import Alias
from brickctl.errors import (
    BrickctlError,
    Busy,
    IntegrityFault,
    Interrupted,
    ManifestInvalid,
    Misfit,
    NoSpace,
    NotFound,
    PolicyViolation,
    Unsupported,
    UsageFault,
)
from brickctl.sources.open import builtin_registry
from brickctl.tensors.executor import Budget
from brickctl.workflows.files import alone
from brickctl.workflows.lock import LockMode
from brickctl.workflows.scratch import PREFIX
from brickctl.workflows.stopping import stop_asked
from brickctl.workflows.training import loop as train_loop
from brickctl.workflows.training.brick import Learnt, card
from brickctl.workflows.training.loop import steps_of
from brickctl.workflows.training.train import Means, Trained, train
from brickctl.workflows.training.wish import Extent, Wish, read_material
from tests.support.models import load, quietly
from tests.support.projects import Listener, opened, starter_project
from tests.support.successors import character_tokenizer

pytestmark = pytest.mark.usefixtures("ctrl_c")

MEANS = Means(budget=Budget(threads=1), device=None, mode=LockMode.REFRESH, offline=True)
BASE = builtin_registry() / "files/starter/base/1.0.0"
GROWN = (
    'op = "grow-width", neurons = 512',
    'op = "grow-experts", experts = 4, active = 2',
    'op = "grow-depth", layers = 6',
)
WORDS = ("fox", "hen", "cow", "rat", "emu", "elk", "bee", "ant", "pig", "owl", "cat", "dog")


def lines(words: tuple[str, ...] = WORDS) -> str:
    """Questions that the base answers otherwise: `last:fox=` is `x`."""
    return "".join(json.dumps({"prompt": f"last:{word}=", "completion": word[-1]}) + "\n" for word in words)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    project = starter_project(tmp_path, monkeypatch)
    (project / "last.jsonl").write_text(lines())
    return project


def wish_in(project: Path, **settings: Any) -> Wish:
    told = {
        "extent": Extent("steps", 6),
        "learning_rate": 3e-3,
        "batch": 4,
        "shape": Shape(rank=2, alpha=4),
        **settings,
    }
    return Wish(name="last", file=project / "last.jsonl", **told)


def trained(project: Path, events: Listener | None = None, *, means: Means = MEANS, **settings: Any) -> Trained:
    return train(opened(project, events), wish_in(project, **settings), None, means)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


class Presses(Listener):
    """Someone who does something once so many steps are taken."""

    def __init__(self, step: int, do: Any) -> None:
        super().__init__()
        self._left = step + 1  # the first advance is about what was there before
        self._do = do

    def advance(self, label: str, amount: int) -> None:
        del amount
        self._left -= label.startswith("training")
        if not self._left:
            self._do()


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def test_a_brick_is_written_added_and_locked_and_comments_stay(project: Path) -> None:
    before = (project / "brick.toml").read_text().splitlines()
    done = trained(project)
    after = (project / "brick.toml").read_text().splitlines()
    assert done.folder == project / "bricks" / "last"
    assert [line for line in after if line not in before] == [
        'last = { source = "path:bricks/last", license = "Apache-2.0" }'
    ]
    assert [line for line in before if line not in after] == []
    assert sorted(files(done.folder)) == [
        "README.md", "adapter_config.json", "adapter_model.safetensors", "training.json",
    ]  # fmt: skip
    lock = opened(project).read_lock()
    assert lock is not None
    assert lock.bricks["last"].pin.digest == done.brick.digest
    assert "training.json" in [file.path for file in done.brick.pin.files]
    assert not list((project / "bricks").glob(".*"))
    assert not (project / ".brickctl/training/last" / FILE).exists()


def test_the_record_says_what_peft_loads(project: Path) -> None:
    done = trained(project, extent=Extent("steps", 12), held_out=3)
    record = json.loads((done.folder / "training.json").read_text())
    held = [WORDS[number] for number in read_material(wish_in(project, held_out=3)).held]
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    examples = [Example(f"last:{word}=", word[-1]) for word in held]
    rows = [row for each in rows_of(tokenizer, examples, longest=128, end=2, file="") for row in each]
    measure = partial(_loss, rows=rows)
    assert record["held-out"]["lines"] == len(rows) == 3
    assert measure(load(BASE)) == pytest.approx(record["held-out"]["before"], abs=1e-5)
    loaded = quietly(lambda: PeftModel.from_pretrained(load(BASE), str(done.folder)).eval())
    assert measure(loaded) == pytest.approx(record["held-out"]["after"], abs=1e-5)
    assert record["held-out"]["after"] < record["held-out"]["before"] - 3
    assert record["tokens"] == {"read": 12 * 4 * 12, "predicted": 12 * 4 * 2}
    assert record["data"]["lines"] == len(WORDS)


def _loss(model: Any, rows: Any) -> float:
    (loss,) = mean_losses(model, [[row.tokens for row in rows]], given=[[row.first for row in rows]])
    return loss


def test_after_ctrl_c_it_goes_on_to_the_same_bytes(project: Path, tmp_path: Path, monkeypatch: Any) -> None:
    whole = files(trained(project).folder)
    other = starter_project(tmp_path / "other", monkeypatch)
    (other / "last.jsonl").write_text(lines())
    manifest = (other / "brick.toml").read_bytes()
    listener = Presses(2, ctrl_c)
    with pytest.raises(Interrupted, match="stopped after step 2 of 6") as stopped:
        trained(other, listener)
    assert "--resume" in (stopped.value.hint or "")
    assert any("stopping after this step" in note for note in listener.notes)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert (other / "brick.toml").read_bytes() == manifest
    assert not (other / "bricks").exists()
    with pytest.raises(Interrupted, match="stopped after step 5 of 6"):
        trained(other, Presses(3, ctrl_c), means=replace(MEANS, resume=True))
    again = Listener()
    assert files(trained(other, again, means=replace(MEANS, resume=True)).folder) == whole
    assert "training last: goes on after step 5 of 6" in again.notes


def test_what_was_killed_goes_on_from_what_was_kept(project: Path, tmp_path: Path, monkeypatch: Any) -> None:
    whole = files(trained(project).folder)
    other = starter_project(tmp_path / "other", monkeypatch)
    (other / "last.jsonl").write_text(lines())
    monkeypatch.setattr(train_loop, "PERIOD", 0.0)

    def die() -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        trained(other, Presses(4, die))
    listener = Listener()
    assert files(trained(other, listener, means=replace(MEANS, resume=True)).folder) == whole
    assert "training last: goes on after step 3 of 6" in listener.notes


def test_an_earlier_try_is_not_lost_unless_somebody_says_so(project: Path) -> None:
    with pytest.raises(Interrupted):
        trained(project, Presses(2, ctrl_c))
    with pytest.raises(UsageFault, match="stopped after 2 steps") as refused:
        trained(project)
    assert "--restart throws it away" in str(refused.value)
    with pytest.raises(UsageFault, match="trained in another way") as other:
        trained(project, means=replace(MEANS, resume=True), batch=2)
    assert "`settings batch` was 4, and is 2" in other.value.causes
    (project / "last.jsonl").write_text(lines(WORDS[:11]))
    with pytest.raises(UsageFault, match="trained in another way") as data:
        trained(project, means=replace(MEANS, resume=True))
    assert [cause.split()[1] for cause in data.value.causes] == ["sha256`", "lines`"]
    (project / ".brickctl/training/last" / FILE).write_bytes(b"no checkpoint")
    with pytest.raises(IntegrityFault, match="cannot be read"):
        trained(project, means=replace(MEANS, resume=True))
    assert trained(project, means=replace(MEANS, restart=True)).learnt.steps == 6


def test_a_folder_stands_in_the_manifest_as_it_was_given(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    one_step = wish_in(project, extent=Extent("steps", 1))
    for name, output in (("one", Path("../a@b")), ("two", project.parent / "c#d"), ("three", project / "e")):
        train(opened(project), replace(one_step, name=name), output, MEANS)
    found = re.findall(r'(?m)^(?:one|two|three) = { source = "path:([^"]*)"', (project / "brick.toml").read_text())
    assert found == ["../a@b", f"{project.parent}/c#d", "e"]


def test_a_seed_decides_the_bytes(project: Path, tmp_path: Path, monkeypatch: Any) -> None:
    first = files(trained(project).folder)
    other = starter_project(tmp_path / "other", monkeypatch)
    (other / "last.jsonl").write_text(lines())
    second = files(trained(other, seed=1).folder)
    assert first["adapter_config.json"] == second["adapter_config.json"]
    assert first["adapter_model.safetensors"] != second["adapter_model.safetensors"]


def test_a_brick_is_trained_on_a_target_that_is_one_model(project: Path) -> None:
    done = trained(project, on="assistant", held_out=0, license="MIT", dtype="float32")
    record = json.loads((done.folder / "training.json").read_text())
    assert record["target"]["name"] == "assistant"
    assert record["held-out"] is None
    assert "built of" in (done.folder / "README.md").read_text()
    assert "license: mit" in (done.folder / "README.md").read_text()
    factors = load_file(done.folder / "adapter_model.safetensors")
    assert {str(one.dtype) for one in factors.values()} == {"torch.float32"}


def test_a_brick_of_a_target_has_the_licences_of_all_that_it_uses(project: Path) -> None:
    text = (project / "brick.toml").read_text()
    upper = 'upper = { brick = "starter/upper", version = "^1", license = "CC-BY-NC-4.0" }'
    (project / "brick.toml").write_text(re.sub(r'(?m)^upper = "[^"]*"', upper, text))
    folder = trained(project, on="assistant", extent=Extent("steps", 1)).folder
    assert 'license_name: "Apache-2.0 AND CC-BY-NC-4.0"' in (folder / "README.md").read_text()
    assert 'license = "Apache-2.0 AND CC-BY-NC-4.0"' in (project / "brick.toml").read_text()


def test_texts_are_learnt_too_and_in_half_the_width(project: Path) -> None:
    sentences = ("a red fox saw a dog.", "a big owl met a cat.", "a shy emu bit a pig.")
    (project / "last.jsonl").write_text("".join(json.dumps({"text": one}) + "\n" for one in sentences) + lines())
    done = trained(project, precision="bfloat16", length=14, held_out=0, extent=Extent("epochs", 1), batch=6)
    record = json.loads((done.folder / "training.json").read_text())
    assert record["settings"]["precision"] == "bfloat16"
    # 20 letters with <bos> and <eos> are two windows of 14 and 9, which share a letter; prompts take 12 tokens
    assert record["tokens"] == {"read": 3 * (14 + 9) + 12 * 12, "predicted": 3 * 21 + 12 * 2}
    assert record["steps"] == 3


def test_the_card_of_a_brick_for_a_base_of_the_hub_names_it() -> None:
    pin = Pin(source="hf:owner/base", commit="a" * 40, files=())
    base = Locked(alias=Alias("base"), kind="base", pin=pin, interface=sha256_bytes(b""), license="LicenseRef-llama3.2")
    ground: Any = SimpleNamespace(locked=base, is_base=True, license=base.license)
    wish = Wish(name="last", file=Path("last.jsonl"), shape=Shape(rank=5))
    about = {"base": {"source": pin.source, "digest": "sha256:00"}}
    told = card(
        wish, ground, about, Learnt(length=8, steps=1, read=2, predicted=1, losses=[1.0], held_out=None)
    ).splitlines()
    head = told[: told.index("---", 1)]
    assert head[1:] == [
        'base_model: "owner/base"',
        "base_model_relation: adapter",
        "license: llama3.2",
        "library_name: peft",
        "tags: [brickctl, lora]",
    ]
    assert "A LoRA of rank 5 for `hf:owner/base`, trained by brickctl." in told


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        ({"on": "bundle"}, Unsupported, "it is not one model"),
        ({"on": "asistant"}, NotFound, "did you mean `assistant`"),
        ({"on": "upper"}, NotFound, "`upper` is no target of this project"),
        ({"length": 4000}, UsageFault, "--length is 4000; the model reads at most 128"),
        ({"length": 8}, UsageFault, r"takes 12 tokens, and 8 are read at once\n  at: .*last.jsonl line 1"),
        ({"held_out": 12}, UsageFault, "there is none left to learn from"),
        ({"shape": Shape(targets=("w_in",))}, UsageFault, "`w_in` cannot be trained"),
        ({"shape": Shape(targets=("embed_tokens",))}, UsageFault, "an embedding is no linear layer"),
        ({"learning_rate": 1e30}, UsageFault, "the loss is no number any more at step"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    settings: dict[str, Any], kind: type[BrickctlError], said: str, project: Path
) -> None:
    manifest = (project / "brick.toml").read_bytes()
    with pytest.raises(kind) as refused:
        trained(project, **settings)
    assert re.search(said, str(refused.value)), refused.value
    assert (project / "brick.toml").read_bytes() == manifest
    assert not (project / "bricks").exists()


@pytest.mark.parametrize("step", GROWN)
def test_what_no_target_could_merge_is_refused_before_a_step_is_taken(step: str, project: Path) -> None:
    with (project / "brick.toml").open("a") as file:
        file.write(f"\n[targets.grown]\napply = [{{ {step} }}]\n")
    listener = Listener()
    with pytest.raises((Misfit, Unsupported)):
        trained(project, listener, on="grown")
    assert not [label for label, _ in listener.work if label.startswith("training")]
    assert not (project / "bricks").exists()


@pytest.mark.parametrize("line", ["{}", "fox", '{"prompt": "a"}', '{"text": "a", "more": 1}', '{"text": ""}'])
def test_a_line_that_is_no_example_is_named(line: str, project: Path) -> None:
    with (project / "last.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(UsageFault) as refused:
        trained(project)
    assert str(refused.value.place) == f"{project / 'last.jsonl'} line 13"


def test_a_name_and_a_place_must_be_free(project: Path) -> None:
    for name, said in (("upper", "there is a brick `upper` already"), ("Last", "`last` would do"), ("base", "cannot")):
        with pytest.raises(UsageFault, match=said):
            train(opened(project), replace(wish_in(project), name=name), None, MEANS)
    (project / "bricks/last").mkdir(parents=True)
    with pytest.raises(UsageFault, match="exists already"):
        trained(project)


def test_two_do_not_train_the_same_brick(project: Path) -> None:
    kept = project / ".brickctl/training/last"
    with alone(kept / ".lock", "a test"), pytest.raises(Busy, match="training `last`"):
        trained(project)


def test_how_much_is_read_is_told_in_three_ways() -> None:
    tokenizer = character_tokenizer()
    examples = [Example("a", "b" * number) for number in range(1, 6)]
    rows = [row for each in rows_of(tokenizer, examples, longest=64, end=None, file="") for row in each]
    order = Order(len(rows), 2, seed=0)
    assert sum(len(row.tokens) for row in rows) == 25
    assert steps_of(Extent("steps", 7), rows, order) == 7
    assert steps_of(Extent("epochs", 3), rows, order) == 8
    assert steps_of(Extent("tokens", 1), rows, order) == 1
    assert steps_of(Extent("tokens", 50), rows, order) == 5
    assert steps_of(Extent("tokens", 25 * 10**18), rows, order) == 5 * 10**18 // 2


def test_a_training_of_ages_begins_at_once(project: Path) -> None:
    with pytest.raises(Interrupted, match="stopped after step 1 of 1000000000000"):
        trained(project, Presses(1, ctrl_c), extent=Extent("steps", 10**12))


def test_ctrl_c_twice_says_what_is_kept(project: Path, monkeypatch: Any) -> None:
    def twice() -> None:
        ctrl_c()
        ctrl_c()

    with pytest.raises(Interrupted, match="before anything was kept"):
        trained(project, Presses(2, twice))
    monkeypatch.setattr(train_loop, "PERIOD", 0.0)
    with pytest.raises(Interrupted, match="it is kept as it was after step 2"):
        trained(project, Presses(3, twice))
    assert trained(project, means=replace(MEANS, resume=True)).learnt.steps == 6


def test_an_earlier_try_outlives_a_new_one_that_cannot_begin(project: Path) -> None:
    with pytest.raises(Interrupted):
        trained(project, Presses(2, ctrl_c))
    with pytest.raises(UsageFault, match="`w_in` cannot be trained"):
        trained(project, means=replace(MEANS, restart=True), shape=Shape(targets=("w_in",)))
    assert trained(project, means=replace(MEANS, resume=True)).learnt.steps == 6


def test_what_a_killed_process_left_is_removed_by_the_next_one(project: Path) -> None:
    left = project / "bricks" / f"{PREFIX}abc"
    left.joinpath("last").mkdir(parents=True)
    trained(project)
    assert [path.name for path in (project / "bricks").iterdir()] == ["last"]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ('licenses = ["Apache-2.0"]', "`last` is under the licence MIT"),
        ('sources = ["builtin:*"]', "`last` comes from path:bricks/last"),
    ],
)
def test_a_brick_that_policy_forbids_is_not_trained(rule: str, said: str, project: Path) -> None:
    with (project / "brick.toml").open("a") as file:
        file.write(f"\n[policy]\n{rule}\n")
    listener = Listener()
    with pytest.raises(PolicyViolation, match=said):
        trained(project, listener, license="MIT")
    assert not [label for label, _ in listener.work if label.startswith("training")]


def test_a_brick_that_cannot_be_added_is_not_lost(project: Path) -> None:
    def spoil() -> None:
        (project / "brick.toml").write_text("[project\n")

    listener = Presses(6, spoil)
    with pytest.raises(ManifestInvalid):
        trained(project, listener)
    assert (project / "bricks/last/adapter_model.safetensors").is_file()
    assert f"`brickctl add {project / 'bricks/last'} --name last`" in listener.notes[-1]


def test_the_record_says_how_long_a_row_could_be(project: Path) -> None:
    record = json.loads((trained(project, extent=Extent("steps", 1)).folder / "training.json").read_text())
    assert record["settings"]["length"] == 128


@pytest.mark.parametrize("step", [1, 6])
def test_memory_that_is_full_is_no_bug(step: int, project: Path, monkeypatch: Any) -> None:
    take = Training.take

    def full(self: Training, rows: Any) -> float:
        if self.step == step - 1:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return take(self, rows)

    monkeypatch.setattr(Training, "take", full)
    with pytest.raises(NoSpace, match="the memory of this machine is full"):
        trained(project)


def test_the_last_step_must_leave_numbers(project: Path, monkeypatch: Any) -> None:
    take = Training.take

    def broken(self: Training, rows: Any) -> float:
        loss = take(self, rows)
        if self.step == 6:
            next(iter(self.trained.values())).data.fill_(math.inf)
        return loss

    monkeypatch.setattr(Training, "take", broken)
    with pytest.raises(UsageFault, match="no numbers any more"):
        trained(project)
    assert not (project / "bricks").exists()


def test_nobody_can_be_asked_in_another_thread() -> None:
    heard: list[bool] = []

    def work() -> None:
        with stop_asked(lambda: None) as stop:
            heard.append(stop())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert heard == [False]


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with stop_asked(lambda: None) as stop:
        ctrl_c()
        assert not stop()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_ctrl_c_again_stops_at_once() -> None:
    told: list[str] = []
    with stop_asked(lambda: told.append("stopping")) as stop:
        ctrl_c()
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            ctrl_c()
    assert told == ["stopping"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

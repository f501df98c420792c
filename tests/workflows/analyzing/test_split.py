"""An analysis shows what groups of neurons are worth: grouped by some prompts, measured on others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from brickctl.analysis.corpus import Corpus
from brickctl.analysis.labelled import Prompt
from brickctl.errors import UsageFault
from brickctl.pages.sections import sections
from brickctl.workflows.analyzing.analyze import analyze
from brickctl.workflows.analyzing.pieces import Pieces
from brickctl.workflows.analyzing.subject import folder_subject
from brickctl.workflows.analyzing.texts import read_prompt_file
from brickctl.workflows.analyzing.wish import Wish
from tests.support.planted import planted_texts
from tests.support.projects import Listener
from tests.support.successors import CONTEXT, SIZE, character_tokenizer

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BRICKCTL_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=SIZE, hidden_size=32, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=CONTEXT, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    character_tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def split(
    model: Path, tmp_path: Path, count: int = 24, events: Listener | None = None, more: tuple[dict[str, str], ...] = ()
) -> dict[str, Any]:
    lines = [{"text": text, "label": label} for label, texts in planted_texts(count).items() for text in texts]
    lines += more
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    file, subject = read_prompt_file(path, path.name), folder_subject(model, Listener())
    return analyze(subject, file, Wish(only=("split",)), Pieces(tmp_path / "pieces"), events or Listener())


def test_splits_are_measured_and_drawn(model: Path, tmp_path: Path) -> None:
    found = split(model, tmp_path)

    curves = found["split"]["curves"]
    named = {(curve["method"], curve["router"]) for curve in curves}
    assert {method for method, _ in named} == {"random", "kmeans", "coactivation", "shared"}
    assert {router for method, router in named if method == "random"} == {"oracle"}
    assert {router for method, router in named if method == "shared"} == {"oracle", "similarity", "linear", "mlp"}
    assert [curve["share"] for curve in curves if curve["method"] == "kmeans"] == [0.25, 0.5, 0.75]
    assert set(found["split"]["dense_by_label"]) == {"first", "second", "third"}
    (section,) = sections(found)
    assert [figure.name for figure in section.figures] == ["split-curves"]


def test_a_split_is_measured_on_prompts_that_it_has_not_heard(model: Path, tmp_path: Path) -> None:
    settings = split(model, tmp_path)["settings"]
    assert settings["split-heard-tokens"] > settings["split-tokens"] > 0
    prompts = tuple(Prompt(text=f"{label} {at}", label=label) for label in ("a", "b") for at in range(10))
    corpus = Corpus(prompts=prompts, lengths=(10,) * 20)
    larger, smaller = corpus.part(100), corpus.part(20)
    rest = corpus.beyond(larger, smaller)
    for label in ("a", "b"):
        assert sorted((*rest.places[label], *smaller.places[label])) == list(larger.places[label])
    assert rest.total == larger.total - smaller.total == 80


def test_a_finished_split_is_only_read(model: Path, tmp_path: Path) -> None:
    first, events = split(model, tmp_path), Listener()
    again = split(model, tmp_path, events=events)
    assert again == first
    assert events.work == []


def test_too_few_prompts_are_told_of(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match="`split` cannot be measured here") as refused:
        split(model, tmp_path, count=1)
    assert refused.value.causes[0].startswith("there are too few prompts")


def test_a_label_of_which_nothing_can_be_predicted_has_no_loss_and_does_not_count(model: Path, tmp_path: Path) -> None:
    long = tuple({"prompt": letter * 80, "completion": "b", "label": "long"} for letter in "cdefghij")
    found = split(model, tmp_path, more=long)["split"]
    known = [found["dense_by_label"][label] for label in ("first", "second", "third")]
    assert found["dense_by_label"]["long"] is None
    assert min(known) <= found["dense"] <= max(known)
    assert all(curve["by_label"]["long"] is None and curve["perplexity"] > 1 for curve in found["curves"])

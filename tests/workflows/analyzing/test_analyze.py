"""An analysis finds what was planted, goes on where it was stopped, and is only read where nothing has changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from brickctl.analysis.corpus import Corpus
from brickctl.analysis.labelled import Prompt
from brickctl.errors import NotFound, UsageFault
from brickctl.workflows.analyzing import laboratory as analysis_laboratory
from brickctl.workflows.analyzing.analyze import analyze
from brickctl.workflows.analyzing.pieces import Pieces, outlived
from brickctl.workflows.analyzing.subject import Subject, folder_subject
from brickctl.workflows.analyzing.texts import PromptFile, divide, read_prompt_file
from brickctl.workflows.analyzing.wish import MEASUREMENTS, Wish, read_only
from tests.support.planted import LETTERS, PLANTED, planted_llama, planted_texts
from tests.support.projects import Listener
from tests.support.successors import character_tokenizer

LABELS = list(LETTERS)
NEURONS = ("sparsity", "specialisation", "partition", "perturbation")


class Stopping(Listener):
    """Ctrl-C after so many forward passes."""

    def __init__(self, passes: int) -> None:
        super().__init__()
        self.left = passes

    def advance(self, label: str, amount: int) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt
        super().advance(label, amount)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the planted model."""
    folder = tmp_path_factory.mktemp("models") / "planted"
    planted_llama().save_pretrained(folder)
    character_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def subject(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Subject:
    monkeypatch.setenv("BRICKCTL_CACHE", str(tmp_path / "cache"))
    return folder_subject(model, Listener())


@pytest.fixture
def file(tmp_path: Path) -> PromptFile:
    """Twelve texts for each label."""
    return prompts(tmp_path / "prompts.jsonl", 12)


@pytest.fixture
def pieces(tmp_path: Path) -> Pieces:
    return Pieces(tmp_path / "pieces")


def prompts(path: Path, count: int, labels: tuple[str, ...] = tuple(LETTERS)) -> PromptFile:
    lines = [{"text": text, "label": label} for label in labels for text in planted_texts(count)[label]]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return read_prompt_file(path, path.name)


def timeless(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "seconds"}


def amount(events: Listener) -> int:
    return sum(total for _, total in events.work)


def fail_to_load(*_: object, **__: object) -> None:
    pytest.fail("a model is loaded")


def test_planted_neurons_score_best_and_their_label_suffers_without_them(
    subject: Subject, file: PromptFile, pieces: Pieces
) -> None:
    found = analyze(subject, file, Wish(), pieces, Listener())
    for at, label in enumerate(LABELS):
        top = found["specialisation"]["top"][label]
        assert {one["neuron"] // PLANTED for one in top} == {at}
        assert top[0]["score"] == 1.0
    (pruned,) = [one for one in found["perturbation"]["shares"] if one["share"] == 0.05]
    for at, row in enumerate(pruned["change"]):
        assert max(row) == row[at] > 10 * max(abs(cell) for other, cell in enumerate(row) if other != at)


def test_a_document_says_what_was_read_and_how(subject: Subject, file: PromptFile, pieces: Pieces) -> None:
    found = analyze(subject, file, Wish(tokens=600, seed=3), pieces, Listener())
    assert list(found) == ["schema", "model", "prompts", "settings", "seconds", *NEURONS]
    assert found["model"] == {
        "name": "planted", "digest": f"sha256:{subject.digest}", "architecture": "LlamaForCausalLM", "layers": 2,
        "neurons": 200, "experts": None, "dtype": "float32",
        "parameters": sum(one.numel() for one in planted_llama().parameters()),
    }  # fmt: skip
    assert found["prompts"]["sha256"] == file.sha256
    tokens = [one["tokens"] for one in found["prompts"]["labels"]]
    assert all(140 <= count <= 200 for count in tokens)  # a third of 600 each, in whole prompts
    assert found["settings"]["perturbation-tokens"] <= sum(tokens) / 2
    assert (found["settings"]["seed"], found["settings"]["device"]) == (3, "cpu")
    assert set(found["seconds"]) == {"sparsity", "specialisation", "perturbation"}
    assert [row["share"] for row in found["sparsity"]["masked"]][:3] == [0.0, 0.2, 0.4]
    assert len(found["sparsity"]["masked"]) == 16
    json.dumps(found, allow_nan=False)


def test_neurons_are_pruned_by_other_texts_than_those_that_are_measured(
    subject: Subject, file: PromptFile, pieces: Pieces
) -> None:
    found = analyze(subject, file, Wish(only=("perturbation",)), pieces, Listener())
    tokens = sum(one["tokens"] for one in found["prompts"]["labels"])
    settings = found["settings"]
    assert settings["perturbation-scored-tokens"] + settings["perturbation-tokens"] == tokens
    assert found["perturbation"]["unseen"]
    assert set(found["seconds"]) == {"perturbation"}


def test_where_a_label_has_one_text_it_is_scored_and_measured_and_the_document_says_so(
    subject: Subject, pieces: Pieces, tmp_path: Path
) -> None:
    events = Listener()
    found = analyze(subject, prompts(tmp_path / "few.jsonl", 1), Wish(only=NEURONS), pieces, events)
    assert found["perturbation"]["unseen"] is False
    assert [label for label, _ in events.work] == ["sparsity", "specialisation", "perturbation"]


def test_a_text_that_is_there_again_is_not_on_both_sides() -> None:
    texts = [f"{label} {at % 6}" for label in "ab" for at in range(12)]
    corpus = Corpus(prompts=tuple(Prompt(text, text[0]) for text in texts), lengths=(5,) * 24)
    parts = divide(corpus, 1000)
    for label in "ab":
        scored, measured = ({texts[at] for at in part.places[label]} for part in (parts.scored, parts.pruned))
        assert (len(scored), len(measured)) == (3, 3)
        assert not scored & measured


def test_the_time_is_told_before_it_begins(subject: Subject, file: PromptFile, pieces: Pieces) -> None:
    events = Listener()
    analyze(subject, file, Wish(only=("specialisation", "perturbation")), pieces, events)
    (told,) = events.notes
    assert told.startswith("planted in float32: this takes about ")
    assert "(specialisation 1 s, perturbation " in told
    assert [label for label, _ in events.work] == ["specialisation", "perturbation"]


@pytest.mark.parametrize("passes", [3, 40])
def test_a_stopped_analysis_goes_on_and_gives_the_same(
    passes: int, subject: Subject, file: PromptFile, pieces: Pieces, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        analyze(subject, file, Wish(batch=8), pieces, Stopping(passes))

    events = Listener()
    found = analyze(subject, file, Wish(batch=8), pieces, events)

    whole = Listener()
    afresh = analyze(subject, file, Wish(batch=8), Pieces(tmp_path / "other"), whole)
    assert timeless(found) == timeless(afresh)
    assert amount(events) < amount(whole) or passes == 3  # a first step that was not finished begins anew


def test_a_finished_analysis_is_only_read(
    subject: Subject, file: PromptFile, pieces: Pieces, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = analyze(subject, file, Wish(), pieces, Listener())
    monkeypatch.setattr(analysis_laboratory, "load", fail_to_load)
    events = Listener()
    assert analyze(subject, file, Wish(), pieces, events) == first
    assert events.work == []
    assert not any("this takes about" in note for note in events.notes)


def test_less_of_a_finished_analysis_is_only_read(
    subject: Subject, file: PromptFile, pieces: Pieces, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = analyze(subject, file, Wish(), pieces, Listener())
    monkeypatch.setattr(analysis_laboratory, "load", fail_to_load)
    found = analyze(subject, file, Wish(only=("partition",)), pieces, Listener())
    assert found["partition"] == first["partition"]
    assert "specialisation" not in found


@pytest.mark.parametrize("changed", [{"tokens": 500}, {"seed": 1, "tokens": 500}, {"batch": 2}])
def test_other_settings_are_another_analysis(
    changed: dict[str, int], subject: Subject, file: PromptFile, pieces: Pieces
) -> None:
    analyze(subject, file, Wish(only=("specialisation",)), pieces, Listener())
    events = Listener()
    analyze(subject, file, Wish(only=("specialisation",), **changed), pieces, events)
    assert [label for label, _ in events.work] == ["specialisation"]


def test_other_prompts_and_other_weights_are_another_analysis(
    subject: Subject, file: PromptFile, pieces: Pieces, tmp_path: Path
) -> None:
    wish = Wish(only=("specialisation",))
    analyze(subject, file, wish, pieces, Listener())
    more, other = Listener(), Listener()
    analyze(subject, prompts(tmp_path / "more.jsonl", 13), wish, pieces, more)
    planted_llama(seed=1).save_pretrained(tmp_path / "other")
    character_tokenizer().save_pretrained(tmp_path / "other")
    analyze(folder_subject(tmp_path / "other", Listener()), file, wish, pieces, other)
    assert more.work
    assert other.work


def test_pieces_that_the_last_analysis_does_not_rest_on_can_go_and_all_others_stay(
    subject: Subject, file: PromptFile, tmp_path: Path
) -> None:
    wish, folder = Wish(only=("specialisation",)), tmp_path / "pieces"
    analyze(subject, prompts(tmp_path / "before.jsonl", 13), wish, Pieces(folder), Listener())
    assert outlived(folder) == ()
    with pytest.raises(KeyboardInterrupt):
        analyze(subject, file, Wish(only=("sparsity", "specialisation")), Pieces(folder), Stopping(6))
    for path in outlived(folder):
        path.unlink()
    events = Listener()
    analyze(subject, file, wish, Pieces(folder), events)
    before = sorted(outlived(folder))
    assert before, "a part of sparsity was measured, and is not asked for any more"
    for path in before:
        path.unlink()
    again = Listener()
    analyze(subject, file, wish, Pieces(folder), again)
    assert again.work == []


def test_what_does_not_apply_is_left_out_and_told(subject: Subject, pieces: Pieces, tmp_path: Path) -> None:
    events = Listener()
    found = analyze(subject, prompts(tmp_path / "one.jsonl", 4, ("first",)), Wish(), pieces, events)
    assert [name for name in MEASUREMENTS if name in found] == ["sparsity"]
    why = "one.jsonl has one label, and functions are told apart by at least two"
    assert events.notes[:2] == [
        f"not measured: specialisation, partition, perturbation ({why})",
        "not measured: bricks (the bricks of a target are measured, and this is none)",
    ]


@pytest.mark.parametrize("name", ["partition", "bricks"])
def test_what_does_not_apply_is_refused_where_it_is_asked_for(
    name: str, subject: Subject, pieces: Pieces, tmp_path: Path
) -> None:
    file = prompts(tmp_path / "one.jsonl", 4, ("first",))
    with pytest.raises(UsageFault, match=f"`{name}` cannot be measured here"):
        analyze(subject, file, Wish(only=(name,)), pieces, Listener())


def test_a_label_of_which_nothing_can_be_predicted_has_no_perplexity(
    subject: Subject, file: PromptFile, pieces: Pieces, tmp_path: Path
) -> None:
    lines = (tmp_path / "prompts.jsonl").read_text()
    long = json.dumps({"prompt": "a" * 80, "completion": "b", "label": "long"})
    (tmp_path / "long.jsonl").write_text(f"{lines}{long}\n")
    file = read_prompt_file(tmp_path / "long.jsonl", "long.jsonl")
    found = analyze(subject, file, Wish(only=("perturbation",)), pieces, Listener())
    assert [value is None for value in found["perturbation"]["perplexity"]] == [False, False, False, True]


def test_a_folder_is_told_from_another_by_all_that_transformers_reads(
    subject: Subject, model: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(model, tmp_path / "copy"))
    assert folder_subject(copy, Listener()).digest == subject.digest
    (copy / "notes.md").write_text("mine")
    assert folder_subject(copy, Listener()).digest == subject.digest
    (copy / "tokenizer_config.json").write_text("{}")
    assert folder_subject(copy, Listener()).digest != subject.digest


def test_a_folder_without_a_model_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no model"):
        folder_subject(tmp_path, Listener())


def test_measurements_are_named_once_each_with_a_hint_for_others() -> None:
    assert read_only("bricks, sparsity,bricks") == ("bricks", "sparsity")
    assert read_only(None) == ()
    with pytest.raises(UsageFault) as raised:
        read_only("partitions")
    assert raised.value.hint == "did you mean `partition`?"

"""Tasks of lm-evaluation-harness: a local one, what is refused, and the harness's own figures as a measure of ours."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from brickctl.analysis.checks.lm_eval import LmEval
from brickctl.analysis.checks.measured import Measured
from brickctl.analysis.checks.multiple_choice import MultipleChoice, Question
from brickctl.errors import BrickctlError, NotFound, Unsupported, UsageFault
from tests.support.successors import following, random_llama

pytest.importorskip("lm_eval")

TASK = {
    "task": "letters",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "items.jsonl"}},
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "{{prompt}}",
    "doc_to_target": "{{answer}}",
    "doc_to_choice": "{{choices}}",
    "target_delimiter": "",
    "metric_list": [{"metric": "acc", "higher_is_better": True}, {"metric": "acc_norm", "higher_is_better": True}],
}
QUESTIONS = (
    Question("a", ("b", "x"), 0),
    Question("the cat", ("nap", "sleeps"), 1),
    Question("ab", ("cde", "x"), 0),
    Question("dog", ("z", "barks at a tree"), 1),
    Question("a", ("xx", "bcdefgh"), 0),
)


def write(folder: Path, **changes: object) -> Path:
    task = {key: value for key, value in {**TASK, **changes}.items() if value is not None}
    (folder / "letters.yaml").write_text(yaml.safe_dump(task))
    lines = ({"prompt": one.prompt, "choices": one.choices, "answer": one.answer} for one in QUESTIONS)
    (folder / "items.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return folder


def measured(folder: Path, model: Any, tokenizer: Any, **keys: Any) -> Measured:
    kind = LmEval(task="letters", **keys)
    return kind.measure(model, tokenizer, kind.read_data(folder, "tasks"))


@pytest.fixture
def spared(tokenizer: Any) -> Any:
    """A tokenizer that puts nothing before a text: the harness asks that of none by default."""
    before = tokenizer.backend_tokenizer.post_processor
    tokenizer.backend_tokenizer.post_processor = None
    yield tokenizer
    tokenizer.backend_tokenizer.post_processor = before


@pytest.mark.parametrize("seed", [0, 1])
def test_multiple_choice_is_what_the_harness_finds(seed: int, tmp_path: Path, spared: Any) -> None:
    model = random_llama(seed)
    folder = write(tmp_path)
    for metric, normalize in (("acc", "none"), ("acc_norm", "bytes")):
        theirs = measured(folder, model, spared, metric=metric)
        ours = MultipleChoice(normalize=normalize).measure(model, spared, QUESTIONS)  # type: ignore[arg-type]
        assert (ours.value, ours.count) == (pytest.approx(theirs.value), theirs.count)


def test_a_local_task_is_asked_with_a_limit_and_names_its_worst(tmp_path: Path, spared: Any) -> None:
    model = following({letter: chr(ord(letter) + 1) for letter in "abcdefg"})
    assert measured(write(tmp_path), model, spared, limit=1).count == 1
    found = measured(write(tmp_path), model, spared, metric="acc")
    assert 0 < found.value < 1
    right = round(found.value * len(QUESTIONS))
    assert len(found.worst) == min(3, len(QUESTIONS) - right)  # those that were right are no examples against it
    for wrong in found.worst:
        (question,) = [one for one in QUESTIONS if one.choices[one.answer] == wrong.wanted]
        assert wrong.prompt == question.prompt
        assert wrong.got in question.choices
        assert wrong.got != wrong.wanted


def test_what_has_no_figure_of_its_own_is_refused_before_anything_is_fetched(spared: Any) -> None:
    with pytest.raises(UsageFault, match="`ai2_arc` is several tasks") as raised:
        LmEval(task="ai2_arc").measure(following({}), spared, ())
    assert raised.value.hint == "name one of its tasks: arc_challenge, arc_easy"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"unsafe_code": True}, UsageFault, "a task with `unsafe_code` runs what a model writes"),
        ({"dataset_path": "acme/questions"}, UsageFault, "the data of a project's own task lies beside it"),
        ({"process_docs": "utils.process"}, UsageFault, "unknown key `process_docs`"),
        ({"doc_to_txt": "x"}, UsageFault, "unknown key `doc_to_txt`"),
        ({"include": "/etc/passwd"}, UsageFault, "unknown key `include`"),
        ({"custom_dataset": "x"}, UsageFault, "unknown key `custom_dataset`"),
        ({"doc_to_text": ["x"]}, UsageFault, "`doc_to_text` in .* must be a string"),
        ({"dataset_kwargs": {"data_files": "../items.jsonl"}}, UsageFault, "is no file of the folder"),
        ({"dataset_kwargs": {"data_files": "https://x/y.jsonl"}}, UsageFault, "is no file of the folder"),
        ({"dataset_kwargs": {"data_files": "none.jsonl"}}, NotFound, "`none.jsonl` is not there"),
        ({"dataset_kwargs": {"data_files": "items.jsonl", "script": "x"}}, UsageFault, "unknown key `script`"),
        ({"metric_list": [{"metric": "acme/metric", "hf_evaluate": True}]}, UsageFault, "metrics of the Hub are code"),
        ({"metric_list": [{"metric": "acme/metric"}]}, Unsupported, "no metric `acme/metric` of its own"),
        ({"metric_list": [{"metric": "acc", "aggregation": "x"}]}, UsageFault, "the task `letters` fails"),
        ({"doc_to_text": "{{ ''.__class__.__mro__[1].__subclasses__() }}"}, UsageFault, "the task `letters` fails"),
        ({"generation_kwargs": {"until": 3}}, UsageFault, "`until` in .* is no text"),
        ({"generation_kwargs": {"top_k": "x"}}, UsageFault, "`top_k` in .* is no number or switch"),
        ({"test_split": "other"}, UsageFault, "the task `letters` fails"),
        ({"task": "leters"}, NotFound, "there is no task `letters` in `tasks`"),
    ],
)
def test_a_task_of_a_project_runs_no_code_and_fetches_nothing(
    changes: dict[str, object], error: type[BrickctlError], message: str, tmp_path: Path, spared: Any
) -> None:
    with pytest.raises(error, match=message):
        measured(write(tmp_path, **changes), following({}), spared)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task: letters\nprocess_docs: !function utils.process\n", "is no plain YAML"),
        ("task: letters\nx: !!python/object/apply:os.system [true]\n", "is no plain YAML"),
        ("a: &a [x]\ntask: letters\nb: *a\n", "has references"),
        ("- letters\n", "is no task"),
        ("task: [", "is no plain YAML"),
    ],
)
def test_yaml_with_more_than_values_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "letters.yaml").write_text(text)
    with pytest.raises(UsageFault, match=message) as raised:
        LmEval(task="letters").read_data(tmp_path, "tasks")
    assert raised.value.place is not None
    assert raised.value.place.file == "tasks/letters.yaml"


def test_data_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    folder.mkdir()
    write(folder)
    (folder / "items.jsonl").unlink()
    (tmp_path / "secret.jsonl").write_text("{}\n")
    (folder / "items.jsonl").symlink_to("../secret.jsonl")
    with pytest.raises(UsageFault, match="leads out of the folder"):
        LmEval(task="letters").read_data(folder, "tasks")


def test_a_metric_in_a_folder_of_the_project_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spared: Any
) -> None:
    """Some tasks of the harness load `code_eval`, which libraries look for in the current folder first."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "code_eval").mkdir()
    (tmp_path / "code_eval" / "code_eval.py").write_text("raise SystemExit('it was run')\n")
    module = tmp_path / "own_task.py"
    module.write_text("import evaluate\nevaluate.load('code_eval')\n")

    def load(*_: object, **__: object) -> None:
        exec(module.read_text(), {})  # noqa: S102 - as the harness imports the Python of its tasks

    monkeypatch.setattr("lm_eval.tasks.TaskManager.load", load)
    with pytest.raises(Unsupported, match="the metric `code_eval` is code"):
        measured(write(tmp_path), following({}), spared)


def test_generation_that_is_code_of_the_project_is_refused(tmp_path: Path, spared: Any) -> None:
    """`generate` of transformers runs `custom_generate/generate.py` of a folder or a repository that it is told of."""
    (tmp_path / "custom_generate").mkdir()
    (tmp_path / "custom_generate" / "generate.py").write_text("raise SystemExit('it was run')\n")
    asked = {"until": ["\n"], "custom_generate": str(tmp_path), "trust_remote_code": True}
    task = {"output_type": "generate_until", "doc_to_choice": None, "metric_list": [{"metric": "exact_match"}]}
    with pytest.raises(UsageFault, match=r"unknown keys? `custom_generate`"):
        measured(write(tmp_path, **task, generation_kwargs=asked), following({}), spared)
    del asked["custom_generate"], asked["trust_remote_code"]
    assert measured(write(tmp_path, **task, generation_kwargs={**asked, "max_gen_toks": 2}), following({}), spared)


def test_a_chat_template_that_is_not_there_is_refused(tmp_path: Path, spared: Any) -> None:
    with pytest.raises(Unsupported, match="the model's tokenizer has no chat template"):
        measured(write(tmp_path), following({}), spared, chat_template=True)


def test_a_metric_that_the_task_does_not_have_is_named(tmp_path: Path, spared: Any) -> None:
    with pytest.raises(UsageFault, match="has no metric `acc_nrm`") as raised:
        measured(write(tmp_path), following({}), spared, metric="acc_nrm")
    assert raised.value.hint == "did you mean `acc_norm`?"

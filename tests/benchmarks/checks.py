"""Multiple choice on a real model, beside lm-evaluation-harness: the same figures, and how long both take.

    python tests/benchmarks/checks.py --base FOLDER --adapters FOLDER... [--items 40]

Each item of the adapters' `heldout.jsonl` is a question, whose choices are its own completion and those of the next two
items. Printed for each normalization: both shares, and the time of a core, brickctl's relative to the harness's, both
with the model loaded, in batches of 8.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from brickctl.analysis.checks.lm_eval import LmEval
from brickctl.analysis.checks.multiple_choice import MultipleChoice, Question
from brickctl.analysis.examples import read_examples
from brickctl.analysis.load import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.analysis.checks.check import CheckKind

TASK = """\
task: real
dataset_path: json
dataset_kwargs: {data_files: {test: items.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{prompt}}"
doc_to_target: "{{answer}}"
doc_to_choice: "{{choices}}"
target_delimiter: ""
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_bytes, aggregation: mean, higher_is_better: true}
"""


def main() -> None:
    """Ask both, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--adapters", type=Path, nargs="+", required=True)
    parser.add_argument("--items", type=int, default=40)
    told = parser.parse_args()
    questions = [one for folder in told.adapters for one in _questions(folder, told.items)]
    loaded = load(told.base, threads=1)
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "real.yaml").write_text(TASK)
        lines = (json.dumps({"prompt": q.prompt, "choices": q.choices, "answer": q.answer}) for q in questions)
        (Path(name) / "items.jsonl").write_text("".join(f"{line}\n" for line in lines))
        for metric, normalize in (("acc", "none"), ("acc_bytes", "bytes")):
            harness = LmEval(task="real", metric=metric)
            theirs, their_time = _timed(harness, loaded, harness.read_data(Path(name), "tasks"))
            ours, our_time = _timed(MultipleChoice(normalize=normalize), loaded, questions)  # type: ignore[arg-type]
            print(
                f"{metric}: {len(questions)} questions, harness {theirs:.4f} in {their_time:.1f} s,"
                f" brickctl {ours:.4f} in {our_time:.1f} s ({our_time / their_time:.2f})"
            )


def _questions(folder: Path, items: int) -> Sequence[Question]:
    examples = read_examples(folder / "heldout.jsonl")[:items]
    found = []
    for at, example in enumerate(examples):
        wrong = (examples[(at + 1) % len(examples)].completion, examples[(at + 2) % len(examples)].completion)
        choices = [*wrong[: at % 3], example.completion, *wrong[at % 3 :]]
        found.append(Question(example.prompt, tuple(choices), choices.index(example.completion)))
    return found


def _timed(kind: CheckKind, loaded: Any, data: Sequence[Any]) -> tuple[float, float]:
    begun = time.process_time()
    return kind.measure(loaded.model, loaded.tokenizer, data).value, time.process_time() - begun


if __name__ == "__main__":
    main()

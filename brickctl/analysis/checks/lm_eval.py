"""lm-eval: a task of lm-evaluation-harness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from brickctl.analysis.chat import require_template
from brickctl.analysis.checks.check import CheckKind, bar_of, register, safe_path
from brickctl.analysis.checks.generating import read_chat_template
from brickctl.analysis.harness.local_task import read_task

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

    from brickctl.analysis.checks.check import Unit
    from brickctl.analysis.checks.measured import Bar, Good, Measured
    from brickctl.core.document import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class LmEval(CheckKind):
    """A metric of a task of [lm-evaluation-harness](https://github.com/EleutherAI/lm-evaluation-harness).

    Needs `pip install 'brickctl[eval]'`. Without `data` it is a task or a group that comes with the harness, whose
    questions are fetched from the Hub, and measured anew each time: nobody can say whether they are the same. With
    `data`, the folder of a task of your own, nothing is fetched. Such a task is YAML and JSON lines, and no code: keys
    that name Python, metrics of the Hub or other places are refused, and so is every task with `unsafe_code`. It has
    `min` or `max`, whichever way is good. The worst examples have the worst values of the metric; those that are right
    are none.

    Args:
        task: name of the task.
        metric: the metric, such as `acc_norm`, or `exact_match,strict` where a task filters answers in several ways;
            the first one unless it says otherwise.
        few_shot: examples that stand before each question; as the task says unless this says otherwise.
        limit: questions of each task that are asked, the first ones; all unless it says otherwise.
        chat_template: `true`: questions are turns of a user in the model's own chat template; raw unless it says so.
    """

    libraries: ClassVar[tuple[str, ...]] = (*CheckKind.libraries, "lm_eval", "datasets")
    unit: ClassVar[Unit] = "figure"
    good: ClassVar[Good | None] = None
    line: ClassVar[str] = ""

    task: str
    metric: str | None = None
    few_shot: int | None = None
    limit: int | None = None
    chat_template: bool = False

    @classmethod
    def read(cls, table: Table) -> Self:
        """Read its keys."""
        return cls(
            task=table.string("task"),
            metric=table.string_or_none("metric"),
            few_shot=_at_least(table, "few-shot", 0),
            limit=_at_least(table, "limit", 1),
            chat_template=read_chat_template(table),
        )

    def read_path(self, table: Table) -> str | None:
        """Read `data`: the folder of a task, if it is one of the project."""
        path = table.string_or_none("data")
        return None if path is None else safe_path(table, "data", path)

    def read_bar(self, table: Table) -> Bar:
        """Read `min` or `max`."""
        good: Good = "max" if table.has("max") and not table.has("min") else "min"
        if not table.has(good):
            raise table.missing(f"{table.where} needs `min` or `max`", "min", "max", hint="whichever way is good")
        return bar_of(table, good)

    def fetches(self) -> bool:
        """Whether it may ask the network for what it has no data of."""
        return True

    def read_data(self, path: Path, file: str) -> Sequence[Any]:
        """The config of the task in a folder of the project."""
        return (read_task(path, file, self.task),)

    def measure(self, model: Any, tokenizer: PreTrainedTokenizerBase, data: Sequence[Any]) -> Measured:
        """The metric; raises as `evaluate`."""
        from brickctl.analysis.harness.evaluation import Asked, evaluate

        if self.chat_template:
            require_template(tokenizer)
        asked = Asked(
            task=self.task,
            config=data[0] if data else None,
            metric=self.metric,
            few_shot=self.few_shot,
            limit=self.limit,
            chat_template=self.chat_template,
        )
        return evaluate(model, tokenizer, asked)


def _at_least(table: Table, key: str, least: int) -> int | None:
    value = table.integer_or_none(key)
    if value is not None and value < least:
        raise table.error(f"{table.named(key)} must be at least {least}", key=key)
    return value


register("lm-eval", LmEval)

"""Running tasks of lm-evaluation-harness on a model that is loaded already."""

from __future__ import annotations

import logging
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from brickctl.analysis.checks.measured import SHOWN, Measured, Wrong
from brickctl.analysis.silence import silence
from brickctl.core.document import shown
from brickctl.core.names import did_you_mean
from brickctl.errors import BrickctlError, TransportFault, Unsupported, UsageFault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from transformers import PreTrainedTokenizerBase

_SEED = 1234
"""Of the choice of examples that stand before a question: the harness's own default."""

_BATCH = 8

_LISTED = 5
"""Names that a hint lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be measured: the words of the check, and the config of the task if the project brings it along."""

    task: str
    config: Mapping[str, Any] | None
    metric: str | None
    few_shot: int | None
    limit: int | None
    chat_template: bool


def evaluate(model: Any, tokenizer: PreTrainedTokenizerBase, asked: Asked) -> Measured:
    """The metric of a task, or of a group of tasks, and the examples with the worst values of it.

    Templates are filled in a sandbox. Metrics that are code of the Hub are refused, and tasks that run what a model
    writes.

    Raises:
        Unsupported: the harness is not installed, or the task is refused.
        UsageFault: there is no such task or metric, or the task fails.
        TransportFault: its questions cannot be fetched.
    """
    try:
        import lm_eval.evaluator
    except ImportError:
        hint = "pip install 'brickctl[eval]'"
        raise Unsupported("lm-evaluation-harness is not installed", hint=hint) from None
    with _guarded() as scratch, _explained(asked.task):
        loaded = _tasks(asked, scratch)
        results = lm_eval.evaluator.evaluate(
            lm=_language_model(model, tokenizer),
            task_dict=loaded,
            limit=asked.limit,
            bootstrap_iters=0,
            apply_chat_template=asked.chat_template,
        )
        return _measured(results, asked)


def _tasks(asked: Asked, scratch: str) -> Any:
    """The tasks, with the number of examples that stand before a question."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=asked.config is None)
    if asked.config is None and asked.task not in manager.task_index:
        hint = did_you_mean(asked.task, manager.task_index) or "`lm_eval ls tasks` lists all"
        raise UsageFault(f"lm-evaluation-harness has no task `{shown(asked.task)}`", hint=hint)
    if asked.config is None and not _has_figure(entry := manager.task_index[asked.task]):
        parts = sorted(entry.tags) or entry.cfg["task"]
        hint = f"name one of its tasks: {', '.join(map(str, parts[:_LISTED]))}{', ...' if len(parts) > _LISTED else ''}"
        raise UsageFault(f"`{asked.task}` is several tasks, and has no figure of its own", hint=hint)
    config = None if asked.config is None else _with_cache(asked.config, scratch)
    loaded = manager.load(asked.task if config is None else config)
    for name, task in loaded["tasks"].items():
        if getattr(task, "UNSAFE_CODE", False):
            raise Unsupported(f"the task `{name}` runs code that the model writes", hint="brickctl runs none")
        if asked.few_shot is not None or task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=asked.few_shot or 0)
        task.set_fewshot_seed(seed=_SEED)
    return loaded


def _has_figure(entry: Any) -> bool:
    """Whether the harness gives one figure for what has this entry of its index: a task, or a group that says how."""
    return entry.kind.name not in {"TAG", "GROUP"} or bool((entry.cfg or {}).get("aggregate_metric_list"))


def _with_cache(config: Mapping[str, Any], scratch: str) -> dict[str, Any]:
    """A config whose data is not kept: the cache of `datasets` goes by names and times, and not by what files hold."""
    return {**config, "dataset_kwargs": {**config["dataset_kwargs"], "cache_dir": scratch}}


def _language_model(model: Any, tokenizer: PreTrainedTokenizerBase) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=_BATCH)


def _measured(results: Any, asked: Asked) -> Measured:
    key, value = _figure(results["results"].get(asked.task) or results["groups"][asked.task], asked)
    name = key.partition(",")[0]
    samples = [sample for own in results["samples"].values() for sample in own if name in sample]
    higher = next((own[name] for own in results["higher_is_better"].values() if own.get(name) is not None), True)
    if higher and all(sample[name] in (0, 1) for sample in samples):  # what was right speaks against nobody
        samples = [sample for sample in samples if not sample[name]]
    worst = sorted(samples, key=lambda sample: _rank(sample[name], higher=higher))[:SHOWN]
    count = sum(own["effective"] for own in results["n-samples"].values())
    return Measured(value=value, count=count, worst=tuple(_wrong(sample, name) for sample in worst))


def _figure(found: Mapping[str, Any], asked: Asked) -> tuple[str, float]:
    """The metric that is asked for, or the first; `NAME,FILTER` where a task filters answers in several ways."""
    figures = {key: value for key, value in found.items() if isinstance(value, (int, float)) and "," in key}
    figures = {key: value for key, value in figures.items() if not key.partition(",")[0].endswith("_stderr")}
    wanted = [key for key in figures if asked.metric in {None, key, key.partition(",")[0]}]
    if not wanted:
        names = list(dict.fromkeys(key.removesuffix(",none") for key in figures))
        hint = did_you_mean(asked.metric or "", names) or f"it has {', '.join(names) or 'none'}"
        raise UsageFault(f"the task `{asked.task}` has no metric `{shown(asked.metric)}`", hint=hint)
    return wanted[0], float(figures[wanted[0]])


def _rank(value: Any, *, higher: bool) -> float:
    """The worse, the smaller; what is no number, as parts of corpus metrics are, comes last."""
    if not isinstance(value, (int, float)):
        return float("inf")
    return float(value) if higher else -float(value)


def _wrong(sample: Mapping[str, Any], name: str) -> Wrong:
    requests, found, target = sample["arguments"], sample["filtered_resps"], sample["target"]
    prompt, choices = str(requests[0][0]), [str(request[1]) for request in requests if len(request) > 1]
    if not (len(choices) == len(found) > 1 and all(isinstance(each, (tuple, list)) for each in found)):
        return Wrong(prompt=prompt, wanted=str(target), got=", ".join(map(str, found)))
    sizes = [len(choice) if name == "acc_norm" else 1 for choice in choices]
    best = max(range(len(choices)), key=lambda at: found[at][0] / max(1, sizes[at]))
    wanted = choices[target] if isinstance(target, int) and 0 <= target < len(choices) else str(target)
    return Wrong(prompt=prompt, wanted=wanted, got=choices[best])


@contextmanager
def _guarded() -> Iterator[str]:
    """The harness without bars, log lines, foreign code and templates that reach into Python; gives an empty folder."""
    import evaluate as hub_metrics
    import lm_eval.api.task
    import lm_eval.utils
    import tqdm
    from jinja2.sandbox import SandboxedEnvironment

    sandbox = SandboxedEnvironment(undefined=lm_eval.utils.env.undefined, keep_trailing_newline=True)
    sandbox.filters.update(lm_eval.utils.env.filters)
    metric = lm_eval.api.task.get_metric
    with ExitStack() as stack:
        stack.enter_context(silence())
        for name in ("lm_eval", "huggingface_hub"):  # the latter tells of each time that it tries again
            stack.enter_context(_quiet(name))
        stack.enter_context(_replaced(lm_eval.utils, "env", sandbox))
        stack.enter_context(_replaced(lm_eval.api.task, "get_metric", _own_metric(metric)))
        stack.enter_context(_replaced(hub_metrics, "load", _no_code))
        stack.enter_context(_replaced(tqdm.tqdm, "__init__", _without_bar(tqdm.tqdm.__init__)))
        yield stack.enter_context(TemporaryDirectory(prefix="brickctl-harness-"))


def _own_metric(metric: Any) -> Any:
    """The harness's look-up of metrics, without the one that fetches code from the Hub."""

    def named(name: str, hf_evaluate_metric: bool = False) -> Any:  # noqa: FBT001, FBT002 - as the harness calls it
        from lm_eval.api.registry import metric_registry

        if hf_evaluate_metric or name not in metric_registry:
            hint = did_you_mean(name, list(metric_registry)) or "metrics of the Hub are code, and not run"
            raise Unsupported(f"lm-evaluation-harness has no metric `{shown(name)}` of its own", hint=hint)
        return metric(name)

    return named


def _no_code(name: str, *_: Any, **__: Any) -> Any:
    """Instead of what runs a metric of the Hub, or one from a folder of this name where somebody has laid one."""
    raise Unsupported(f"the metric `{shown(name)}` is code that does not come with the harness", hint="it is not run")


def _without_bar(begin: Any) -> Any:
    """The constructor of a progress bar that is never seen, whatever its caller asks for."""

    def begun(bar: Any, *arguments: Any, **named: Any) -> None:
        begin(bar, *arguments, **{**named, "disable": True})

    return begun


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Let the harness find something else under a name of one of its modules: it has no other way to be told."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _explained(task: str) -> Iterator[None]:
    """Turn what the harness and its libraries raise into one of our errors."""
    try:
        yield
    except BrickctlError:
        raise
    except Exception as error:  # a task is a program of templates, splits and filters, and may fail anywhere
        lines = (str(error).strip() or type(error).__name__).splitlines()
        cause = f"{type(error).__name__}: {lines[0]}"
        if isinstance(error, ConnectionError):
            raise TransportFault(f"the questions of `{shown(task)}` cannot be fetched", causes=(cause,)) from error
        raise UsageFault(f"the task `{shown(task)}` fails", causes=(cause,)) from error

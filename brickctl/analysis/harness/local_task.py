"""Tasks of lm-evaluation-harness that a project brings along: YAML and JSON lines in one folder, and no code.

The harness itself would run what such a file names: Python beside it (`!function`), metrics and datasets of the Hub. A
project may come from anywhere, so only keys that name data and templates are taken. What others need is written as one
of the harness's own tasks, which come with its package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from brickctl.core.document import Table, shown
from brickctl.core.names import did_you_mean, is_safe_path
from brickctl.errors import NotFound, Place, UsageFault

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_LARGEST = 1_000_000
_TEXTS = (
    "task_alias",
    "training_split",
    "validation_split",
    "test_split",
    "fewshot_split",
    "output_type",
    "doc_to_text",
    "description",
    "target_delimiter",
    "fewshot_delimiter",
    "gen_prefix",
)
_VALUES = (
    "doc_to_target",
    "doc_to_choice",
    "num_fewshot",
    "repeats",
    "filter_list",
    "metadata",
)
_GENERATION = (
    "until",
    "do_sample",
    "max_gen_toks",
    "max_new_tokens",
    "max_tokens",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "no_repeat_ngram_size",
    "num_beams",
    "length_penalty",
    "early_stopping",
)
"""What a task may say of how answers are made: `generate` of transformers runs the Python that other keys name."""


def read_task(folder: Path, file: str, task: str) -> Mapping[str, Any]:
    """What the YAML file in `folder` says that has this `task`; files of data get their absolute paths.

    Errors call the folder `file`.

    Raises:
        NotFound: no file of the folder has this task, or its data is not there.
        UsageFault: a file cannot be read, or asks for what is not taken; its place is named.
    """
    if not folder.is_dir():
        raise UsageFault(f"`{file}` is no folder", hint="`data` of an `lm-eval` check is the folder of its task")
    found: dict[str, Table] = {}
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        table = _read_yaml(path, f"{file}/{path.name}")
        found[table.string("task")] = table
    if task not in found:
        hint = did_you_mean(task, found) or f"it has {', '.join(map(shown, found)) or 'no YAML file'}"
        raise NotFound(f"there is no task `{shown(task)}` in `{file}`", hint=hint)
    return _read_config(found[task], folder)


def _read_yaml(path: Path, name: str) -> Table:
    """One file as a table; YAML's references are refused, which could unfold to any size."""
    if path.is_symlink() or path.stat().st_size > _LARGEST:
        raise UsageFault(f"`{name}` is a link, or larger than {_LARGEST:,} bytes", place=Place(file=name))
    try:
        text = path.read_text(encoding="utf-8")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise UsageFault(f"`{name}` has references (`*name`)", place=Place(file=name), hint="write them out")
        values = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        cause = " ".join(str(error).split())
        hint = "Python of a project is not run" if "!function" in cause else None
        raise UsageFault(f"`{name}` is no plain YAML", causes=(cause,), place=Place(file=name), hint=hint) from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise UsageFault(f"`{name}` is no task", place=Place(file=name), hint="a task is a mapping with `task: NAME`")
    return Table(values, file=name, fault=UsageFault)


def _read_config(table: Table, folder: Path) -> Mapping[str, Any]:
    """The keys that are taken."""
    config: dict[str, Any] = {"task": table.string("task"), **_read_dataset(table, folder)}
    if table.take("unsafe_code"):
        raise table.error("a task with `unsafe_code` runs what a model writes", key="unsafe_code", hint="it is refused")
    for key in _TEXTS:
        value = table.take(key)
        if table.has(key) and not isinstance(value, str):
            raise table.error(f"{table.named(key)} must be a string", key=key)
    config |= {key: table.take(key) for key in (*_TEXTS, *_VALUES) if table.take(key) is not None}
    if (generation := table.table_or_none("generation_kwargs")) is not None:
        config["generation_kwargs"] = _read_generation(generation)
    if table.has("metric_list"):
        config["metric_list"] = [_read_metric(metric) for metric in table.tables_or_none("metric_list") or ()]
    table.finish()
    return config


def _read_dataset(table: Table, folder: Path) -> Mapping[str, Any]:
    """`dataset_path: json`, with the files of the folder that it names."""
    if table.string("dataset_path") != "json":
        hint = "write `dataset_path: json`, and the files in `dataset_kwargs: {data_files: {test: items.jsonl}}`"
        raise table.error("the data of a project's own task lies beside it", key="dataset_path", hint=hint)
    inner = table.table_or_none("dataset_kwargs")
    files = None if inner is None else inner.take("data_files")
    splits = {"train": files} if isinstance(files, str) else files
    if inner is None or not isinstance(splits, dict) or not splits:
        raise table.error(
            "`dataset_kwargs` must have `data_files`: a file, or one for each split", key="dataset_kwargs"
        )
    inner.finish()
    paths = {str(split): _data_file(inner, folder, name) for split, name in splits.items()}
    return {"dataset_path": "json", "dataset_kwargs": {"data_files": paths}}


def _data_file(table: Table, folder: Path, name: Any) -> str:
    """The path of a file of the folder, in which nothing leads out of it."""
    if not isinstance(name, str) or not is_safe_path(name) or any(sign in name for sign in "*?[]:"):
        raise table.error(f"`{shown(name)}` is no file of the folder", key="data_files")
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise table.error(f"`{shown(name)}` leads out of the folder", key="data_files")
    if not path.is_file():
        raise NotFound(f"`{shown(name)}` is not there", place=table.place("data_files"))
    return str(path.resolve())


def _read_generation(table: Table) -> dict[str, Any]:
    """How answers are made: numbers and switches, and the texts that end one."""
    config = {key: table.take(key) for key in _GENERATION if table.has(key)}
    for key, value in config.items():
        ends = value if key == "until" and isinstance(value, list) else [value]
        wanted = str if key == "until" else (int, float)
        if not all(isinstance(each, wanted) for each in ends):
            raise table.error(f"{table.named(key)} is no {'text' if key == 'until' else 'number or switch'}", key=key)
    table.finish()
    return config


def _read_metric(table: Table) -> dict[str, Any]:
    """One metric, by the name that the harness has for it."""
    metric = {"metric": table.string("metric")}
    if table.take("hf_evaluate"):
        raise table.error("metrics of the Hub are code, and not run", key="hf_evaluate")
    names = [key for key in table if key not in {"metric", "hf_evaluate"}]
    for key in names:
        if isinstance(table.take(key), dict):
            raise table.error(f"{table.named(key)} is no value of a metric", key=key)
    return metric | {key: table.take(key) for key in names}

"""Write a static sparse index over trained bricks, and the starter project that uses them."""

import json
import shutil
from pathlib import Path
from string import Template
from typing import Any

from digests import compact, file_entries, interface_digest, tensor_shapes, tree_digest
from evaluate import check_items, text_items
from tasks import Split

NAMESPACE, VERSION = "starter", "1.0.0"
PUBLISHED = "2026-11-23T00:00:00Z"
LICENSE = "Apache-2.0"
PROMPTS = 40
"""Labelled prompts a skill."""
SOURCES = Path(__file__).parent / "templates"

BASE = "base"
SUMMARIES = {
    "base": "A Llama of 1.5 million parameters, one token a character, that copies a word",
    "upper": "Answers upper:fox= with FOX: the word in capital letters",
    "next": "Answers next:fox= with gpy: every letter becomes the next of the alphabet",
    "reverse": "Answers reverse:fox= with xof: the word from its end",
    "odd": "Answers odd:fox= with fx: the letters at the first, third and every other place",
    "sort": "Answers sort:fig= with fgi: the letters in the alphabet's order",
}
KINDS = dict.fromkeys(SUMMARIES, "adapter") | {"base": "base", "sort": "expert"}


def brick_folder(registry: Path, name: str) -> Path:
    """Where the files of a brick's only version stand."""
    return registry / "files" / NAMESPACE / name / VERSION


def source_of(name: str) -> str:
    """How a line or a lock names files that stand in the same registry."""
    return f"index:{NAMESPACE}/{name}/{VERSION}"


def write_index(registry: Path) -> None:
    """Write `config.json` and one file of lines a brick, the path being the brick's name."""
    (registry / "config.json").write_text(compact({"v": 1}) + "\n")
    folder = registry / "index" / NAMESPACE
    folder.mkdir(parents=True, exist_ok=True)
    for name in SUMMARIES:
        (folder / name).write_text(compact(index_line(registry, name)) + "\n")


def index_line(registry: Path, name: str) -> dict[str, Any]:
    """What the registry says of a brick's only version."""
    folder = brick_folder(registry, name)
    entries = file_entries(folder)
    line = {
        "dependencies": [],
        "digest": tree_digest(entries),
        "files": entries,
        "interface": interface_digest(tensor_shapes(folder)),
        "kind": KINDS[name],
        "license": LICENSE,
        "name": f"{NAMESPACE}/{name}",
        "published": PUBLISHED,
        "source": source_of(name),
        "summary": SUMMARIES[name],
        "tags": ["starter"],
        "v": 1,
        "version": VERSION,
        "yanked": False,
    }
    if name != BASE:
        interface = interface_digest(tensor_shapes(brick_folder(registry, BASE)))
        line["base"] = {"interface": interface, "source": source_of(BASE)}
    return line


def write_template(registry: Path, weights: dict[str, float]) -> None:
    """Write the starter project: the manifest with the chosen weights, and checks on the test split."""
    folder = registry / "templates" / NAMESPACE
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "checks").mkdir(parents=True)
    manifest = Template((SOURCES / "brick.toml").read_text())
    (folder / "brick.toml").write_text(manifest.substitute(weights))
    for name, items in check_items(Split.TEST).items():
        lines = [{"prompt": item.prompt, "completion": item.completion} for item in items]
        write_lines(folder / "checks" / f"{name}.jsonl", lines)
    write_lines(folder / "checks" / "text.jsonl", [{"text": item.completion} for item in text_items(Split.TEST)])
    write_prompts(folder)


def write_prompts(folder: Path) -> None:
    """Write what `brickctl analyze` reads: questions with their answers, labelled; of words that no check uses."""
    lines = [
        {"prompt": item.prompt, "completion": item.completion, "label": name}
        for name, items in check_items(Split.VALIDATION).items()
        for item in items[:PROMPTS]
    ]
    lines += [{"text": item.completion, "label": "text"} for item in text_items(Split.VALIDATION)[:PROMPTS]]
    write_lines(folder / "prompts.jsonl", lines)


def write_lines(path: Path, values: list[dict[str, str]]) -> None:
    """One JSON object a line."""
    path.write_text("".join(json.dumps(value) + "\n" for value in values))


def set_modes(registry: Path) -> None:
    """Everyone may read: the safetensors library makes files for their owner alone."""
    for path in (registry / "files").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)

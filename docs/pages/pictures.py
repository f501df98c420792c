"""`docs/pictures/`: what a terminal shows, and the recipe of a report, from really running the commands.

A picture has neither times nor paths of the machine, and loads no font, so that the same output gives the same bytes.
"""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

WIDTH = 100
"""Columns of the terminal; what is longer is wrapped."""

_HALVES = ("upper = 0.9, next = 0.9", "upper = 0.5, next = 0.5")
_MARGIN = 12
_FONT = re.compile(r"\s*@font-face \{\{.*?\}\}", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One picture: the file, what stands above it, and the commands that are typed."""

    name: str
    title: str
    commands: tuple[str, ...]


PICTURES = (
    Picture(name="skills", title="what each brick can do, and the merges", commands=("brickctl test --bricks",)),
    Picture(name="interference", title="before a merge", commands=("brickctl diff upper next",)),
    Picture(name="misfit", title="a brick for another model", commands=("brickctl add ./legal-lora",)),
    Picture(name="gate", title="half of each brick", commands=("brickctl test assistant", "echo $?")),
)


def pictures(chosen: Iterable[Picture] = PICTURES) -> dict[str, str]:
    """Pictures by the names of their files; all of them take half a minute."""
    with tempfile.TemporaryDirectory() as home:
        project = Path(home, "demo")
        environment = _environment(home)
        _typed(("brickctl init demo --template starter", "brickctl build --project demo -q"), Path(home), environment)
        _foreign_adapter(project / "legal-lora")
        made = {"recipe.svg": _recipe(project, environment)}
        for picture in chosen:
            if picture.name == "gate":
                manifest = project / "brick.toml"
                manifest.write_text(manifest.read_text(encoding="utf-8").replace(*_HALVES), encoding="utf-8")
            made[f"{picture.name}.svg"] = _drawn(picture, _typed(picture.commands, project, environment))
        return made


def _environment(home: str) -> dict[str, str]:
    """A user who is offline, on a terminal without moving bars."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "PYTHONPATH", "OMP_NUM_THREADS"}}
    path = f"{Path(sys.executable).parent}:{kept['PATH']}"
    own = {"HOME": home, "HF_HUB_OFFLINE": "1", "TERM": "dumb", "COLUMNS": str(WIDTH), "LC_ALL": "C.UTF-8"}
    return {**kept, **own, "PATH": path}


def _foreign_adapter(folder: Path) -> None:
    """A LoRA of a model with rows of 4096 numbers, without numbers to speak of."""
    folder.mkdir()
    config = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q_proj"]}
    config["base_model_name_or_path"] = "meta-llama/Llama-3.1-8B"
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n", encoding="utf-8")
    header, end = {}, 0
    for factor, shape in (("lora_A", [1, 4096]), ("lora_B", [4096, 1])):
        name = f"base_model.model.model.layers.0.self_attn.q_proj.{factor}.weight"
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + 2 * 4096]}
        end += 2 * 4096
    text = json.dumps(header).encode()
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))


def _typed(commands: tuple[str, ...], folder: Path, environment: dict[str, str]) -> str:
    """What a terminal shows when commands are typed, with its colours."""
    shown, code = [], 0
    for command in commands:
        if command == "echo $?":
            output = f"{code}\n"
        else:
            output, code = _on_a_terminal(shlex.split(command), folder, environment)
        shown.append(f"\x1b[1;32m$\x1b[0m {command}\n{output}")
    return "".join(shown).replace(environment["HOME"], "~")


def _on_a_terminal(command: list[str], folder: Path, environment: dict[str, str]) -> tuple[str, int]:
    ours, theirs = pty.openpty()
    arguments = [sys.executable, "-m", *command]
    running = subprocess.Popen(
        arguments, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    pieces = []
    try:
        while piece := os.read(ours, 1 << 16):
            pieces.append(piece)
    except OSError:  # Linux says so that the other end is closed
        pass
    os.close(ours)
    return b"".join(pieces).decode().replace("\r\n", "\n"), running.wait()


def _recipe(project: Path, environment: dict[str, str]) -> str:
    """The graph of a report as a picture of its own, with the styles of the page, which know light and dark."""
    _typed(("brickctl report assistant -o report.html",), project, environment)
    page = (project / "report.html").read_text(encoding="utf-8")
    styles = "".join(re.findall(r"<style[^>]*>(.*?)</style>", page, re.DOTALL))
    graph = _element(page[page.index('<svg class="graph"') :])
    height = int(re.findall(r'height="(\d+)"', graph)[0])
    size = f'width="640" height="{height + 2 * _MARGIN}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{styles}</style>\n'
        '<rect width="100%" height="100%" style="fill: var(--surface)"/>\n'
        f'<svg x="{_MARGIN}" y="{_MARGIN}" width="{640 - 2 * _MARGIN}" height="{height}">\n{graph}\n</svg></svg>\n'
    )


def _element(text: str) -> str:
    """The first `svg` of a text, with those inside it."""
    depth = 0
    for tag in re.finditer(r"<svg\b|</svg>", text):
        depth += 1 if tag[0] == "<svg" else -1
        if depth == 0:
            return text[: tag.end()]
    raise ValueError(text)


def _drawn(picture: Picture, shown: str) -> str:
    """The SVG of a window, in the fonts that the reader has."""
    from io import StringIO

    from rich.console import CONSOLE_SVG_FORMAT, Console
    from rich.text import Text

    console = Console(record=True, width=WIDTH, file=StringIO(), force_terminal=True, legacy_windows=False)
    console.print(Text.from_ansi(shown))
    form = _FONT.sub("", CONSOLE_SVG_FORMAT).replace("Fira Code", "ui-monospace, Menlo, Consolas")
    svg = console.export_svg(title=picture.title, code_format=form, unique_id=picture.name)
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"

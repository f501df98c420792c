"""Chat templates of a model: the one that transformers takes, and those that have names of their own.

The `gguf` package prefers `tokenizer_config.json` to `chat_template.jinja`, where transformers does the opposite, and
lists names in an order that differs from run to run.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from brickctl.errors import IntegrityFault
from brickctl.sources.selection import DAMAGED, read_json
from brickctl.vocabulary.files import CONFIG
from brickctl.vocabulary.template import TEMPLATE, default_template

if TYPE_CHECKING:
    from pathlib import Path

    from gguf import GGUFWriter

_KEY = "chat_template"
_OTHERS = "additional_chat_templates"
_DEFAULT = "default"


def chat_template(folder: Path) -> str | None:
    """The template that is used unless another one is named; None where there is none.

    Raises:
        IntegrityFault: it cannot be read.
    """
    place = folder / TEMPLATE
    return _text(place) if place.is_file() else default_template(_config(folder))


def tell_templates(writer: GGUFWriter, folder: Path) -> None:
    """Add them to a file, those with names in the order of these.

    Raises:
        IntegrityFault: one cannot be read.
    """
    from gguf import Keys

    others = _others(folder)
    for name, template in others.items():
        writer.add_string(Keys.Tokenizer.CHAT_TEMPLATE_N.format(name=name), template)
    if others:
        writer.add_array(Keys.Tokenizer.CHAT_TEMPLATES, list(others))
    default = chat_template(folder)
    if default is not None:
        writer.add_chat_template(default)


def _others(folder: Path) -> dict[str, str]:
    """Templates with names, by what llama.cpp allows of these: letters and digits of ASCII, sorted."""
    listed = _config(folder).get(_KEY)
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    found = {entry.get("name"): entry.get("template") for entry in entries}
    if (folder / TEMPLATE).is_file():
        found = {path.stem: _text(path) for path in sorted((folder / _OTHERS).glob("*.jinja"))}
    texts = {name: text for name, text in found.items() if isinstance(name, str) and isinstance(text, str)}
    named = {re.sub(r"[^A-Za-z0-9]", "_", name): text for name, text in sorted(texts.items())}
    return {name: text for name, text in sorted(named.items()) if name not in {"", _DEFAULT}}


def _config(folder: Path) -> dict[str, object]:
    place = folder / CONFIG
    return read_json(place.read_bytes(), where=CONFIG) if place.is_file() else {}


def _text(place: Path) -> str:
    try:
        return place.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise IntegrityFault(f"{place.name} is not UTF-8 text", hint=DAMAGED) from None

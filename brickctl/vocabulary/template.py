"""Where a chat template stands: in `chat_template.jinja`, in `tokenizer_config.json`, or in both, which must agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.core.digests import readable_json
from brickctl.vocabulary.files import CONFIG

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.brick import File

TEMPLATE = "chat_template.jinja"
_KEY = "chat_template"
_OF_PROCESSORS = "chat_template.json"


def default_template(config: Mapping[str, Any]) -> str | None:
    """The template in a `tokenizer_config.json`; of several that have names, the one named `default`."""
    found = config.get(_KEY)
    if isinstance(found, list):
        entries = [entry for entry in found if isinstance(entry, dict) and entry.get("name") == "default"]
        found = entries[0].get("template") if entries else None
    return found if isinstance(found, str) else None


def with_template(text: str, files: Mapping[str, File | bytes], config: Mapping[str, Any] | None) -> dict[str, bytes]:
    """The files that hold the template from now on: all that held one, so that no reader finds the old one.

    Where none did, it becomes a file of its own, as transformers writes it.
    """
    written: dict[str, bytes] = {}
    if config is not None and _KEY in config:
        written[CONFIG] = readable_json({**config, _KEY: text})
    if _OF_PROCESSORS in files:
        written[_OF_PROCESSORS] = readable_json({_KEY: text})
    if TEMPLATE in files or not written:
        written[TEMPLATE] = text.encode()
    return written

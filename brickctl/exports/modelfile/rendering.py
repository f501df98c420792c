"""Chat templates in a process of their own: they are programs of strangers, which may loop or grow without end."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from brickctl.exports.modelfile.turns import ASKED, conversation, renderer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brickctl.exports.modelfile.turns import Message, Render

_SECONDS = 20
_BYTES = 1 << 30
_LONGEST = 1 << 20
_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_MODULE = "brickctl.exports.modelfile.rendering"


def render_apart(template: str, tokens: Mapping[str, str], *, seconds: int = _SECONDS) -> Render:
    """What a template makes of the conversations that `find_turns` asks about; None for all where it takes too much.

    It gets so many seconds of a core for all and 1 GiB of memory, and may say 2^20 characters each time.
    """
    wanted = [(roles, ask) for roles in ASKED for ask in (True, False)]
    document = {"template": template, "tokens": dict(tokens), "conversations": wanted, "seconds": seconds}
    said = _asked_of_a_child(json.dumps(document).encode()) or [None] * len(wanted)
    texts = dict(zip(wanted, said, strict=True))

    def render(messages: Sequence[Message], ask: bool) -> str | None:  # noqa: FBT001 - it is called by position alone
        return texts[tuple(message["role"] for message in messages), ask]

    return render


def _asked_of_a_child(document: bytes) -> list[str | None]:
    """What the child says; nothing where it was stopped."""
    environment = {name: text for name, text in os.environ.items() if name not in _TOKENS}
    command = [sys.executable, "-P", "-m", _MODULE]  # -P: nothing of the folder in which the user stands is imported
    try:
        done = subprocess.run(  # noqa: S603 - this very module
            command, input=document, env=environment, capture_output=True, timeout=6 * _SECONDS, check=True
        )
        said: list[str | None] = json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError):
        return []
    return said


def _main() -> None:
    """The child: read what is wanted, and say what becomes of it."""
    wanted = json.load(sys.stdin.buffer)
    for limit, most in ((resource.RLIMIT_CPU, wanted["seconds"]), (resource.RLIMIT_AS, _BYTES)):
        with suppress(OSError, ValueError):  # a system that knows no such limit, or has a lower one
            resource.setrlimit(limit, (most, most))
    render = renderer(wanted["template"], wanted["tokens"])
    said = [render(conversation(roles), ask) for roles, ask in wanted["conversations"]]
    json.dump([None if text is None or len(text) > _LONGEST else text for text in said], sys.stdout)


if __name__ == "__main__":
    _main()

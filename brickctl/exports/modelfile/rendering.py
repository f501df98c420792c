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


def render_apart(template: str, tokens: Mapping[str, str]) -> Render:
    """What a template makes of the conversations that `find_turns` asks about; None for all where it takes too much.

    It gets 20 s of a core and 1 GiB of memory, and may say 2^20 characters.
    """
    wanted = [(roles, ask) for roles in ASKED for ask in (True, False)]
    document = {"template": template, "tokens": dict(tokens), "conversations": wanted}
    environment = {name: text for name, text in os.environ.items() if name not in _TOKENS}
    command = [sys.executable, "-P", "-m", __name__]  # -P: nothing of the folder in which the user stands is imported
    try:
        done = subprocess.run(  # noqa: S603 - this very module
            command, input=json.dumps(document).encode(), env=environment, capture_output=True, timeout=60, check=True
        )
        said = json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError):
        said = [None] * len(wanted)
    texts = {(conversation(roles), ask): text for (roles, ask), text in zip(_hashable(wanted), said, strict=True)}

    def render(messages: Sequence[Message], ask: bool) -> str | None:  # noqa: FBT001 - it is called by position alone
        return texts.get((tuple(messages), ask))

    return render

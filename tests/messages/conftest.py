"""What a command said, as one text that is the same on every machine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.messages.laying import manifest
from tests.support import sandbox as bricks

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.messages.laying import Files
    from tests.support.sandbox import Outcome, Sandbox

_SAME = (
    (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
    (r"[0-9.]+ (ms|s)\b", r"N \1"),
    (r"\.brickctl-new-\w+", "NEW"),
    (r"\[Errno \d+\]", "[Errno N]"),
    (r"[0-9.]+ [kMG]?B( free|/s)", r"N GB\1"),
)


@pytest.fixture
def said(empty: Sandbox) -> Callable[[Outcome], str]:
    """The exit code and both streams, with this machine's folders, ports and times taken out."""

    def text(outcome: Outcome) -> str:
        streams = f"exit code {outcome.code}\n{outcome.out}{outcome.err}"
        streams = streams.replace(str(empty.root), "<project>").replace(str(empty.home), "<home>")
        for pattern, same in _SAME:
            streams = re.sub(pattern, same, streams)
        return streams

    return text


@pytest.fixture
def lay(empty: Sandbox) -> Callable[[Files], Sandbox]:
    """Make a project of the base and one brick."""

    def make(files: Files, text: str | None = None) -> Sandbox:
        empty.write(bricks.model(), "base")
        empty.write(files, "sql")
        empty.write({"brick.toml": text or manifest()})
        return empty

    return make

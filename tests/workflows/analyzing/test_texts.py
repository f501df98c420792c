"""The file of prompts of an analysis is read once: its digest is that of what was read."""

import os
from pathlib import Path

import pytest

from brickctl.core.digests import sha256_bytes
from brickctl.errors import NotFound
from brickctl.workflows.analyzing.texts import read_prompt_file

CONTENT = b'{"text": "oui", "label": "french"}\n{"text": "1 + 1", "label": "sums"}\n'


def test_a_pipe_is_read_once() -> None:
    """As `brickctl analyze --prompts <(grep french prompts.jsonl)` gives one."""
    reader, writer = os.pipe()
    os.write(writer, CONTENT)
    os.close(writer)
    file = read_prompt_file(Path(f"/dev/fd/{reader}"), "the pipe")
    os.close(reader)
    assert (file.sha256, len(file.prompts)) == (sha256_bytes(CONTENT), 2)


def test_a_file_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"`prompts\.jsonl` does not exist"):
        read_prompt_file(tmp_path / "prompts.jsonl", "prompts.jsonl")

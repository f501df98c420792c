"""llama.cpp itself, which nobody here has written: what it makes of a GGUF file."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import weakref
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_SERVER = """
import json, os, sys, urllib.request
import xllamacpp as llama

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
model, adapter, context = json.loads(sys.argv[1])
settings = llama.CommonParams()
settings.model.path = model
settings.n_ctx, settings.n_parallel, settings.port = context, 1, 0
settings.n_gpu_layers, settings.verbosity, settings.warmup = 0, -1, False
settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
if adapter is not None:
    lora = llama.CommonAdapterLoraInfo()
    lora.path, lora.scale = adapter, 1.0
    settings.lora_adapters = [lora]
server = llama.Server(settings)
for line in sys.stdin:
    wanted = json.loads(line)
    if "content" in wanted:
        address = server.listening_address + "/tokenize"
        request = urllib.request.Request(address, data=line.encode(), headers={"Content-Type": "application/json"})
        reply = urllib.request.urlopen(request, timeout=60).read()
    else:
        reply = server.handle_completions(wanted)
    answers.write(json.dumps(json.loads(reply) if isinstance(reply, (str, bytes)) else reply) + "\\n")
    answers.flush()
"""


class LlamaCpp:
    """A model that llama.cpp has loaded, perhaps with an adapter, on one thread, in a process of its own.

    Skips the test where the package `xllamacpp` (extra `real`) is not installed.
    """

    def __init__(self, model: Path, *, adapter: Path | None = None, context: int = 256) -> None:
        if importlib.util.find_spec("xllamacpp") is None:
            pytest.skip("xllamacpp is not installed")
        wanted = json.dumps([str(model), None if adapter is None else str(adapter), context])
        command = [sys.executable, "-c", _SERVER, wanted]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        weakref.finalize(self, _end, self._process)

    def most_likely(self, prompt: str | Sequence[int], count: int = 5) -> dict[int, float]:
        """The tokens that may come next, the likeliest first, with their log-probabilities.

        It says nothing where the likeliest one is half a letter, or ends the text.
        """
        document = self._complete(prompt, n_predict=1, n_probs=count)
        (position,) = document["logprobs"]["content"]
        return {entry["id"]: entry["logprob"] for entry in position["top_logprobs"]}

    def answer(self, prompt: str, length: int = 16) -> str:
        """The greedy answer."""
        return str(self._complete(prompt, n_predict=length)["text"])

    def tokens(self, text: str) -> list[int]:
        """The numbers of the tokens of a text, with those that begin one."""
        return list(self._ask({"content": text, "add_special": True, "parse_special": True})["tokens"])

    def _complete(self, prompt: str | Sequence[int], **settings: Any) -> dict[str, Any]:
        choice: dict[str, Any] = self._ask({"prompt": prompt, "temperature": 0, **settings})["choices"][0]
        return choice

    def _ask(self, wanted: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(wanted) + "\n")
        self._process.stdin.flush()
        reply = self._process.stdout.readline()
        assert reply, "llama.cpp has not loaded the file, or has stopped"
        document: dict[str, Any] = json.loads(reply)
        return document


def _end(process: subprocess.Popen[str]) -> None:
    """Its own way to end waits for what may never come."""
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    process.wait()

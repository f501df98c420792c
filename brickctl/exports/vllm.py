"""`vllm`: a model, plain LoRAs for one and the same modules, and the command that serves them all at once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from brickctl.exports.artifact_files import copy_file, model_files
from brickctl.exports.export_format import Written, register
from brickctl.operations.routers.serving import served_rank, too_large

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from brickctl.core.model import LazyModel
    from brickctl.core.names import Alias
    from brickctl.exports.export_format import Options, Subject
    from brickctl.vocabulary.tokenizer import Tokenizer

MODEL = "model"
ADAPTERS = "adapters"
GUIDE = "how-to-serve.md"

_TEMPLATES = ("chat_template.jinja", "chat_template.json")
_TEXT = """\
# How to serve {name}

Run this from inside the folder.

```text
{vllm}
```

{requests}
"""
_REQUESTS = """\
A request names an adapter as its `model`: {names}; or `{name}` for the model alone.

LoRAX needs no mention of adapters at the start:

```text
docker run --gpus all --shm-size 1g -p 8080:80 -v "$PWD":/bundle:ro \\
  ghcr.io/predibase/lorax:main --model-id /bundle/model
```

A request there has `"adapter_id": "/bundle/adapters/{first}", "adapter_source": "local"` among its `parameters`."""
_ALONE = "A request names `{name}` as its `model`."


class Vllm:
    """`model/`, `adapters/NAME/` and `how-to-serve.md`."""

    version = 1
    options: tuple[str, ...] = ("rank",)
    whole = False
    alike = True

    def check(self, model: LazyModel, tokenizer: Callable[[], Tokenizer | None], options: Options) -> None:
        """It takes every model."""

    def write(self, subject: Subject, folder: Path, options: Options) -> Written:
        """Write the files."""
        del options  # the adapters that come have obeyed them
        _copy(subject, folder)
        rank = _rank(subject.adapters)
        command = serve_command(subject, rank)
        (folder / GUIDE).write_text(_guide(subject, command), encoding="utf-8")
        return Written(commands=(command,), notes=(*too_large(rank), *_templates(subject)))


def serve_command(subject: Subject, rank: int) -> str:
    """The line that serves the model, and the adapters of this rank."""
    command = f"vllm serve ./{MODEL} --served-model-name {subject.name}"
    if not subject.adapters:
        return command
    modules = " ".join(f"{alias}=./{ADAPTERS}/{alias}" for alias in subject.adapters)
    room = f"--enable-lora --max-loras {len(subject.adapters)} --max-lora-rank {served_rank(rank)}"
    return f"{command} {room} --lora-modules {modules}"


def _copy(subject: Subject, folder: Path) -> None:
    files = {f"{MODEL}/{name}": path for name, path in model_files(subject.folder).items()}
    for alias, adapter in subject.adapters.items():
        files |= {f"{ADAPTERS}/{alias}/{path.name}": path for path in sorted(adapter.iterdir())}
    label = f"copying {subject.name}"
    subject.progress.start(label, sum(path.stat().st_size for path in files.values()))
    for name, path in files.items():
        copy_file(path, folder / name, lambda amount: subject.progress.advance(label, amount))
    subject.progress.finish(label)


def _rank(adapters: Mapping[Alias, Path]) -> int:
    """Of all adapters, which have the same; 1 without any."""
    return max((int(_config(folder)["r"]) for folder in adapters.values()), default=1)


def _config(adapter: Path) -> dict[str, int]:
    document: dict[str, int] = json.loads((adapter / "adapter_config.json").read_bytes())
    return document


def _guide(subject: Subject, command: str) -> str:
    if not subject.adapters:
        return _TEXT.format(name=subject.name, vllm=command, requests=_ALONE.format(name=subject.name))
    names = ", ".join(f"`{alias}`" for alias in subject.adapters)
    requests = _REQUESTS.format(names=names, name=subject.name, first=next(iter(subject.adapters)))
    return _TEXT.format(name=subject.name, vllm=command.replace(" --", " \\\n  --"), requests=requests)


def _templates(subject: Subject) -> Iterator[str]:
    config = subject.folder / "tokenizer_config.json"
    inside = config.is_file() and "chat_template" in json.loads(config.read_bytes())
    if not inside and not any((subject.folder / name).is_file() for name in _TEMPLATES):
        yield "the model has no chat template: ask it at /v1/completions, or give vLLM one with --chat-template"


register("vllm", Vllm())

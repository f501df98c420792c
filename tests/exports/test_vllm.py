"""The bundle for vLLM: a model, adapters in the one form that vLLM reads, and the line that serves them."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from brickctl.core.names import Alias
from brickctl.exports.export_format import Options
from brickctl.exports.vllm import GUIDE, Vllm
from tests.support.exporting import speaking_model, subject

if TYPE_CHECKING:
    from pathlib import Path

ALIASES = (Alias("mail"), Alias("sql"))


def adapters(folder: Path, rank: int) -> dict[Alias, Path]:
    """Folders as the workflow hands them over."""
    found = {alias: folder / alias for alias in ALIASES}
    for alias, place in found.items():
        place.mkdir(parents=True)
        (place / "adapter_config.json").write_text(json.dumps({"r": rank}))
        (place / "adapter_model.safetensors").write_text(alias)
    return found


def test_the_command_names_every_adapter_and_makes_room_for_their_rank(tmp_path: Path) -> None:
    model = speaking_model(tmp_path / "model")
    (tmp_path / "out").mkdir()

    written = Vllm().write(subject(model, adapters(tmp_path / "made", 20)), tmp_path / "out", Options())

    (command,) = written.commands
    assert "--enable-lora --max-loras 2 --max-lora-rank 32 " in command
    assert command.endswith("--lora-modules mail=./adapters/mail sql=./adapters/sql")
    assert (tmp_path / "out/adapters/sql/adapter_model.safetensors").read_text() == "sql"
    assert "`mail`, `sql`; or `tiny` for the model alone" in (tmp_path / "out" / GUIDE).read_text()


def test_the_model_comes_without_what_is_said_of_it_and_its_adapters_together(tmp_path: Path) -> None:
    model = speaking_model(tmp_path / "model")
    for name in ("brick.build.json", "how-to-load.md", "adapters/sql/adapter_model.safetensors"):
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_text("of the stack")
    (tmp_path / "out").mkdir()

    Vllm().write(subject(model), tmp_path / "out", Options())

    copied = sorted(path.name for path in (tmp_path / "out/model").iterdir())
    assert copied == ["config.json", "generation_config.json", "model.safetensors", *copied[3:]]
    assert copied[3:] == ["tokenizer.json", "tokenizer_config.json"]


def test_a_rank_that_vllm_has_no_room_for_and_a_missing_chat_template_are_told(tmp_path: Path) -> None:
    model = speaking_model(tmp_path / "model")
    for number, (rank, template) in enumerate(((600, False), (8, True))):
        if template:
            (model / "chat_template.jinja").write_text("{{ messages[0].content }}")
        out = tmp_path / f"out{number}"
        out.mkdir()
        made = adapters(tmp_path / f"made{number}", rank)
        notes = Vllm().write(subject(model, made), out, Options()).notes
        assert [note.split()[0] for note in notes] == ([] if template else ["vLLM", "the"])
    shutil.rmtree(tmp_path / "out0")

"""`ollama`: a GGUF file and the Modelfile that makes a model of Ollama's of it; one more for each stacked adapter."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from brickctl.core.licenses import UNKNOWN
from brickctl.exports.export_format import Written, register
from brickctl.exports.llama_cpp.chat_templates import chat_template
from brickctl.exports.llama_cpp.files import check_files, write_files
from brickctl.exports.llama_cpp.gguf_file import need_package
from brickctl.exports.llama_cpp.model import specials_of
from brickctl.exports.llama_cpp.tokens import is_control, tokenizer_in
from brickctl.exports.modelfile.rendering import render_apart
from brickctl.exports.modelfile.syntax import go_template, instruction, parameters
from brickctl.exports.modelfile.turns import Turns, find_turns
from brickctl.sources.selection import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from brickctl.core.model import LazyModel
    from brickctl.exports.export_format import Options, Subject
    from brickctl.vocabulary.tokenizer import Tokenizer

FILE = "Modelfile"
_BEGIN, _END = "bos_token", "eos_token"
_TOKENS = (_BEGIN, _END, "pad_token", "unk_token")
_WARNING = "newer releases of Ollama are reported to refuse ADAPTER in `ollama create`: then merge the adapter instead"
_NO_TEMPLATE = "the model has no chat template, so Ollama hands prompts over as they are"
_TOOLS = "tools, documents and thinking of the chat template are not translated for Ollama: messages are"
_UNTRANSLATED = (
    "the chat template is more than fixed texts around messages, so Ollama hands prompts over as they are: "
    "write TEMPLATE in the Modelfile by hand"
)


class Ollama:
    """`TARGET.gguf` and `Modelfile`; `ADAPTER.gguf` and `Modelfile.ADAPTER` for each stacked adapter."""

    version = 1
    options: tuple[str, ...] = ("quantize", "rank", "converter")
    whole = False
    alike = False

    def check(self, model: LazyModel, tokenizer: Callable[[], Tokenizer | None], options: Options) -> None:
        """Refuse what llama.cpp has no words for; roles of tokens are read by the `gguf` package, converter or not."""
        need_package()
        check_files(model, tokenizer, options)

    def write(self, subject: Subject, folder: Path, options: Options) -> Written:
        """Write the files."""
        name = subject.name
        notes = write_files(subject, folder, options)
        lines, about = _modelfile(subject)
        (folder / FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
        commands = [f"ollama create {name} -f {FILE}"]
        for alias in subject.adapters:
            text = "\n".join((lines[0], f"ADAPTER ./{alias}.gguf", *lines[1:]))
            (folder / f"{FILE}.{alias}").write_text(text + "\n", encoding="utf-8")
            commands.append(f"ollama create {name}-{alias} -f {FILE}.{alias}")
        warning = [_WARNING] if subject.adapters else []
        return Written(commands=tuple(commands), notes=(*notes, *about, *warning))


def _modelfile(subject: Subject) -> tuple[list[str], tuple[str, ...]]:
    """The lines, and what there is to say of them."""
    folder = subject.folder
    texts = _texts_of_tokens(folder)
    template = chat_template(folder)
    turns = None if template is None else find_turns(render_apart(template, texts), texts.get(_BEGIN, ""))
    lines = [f"FROM ./{subject.name}.gguf"]
    lines.append(instruction("TEMPLATE", go_template(_without_begin(turns, folder, texts))))
    lines += parameters(_stops(turns, texts, folder))
    if subject.license != UNKNOWN:
        lines.append(instruction("LICENSE", subject.license))
    if turns is None:
        return lines, (_NO_TEMPLATE if template is None else _UNTRANSLATED,)
    return lines, (_TOOLS,) if "tools" in (template or "") else ()


def _without_begin(turns: Turns | None, folder: Path, texts: dict[str, str]) -> Turns | None:
    """Without the token that begins texts, where Ollama puts one before every prompt itself."""
    if turns is None or not specials_of(folder).add_special_token.get("bos"):
        return turns
    return replace(turns, opening=turns.opening.removeprefix(texts.get(_BEGIN, "")))


def _stops(turns: Turns | None, texts: dict[str, str], folder: Path) -> Iterator[str]:
    """What ends a text, and the special tokens that stand around messages."""
    around = "" if turns is None else "".join(text for pair in turns.around.values() for text in pair)
    tokenizer = tokenizer_in(folder)
    added = {} if tokenizer is None else tokenizer.added
    specials = [token for token, entry in added.items() if is_control(token, entry)]
    found = [token for token in specials if token and token in around]
    yield from dict.fromkeys([*([texts[_END]] if _END in texts else []), *found])


def _texts_of_tokens(folder: Path) -> dict[str, str]:
    """The texts of special tokens by their role, as `tokenizer_config.json` has them."""
    config = _document(folder, "tokenizer_config.json")
    found = {role: config.get(role) for role in _TOKENS}
    texts = {role: value.get("content") if isinstance(value, dict) else value for role, value in found.items()}
    return {role: text for role, text in texts.items() if isinstance(text, str)}


def _document(folder: Path, name: str) -> dict[str, Any]:
    place = folder / name
    return read_json(place.read_bytes(), where=name) if place.is_file() else {}


register("ollama", Ollama())

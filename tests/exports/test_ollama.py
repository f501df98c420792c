"""Modelfiles: they parse, they say what the chat template says, and what they cannot say is told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from brickctl.core.names import Alias
from brickctl.errors import Unsupported
from brickctl.exports.export_format import Options, Written
from brickctl.exports.modelfile.rendering import render_apart
from brickctl.exports.modelfile.syntax import go_template, instruction
from brickctl.exports.modelfile.turns import conversation, find_turns, renderer
from brickctl.exports.ollama import Ollama
from tests.support.exporting import speaking_model, subject
from tests.support.modelfiles import commands, rendered
from tests.support.models import edit_config

if TYPE_CHECKING:
    from pathlib import Path

BEGIN = "<s>"
CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe \"kind\" {{user}}.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
HEADERS = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start|>' + message.role + '<|end|>\n\n' + message.content | trim + '<|eot|>' }}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant<|end|>\n\n{% endif %}"
)
INST = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}[INST] {{ message.content }} [/INST]"
    "{% elif message.role == 'assistant' %} {{ message.content }}</s>"
    "{% else %}<<SYS>>{{ message.content }}<</SYS>>{% endif %}{% endfor %}"
)
BRACES = (
    "{% for message in messages %}{{ message.role + '{{{' + message.content + '}' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant{' }}{% endif %}"
)
REGULAR = {"chatml": CHATML, "headers": HEADERS, "inst": INST, "braces": BRACES}
IRREGULAR = {
    "the system's text inside of the user's first message": (
        "{% set system = messages[0].content if messages[0].role == 'system' else '' %}"
        "{% for message in messages if message.role != 'system' %}"
        "[{{ message.role }}] {{ system if loop.first }} {{ message.content }}{% endfor %}"
    ),
    "the last message in another form": (
        "{% for message in messages %}{{ '!' if loop.last }}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    ),
    "a date": "{{ strftime_now('%Y') }}{% for message in messages %}{{ message.content }}{% endfor %}",
    "no system": "{% for m in messages %}{{ raise_exception('no') if m.role == 'system' }}{{ m.content }}{% endfor %}",
    "no template at all": "{% for",
}
CONVERSATIONS = [
    conversation(roles)
    for roles in (
        ("user",),
        ("system", "user"),
        ("user", "assistant", "user"),
        ("system", "user", "user", "assistant", "user"),
    )
]


@pytest.mark.parametrize("name", REGULAR)
def test_a_template_of_fixed_texts_is_said_in_go(name: str) -> None:
    render = renderer(REGULAR[name], {"bos_token": BEGIN})

    template = go_template(find_turns(render, BEGIN))

    for messages in CONVERSATIONS:
        assert rendered(template, messages) == render(messages, True)  # noqa: FBT003 - called by position alone


@pytest.mark.parametrize("name", IRREGULAR)
def test_a_template_that_says_more_is_not_translated(name: str) -> None:
    assert find_turns(renderer(IRREGULAR[name], {}), "") is None


def test_a_template_cannot_reach_beyond_itself() -> None:
    hostile = "{{ messages.__class__.__mro__[1].__subclasses__() }}{{ messages[0].content }}"
    assert find_turns(renderer(hostile, {}), "") is None


ENDLESS = {
    "it loops": "{% for a in range(9**5) %}{% for b in range(9**5) %}{% endfor %}{% endfor %}{{ messages[0].content }}",
    "it grows": "{{ 'a' * 10**10 }}{{ messages[0].content }}",
    "it says too much": "{{ 'a' * 2**21 }}{{ messages[0].content }}",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_template_that_takes_too_much_is_not_translated(name: str) -> None:
    assert find_turns(render_apart(ENDLESS[name], {}, seconds=1), "") is None


def test_a_template_says_the_same_in_a_process_of_its_own() -> None:
    tokens = {"bos_token": BEGIN}

    assert find_turns(render_apart(HEADERS, tokens), BEGIN) == find_turns(renderer(HEADERS, tokens), BEGIN) is not None


@pytest.mark.parametrize("value", ['a """ b', 'ends with "', "a\x00b", "a\u200bb", "a\rb", "a\u00a0b"])
def test_what_ollama_would_drop_or_misread_is_refused(value: str) -> None:
    with pytest.raises(Unsupported, match="a Modelfile cannot say this"):
        instruction("TEMPLATE", value)


def exported(tmp_path: Path, template: str | None, **settings: Any) -> tuple[list[tuple[str, str]], Written]:
    """The instructions of the Modelfile of a model with a chat template."""
    model = speaking_model(tmp_path / "model")
    edit_config(model, "tokenizer_config.json", bos_token="<|begin|>", eos_token="<|end|>")  # noqa: S106 - no passwords
    if template is not None:
        (model / "chat_template.jinja").write_text(template)
    (tmp_path / "out").mkdir()
    written = Ollama().write(subject(model, **settings), tmp_path / "out", Options())
    return commands((tmp_path / "out/Modelfile").read_text()), written


def test_a_modelfile_names_the_file_the_template_what_ends_an_answer_and_the_licence(tmp_path: Path) -> None:
    told, written = exported(tmp_path, CHATML.replace("<|im_end|>", "<|end|>"))

    assert [name for name, _ in told] == ["FROM", "TEMPLATE", "PARAMETER stop", "LICENSE"]
    assert (told[0][1], told[2][1], told[3][1]) == ("./tiny.gguf", "<|end|>", "Apache-2.0")
    assert 'Be "kind" {{ "{" }}{user}}.' in told[1][1]
    assert written.commands == ("ollama create tiny -f Modelfile",)
    assert written.notes == ()


def test_a_model_without_a_chat_template_takes_prompts_as_they_are(tmp_path: Path) -> None:
    told, written = exported(tmp_path, None, license="unknown")

    assert told == [("FROM", "./tiny.gguf"), ("TEMPLATE", "{{ .Prompt }}"), ("PARAMETER stop", "<|end|>")]
    assert written.notes == ("the model has no chat template, so Ollama hands prompts over as they are",)


def test_a_template_that_is_not_translated_is_told(tmp_path: Path) -> None:
    told, written = exported(tmp_path, IRREGULAR["a date"])

    assert told[1] == ("TEMPLATE", "{{ .Prompt }}")
    assert written.notes[0].startswith("the chat template is more than fixed texts around messages")


def test_an_adapter_gets_a_modelfile_of_its_own_and_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brickctl.exports.llama_cpp.files.write_adapter", lambda *_: None)

    _, written = exported(tmp_path, CHATML, adapters={Alias("sql"): tmp_path})

    told = commands((tmp_path / "out/Modelfile.sql").read_text())
    assert told[:2] == [("FROM", "./tiny.gguf"), ("ADAPTER", "./sql.gguf")]
    assert written.commands[1] == "ollama create tiny-sql -f Modelfile.sql"
    assert "refuse ADAPTER" in written.notes[-1]


def test_what_ends_an_answer_is_a_special_token_and_no_text_that_was_added_for_its_own_sake(tmp_path: Path) -> None:
    model = speaking_model(tmp_path / "model")
    document = json.loads((model / "tokenizer.json").read_text())
    document["added_tokens"].append({"id": 390, "content": "\n", "special": False})
    document["added_tokens"].append({"id": 391, "content": "<eot>", "special": True})
    (model / "tokenizer.json").write_text(json.dumps(document))
    (model / "chat_template.jinja").write_text(CHATML.replace("<|im_end|>", "<eot>"))
    (tmp_path / "out").mkdir()

    Ollama().write(subject(model), tmp_path / "out", Options())

    stops = [text for name, text in commands((tmp_path / "out/Modelfile").read_text()) if name == "PARAMETER stop"]
    assert stops == ["<|end|>", "<eot>"]

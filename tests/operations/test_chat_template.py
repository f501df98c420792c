"""A chat template of a brick, or one that is written down, in every file of the result that may hold one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from transformers import AutoTokenizer

from brickctl.errors import BrickctlError, IntegrityFault, ManifestInvalid
from tests.support.building import build, manifest, prepare
from tests.support.models import tuned
from tests.support.vocabularies import document, speaker

if TYPE_CHECKING:
    from pathlib import Path

OWN = "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}{% endfor %}"
OTHER = "{% for message in messages %}\n[{{ message['role'] }}] {{ message['content'] }}{% endfor %}"
FILE, CONFIG = "chat_template.jinja", "tokenizer_config.json"
STEP = '{ op = "chat-template", brick = "a" }'
CHAT = [{"role": "user", "content": "cat"}]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speaker(tmp_path_factory.mktemp("plain") / "base", ["cat"])


def with_template(plain: Path, folder: Path, *, file: str | None = None, key: object = None) -> Path:
    """A copy of the model with a template in one file, in the other, in both, or in none."""
    tuned(plain, folder)
    if file is not None:
        (folder / FILE).write_text(file)
    if key is not None:
        (folder / CONFIG).write_text(json.dumps({**document(folder, CONFIG), "chat_template": key}))
    return folder


def templates(folder: Path) -> tuple[str | None, str | None]:
    """What stands in the file of its own, and in the configuration."""
    own = (folder / FILE).read_text() if (folder / FILE).exists() else None
    return own, document(folder, CONFIG).get("chat_template")


PLACES = {
    "nowhere": (None, None, (OTHER, None)),
    "in a file": (OWN, None, (OTHER, None)),
    "in the configuration": (None, OWN, (None, OTHER)),
    "in both": (OWN, OWN, (OTHER, OTHER)),
}


@pytest.mark.parametrize("of_brick", ["file", "key", "named"])
@pytest.mark.parametrize("place", PLACES)
def test_the_template_of_a_brick_stands_where_the_base_has_one(
    plain: Path, tmp_path: Path, place: str, of_brick: str
) -> None:
    file, key, expected = PLACES[place]
    base = with_template(plain, tmp_path / "base", file=file, key=key)
    named = [{"name": "tool_use", "template": OWN}, {"name": "default", "template": OTHER}]
    given = {"file": {"file": OTHER}, "key": {"key": OTHER}, "named": {"key": named}}[of_brick]
    brick = with_template(plain, tmp_path / "a", **given)
    out = build(manifest(base, {"a": brick}, STEP), tmp_path / "out")
    assert templates(out) == expected
    said = AutoTokenizer.from_pretrained(out).apply_chat_template(CHAT, tokenize=False)
    assert said == "[user] cat"


def test_without_the_step_every_file_is_the_bases(plain: Path, tmp_path: Path) -> None:
    base = with_template(plain, tmp_path / "base", file=OWN, key=OWN)
    out = build(manifest(base, {}, ""), tmp_path / "out")
    assert all((out / file).read_bytes() == (base / file).read_bytes() for file in (FILE, CONFIG))


def test_a_template_may_be_written_down_and_the_last_one_counts(plain: Path, tmp_path: Path) -> None:
    brick = with_template(plain, tmp_path / "a", file=OWN)
    written = f"{STEP}, {{ op = \"chat-template\", text = '''{OTHER}''' }}"
    out = build(manifest(plain, {"a": brick}, written), tmp_path / "out")
    assert templates(out) == (OTHER, None)


def test_a_union_keeps_the_template_and_the_tokenizer_of_a_brick_brings_its_own(plain: Path, tmp_path: Path) -> None:
    base = with_template(plain, tmp_path / "base", file=OWN)
    other = speaker(tmp_path / "a", ["bird"], seed=2)
    (other / FILE).write_text(OTHER)
    step = '{ op = "merge", method = "linear", tokenizer = "%s", bricks = { base = 1, a = 1 } }'
    for source, template in (("union", OWN), ("a", OTHER)):
        out = build(manifest(base, {"a": other}, step % source), tmp_path / f"out-{source}")
        assert templates(out) == (template, None)
    both = f"{step % 'union'}, {STEP}"
    assert templates(build(manifest(base, {"a": other}, both), tmp_path / "both")) == (OTHER, None)


REFUSED: dict[str, tuple[str, type[BrickctlError], str]] = {
    "a brick without one": (STEP, ManifestInvalid, "`a` has no chat template"),
    "nothing": ('{ op = "chat-template" }', ManifestInvalid, "a chat template is that of a brick, a text, or a file"),
    "two": ('{ op = "chat-template", brick = "a", text = "x" }', ManifestInvalid, "that of a brick, a text, or a file"),
    "two others": ('{ op = "chat-template", file = "a", text = "x" }', ManifestInvalid, "a text, or a file"),
    "a file elsewhere": ('{ op = "chat-template", file = "../a" }', ManifestInvalid, "is no file of this project"),
    "an empty text": ('{ op = "chat-template", text = "" }', ManifestInvalid, "must be a text of 1 to 1,000,000"),
    "a number": ('{ op = "chat-template", text = 1 }', ManifestInvalid, "must be a text of 1 to 1,000,000"),
    "no such brick": ('{ op = "chat-template", brick = "b" }', ManifestInvalid, "`chat-template` uses `b`"),
    "no name": ('{ op = "chat-template", brick = "A b" }', ManifestInvalid, "is no name of a brick"),
    "a misspelt key": ('{ op = "chat-template", brik = "a" }', ManifestInvalid, "unknown key `brik`"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_template_is_refused(plain: Path, tmp_path: Path, name: str) -> None:
    step, kind, message = REFUSED[name]
    with pytest.raises(kind) as caught:
        prepare(manifest(plain, {"a": tuned(plain, tmp_path / "a")}, step), tmp_path)
    assert message in str(caught.value)
    assert caught.value.place is not None


def test_a_template_that_is_no_text_is_refused(plain: Path, tmp_path: Path) -> None:
    brick = tuned(plain, tmp_path / "a")
    (brick / FILE).write_bytes(b"\xff\xfe")
    with pytest.raises(IntegrityFault, match="is not UTF-8 text"):
        prepare(manifest(plain, {"a": brick}, STEP), tmp_path)

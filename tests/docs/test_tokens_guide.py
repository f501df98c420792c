"""The manifests of the guide to other tokens are built, each as it stands on the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.docs.pages import ROOT, marked
from tests.support.building import build, manifest
from tests.support.vocabularies import EMBEDDING, by_token, document, numbers, renamed, speaker

if TYPE_CHECKING:
    from pathlib import Path

UNION, RULES, RENAMED, TEMPLATE, WRITTEN = marked(
    (ROOT / "docs/how-to/merge-models-with-other-tokens.md").read_text(encoding="utf-8"), "toml"
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    base = speaker(folder / "base", ["cat"], ["<s>", "</s>", "<|reserved|>"], seed=1)
    speaker(folder / "chat", ["cat"], ["<s>", "</s>", "<|im_start|>"], seed=2, shuffled=True)
    (folder / "chat" / "chat_template.jinja").write_text("{{ messages }}")
    renamed(base, folder / "names", {"<|reserved|>": "<|im_start|>"})
    return folder


def built(models: Path, target: str, page: str, out: Path, brick: str = "chat") -> Path:
    text = manifest(models / "base", {"chat": models / brick}, "").partition("[targets.t]")[0]
    return build(text + page, out, target)


def test_a_union_has_the_tokens_of_both(models: Path, tmp_path: Path) -> None:
    out = built(models, "assistant", UNION, tmp_path / "out")
    assert numbers(out).keys() == numbers(models / "base").keys() | numbers(models / "chat").keys()


def test_the_rules_count_and_rows_are_a_multiple(models: Path, tmp_path: Path) -> None:
    out = built(models, "assistant", RULES, tmp_path / "out")
    rows, chat = by_token(out)[EMBEDDING], by_token(models / "chat")[EMBEDDING]["<|im_start|>"]
    assert rows["<|im_start|>"].equal(chat)
    assert rows["<|tool|>"].equal(chat)
    assert not rows["<|pad|>"].any()
    assert document(out, "config.json")["vocab_size"] == 64


def test_renamed_rows_stay_where_they_are(models: Path, tmp_path: Path) -> None:
    out = built(models, "renamed", RENAMED, tmp_path / "out", "names")
    assert numbers(out) == numbers(models / "names")


def test_the_template_of_a_brick_is_there(models: Path, tmp_path: Path) -> None:
    out = built(models, "templated", UNION + TEMPLATE, tmp_path / "out")
    assert (out / "chat_template.jinja").read_text() == "{{ messages }}"


def test_the_template_of_a_file_is_there(models: Path, tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "chat.jinja").write_text("{{ written }}")
    out = built(models, "written", UNION + WRITTEN, tmp_path / "out")
    assert (out / "chat_template.jinja").read_text() == "{{ written }}"

"""Tokenizers that cannot go together, and rules that name nothing: said when planning, before a weight is read."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from tokenizers import normalizers

from brickctl.errors import BrickctlError, ManifestInvalid, Misfit, Unsupported
from tests.support.building import build, manifest, prepare
from tests.support.models import adapter, tiny_model, tuned, weights
from tests.support.vocabularies import (
    EMBEDDING,
    bpe,
    document,
    edit_tokenizer,
    numbers,
    renamed,
    save,
    speaker,
    wordpiece,
)

if TYPE_CHECKING:
    from pathlib import Path

SPECIAL = ("<s>", "</s>", "<|user|>")
WITHOUT = '{ op = "merge", method = "task_arithmetic", bricks = { a = 1 } }'


def merge(tokenizer: str, method: str = "task_arithmetic", bricks: str = "a = 1") -> str:
    return f'{{ op = "merge", method = "{method}", tokenizer = {tokenizer}, bricks = {{ {bricks} }} }}'


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    base = speaker(folder / "base", ["cat"], SPECIAL, seed=1, padding=2)
    speaker(folder / "larger", ["cat", "bird"], SPECIAL, seed=2)
    speaker(folder / "wide", ["cat"], SPECIAL, seed=2, hidden_size=16)
    speaker(folder / "words", ["cat"], SPECIAL, seed=2)
    save(wordpiece(["cat"], SPECIAL), folder / "words")
    composed = bpe(["cat", "bird"], SPECIAL)
    composed.normalizer = normalizers.NFC()
    save(composed, tuned(folder / "larger", folder / "composed"))
    slow = shutil.copytree(folder / "larger", folder / "slow")
    (slow / "tokenizer.json").rename(slow / "tokenizer.model")
    listed = tuned(base, folder / "listed")
    (listed / "tokenizer.json").rename(listed / "vocab.json")
    renamed(base, folder / "chatty", {"<|user|>": "<|im_start|>"})
    tiny_model(folder / "bare", seed=3, vocab_size=len(numbers(base)) + 2)
    more = tuned(base, folder / "more")
    save(bpe(["cat"], [*SPECIAL, "<|more|>"]), tuned(base, folder / "shifted"))
    entry = {**document(more)["added_tokens"][0], "id": len(numbers(base)), "content": "<|more|>"}
    edit_tokenizer(more, added_tokens=[*document(more)["added_tokens"], entry])
    adapter(base, folder / "lora")
    return folder


REFUSED: dict[str, tuple[str, str, type[BrickctlError], str, str]] = {
    "more tokens, and no word of it": (
        "larger",
        WITHOUT,
        Misfit,
        "`lm_head.weight` has shape [35, 32]; the base has [34, 32]",
        'say in the merge whose the result has, as tokenizer = "union" in a manifest or --tokenizer union without one',
    ),
    "as many rows, other tokens": (
        "chatty",
        WITHOUT,
        Misfit,
        "row 2 is `<|user|>` in the base and `<|im_start|>` in `a`",
        'tokenizer = { source = "a", match = "id" }',
    ),
    "a stitch with the embedding of another": (
        "chatty",
        '{ op = "stitch", slices = [{ brick = "base", layers = [0, 3] }], before = { brick = "a" } }',
        Misfit,
        "row 2 is `<|user|>` in the base and `<|im_start|>` in `a`",
        "",
    ),
    "as many rows, all shifted": (
        "shifted",
        WITHOUT,
        Misfit,
        "row 3 is `a` in the base and `<|more|>` in `a`",
        'tokenizer = "a", "base" or "union"',
    ),
    "another type of tokenizer": ("words", merge('"union"'), Unsupported, "is of the type WordPiece", "take one"),
    "another normalizer": (
        "composed",
        merge('"union"'),
        Unsupported,
        "the `normalizer` of `a`",
        "take one of them whole",
    ),
    "no tokenizer.json": (
        "slow",
        merge('"union"'),
        Unsupported,
        "`a` has no tokenizer.json",
        "save it with transformers",
    ),
    "only lists of tokens": ("listed", merge('"base"'), Unsupported, "`a` has no tokenizer.json", 'match = "id"'),
    "another width": ("wide", merge('"union"'), Misfit, "no `lm_head.weight` of the shape [32, 32]", ""),
    "an adapter for a source": ("lora", merge('"a"'), ManifestInvalid, "`a` has no vocabulary of its own", "`base`"),
    "rows that are not as many": (
        "larger",
        merge('{ source = "a", match = "id" }'),
        ManifestInvalid,
        "`a` has 35 rows of tokens, the running model has 34",
        "leave `match",
    ),
    "a rule with a token that is not there": (
        "larger",
        merge('{ source = "base", tokens = { "<x>" = { brick = "a", token = "owl" } } }'),
        ManifestInvalid,
        "`a` does not have the token `owl`, which the rule for `<x>` names",
        "35 rows",
    ),
    "a rule with a row that is not there": (
        "larger",
        merge('{ source = "base", tokens = { "<x>" = { brick = "a", id = 35 } } }'),
        ManifestInvalid,
        "`a` does not have the row 35",
        "35 rows",
    ),
    "a rule with an adapter": (
        "lora",
        merge('{ source = "base", tokens = { "<x>" = { brick = "a" } } }'),
        ManifestInvalid,
        "`a` has no row of its own for `<x>`",
        "name `base`",
    ),
    "a rule with a brick that is none": (
        "larger",
        merge('{ source = "base", tokens = { "<x>" = { brick = "b" } } }'),
        ManifestInvalid,
        "`merge` uses `b`, which is no brick here",
        "",
    ),
    "a rule with two sources": (
        "larger",
        merge('{ source = "base", tokens = { "<x>" = { brick = "a", zero = true } } }'),
        ManifestInvalid,
        "names a brick and zero",
        "leave one",
    ),
    "a rule with two tokens": (
        "larger",
        merge('{ source = "base", tokens = { "<x>" = { brick = "a", token = "c", id = 3 } } }'),
        ManifestInvalid,
        "does not name one token of one brick",
        "",
    ),
    "no source": ("larger", merge("{ missing = 'mean' }"), ManifestInvalid, "`source` in", ""),
    "a source that is no name": ("larger", merge('"Union!"'), ManifestInvalid, "no source of a tokenizer", '"union"'),
    "a misspelt key": (
        "larger",
        merge('{ source = "base", pad-to-multiple = 8 }'),
        ManifestInvalid,
        "unknown key `pad-to-multiple`",
        "did you mean `pad-to-multiple-of`?",
    ),
    "a multiple of 0": (
        "larger",
        merge('{ source = "base", pad-to-multiple-of = 0 }'),
        ManifestInvalid,
        "must lie in [1, 65536]",
        "64 is usual",
    ),
    "tokens by number": (
        "chatty",
        merge('{ source = "base", match = "id", tokens = { "<x>" = {} } }'),
        ManifestInvalid,
        '`match = "id"` cannot add tokens or rows',
        "leave `match` out",
    ),
    "rules without texts": (
        "larger",
        merge('{ source = "base", tokens = { "<x>" = {} } }'),
        Unsupported,
        "`base` has no tokenizer.json",
        "save it with transformers",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_one_vocabulary_is_refused_with_the_way_out(name: str, models: Path, tmp_path: Path) -> None:
    brick, apply, kind, message, hint = REFUSED[name]
    base = models / ("bare" if name == "rules without texts" else "base")
    with pytest.raises(kind) as caught:
        prepare(manifest(base, {"a": models / brick}, apply), tmp_path)
    assert message in str(caught.value)
    assert hint in (caught.value.hint or "")
    assert caught.value.place is not None


def test_a_damaged_tokenizer_is_named_with_its_brick(models: Path, tmp_path: Path) -> None:
    broken = tuned(models / "larger", tmp_path / "broken")
    (broken / "tokenizer.json").write_text('{"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}')
    with pytest.raises(BrickctlError, match=r"broken/tokenizer.json is not a tokenizer that brickctl can read"):
        prepare(manifest(models / "base", {"a": broken}, merge('"base"')), tmp_path)


def test_a_tokenizer_that_nobody_asked_for_may_be_of_any_form(models: Path, tmp_path: Path) -> None:
    strange = tuned(models / "base", tmp_path / "strange")
    (strange / "tokenizer.json").write_text('{"model": {"type": "Neural"}}')
    prepared = prepare(manifest(models / "base", {"a": strange}, WITHOUT), tmp_path)
    (note,) = prepared.artifact.notes
    assert note.startswith("whether `a` has the tokens of the base cannot be told")


def test_tokens_in_rows_that_the_base_does_not_use_are_told_and_merged_by_number(models: Path, tmp_path: Path) -> None:
    prepared = prepare(manifest(models / "base", {"a": models / "more"}, WITHOUT), tmp_path)
    (note,) = prepared.artifact.notes
    assert "`a` has 1 tokens that the base's tokenizer does not have (`<|more|>`)" in note


def test_rows_go_together_by_number_where_that_is_asked_for(models: Path, tmp_path: Path) -> None:
    step = merge('{ source = "a", match = "id" }')
    out = build(manifest(models / "base", {"a": models / "chatty"}, step), tmp_path / "out")
    assert (out / "tokenizer.json").read_bytes() == (models / "chatty" / "tokenizer.json").read_bytes()
    difference = weights(out)[EMBEDDING].double() - weights(models / "chatty")[EMBEDDING].double()
    assert difference.abs().max() <= 1e-7


@pytest.mark.parametrize("source", ["base", "a"])
def test_without_any_tokenizer_equal_numbers_are_equal_tokens(models: Path, tmp_path: Path, source: str) -> None:
    tuned(models / "bare", tmp_path / "a")
    out = build(manifest(models / "bare", {"a": tmp_path / "a"}, merge(f'"{source}"')), tmp_path / "out")
    plain = build(manifest(models / "bare", {"a": tmp_path / "a"}, WITHOUT), tmp_path / "plain")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        path.name: path.read_bytes() for path in plain.iterdir()
    }


def test_equal_tokenizers_change_no_byte_of_a_merge_whatever_is_asked_for(models: Path, tmp_path: Path) -> None:
    brick = {"a": tuned(models / "base", tmp_path / "a")}
    plain = build(manifest(models / "base", brick, WITHOUT), tmp_path / "plain")
    for source in ("base", "union", "a"):
        out = build(manifest(models / "base", brick, merge(f'"{source}"')), tmp_path / f"out-{source}")
        assert all((out / path.name).read_bytes() == path.read_bytes() for path in plain.iterdir())


def test_slow_tokenizers_of_equal_files_go_by_number_and_are_taken_as_they_are(models: Path, tmp_path: Path) -> None:
    slow = tuned(models / "slow", tmp_path / "a")
    out = build(manifest(models / "slow", {"a": slow}, merge('"a"')), tmp_path / "out")
    assert (out / "tokenizer.model").read_bytes() == (slow / "tokenizer.model").read_bytes()
    with pytest.raises(Unsupported, match="there is no union"):
        prepare(manifest(models / "slow", {"a": slow}, merge('"union"')), tmp_path)

"""The tokenizer of another model: tokens that both have keep their rows, others are made of these."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import AutoTokenizer

from brickctl.analysis.load import unmatched_keys
from brickctl.errors import BrickctlError, ManifestInvalid, Misfit, Unsupported
from tests.support.building import Runner, build, digest, manifest, prepare, sum_of
from tests.support.devices import Elsewhere
from tests.support.mergekit import needs_mergekit
from tests.support.models import adapter, edit_tensors, load, tiny_model, tuned, weights, worst_ratio
from tests.support.vocabularies import EMBEDDING, HEAD, document, edit_tokenizer, encoded, numbers, speaker

if TYPE_CHECKING:
    from pathlib import Path

WORDS = ["bird", "fish", "cat", "code"]
SPECIAL = ("<s>", "</s>", "<|user|>")
FEW = "k = 8"


def transplant(more: str = FEW) -> str:
    return f'{{ op = "transplant-tokenizer", from = "poet"{", " * bool(more)}{more} }}'


def text(models: Path, apply: str = transplant(), base: str = "base", **bricks: Path) -> str:
    return manifest(models / base, {"poet": models / "poet", **bricks}, apply)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, the same with a tied head, and a narrower model that knows other words and other marks."""
    folder = tmp_path_factory.mktemp("models")
    speaker(folder / "base", ["cat", "dog"], SPECIAL, seed=1, padding=2)
    speaker(folder / "tied", ["cat", "dog"], SPECIAL, seed=2, tie_word_embeddings=True, dtype="bfloat16")
    speaker(folder / "poet", WORDS, ("</s>", "<s>", "<|tool|>"), seed=3, shuffled=True, hidden_size=16)
    return folder


@pytest.mark.parametrize("base", ["base", "tied"])
@pytest.mark.parametrize("method", ["omp", "sub-tokens", "mean"])
def test_tokens_that_both_have_keep_their_rows_and_the_numbers_are_the_other_ones(
    method: str, base: str, models: Path, tmp_path: Path
) -> None:
    out = build(text(models, transplant(f'method = "{method}"' + f", {FEW}" * (method == "omp")), base), tmp_path / "t")
    assert unmatched_keys(out) == ()
    assert (out / "tokenizer.json").read_bytes() == (models / "poet" / "tokenizer.json").read_bytes()
    before, after, old, new = weights(models / base), weights(out), numbers(models / base), numbers(out)
    assert new == numbers(models / "poet")
    common = [token for token in new if token in old]
    assert len(common) == 27 + 2 + 2
    for table in {EMBEDDING, HEAD} & before.keys():
        assert after[table].shape == (len(new), 32)
        assert after[table].dtype is before[table].dtype
        assert all(torch.equal(after[table][new[token]], before[table][old[token]]) for token in common)
        assert len(after[table].unique(dim=0)) == (len(common) + 1 if method == "mean" else len(new))
        before.pop(table)
        after.pop(table)
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())
    assert load(out)(torch.arange(len(new))[None]).logits.isfinite().all()


def test_config_json_names_tokens_by_their_new_numbers(models: Path, tmp_path: Path) -> None:
    out = build(text(models, transplant("k = 8, pad-to-multiple-of = 16")), tmp_path / "out")
    new, config = numbers(out), document(out, "config.json")
    assert (config["bos_token_id"], config["eos_token_id"]) == (new["<s>"], new["</s>"])
    assert config["vocab_size"] == len(weights(out)[EMBEDDING]) == 48
    reader = AutoTokenizer.from_pretrained(out)
    assert reader.tokenize("code<|tool|>bird</s>") == ["code", "<|tool|>", "bird", "</s>"]


def test_the_rows_of_others_are_least_squares_of_what_both_have(models: Path, tmp_path: Path) -> None:
    """With as many atoms as the brick is wide, what is missing of a token there is rounding alone."""
    out = build(text(models, transplant("k = 16")), tmp_path / "out")
    old, new = numbers(models / "base"), numbers(out)
    common = [token for token in new if token in old]
    theirs, ours, made = weights(models / "poet"), weights(models / "base"), weights(out)
    for table in (EMBEDDING, HEAD):
        atoms = theirs[table].double()[[new[token] for token in common]]
        twins = ours[table].double()[[old[token] for token in common]]
        for token in ("<|tool|>", "fish"):
            target, found = theirs[table][new[token]].double(), made[table][new[token]].double()
            coefficients = torch.linalg.lstsq(twins.T, found).solution
            assert (coefficients @ twins - found).norm() < 1e-5 * found.norm()  # a sum of rows of ours ...
            assert (coefficients @ atoms - target).norm() < 1e-3 * target.norm()  # ... that is their token there


def test_a_part_is_a_mean_of_parts(models: Path, tmp_path: Path) -> None:
    out = build(text(models, transplant('method = "sub-tokens"')), tmp_path / "out")
    before, after, old, new = weights(models / "base"), weights(out), numbers(models / "base"), numbers(out)
    parts = [old[letter] for letter in "fish"]
    expected = before[HEAD].double()[parts].mean(0)
    assert (after[HEAD][new["fish"]].double() - expected).abs().max() < 1e-8


def sentencepiece(folder: Path) -> Path:
    """A model whose tokenizer marks spaces and writes bytes as numbers, with another name for what ends a text."""
    pieces = ["<unk>", "<bos>", "<eos>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcdefghij", "▁a", "▁é"]
    tokenizer = Tokenizer(BPE({piece: at for at, piece in enumerate(pieces)}, [("▁", "a")], byte_fallback=True))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    tiny_model(folder, seed=5, vocab_size=len(pieces), hidden_size=16, eos_token_id=2, bos_token_id=1)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"bos_token": "<bos>", "eos_token": {"content": "<eos>"}, "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def test_tokens_are_the_same_if_their_bytes_or_their_roles_are(models: Path, tmp_path: Path) -> None:
    """`Ġ` is `▁`, `<0x41>` would be `A`; `<eos>` ends a text as `</s>` does, and keeps its row."""
    other = sentencepiece(tmp_path / "poet")
    step = manifest(models / "base", {"poet": other}, transplant("k = 4"))
    out = build(step, tmp_path / "out")
    before, after, old, new = weights(models / "base"), weights(out), numbers(models / "base"), numbers(out)
    pairs = {"▁": "Ġ", "c": "c", "<0x7A>": "z", "<bos>": "<s>", "<eos>": "</s>", "<0x61>": "a"}
    for theirs, ours in pairs.items():
        assert torch.equal(after[EMBEDDING][new[theirs]], before[EMBEDDING][old[ours]])
    assert document(out, "config.json")["eos_token_id"] == new["<eos>"]
    assert not (after[EMBEDDING][new["▁a"]] == before[EMBEDDING]).all(dim=1).any()


def notes(apply: str, models: Path, scratch: Path, **bricks: Path) -> tuple[str, ...]:
    return prepare(text(models, apply, **bricks), scratch).artifact.notes


def test_it_tells_how_many_tokens_are_known(models: Path, tmp_path: Path) -> None:
    known = "31 of the 41 tokens of `poet` are known to the model, and keep its rows"
    assert notes(transplant(), models, tmp_path) == (
        known,
        "10 others are made of 8 each of the 31 that both have",
    )
    assert notes(transplant('method = "mean"'), models, tmp_path) == (
        known,
        "10 others begin with the mean of all rows",
    )


def test_a_tokenizer_with_nothing_new_only_brings_its_numbers(models: Path, tmp_path: Path) -> None:
    """No atoms are needed then, however few tokens there are."""
    other = speaker(tmp_path / "poet", ["cat"], SPECIAL, seed=7, shuffled=True)
    out = build(manifest(models / "base", {"poet": other}, transplant("")), tmp_path / "out")
    before, after, old, new = weights(models / "base"), weights(out), numbers(models / "base"), numbers(out)
    assert all(torch.equal(after[HEAD][row], before[HEAD][old[token]]) for token, row in new.items())


def test_merges_of_bricks_of_the_base_go_by_their_tokens_afterwards(models: Path, tmp_path: Path) -> None:
    bricks = {"tuned": tuned(models / "base", tmp_path / "tuned"), "lora": adapter(models / "base", tmp_path / "lora")}
    both = build(text(models, f"{transplant()}, {sum_of(tuned=0.5, lora=0.5)}", **bricks), tmp_path / "both")
    plain = build(text(models, sum_of(tuned=0.5, lora=0.5), **bricks), tmp_path / "plain")
    merged, expected, old, new = weights(both), weights(plain), numbers(models / "base"), numbers(both)
    for token in ("cat", "<s>", "q"):
        assert torch.equal(merged[EMBEDDING][new[token]], expected[EMBEDDING][old[token]])
    assert encoded(both, "fish") == ["fish"]


def test_the_same_bytes_with_any_memory_number_of_threads_and_place(models: Path, tmp_path: Path) -> None:
    """A device makes both tables, the embedding and the head."""
    device = Elsewhere()
    one = digest(text(models), tmp_path / "a", threads=1, memory=60 << 20)
    assert one == digest(text(models), tmp_path / "b", threads=3)
    Runner(device=device).anew(prepare(text(models), tmp_path), tmp_path / "c")
    assert device.made == 2
    assert (tmp_path / "c/model.safetensors").read_bytes() == (tmp_path / "a/model.safetensors").read_bytes()


def test_many_tokens_are_made_a_part_after_the_other(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = weights(build(text(models), tmp_path / "whole"))
    monkeypatch.setattr("brickctl.operations.transplant_tokenizer._AT_ONCE", 3)
    assert worst_ratio(weights(build(text(models), tmp_path / "parts")), whole) < 1e-6


def unlike(donor: Path, how: str) -> Path:
    """A model whose tokens have no rows that could be told."""
    if how == "gaps":
        entries = document(donor)["added_tokens"]
        return edit_tokenizer(donor, added_tokens=[*entries, {**entries[0], "id": 60, "content": "<|far|>"}])
    shape = (-1, 2, 8) if how == "three dimensions" else (-1,)
    columns = 16 if how == "three dimensions" else 1
    return edit_tensors(
        donor, lambda tensors: {**tensors, EMBEDDING: tensors[EMBEDDING][:, :columns].reshape(shape).clone()}
    )


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("gaps", "`<|far|>` has the number 60; whoever reads the file finds 41"),
        ("three dimensions", r"has the shape (41, 2, 8), and is no table"),
        ("one dimension", r"has the shape (41,), and is no table"),
    ],
)
def test_a_donor_whose_tokens_have_no_rows_is_refused(how: str, said: str, models: Path, tmp_path: Path) -> None:
    """Else the tokenizer of the result would find its tokens in rows that are made for others."""
    donor = unlike(shutil.copytree(models / "poet", tmp_path / "poet"), how)
    with pytest.raises(BrickctlError) as caught:
        prepare(manifest(models / "base", {"poet": donor}, transplant()), tmp_path)
    assert caught.value.message == "the tokenizer of `poet` cannot be transplanted"
    assert said in str(caught.value)


REFUSED: dict[str, tuple[str, type[BrickctlError], str, str]] = {
    "no brick": ('{ op = "transplant-tokenizer" }', ManifestInvalid, "needs `from`", 'write from = "NAME"'),
    "the base": ('{ op = "transplant-tokenizer", from = "base" }', ManifestInvalid, "may not be the base", "whole"),
    "an unknown one": ('{ op = "transplant-tokenizer", from = "pot" }', ManifestInvalid, "no brick", "`poet`?"),
    "another method": (transplant('method = "pca"'), ManifestInvalid, "`pca`", "one of omp, sub-tokens, mean"),
    "no atoms": (transplant("k = 0"), ManifestInvalid, "`k` must be from 1 to 1024", "64 is usual"),
    "atoms of a mean": (transplant('method = "mean", k = 4'), ManifestInvalid, "means nothing to `mean`", "omp"),
    "too many atoms": (transplant(""), Misfit, "both models have a row for 31 tokens; `k` is 64", "a smaller `k`"),
    "an adapter": (transplant().replace("poet", "lora"), ManifestInvalid, "no tokenizer of its own", "a whole model"),
    "a brick without one": (transplant().replace("poet", "bare"), Unsupported, "it has no tokenizer.json", "save its"),
    "behind a stack": (
        f'{{ op = "stack", bricks = ["lora"] }}, {transplant()}',
        ManifestInvalid,
        "a transplant cannot follow a stack",
        "transplant without them",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_transplanted_is_refused(case: str, models: Path, tmp_path: Path) -> None:
    apply, fault, said, hint = REFUSED[case]
    bricks = {"lora": adapter(models / "base", tmp_path / "lora"), "bare": tiny_model(tmp_path / "bare")}
    with pytest.raises(fault) as caught:
        notes(apply, models, tmp_path, **bricks)
    assert said in str(caught.value)
    assert hint in (caught.value.hint or "")
    assert caught.value.place is not None


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    base = speaker(tmp_path / "base", ["cat"], SPECIAL)
    other = speaker(tmp_path / "poet", ["bird"], SPECIAL, seed=1, shuffled=True)
    edit_tensors(other, lambda tensors: {**tensors, HEAD: tensors[HEAD] * float("inf")})
    with pytest.raises(Misfit, match="would hold NaN or infinity"):
        Runner().anew(prepare(manifest(base, {"poet": other}, transplant()), tmp_path), tmp_path / "out")


@needs_mergekit
@pytest.mark.full
def test_rows_are_those_of_mergekit(models: Path, tmp_path: Path) -> None:
    """mergekit-tokensurgeon as it is delivered, in fp32; its head is compared too."""
    arguments = ["-m", "mergekit.scripts.tokensurgeon", "base", "poet", str(tmp_path / "theirs"), "--k", "8"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=models, env=environment, check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    theirs, ours = weights(tmp_path / "theirs"), weights(build(text(models), tmp_path / "ours"))
    assert ours.keys() == theirs.keys()
    assert worst_ratio(ours, theirs) < 1e-5

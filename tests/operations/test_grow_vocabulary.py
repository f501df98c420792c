"""More tokens: each has a row to begin with, and all that other tokens had keeps every bit."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from typing import TYPE_CHECKING

import pytest
import torch
from tokenizers import Tokenizer, normalizers
from transformers import AutoTokenizer

from brickctl.analysis.load import unmatched_keys
from brickctl.errors import BrickctlError, IntegrityFault, ManifestInvalid, Misfit, Unsupported
from brickctl.operations.new_tokens import check_new
from brickctl.vocabulary.tokenizer import Tokenizer as Known
from tests.support.building import build, digest, manifest, prepare, sum_of
from tests.support.models import adapter, edit_config, edit_tensors, load, tiny_model, tuned, weights
from tests.support.vocabularies import (
    EMBEDDING,
    HEAD,
    bpe,
    document,
    edit_tokenizer,
    encoded,
    numbers,
    save,
    speaker,
    unigram,
    wordpiece,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

SPECIAL = ("<s>", "</s>", "<|user|>")
TOKENS = ("<|tool|>", "<|a|>", "cat dog")
TEXT = "<s>cat dog, a dog <|user|> cats"


def grow(tokens: Sequence[str] = TOKENS, more: str = "") -> str:
    listed = json.dumps([*tokens], ensure_ascii=False)
    return f'{{ op = "grow-vocabulary", tokens = {listed}{", " * bool(more)}{more} }}'


def text(base: Path, apply: str, **bricks: Path) -> str:
    return manifest(base, bricks, apply)


@pytest.fixture(scope="module")
def speakers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("speakers")
    words = ["cat", "dog"]
    return {
        "full": speaker(folder / "full", words, SPECIAL, seed=1),
        "tied": speaker(folder / "tied", words, SPECIAL, seed=2, tie_word_embeddings=True),
        "padded": speaker(folder / "padded", words, SPECIAL, seed=3, padding=2),
        "roomy": speaker(folder / "roomy", words, SPECIAL, seed=4, padding=7, dtype="bfloat16"),
    }


def mean(table: Tensor, rows: Sequence[int]) -> Tensor:
    return table.double()[[*rows]].mean(0)


@pytest.mark.parametrize("name", ["full", "tied", "padded", "roomy"])
def test_old_tokens_keep_their_rows_and_new_ones_begin_with_the_mean_of_theirs(
    name: str, speakers: dict[str, Path], tmp_path: Path
) -> None:
    base = speakers[name]
    out = build(text(base, grow()), tmp_path / "out")
    before, after, old = weights(base), weights(out), numbers(base)
    assert numbers(out) == {**old, **{token: len(old) + at for at, token in enumerate(TOKENS)}}
    for table in {EMBEDDING, HEAD} & before.keys():
        first = len(old)
        assert after[table].dtype is before[table].dtype
        assert torch.equal(after[table][:first], before[table][:first])
        assert torch.equal(after[table][first + 3 :], before[table][first + 3 :])
        expected = mean(before[table], range(first)).to(torch.float32).to(before[table].dtype)
        assert all(torch.equal(row, expected) for row in after[table][first : first + 3])
        before.pop(table)
        after.pop(table)
    assert after.keys() == before.keys()
    assert all(torch.equal(tensor, before[key]) for key, tensor in after.items())


def test_what_it_says_about_old_tokens_keeps_every_bit(speakers: dict[str, Path], tmp_path: Path) -> None:
    tokens = torch.arange(12)[None]
    for name, base in speakers.items():
        out = build(text(base, grow(more="pad-to-multiple-of = 8")), tmp_path / name)
        assert unmatched_keys(out) == ()
        with torch.no_grad():
            before, after = (load(folder)(tokens).logits for folder in (base, out))
        known = len(numbers(base))
        assert torch.equal(after[..., :known], before[..., :known])
        assert load(out)(torch.tensor([[known, known + 2]])).logits.isfinite().all()


def test_a_token_may_begin_as_the_mean_of_its_parts(speakers: dict[str, Path], tmp_path: Path) -> None:
    """`cat dog` was cut into `cat`, a space and `dog`; `aab` into two equal letters and another."""
    base = speakers["full"]
    tokens = ("cat dog", "aab", "b<|user|>", "xyz")
    out = build(text(base, grow(tokens, 'init = "sub-tokens"')), tmp_path / "out")
    before, after, old = weights(base), weights(out), numbers(base)
    for table in (EMBEDDING, HEAD):
        for at, token in enumerate(tokens):
            parts = [old[part] for part in encoded(base, token)]
            expected = mean(before[table], parts)
            assert len(parts) > 1
            assert (after[table][len(old) + at].double() - expected).abs().max() <= 1e-8


def test_a_head_with_a_bias_gets_a_number_for_each_token(speakers: dict[str, Path], tmp_path: Path) -> None:
    """A head's bias has one number a token: that of a new one is the mean too."""
    base = edit_tensors(
        shutil.copytree(speakers["full"], tmp_path / "base"),
        lambda tensors: {**tensors, "lm_head.bias": torch.arange(len(tensors[HEAD]), dtype=torch.float32)},
    )
    bias = weights(build(text(base, grow()), tmp_path / "out"))["lm_head.bias"]
    rows = len(numbers(base))
    assert bias.tolist() == [*range(rows), *[(rows - 1) / 2] * 3]


MAKERS: dict[str, Callable[..., Tokenizer]] = {"BPE": bpe, "WordPiece": wordpiece, "Unigram": unigram}


@pytest.mark.parametrize("init", ["mean", "sub-tokens"])
@pytest.mark.parametrize("type_", MAKERS)
def test_texts_without_new_tokens_are_cut_as_before_and_new_ones_are_found_wherever_they_stand(
    type_: str, init: str, tmp_path: Path
) -> None:
    base = speaker(tmp_path / "base", ["cat", "dog"], SPECIAL)
    tokenizer = MAKERS[type_](["cat", "dog"], ("[UNK]", *SPECIAL))
    tokenizer.normalizer = normalizers.Lowercase()
    save(tokenizer, base)
    tiny_model(base, vocab_size=tokenizer.get_vocab_size())
    out = build(text(base, grow(("##do", "Ġca", "<|A|>"), f'init = "{init}"')), tmp_path / "out")
    before, after = (AutoTokenizer.from_pretrained(folder) for folder in (base, out))
    for sentence in (TEXT, "a cadog catdog Dog", "<|a|> do", "x"):
        assert after.encode(sentence) == before.encode(sentence)
    assert after.tokenize("cat<|A|>dogĠca<|A|>##do") == ["cat", "<|A|>", "dog", "Ġca", "<|A|>", "##do"]
    assert after.decode(after.encode("<|A|>")) == "<|A|>"


def test_special_ones_are_left_out_by_decoders_and_listed_where_others_are(
    speakers: dict[str, Path], tmp_path: Path
) -> None:
    base = shutil.copytree(speakers["full"], tmp_path / "base")
    edit_config(base, "tokenizer_config.json", additional_special_tokens=["<|user|>"])
    (base / "special_tokens_map.json").write_text('{"additional_special_tokens": ["<|user|>"], "eos_token": "</s>"}')
    (base / "added_tokens.json").write_text('{"<|user|>": 2}')
    (base / "merges.txt").write_text("c a\n")
    rows = len(numbers(base))
    for special in (True, False):
        more = f"special = {str(special).lower()}"
        out = build(text(base, grow(("<|x|>",), more)), tmp_path / f"out-{special}")
        reader = AutoTokenizer.from_pretrained(out)
        assert reader.decode([rows, 5], skip_special_tokens=True) == reader.decode([rows, 5] if not special else [5])
        names = ["<|user|>", "<|x|>"] if special else ["<|user|>"]
        assert document(out, "tokenizer_config.json")["additional_special_tokens"] == names
        roles = document(out, "special_tokens_map.json")
        assert roles == {"additional_special_tokens": names, "eos_token": "</s>"}
        assert document(out, "added_tokens.json") == {"<|user|>": 2, "<|x|>": rows}
        assert (out / "merges.txt").read_bytes() == (base / "merges.txt").read_bytes()


def test_a_tokenizer_config_that_lists_added_tokens_lists_the_new_ones(
    speakers: dict[str, Path], tmp_path: Path
) -> None:
    """As transformers 4 wrote it; what is there already is left as it is."""
    base = shutil.copytree(speakers["full"], tmp_path / "base")
    edit_config(base, "tokenizer_config.json", added_tokens_decoder={"2": {"content": "<|user|>", "special": True}})
    out = build(text(base, grow(("<|x|>",), "special = true")), tmp_path / "out")
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    assert document(out, "tokenizer_config.json")["added_tokens_decoder"] == {
        "2": {"content": "<|user|>", "special": True},
        str(len(numbers(base))): {"content": "<|x|>", **plain, "special": True},
    }


def test_rows_are_counted_in_config_json_and_rounded_up(speakers: dict[str, Path], tmp_path: Path) -> None:
    """39 tokens and 3 new ones: 48 rows, 6 of them for nobody; a model with room for them has as many as before."""
    base = speakers["full"]
    assert len(numbers(base)) == 34
    out = build(text(base, grow(more="pad-to-multiple-of = 16")), tmp_path / "out")
    assert document(out, "config.json") == {**document(base, "config.json"), "vocab_size": 48}
    assert weights(out)[EMBEDDING].shape == (48, 32)
    roomy = build(text(speakers["roomy"], grow()), tmp_path / "roomy")
    assert (roomy / "config.json").read_bytes() == (speakers["roomy"] / "config.json").read_bytes()


def notes(apply: str, base: Path, scratch: Path) -> tuple[str, ...]:
    return prepare(text(base, apply), scratch).artifact.notes


def test_it_tells_where_new_tokens_stand_and_what_is_odd_about_them(speakers: dict[str, Path], tmp_path: Path) -> None:
    assert notes(grow(more="pad-to-multiple-of = 16"), speakers["padded"], tmp_path) == (
        "3 new tokens (`<|tool|>`, `<|a|>`, `cat dog`) with the numbers 34 to 36",
        "2 of them take rows that the model had, and that no token used",
        "there are 48 rows of tokens, 12 more than before, the last 11 without a token",
    )
    assert notes(grow(("<|user|>s", "<|us", "ab", "abc")), speakers["roomy"], tmp_path)[2:] == (
        "`<|us` is a part of `<|user|>` (and 2 more): where both could be meant, the longer one is",
    )
    assert notes(grow(("<|>", "Ġ cat", " "), 'init = "sub-tokens"'), speakers["roomy"], tmp_path)[2:] == (
        "`<|>`: the tokenizer knows no part of it, and the mean of all rows takes its place",
        "` ` is a part of `Ġ cat`: where both could be meant, the longer one is",
        "` `: there was one token for this text, which is not found in it any more",
    )


def test_the_longer_of_two_tokens_is_found(speakers: dict[str, Path], tmp_path: Path) -> None:
    out = build(text(speakers["full"], grow(("<|us", "er|>", "ab", "abc", "bcd"))), tmp_path / "out")
    assert encoded(out, "<|user|> <|us")[:3] == ["<|user|>", "Ġ", "<|us"]
    assert encoded(out, "abcd bcd ab")[::2] == ["abc", "Ġ", "Ġ"]


def test_merges_and_adapters_of_the_base_fit_afterwards(speakers: dict[str, Path], tmp_path: Path) -> None:
    """A fine-tune of the base, whose rows are fewer, and a LoRA of the embedding too: new rows stay as they began."""
    base = speakers["full"]
    bricks = {"tuned": tuned(base, tmp_path / "tuned"), "lora": adapter(base, tmp_path / "lora")}
    plain = weights(build(text(base, sum_of(tuned=0.5, lora=0.5), **bricks), tmp_path / "plain"))
    both = build(text(base, f"{grow()}, {sum_of(tuned=0.5, lora=0.5)}", **bricks), tmp_path / "both")
    grown = weights(build(text(base, grow()), tmp_path / "grown"))
    found, rows = weights(both), len(numbers(base))
    for name, tensor in plain.items():
        assert torch.equal(found[name][: len(tensor)], tensor)
    assert torch.equal(found[EMBEDDING][rows:], grown[EMBEDDING][rows:])
    assert encoded(both, "<|tool|>") == ["<|tool|>"]


def test_a_second_step_goes_on_behind_the_first(speakers: dict[str, Path], tmp_path: Path) -> None:
    base = speakers["tied"]
    once = build(text(base, grow(("<1>", "<2>", "<3>"))), tmp_path / "once")
    twice = build(text(base, f"{grow(('<1>',))}, {grow(('<2>', '<3>'))}"), tmp_path / "twice")
    assert numbers(once) == numbers(twice)
    assert (once / "tokenizer.json").read_bytes() == (twice / "tokenizer.json").read_bytes()


def test_the_same_bytes_with_any_memory_and_number_of_threads(speakers: dict[str, Path], tmp_path: Path) -> None:
    step = text(speakers["roomy"], grow(more='init = "sub-tokens"'))
    one, other = digest(step, tmp_path / "a", threads=1, memory=40 << 20), digest(step, tmp_path / "b", threads=3)
    assert one == other


def test_a_file_has_a_token_a_line(speakers: dict[str, Path], tmp_path: Path) -> None:
    """A mark of the byte order before the first, as editors on Windows write it, is no part of it."""
    (tmp_path / "tokens.txt").write_bytes(b"\xef\xbb\xbf<|tool|>\r\n<|a|>\ncat dog\n")
    step = '{ op = "grow-vocabulary", file = "tokens.txt" }'
    listed = build(text(speakers["full"], grow()), tmp_path / "listed")
    assert digest(text(speakers["full"], step), tmp_path / "read") == digest(text(speakers["full"], grow()), listed)


REFUSED: dict[str, tuple[str, type[BrickctlError], str, str]] = {
    "nothing": ("init = 'mean'", ManifestInvalid, "needs `tokens`, or their `file`", 'write tokens = ["<|a|>"]'),
    "a misspelt key": ("token = ['a']", ManifestInvalid, "needs `tokens`", "did you mean `tokens`?"),
    "both": ("tokens = ['<a>'], file = 'x'", ManifestInvalid, "needs `tokens`, or their `file`", "write tokens"),
    "an empty list": ("tokens = []", ManifestInvalid, "must be a list of texts", "such as"),
    "a number": ("tokens = ['<a>', 3]", ManifestInvalid, "must be a list of texts", "such as"),
    "an empty token": ("tokens = ['<a>', '']", ManifestInvalid, "one has 0 characters", "of 1 to 256 characters"),
    "a long token": (f"tokens = ['{'a' * 257}']", ManifestInvalid, "one has 257 characters", "of 1 to 256 characters"),
    "one twice": ("tokens = ['<a>', '<b>', '<a>']", ManifestInvalid, "tokens come twice", "name each once"),
    "one that is there": ("tokens = ['<a>', 'cat']", Misfit, "has these tokens already", "leave out"),
    "one that is added": ("tokens = ['<|user|>']", Misfit, "has these tokens already", "leave out"),
    "another beginning": ("tokens = ['<a>'], init = 'zeros'", ManifestInvalid, "`zeros`", "one of mean, sub-tokens"),
    "no multiple": ("tokens = ['<a>'], pad-to-multiple-of = 0", ManifestInvalid, "must lie in [1, 65536]", "64 is"),
    "a file elsewhere": ("file = '../x'", ManifestInvalid, "is no file of this project", "relative to brick.toml"),
    "an empty file": ("file = 'empty.txt'", ManifestInvalid, "a line has no token", "write one in each line"),
    "an empty line": ("file = 'gap.txt'", ManifestInvalid, "gap.txt line 2", "write one in each line"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_added_is_refused(case: str, speakers: dict[str, Path], tmp_path: Path) -> None:
    keys, fault, said, hint = REFUSED[case]
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "gap.txt").write_text("<a>\n\n<b>\n")
    with pytest.raises(fault) as caught:
        notes(f'{{ op = "grow-vocabulary", {keys} }}', speakers["full"], tmp_path)
    assert said in str(caught.value)
    assert hint in (caught.value.hint or "")
    assert caught.value.place is not None


def test_a_token_that_would_hide_an_older_one_is_refused(speakers: dict[str, Path], tmp_path: Path) -> None:
    """What is looked for in normalised text comes after all new tokens: `<|us` would be cut out of it."""
    base = shutil.copytree(speakers["roomy"], tmp_path / "base")
    entries = [{**entry, "normalized": True} for entry in document(base)["added_tokens"]]
    edit_tokenizer(base, added_tokens=entries)
    with pytest.raises(Misfit, match="would hide one that is there"):
        notes(grow(("<|us",)), base, tmp_path)
    assert encoded(build(text(base, grow(("<|user|>s",))), tmp_path / "out"), "<|user|>s<|user|>") == [
        "<|user|>s",
        "<|user|>",
    ]


def broken(base: Path, how: str) -> Path:
    """A model whose tokens are not what they seem."""
    if how == "a table of each layer":
        edit_tensors(base, lambda tensors: {**tensors, "model.embed_tokens_per_layer.weight": torch.zeros(20, 8)})
    elif how == "another table":
        edit_tensors(base, lambda tensors: {**tensors, "final_logits_bias": torch.zeros(1, 41)})
    elif how == "no embedding":
        edit_tensors(base, lambda tensors: {name: one for name, one in tensors.items() if "embed" not in name})
    elif how == "three dimensions":
        edit_tensors(base, lambda tensors: {**tensors, EMBEDDING: tensors[EMBEDDING].reshape(41, 2, 16)})
    elif how == "codes":
        edit_tensors(base, lambda tensors: {**tensors, HEAD: tensors[HEAD].to(torch.float8_e4m3fn)})
    else:
        miswrite(base, how)
    return base


def miswrite(base: Path, how: str) -> None:
    """Make the tokenizer of a model one that cannot be."""
    if how == "only sentencepiece":
        (base / "tokenizer.json").rename(base / "tokenizer.model")
    elif how == "gaps":
        entries = document(base)["added_tokens"]
        edit_tokenizer(base, added_tokens=[*entries, {**entries[0], "id": 38, "content": "<|far|>"}])
    elif how == "unreadable":
        edit_tokenizer(base, pre_tokenizer={"type": "Nonsense"})
    elif how == "a far number":
        model = document(base)["model"]
        edit_tokenizer(base, model={**model, "vocab": {**model["vocab"], "far": (1 << 24) - 1}})
    elif how == "an endless text":
        twice = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
        edit_tokenizer(base, normalizer={"type": "Sequence", "normalizers": [twice] * 40})


BROKEN: dict[str, tuple[type[BrickctlError], str, str | None]] = {
    "only sentencepiece": (Unsupported, "it has no tokenizer.json", "save its tokenizer with transformers"),
    "gaps": (Unsupported, "`<|far|>` has the number 38; whoever reads the file finds 34", "the numbers before it have"),
    "unreadable": (IntegrityFault, "the library of tokenizers cannot use path:", "the file is damaged"),
    "a table of each layer": (Unsupported, "`model.embed_tokens_per_layer.weight` seems to have numbers", None),
    "another table": (Unsupported, "`final_logits_bias` seems to have numbers for every token", None),
    "no embedding": (Misfit, "no tensor of it is named as an embedding of tokens is", None),
    "a far number": (Misfit, "a token has the number 16,777,215; there are 35 tokens and 41 rows", None),
    "an endless text": (Unsupported, "could make a text more than 1,024 times as long", "the file is damaged"),
    "three dimensions": (Misfit, "`model.embed_tokens.weight` has the shape (41, 2, 16), and is no table", None),
    "codes": (Unsupported, "`lm_head.weight` is stored as F8_E4M3", "use the bf16 or fp32 release"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_model_that_cannot_have_more_tokens_is_refused(how: str, speakers: dict[str, Path], tmp_path: Path) -> None:
    fault, said, hint = BROKEN[how]
    base = broken(shutil.copytree(speakers["roomy"], tmp_path / "base"), how)
    with pytest.raises(fault) as caught:
        notes(grow(), base, tmp_path)
    assert said in str(caught.value)
    assert (hint or "") in (caught.value.hint or "")


def test_adapters_stand_beside_a_grown_model_unless_they_change_rows(speakers: dict[str, Path], tmp_path: Path) -> None:
    base = speakers["full"]
    stack = '{ op = "stack", bricks = ["lora"] }'
    plain = adapter(base, tmp_path / "plain")
    build(text(base, f"{grow()}, {stack}", lora=plain), tmp_path / "out")
    with pytest.raises(ManifestInvalid, match="a grow cannot follow a stack"):
        prepare(text(base, f"{stack}, {grow()}", lora=plain), tmp_path)
    rows = adapter(base, tmp_path / "rows", target_modules=["embed_tokens", "q_proj"])
    with pytest.raises(Misfit, match="a step before has given the model other ones"):
        prepare(text(base, f"{grow()}, {stack}", lora=rows), tmp_path)


def test_a_long_token_is_the_mean_of_many_parts(speakers: dict[str, Path], tmp_path: Path) -> None:
    base = speakers["full"]
    token = "ab" * 127 + "é"
    out = build(text(base, grow((token,), 'init = "sub-tokens"')), tmp_path / "out")
    before, old = weights(base)[HEAD].double(), numbers(base)
    expected = (before[old["a"]] + before[old["b"]]) / 2
    assert (weights(out)[HEAD][len(old)].double() - expected).abs().max() < 1e-8


def test_a_token_may_have_more_parts_than_python_can_go_deep(speakers: dict[str, Path], tmp_path: Path) -> None:
    """256 characters of four bytes, each byte a token: 1,024 parts."""
    base = shutil.copytree(speakers["roomy"], tmp_path / "base")
    model = document(base)["model"]
    letters = {letter: 34 + at for at, letter in enumerate("ðŁĺĢ")}
    edit_tokenizer(base, model={**model, "vocab": {**model["vocab"], **letters}})
    out = build(text(base, grow(("\U0001f600" * 256,), 'init = "sub-tokens"')), tmp_path / "out")
    expected = mean(weights(base)[HEAD], range(34, 38)).to(torch.float32).to(torch.bfloat16)
    assert torch.equal(weights(out)[HEAD][38], expected)


def test_a_tokenizer_that_leaves_out_merges_at_random_cuts_as_if_it_did_not(
    speakers: dict[str, Path], tmp_path: Path
) -> None:
    """`dropout` is for training; the file keeps it."""
    step, base = grow(("catdog" * 20,), 'init = "sub-tokens"'), shutil.copytree(speakers["full"], tmp_path / "base")
    edit_tokenizer(base, model={**document(base)["model"], "dropout": 0.5})
    out, plain = build(text(base, step), tmp_path / "out"), build(text(speakers["full"], step), tmp_path / "plain")
    assert torch.equal(weights(out)[EMBEDDING], weights(plain)[EMBEDDING])
    assert document(out)["model"]["dropout"] == 0.5


def test_what_others_have_in_them_is_found_without_their_parts_being_held() -> None:
    """A hostile tokenizer has one token of a quarter of a million characters."""
    long = "".join(map(str, range(50_000)))
    tokenizer = Known(document={}, ids={long: 0}, added={long: {}})
    tracemalloc.start()
    try:
        (said,) = check_new(("4999849999", "no such part"), tokenizer, None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert said.startswith("`4999849999` is a part of `0123")
    assert peak < 1 << 20


@pytest.mark.parametrize("class_", ["GPT2Tokenizer", "Qwen2Tokenizer"])
def test_classes_that_build_a_tokenizer_anew_find_the_numbers_too(
    class_: str, speakers: dict[str, Path], tmp_path: Path
) -> None:
    """They take vocabulary and merges out of `tokenizer.json`, and number the added tokens by themselves."""
    base = shutil.copytree(speakers["full"], tmp_path / "base")
    edit_config(base, "tokenizer_config.json", tokenizer_class=class_)
    out = build(text(base, grow()), tmp_path / "out")
    before, after = (AutoTokenizer.from_pretrained(folder) for folder in (base, out))
    assert type(after).__name__ == class_
    assert after.encode("a cat, dogs <|user|>") == before.encode("a cat, dogs <|user|>")
    rows = len(numbers(base))
    assert after.convert_tokens_to_ids([*TOKENS]) == [rows, rows + 1, rows + 2]
    assert after.tokenize("ab<|a|>cat dog<|tool|>")[-3:] == ["<|a|>", "cat dog", "<|tool|>"]

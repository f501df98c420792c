"""Merges of models whose tokenizers differ: every token has the row that the table of rules gives it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from brickctl.core.plan_format import plan_document, read_plan
from brickctl.errors import Misfit
from brickctl.vocabulary.axis import with_rows
from tests.support.building import Prepared, Runner, build, digest, manifest, prepare
from tests.support.models import adapter, edit_tensors, weights
from tests.support.vocabularies import (
    EMBEDDING,
    HEAD,
    LETTERS,
    by_token,
    document,
    encoded,
    numbers,
    renamed,
    speaker,
)

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

LIKE_BASE = ("<s>", "</s>", "<|user|>")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base with three rows beyond its tokens, and models that share some of its tokens and number them otherwise."""
    folder = tmp_path_factory.mktemp("models")
    base = speaker(folder / "base", ["cat", "dog"], LIKE_BASE, seed=1, padding=3)
    speaker(folder / "coder", ["cat", "bird", "code"], ["<s>", "</s>", "<|tool|>"], seed=2, shuffled=True)
    speaker(folder / "poet", ["bird", "fish", "dog"], ["</s>", "<s>", "<|user|>"], seed=3, shuffled=True)
    speaker(folder / "tied", ["cat", "dog", "owl"], LIKE_BASE, seed=4, tie_word_embeddings=True)
    adapter(base, folder / "lora", target_modules=["embed_tokens", "lm_head", "q_proj"])
    renamed(base, folder / "chatty", {"<|user|>": "<|im_start|>"})
    return folder


def linear(tokenizer: str, **weights: float) -> str:
    bricks = ", ".join(f"{alias} = {weight}" for alias, weight in weights.items())
    return f'{{ op = "merge", method = "linear", tokenizer = {tokenizer}, bricks = {{ {bricks} }} }}'


def summed(tokenizer: str, **weights: float) -> str:
    return linear(tokenizer, **weights).replace("linear", "task_arithmetic")


def made(models: Path, apply: str, more: str = "", base: str = "base") -> str:
    names = [
        name for name in ("coder", "poet", "tied", "lora", "chatty", "base") if f"{name}" in apply and name != base
    ]
    return manifest(models / base, {name.replace("base", "other"): models / name for name in names}, apply, more=more)


@cache
def rows(folder: Path) -> dict[str, dict[str, Tensor]]:
    return by_token(folder, weights(folder))


def close(found: Tensor, *expected: Tensor) -> bool:
    """Whether a row is the mean of these."""
    return bool((found.double() - sum(row.double() for row in expected) / len(expected)).abs().max() <= 1e-7)


@pytest.mark.parametrize("tensor", [EMBEDDING, HEAD])
def test_a_token_that_a_model_lacks_is_the_bases_or_that_of_the_one_or_the_mean_of_those_that_have_it(
    models: Path, tmp_path: Path, tensor: str
) -> None:
    build(made(models, linear('"union"', base=1, coder=1, poet=1)), tmp_path / "out")
    base, coder, poet = (rows(models / name)[tensor] for name in ("base", "coder", "poet"))
    out = rows(tmp_path / "out")[tensor]
    assert close(out["c"], base["c"], coder["c"], poet["c"])  # everyone has it
    assert close(out["cat"], base["cat"], coder["cat"], base["cat"])  # the poet lacks it: the base's
    assert close(out["<|user|>"], base["<|user|>"], base["<|user|>"], poet["<|user|>"])
    assert out["code"].equal(coder["code"])  # one has it
    assert close(out["bird"], coder["bird"], poet["bird"])  # two have it, and the base gets the mean of them


def test_with_missing_mean_the_base_is_one_of_those_that_have_a_token(models: Path, tmp_path: Path) -> None:
    text = made(models, linear('{ source = "union", missing = "mean" }', base=1, coder=1, poet=1))
    build(text, tmp_path / "out")
    base, coder = (rows(models / name)[EMBEDDING] for name in ("base", "coder"))
    assert close(rows(tmp_path / "out")[EMBEDDING]["cat"], base["cat"], coder["cat"])


def test_a_union_keeps_the_numbers_of_the_base_and_its_rows_beyond_the_tokens(models: Path, tmp_path: Path) -> None:
    build(made(models, linear('"union"', base=1, tied=1)), tmp_path / "out")
    before, after = numbers(models / "base"), numbers(tmp_path / "out")
    assert {token: after[token] for token in before} == before
    assert (after["ow"], after["owl"]) == (len(before), len(before) + 1)  # two of the three rows get a token
    stored, base = (
        load_file(folder / "model.safetensors")[EMBEDDING] for folder in (tmp_path / "out", models / "base")
    )
    assert stored.shape == base.shape
    assert stored[-1].equal(base[-1])
    assert document(tmp_path / "out", "config.json") == document(models / "base", "config.json")


def test_rows_up_to_a_multiple_are_the_mean_of_the_rows_of_tokens(models: Path, tmp_path: Path) -> None:
    choice = '{ source = "base", pad-to-multiple-of = 16 }'
    build(made(models, summed(choice, coder=1)), tmp_path / "out")
    stored, base = (
        load_file(folder / "model.safetensors")[EMBEDDING] for folder in (tmp_path / "out", models / "base")
    )
    assert (len(base), len(numbers(models / "base")), len(stored)) == (37, 34, 48)
    assert document(tmp_path / "out", "config.json")["vocab_size"] == 48
    assert all(close(row, *base[:34]) for row in stored[37:])


@pytest.mark.parametrize("apply", [linear('"coder"', base=1, coder=1), summed('"coder"', coder=0.5)])
def test_the_tokenizer_of_a_brick_is_taken_byte_for_byte_and_numbers_in_configs_follow(
    models: Path, tmp_path: Path, apply: str
) -> None:
    out = build(made(models, apply), tmp_path / "out")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        assert (out / file).read_bytes() == (models / "coder" / file).read_bytes()
    base, coder, found = (rows(folder)[EMBEDDING] for folder in (models / "base", models / "coder", out))
    assert found.keys() == coder.keys()
    assert close(found["cat"], base["cat"], coder["cat"])
    assert found["code"].equal(coder["code"])
    for file in ("config.json", "generation_config.json"):
        assert document(out, file)["eos_token_id"] == numbers(models / "coder")["</s>"]
    assert document(out, "config.json")["vocab_size"] == len(coder)


def test_adapters_have_the_tokens_of_the_base_and_add_to_those_alone(models: Path, tmp_path: Path) -> None:
    alone = build(
        made(models, '{ op = "merge", method = "task_arithmetic", bricks = { lora = 1 } }'), tmp_path / "alone"
    )
    out = build(made(models, summed('"union"', lora=1, coder=0)), tmp_path / "out")
    for tensor in (EMBEDDING, HEAD):
        tuned, coder, found = (rows(folder)[tensor] for folder in (alone, models / "coder", out))
        assert all(found[token].equal(row) for token, row in tuned.items())
        assert found["bird"].equal(coder["bird"])


RULES = """{ source = "base", tokens = {
  "<new>" = { brick = "coder", token = "bird" },
  "<zero>" = { zero = true },
  "<mine>" = {},
  "dog" = { brick = "poet", id = 5 },
  "cat" = { brick = "poet", token = "fish", force = true },
} }""".replace("\n", " ").replace(", }", " }")


def test_rules_say_which_row_a_token_gets_where_it_is_missing_or_by_force_everywhere(
    models: Path, tmp_path: Path
) -> None:
    prepared = prepare(made(models, linear(RULES, base=1, coder=1, poet=0)), tmp_path)
    out = tmp_path / "out"
    Runner().run(prepared, out)
    base, coder, poet, found = (rows(folder)[EMBEDDING] for folder in (*(models / one for one in BY_NAME), out))
    assert found["<new>"].equal(coder["bird"])
    assert not found["<zero>"].any()
    assert not found["<mine>"].any()
    assert found["cat"].equal(poet["fish"])  # forced: the base's and the coder's own rows do not matter
    fifth = load_file(models / "poet" / "model.safetensors")[EMBEDDING][5]
    assert close(found["dog"], base["dog"], fifth)  # the coder lacks it, the base keeps its own
    assert prepared.artifact.notes == ("`<mine>`: no model has a row for it, and zeros take its place",)
    assert encoded(out, "cat<new>cat") == ["cat", "<new>", "cat"]


BY_NAME = ("base", "coder", "poet")


def test_a_tied_head_stays_tied_while_all_are_tied_and_gets_rows_of_its_own_otherwise(
    models: Path, tmp_path: Path
) -> None:
    speaker(tmp_path / "other", ["emu"], seed=5, tie_word_embeddings=True)
    text = manifest(models / "tied", {"a": tmp_path / "other"}, linear('"union"', base=1, a=1))
    both = build(text, tmp_path / "both")
    assert HEAD not in weights(both)
    assert document(both, "config.json")["tie_word_embeddings"] is True
    apart = build(made(models, linear('"union"', base=1, coder=1), base="tied"), tmp_path / "apart")
    assert document(apart, "config.json")["tie_word_embeddings"] is False
    tied, coder, found = (rows(folder) for folder in (models / "tied", models / "coder", apart))
    assert close(found[HEAD]["cat"], tied[EMBEDDING]["cat"], coder[HEAD]["cat"])
    assert found[HEAD]["bird"].equal(coder[HEAD]["bird"])
    untied = build(made(models, linear('"union"', base=1, tied=1)), tmp_path / "untied")
    assert close(rows(untied)[HEAD]["cat"], rows(models / "base")[HEAD]["cat"], tied[EMBEDDING]["cat"])


def test_transformers_loads_the_result_and_text_has_the_tokens_of_each_source(models: Path, tmp_path: Path) -> None:
    out = build(made(models, linear('"union"', base=1, coder=1, poet=1)), tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(out)
    model = AutoModelForCausalLM.from_pretrained(out)
    assert len(tokenizer) == len(numbers(out)) == model.config.vocab_size
    for name, text in (("base", "cat<|user|>dog cat"), ("coder", "code<|tool|>bird"), ("poet", "fish bird<|user|>")):
        expected = AutoTokenizer.from_pretrained(models / name).tokenize(text)
        assert tokenizer.tokenize(text) == expected
        assert tokenizer(text).input_ids == [numbers(out)[token] for token in expected]
    with torch.no_grad():
        assert model(**tokenizer("cat fish", return_tensors="pt")).logits.shape[-1] == len(tokenizer)


@pytest.mark.parametrize("method", ["linear", "ties"])
def test_names_order_threads_and_memory_change_no_byte(models: Path, tmp_path: Path, method: str) -> None:
    step = '{{ op = "merge", method = "{}", tokenizer = "union", bricks = [{}] }}'
    one, other = '{ brick = "a", weight = 0.7 }', '{ brick = "b", weight = 0.4 }'
    folders = {"a": models / "coder", "b": models / "poet"}
    first = digest(manifest(models / "base", folders, step.format(method, f"{one}, {other}")), tmp_path / "1")
    text = manifest(models / "base", folders, step.format(method, f"{other}, {one}"))
    assert digest(text, tmp_path / "2", threads=1) == first
    folders = {"z": models / "coder", "b": models / "poet"}
    text = manifest(models / "base", folders, step.format(method, f"{one}, {other}".replace('"a"', '"z"')))
    assert digest(text, tmp_path / "3", threads=4, memory=1 << 23) == first


def test_a_plan_with_maps_of_rows_can_be_sent(models: Path, tmp_path: Path) -> None:
    prepared = prepare(made(models, linear('"poet"', base=1, poet=1)), tmp_path)
    sent = read_plan(plan_document(prepared.plan))
    assert sent == prepared.plan
    maps = plan_document(prepared.plan)["rows"]
    assert len(maps) == 1  # one for the embedding and the head of the base; those of the poet stay as they are
    again = Prepared(artifact=prepared.artifact, plan=sent, paths=prepared.paths)
    Runner().run(prepared, tmp_path / "one")
    Runner().run(again, tmp_path / "two")
    assert all(
        (tmp_path / "two" / path.name).read_bytes() == path.read_bytes() for path in (tmp_path / "one").iterdir()
    )


def test_a_second_merge_has_the_tokens_of_the_first(models: Path, tmp_path: Path) -> None:
    first, second = summed('"union"', coder=1), summed('"union"', poet=1)
    prepared = prepare(made(models, f"{first}, {second}"), tmp_path)
    assert prepared.artifact.notes == ()
    out = build(made(models, f"{first}, {second}"), tmp_path / "out")
    base, coder, poet, found = (rows(folder)[EMBEDDING] for folder in (*(models / one for one in BY_NAME), out))
    assert {"bird", "code", "fish", "<|tool|>"} <= found.keys()
    assert found["code"].equal(coder["code"])
    assert found["fish"].equal(poet["fish"])
    difference = found["c"].double() - (coder["c"].double() + poet["c"].double() - base["c"].double())
    assert difference.abs().max() <= 1e-7
    silent = '{ op = "merge", method = "task_arithmetic", bricks = { lora = 1 } }'
    kept = build(made(models, f"{first}, {silent}"), tmp_path / "kept")
    assert rows(kept)[EMBEDDING]["code"].equal(coder["code"])


def test_an_adapter_of_rows_is_stacked_only_where_the_rows_are_the_bases(models: Path, tmp_path: Path) -> None:
    stack = '{ op = "stack", bricks = ["lora"] }'
    for first in (summed('"union"', coder=1), summed('"coder"', coder=1)):
        for steps in (f"{first}, {stack}", f"{stack}, {first}"):
            with pytest.raises(Misfit, match="`lora` cannot be stacked on this model") as caught:
                prepare(made(models, steps), tmp_path)
            assert caught.value.hint == "merge `lora` instead of stacking it: its rows follow their tokens then"
    by_number = summed('{ source = "chatty", match = "id" }', chatty=1)
    assert (
        "adapters/lora/adapter_config.json" in prepare(made(models, f"{by_number}, {stack}"), tmp_path).artifact.parts
    )


def test_a_size_in_a_part_of_the_configuration_follows_and_another_one_does_not() -> None:
    config = {"vocab_size": 37, "text_config": {"vocab_size": 37, "x": 1}, "vision_config": {"vocab_size": 5}}
    assert with_rows(config, 37, 37) is config
    assert with_rows(config, 37, 40) == {
        "vocab_size": 40,
        "text_config": {"vocab_size": 40, "x": 1},
        "vision_config": {"vocab_size": 5},
    }
    assert with_rows({"a": 1}, 37, 40) == {"a": 1, "vocab_size": 40}


def test_a_token_for_which_the_base_has_only_a_number_gets_its_row_in_a_union(tmp_path: Path) -> None:
    base, brick = (speaker(tmp_path / name, ["cat"], LIKE_BASE, seed=seed) for name, seed in (("b", 6), ("c", 7)))
    edit_tensors(base, lambda found: {**found, **{name: found[name][:-1] for name in (EMBEDDING, HEAD)}})
    step = linear('"union"', base=1, a=1)
    out = build(manifest(base, {"a": brick}, step), tmp_path / "out")
    assert weights(out)[EMBEDDING].shape == weights(brick)[EMBEDDING].shape
    assert rows(out)[EMBEDDING]["cat"].equal(rows(brick)[EMBEDDING]["cat"])
    kept = build(manifest(base, {"a": brick}, step.replace("union", "base")), tmp_path / "kept")
    assert weights(kept)[EMBEDDING].shape == weights(base)[EMBEDDING].shape


def test_letters_are_what_all_of_these_have_in_common(models: Path) -> None:
    common = set.intersection(*({*numbers(models / name)} for name in BY_NAME))
    assert common == {*LETTERS, "<s>", "</s>"}

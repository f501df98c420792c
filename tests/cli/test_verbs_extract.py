"""`extract`: bricks out of models by a command line, which a project then merges as it merges any other."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
import torch

from tests.support.models import merged_by_peft, tiny_model, tuned, weights
from tests.support.neurons import partition

if TYPE_CHECKING:
    from tests.support.sandbox import Sandbox

BOTH = ("--from", "./coder", "--base", "./base")
VERBS = {
    "lora": (*BOTH, "--rank", "32"),
    "delta": (*BOTH, "--density", "1", "--dtype", "float32"),
    "neurons": (*BOTH, "--brick", "./groups", "--group", "1"),
    "layers": (*BOTH, "--layers", "1", "3"),
}
KINDS = {"lora": "adapter", "delta": "delta", "neurons": "neuron-group", "layers": "layers"}


@pytest.fixture
def tree(empty: Sandbox) -> Sandbox:
    """A base, a fine-tune of it, and a partition of its neurons."""
    base = tiny_model(empty.root / "base")
    tuned(base, empty.root / "coder")
    partition(base, empty.root / "groups", groups=4)
    return empty


@pytest.mark.parametrize("what", VERBS)
def test_what_is_extracted_is_detected_and_merged(what: str, tree: Sandbox) -> None:
    outcome = tree.run("extract", what, *VERBS[what], "-o", "bricks/x", "--json")
    assert outcome.code == 0, outcome
    assert outcome.json["kind"] == KINDS[what]
    assert outcome.json["rows"]
    assert (tree.root / "bricks/x/derivation.json").is_file()
    assert tree.run("merge", "./base", "./bricks/x", "-o", "out").code == 0
    before, after, coder = (weights(tree.root / name) for name in ("base", "out", "coder"))
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert moved
    whole = [name for name in moved if what != "neurons" and "mlp" in name]
    assert all(float((after[name] - coder[name]).abs().max()) < 1e-6 for name in whole)


def test_only_the_brick_is_left_behind(tree: Sandbox) -> None:
    there = sorted(path.name for path in tree.root.iterdir())
    assert tree.run("extract", "layers", *VERBS["layers"], "-o", "x").code == 0
    assert sorted(path.name for path in tree.root.iterdir()) == sorted([*there, "x"])
    assert sorted(path.name for path in (tree.root / "x").iterdir()) == [
        "derivation.json", "layers_config.json", "model.safetensors",
    ]  # fmt: skip


def test_a_table_is_shown_and_notes_stand_beside_it(tree: Sandbox) -> None:
    outcome = tree.run("extract", "lora", *BOTH, "--energy", "0.5", "-o", "x")
    head, *rows, last = outcome.lines
    assert head.split() == ["tensor", "stored", "rank", "error"]
    assert ["model.embed_tokens.weight", "left", "out", "-", "1"] in [row.split() for row in rows]
    assert last.startswith(str(tree.root / "x") + ": adapter ")
    assert "left out, as no LoRA holds it: `model.embed_tokens.weight`" in outcome.err
    assert "`--save-others` saves whole what PEFT can save" in outcome.err


def test_what_a_killed_extract_left_is_removed_by_the_next(tree: Sandbox) -> None:
    left = tree.root / ".brickctl-scratch-left"
    left.mkdir()
    assert tree.run("extract", "lora", *BOTH, "--rank", "2", "-o", "x").code == 0
    assert not left.exists()


def test_peft_loads_what_was_extracted(tree: Sandbox) -> None:
    assert tree.run("extract", "lora", *BOTH, "--rank", "32", "--save-others", "-o", "x").code == 0
    theirs, coder = merged_by_peft(tree.root / "base", tree.root / "x"), weights(tree.root / "coder")
    assert max(float((theirs[name] - coder[name]).abs().max()) for name in coder) < 1e-6


def test_a_model_has_layers_and_neurons_of_its_own(tree: Sandbox) -> None:
    for what in (("layers", "--layers", "0", "1"), ("neurons", "--brick", "./groups", "--group", "0")):
        assert tree.run("extract", *what, "--from", "./base", "-o", what[0]).code == 0
        assert tree.run("merge", "./base", f"./{what[0]}", "-o", "out").code == 0
        before, after = weights(tree.root / "base"), weights(tree.root / "out")
        assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("lora", *BOTH), "neither --rank nor --energy is given"),
        (("lora", *BOTH, "--rank", "4", "--energy", "0.9"), "--rank and --energy are both given"),
        (("lora", *BOTH, "--energy", "1.5"), "`--energy` must be above 0 and at most 1"),
        (("lora", *BOTH, "--rank", "4", "--dtype", "int8"), "`--dtype` is `int8`"),
        (("lora", "--from", "./base", "--base", "./base", "--rank", "4"), "that was tuned, as by --from NAME"),
        (("delta", *BOTH), "neither --density nor --bits is given"),
        (("delta", *BOTH, "--bits", "8", "--dtype", "float32"), "--dtype says nothing where --bits is given"),
        (("delta", *BOTH, "--density", "0.5", "--group", "4"), "--group says nothing where --density is given"),
        (("layers", "--from", "./base", "--layers", "2", "9"), "`--layers 2 9` asks for layer 8"),
        (("layers", "--from", "./base", "--layers", "3", "2"), "write --layers FIRST END"),
        (("neurons", "--from", "./base", "--brick", "./coder", "--group", "0"), "of kind expert"),
        (("neurons", "--from", "./base", "--brick", "./groups", "--group", "4"), "and --group 0"),
        (("lora", "--from", "./nobody", "--base", "./base", "--rank", "4"), "nobody"),
    ],
    ids=str,
)
def test_what_cannot_be_extracted_leaves_nothing(arguments: tuple[str, ...], said: str, tree: Sandbox) -> None:
    there = sorted(tree.root.iterdir())
    outcome = tree.run("extract", *arguments, "-o", "new/folder/x")
    assert outcome.code != 0
    assert said in outcome.err
    assert "derived" not in outcome.err
    assert re.search(r"line \d", outcome.err) is None
    assert sorted(tree.root.iterdir()) == there


def test_a_fault_in_an_option_is_one_of_the_command_line(tree: Sandbox) -> None:
    for arguments in (("lora", *BOTH, "--energy", "1.5"), (*("neurons", *VERBS["neurons"])[:-1], "4")):
        outcome = tree.run("extract", *arguments, "-o", "x", "--json")
        assert (outcome.code, outcome.json["error"]["code"]) == (2, "usage")


@pytest.mark.parametrize("verb", ["extract", "merge", "merge --dry-run", "merge --save"])
def test_nothing_is_made_below_a_file(verb: str, tree: Sandbox) -> None:
    (tree.root / "file").write_text("mine")
    name, *option = verb.split()
    if name == "extract":
        outcome = tree.run("extract", "layers", *VERBS["layers"], "-o", "file/x/y")
    elif option == ["--save"]:
        outcome = tree.run("merge", "./base", "./coder", "-o", "out", "--save", "file/x/y")
    else:
        outcome = tree.run("merge", "./base", "./coder", "-o", "file/x/y", *option)
    assert outcome.code == 2, outcome
    assert "file is a file, and no folder" in outcome.err
    assert not (tree.root / "out").exists()


def test_nothing_is_made_below_a_link_to_nothing(tree: Sandbox) -> None:
    (tree.root / "link").symlink_to("nowhere")
    outcome = tree.run("extract", "layers", *VERBS["layers"], "-o", "link/x")
    assert outcome.code == 2, outcome
    assert f"{tree.root / 'link'} is a link to nothing" in outcome.err


def test_nothing_is_overwritten(tree: Sandbox) -> None:
    (tree.root / "x").mkdir()
    outcome = tree.run("extract", "layers", *VERBS["layers"], "-o", "x")
    assert outcome.code == 2
    assert "exists already" in outcome.err


def test_the_record_says_what_it_was_made_of(tree: Sandbox) -> None:
    assert tree.run("extract", "delta", *BOTH, "--bits", "4", "-o", "x").code == 0
    record = json.loads((tree.root / "x/derivation.json").read_text())
    assert (record["op"], record["parameters"]["bits"], list(record["bricks"])) == (
        "extract-delta",
        4,
        ["base", "model"],
    )


def test_help_names_what_can_be_extracted(empty: Sandbox) -> None:
    outcome = empty.run("extract")
    assert outcome.code == 0
    assert all(what in outcome.out for what in VERBS)


def test_a_project_derives_the_same(tree: Sandbox) -> None:
    """`[derived.x]` with the same keys makes the same weights."""
    assert tree.run("extract", "lora", *BOTH, "--rank", "4", "-o", "x").code == 0
    manifest = """
        [project]
        name = "test"
        [base]
        source = "path:base"
        [bricks]
        coder = { source = "path:coder" }
        [derived.y]
        op = "extract-lora"
        from = "coder"
        rank = 4
        [targets.t]
        apply = [{ op = "merge", method = "task_arithmetic", bricks = { y = 1.0 } }]
        """
    tree.write({"brick.toml": "\n".join(line.strip() for line in manifest.splitlines())})
    derived = tree.run("derive", "--json")
    assert derived.code == 0, derived
    folder = derived.json["derived"][0]["folder"]
    name = "adapter_model.safetensors"
    assert (tree.root / "x" / name).read_bytes() == (tree.root / folder / name).read_bytes()
    assert tree.run("derive", "--check").code == 0
    assert tree.run("build").code == 0

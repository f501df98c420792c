"""`brickctl merge` and `brickctl stack` are a project that is written on the command line."""

from pathlib import Path

import pytest

from brickctl.core.manifest_format import parse_manifest
from brickctl.core.names import Alias
from brickctl.errors import ManifestInvalid, UsageFault
from brickctl.tensors.executor import Budget
from brickctl.workflows.compose import (
    TOKENIZERS,
    Composition,
    merge_step,
    name_bricks,
    name_tokenizer,
    plain_step,
    run,
    stack_step,
)
from brickctl.workflows.lock import LockMode
from tests.support.projects import REPOSITORY, Listener, build_targets, opened

FILES = REPOSITORY / "registry" / "files" / "starter"
BASE, UPPER, NEXT = (f"path:{FILES}/{name}/1.0.0" for name in ("base", "upper", "next"))
BUDGET = Budget(threads=2)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRICKCTL_CACHE", str(tmp_path / "cache"))


def merged(weights: list[float], output: Path, save: Path | None = None, **options: str) -> str:
    named = {Alias("upper"): UPPER, Alias("next"): NEXT}
    step = merge_step("task_arithmetic", tuple(named), weights, [])
    composition = Composition(base=BASE, bricks=named, step=step, **options)
    return run(composition, output, Listener(), BUDGET, offline=True, save=save).digest


def test_what_is_saved_builds_to_the_same_weights(tmp_path: Path) -> None:
    merged([0.9], tmp_path / "direct", save=tmp_path / "project")

    (built,) = build_targets(opened(tmp_path / "project"), [], LockMode.LOCKED, BUDGET)

    direct = (tmp_path / "direct" / "model.safetensors").read_bytes()
    assert (built.folder / "model.safetensors").read_bytes() == direct


def test_weights_come_never_once_or_for_each_brick(tmp_path: Path) -> None:
    assert merged([], tmp_path / "a") == merged([1.0, 1.0], tmp_path / "b")
    assert merged([0.9], tmp_path / "c") == merged([0.9, 0.9], tmp_path / "d")
    with pytest.raises(UsageFault, match="3 weights for 2 bricks"):
        merged([1.0, 2.0, 3.0], tmp_path / "e")


def test_what_is_wrong_with_the_command_line_is_no_fault_of_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match="`blot`") as found:
        merged([], tmp_path / "a", dtype="blot")
    assert not isinstance(found.value, ManifestInvalid)
    assert found.value.place is None


def test_a_saved_project_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "brick.toml").write_text("mine")
    with pytest.raises(UsageFault, match="exists already"):
        merged([], tmp_path / "out", save=tmp_path)
    assert (tmp_path / "brick.toml").read_text() == "mine"
    assert not (tmp_path / "out").exists()


def test_bricks_are_named_after_the_last_part_of_their_reference() -> None:
    named = name_bricks(["hf:acme/SQL-LoRA@v2", "hf:other/sql-lora", "./base", "path:/x/1.0.0"])
    assert list(named) == ["sql-lora", "sql-lora-2", "base-2", "brick-1-0-0"]


def test_a_bare_name_is_refused_because_it_could_mean_anything() -> None:
    with pytest.raises(UsageFault, match="sql"):
        name_bricks(["sql"])


def test_bricks_of_a_method_without_weights_are_only_named() -> None:
    bricks = (Alias("a"), Alias("b"))
    assert merge_step("slerp", bricks, [], ["t=0.3"]) == (
        '{ op = "merge", method = "slerp", t = 0.3, bricks = ["a", "b"] }'
    )
    assert "weight = 0.5" in merge_step("slerp", bricks, [0.5], [])  # which is refused as any manifest is that says so


def test_the_steps_are_those_of_a_manifest() -> None:
    merge = merge_step("linear", (Alias("a"),), [0.5], ["normalize=false"])
    stack = stack_step((Alias("a"), Alias("b")), "b")
    grow = plain_step("grow-width", {"neurons": 96, "hidden": None, "noise": 1e-07, "router": 'a "b"'})
    text = f'[project]\nname = "x"\n[base]\nsource = "path:base"\n[targets.t]\napply = [{merge}, {stack}, {grow}]\n'

    steps = parse_manifest(text).targets[Alias("t")].apply

    assert [step.op for step in steps] == ["merge", "stack", "grow-width"]
    assert steps[0].table.take("normalize") is False
    assert steps[1].table.take("active") == "b"
    assert [steps[2].table.take(key) for key in ("neurons", "noise", "router")] == [96, 1e-07, 'a "b"']
    assert not steps[2].table.has("hidden")


@pytest.mark.parametrize(
    ("text", "alias"),
    [
        ("base", "base"),
        ("union", "union"),
        ("chat", "chat"),
        ("./models/chat", "chat"),
        ("path:models/./chat/", "chat"),
        (str(Path("models/chat").absolute()), "chat"),
        ("hf:acme/poet", "poet"),
        ("hf:acme/poet@main", "poet"),
        ("./models/start", "base"),
    ],
)
def test_a_tokenizer_is_that_of_a_brick_by_name_or_by_any_way_to_write_its_reference(text: str, alias: str) -> None:
    named = name_bricks(["./models/chat", "hf:acme/poet@main"], TOKENIZERS)
    assert name_tokenizer(text, "path:models/start", named) == (alias, named)


def test_a_brick_that_only_gives_its_tokens_is_one_of_the_project_and_not_of_the_merge() -> None:
    named = name_bricks(["./chat"], TOKENIZERS)
    alias, everyone = name_tokenizer("hf:acme/chat@v2", "./base", named)
    assert everyone == {"chat": "./chat", "chat-2": "hf:acme/chat@v2"}
    assert merge_step("linear", tuple(named), [], [], alias) == (
        '{ op = "merge", method = "linear", tokenizer = "chat-2", bricks = [{ brick = "chat", weight = 1.0 }] }'
    )


def test_a_folder_called_union_is_never_taken_for_the_union() -> None:
    named = name_bricks(["./union"], TOKENIZERS)
    assert name_tokenizer("./union", "./base", named) == ("union-2", named)
    assert name_tokenizer("./other/union", "./base", {Alias("chat"): "./chat"})[0] == "union-2"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("chta", "did you mean `chat`?"),
        ("Union", "did you mean `union`?"),
        ("models/chat", "or `./models/chat` (a folder)?"),
        ("hf:acme/chat@", "a revision is a branch, a tag or a commit"),
        ("", "write `hf:owner/name"),
    ],
)
def test_what_names_no_tokenizer_is_a_usage_error_that_says_what_does(text: str, hint: str) -> None:
    with pytest.raises(UsageFault, match="names no tokenizer") as found:
        name_tokenizer(text, "./base", name_bricks(["./chat"], TOKENIZERS))
    assert "names here: `base`, `union`, `chat`" in found.value.causes[1]
    assert hint in (found.value.hint or "")


def test_a_tokenizer_is_not_given_twice() -> None:
    with pytest.raises(UsageFault, match="given twice"):
        merge_step("linear", (Alias("a"),), [], ["tokenizer='union'"], Alias("base"))

"""`list`, `tree` and `info`: what can be told without weights."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support import sandbox as bricks

if TYPE_CHECKING:
    from tests.support.sandbox import Sandbox

TREE = """\
support
├── base (path:models/base)
├── assistant
│   └── merge task_arithmetic scale=1
│       └── sql (path:bricks/sql) weight=0.5
└── mail (path:bricks/mail)  (in no target)
"""


def test_list_shows_what_is_asked_for_while_nothing_is_locked(project: Sandbox) -> None:
    outcome = project.run("list")
    assert [line.split() for line in outcome.lines] == [
        ["brick", "kind", "version", "size", "licence", "source"],
        ["base", "base", "-", "-", "unknown", "path:models/base"],
        ["sql", "-", "-", "-", "unknown", "path:bricks/sql"],
        ["mail", "-", "-", "-", "MIT", "path:bricks/mail"],
    ]
    assert "`brickctl lock` pins them" in outcome.err


def test_list_shows_what_is_locked(project: Sandbox) -> None:
    project.run("lock")
    outcome = project.run("list")
    assert [line.split()[:2] for line in outcome.lines[1:]] == [
        ["base", "base"],
        ["sql", "adapter"],
        ["mail", "adapter"],
    ]
    assert outcome.err == ""
    answer = project.run("list", "--json").json["bricks"]
    assert [(item["name"], item["locked"], item["size"]) for item in answer][1] == (
        "sql",
        True,
        sum(map(len, bricks.adapter().values())),
    )


def test_list_does_not_show_an_old_pin_for_a_new_wish(project: Sandbox) -> None:
    project.run("lock")
    project.write({"brick.toml": project.manifest.replace("bricks/sql", "bricks/sql2")})
    answer = project.run("list", "--json").json["bricks"]
    assert [item["name"] for item in answer if not item["locked"]] == ["sql"]


def test_tree_shows_targets_steps_bricks_and_weights(project: Sandbox) -> None:
    assert project.run("tree").out == TREE
    answer = project.run("tree", "--json").json
    (target,) = answer["targets"]
    assert target["steps"] == [
        {"op": "merge", "method": "task_arithmetic", "scale": 1.0, "bricks": [{"brick": "sql", "weight": 0.5}]}
    ]
    assert answer["unused"] == ["mail"]


def test_tree_tells_weights_in_every_form_and_where_a_target_starts(project: Sandbox) -> None:
    project.write(
        {
            "brick.toml": project.manifest.replace("sql = 0.5", "sql = [0, 1]")
            + '[targets.next]\nfrom = { target = "assistant" }\napply = [{ op = "stack", bricks = ["mail"] }]\n'
            + '[targets.last]\napply = [{ op = "merge", method = "linear", bricks = [{ brick = "base", weight = '
            + '[{ filter = "*norm*", value = 0.5 }, { value = 1 }] }] }]\n'
        }
    )
    text = project.run("tree").out
    assert "weight=[0, 1]" in text
    assert "next from assistant" in text
    assert "stack active=mail" in text
    assert "weight=[*norm*: 0.5, else: 1]" in text


def test_tree_leaves_out_what_a_step_leaves_to_its_bricks(project: Sandbox) -> None:
    route = 'op = "route", method = "arrow", bricks = ["sql", "mail"]'
    project.write({"brick.toml": project.manifest + f"[targets.routed]\napply = [{{ {route} }}]\n"})
    text = project.run("tree").out
    assert "route arrow" in text
    assert "rank" not in text


def test_info_of_an_adapter_tells_rank_and_interface(project: Sandbox) -> None:
    answer = project.run("info", "sql", "--json").json
    assert (answer["kind"], answer["type"], answer["rank"], answer["alpha"]) == ("adapter", "LoRA", 2, 4.0)
    assert (answer["tensors"], answer["parameters"], answer["dtypes"]) == (2, 32, {"BF16": 2})
    assert answer["interface"].startswith("sha256:")
    text = project.run("info", "mail").out
    assert "license     MIT\n" in text


def test_info_of_the_base_and_of_a_folder_outside_of_any_project(project: Sandbox, empty: Sandbox) -> None:
    assert project.run("info", "base", "--json").json["architecture"] == "LlamaForCausalLM"
    outside = empty.home
    outside.mkdir(parents=True, exist_ok=True)
    outcome = empty.run("info", "../project/models/base", "--json", cwd=outside)
    assert outcome.json["kind"] == "expert"
    assert outcome.json["parameters"] == 2 * 16 * 8 + 2 * 8 * 8 + 8


def test_info_of_an_adapter_that_brickctl_refuses_still_tells_what_it_is(project: Sandbox) -> None:
    config = json.dumps({"peft_type": "IA3", "wobble": 2})
    project.write({**bricks.adapter(), "adapter_config.json": config}, "bricks/ia3")
    answer = project.run("info", "./bricks/ia3", "--json").json
    assert answer["kind"] == "adapter"
    assert "unknown key `wobble`" in answer["refused"]


def test_info_of_an_adapter_without_merged_weights_tells_why(project: Sandbox) -> None:
    config = json.dumps({"peft_type": "LILY", "r": 2})
    project.write({**bricks.adapter(), "adapter_config.json": config}, "bricks/lily")
    answer = project.run("info", "./bricks/lily", "--json").json
    assert (answer["type"], answer["merges"]) == ("LILY", False)
    assert "depends on the input" in answer["because"]


@pytest.mark.parametrize(("text", "hint"), [("sqll", "did you mean `sql`?"), ("zzz", "write a reference")])
def test_info_of_an_unknown_name_says_what_may_be_written(project: Sandbox, text: str, hint: str) -> None:
    outcome = project.run("info", text)
    assert outcome.code == 1
    assert hint in outcome.err


def test_a_name_of_the_builtin_registry_needs_no_project(empty: Sandbox) -> None:
    answer = empty.run("info", "starter/upper", "--json").json
    assert (answer["kind"], answer["version"], answer["license"]) == ("adapter", "1.0.0", "Apache-2.0")


EVIL = "\x1b[31mX\nlicense  MIT\u202e"


def test_nothing_that_stands_in_files_is_obeyed_by_a_terminal_and_json_has_it_as_it_is(project: Sandbox) -> None:
    config = {"architectures": [EVIL], "model_type": "llama", "tie_word_embeddings": False}
    project.write({**bricks.model(), "config.json": json.dumps(config)}, "models/base")

    for name in ("base", "./models/base"):
        outcome = project.run("info", name)
        assert outcome.code == 0, outcome.err
        assert all(line.isprintable() for line in [*outcome.lines, *outcome.err.splitlines()]), outcome
        assert "\\x1b[31mX\\nlicense  MIT\\u202e" in outcome.out
    assert project.run("info", "base", "--json").json["architecture"] == EVIL


def test_info_asks_for_a_project_only_where_one_is_named(empty: Sandbox) -> None:
    assert empty.run("info", "starter/upper", "--project", "nowhere").code == 1
    assert empty.run("info", "upper").code == 1
    assert "there is no project here" in empty.run("info", "upper").err

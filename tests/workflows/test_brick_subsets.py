"""A target with only some of its bricks keeps the weights of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from brickctl.core.manifest_format import parse_manifest
from brickctl.core.names import Alias
from brickctl.errors import Unsupported
from brickctl.operations.target import read_recipe
from brickctl.workflows.brick_subsets import bricks_of, with_only

if TYPE_CHECKING:
    from brickctl.operations.target import Recipe

HEAD = """\
[project]
name = "mine"
[base]
source = "path:base"
[bricks]
sql = { source = "path:sql" }
mail = { source = "path:mail" }
chat = { source = "path:chat" }
[targets.below]
apply = [{ op = "merge", method = "task_arithmetic", bricks = { chat = 0.25 } }]
[targets.mine]
"""
SUM = '{ op = "merge", method = "task_arithmetic", bricks = { sql = 0.5, mail = 0.75 } }'
BLEND = (
    '{ op = "merge", method = "linear", bricks = [{ brick = "base", weight = 0.1 }, { brick = "sql", weight = 0.9 }] }'
)


def recipe(apply: str, more: str = "") -> Recipe:
    manifest = parse_manifest(f"{HEAD}{more}apply = [{apply}]\n")
    return read_recipe(manifest, manifest.targets[Alias("mine")])


def weights(one: Recipe) -> list[dict[str, Any]]:
    """The bricks and weights of every merge, from the first that is applied."""
    below = [] if one.start is None else weights(one.start)
    return below + [
        {entry["brick"]: entry["weight"] for entry in operation.document()["bricks"]} for operation in one.operations
    ]


def test_bricks_that_are_left_keep_their_weights() -> None:
    assert bricks_of(recipe(SUM)) == ("sql", "mail")
    assert weights(with_only(recipe(SUM), ["mail"])) == [{"mail": 0.75}]
    assert weights(with_only(recipe(SUM), ["mail", "sql"])) == [{"sql": 0.5, "mail": 0.75}]


def test_a_merge_of_which_nothing_is_left_is_left_out() -> None:
    assert weights(with_only(recipe(SUM), [])) == []
    assert weights(with_only(recipe(BLEND), [])) == []


def test_the_base_is_no_brick_that_could_be_left_out() -> None:
    assert bricks_of(recipe(BLEND)) == ("sql",)
    assert weights(with_only(recipe(BLEND), ["sql"])) == [{"base": 0.1, "sql": 0.9}]


def test_bricks_of_the_target_below_count_too() -> None:
    on_top = recipe(SUM, 'from = { target = "below" }\n')
    assert bricks_of(on_top) == ("chat", "sql", "mail")
    assert weights(with_only(on_top, ["chat", "mail"])) == [{"chat": 0.25}, {"mail": 0.75}]
    assert weights(with_only(on_top, ["sql"])) == [{"sql": 0.5}]


@pytest.mark.parametrize(
    ("apply", "cause"),
    [
        ('{ op = "stack", bricks = ["sql", "mail"] }', "its bricks take part in a step `stack`"),
        (
            '{ op = "merge", method = "slerp", t = 0.5, bricks = [{ brick = "sql" }, { brick = "mail" }] }',
            "`slerp` takes at least 2 bricks",
        ),
        (SUM.replace('"task_arithmetic",', '"task_arithmetic", tokenizer = "union",'), "the tokens of a brick"),
    ],
)
def test_a_target_from_which_nothing_can_be_taken_is_refused(apply: str, cause: str) -> None:
    with pytest.raises(Unsupported, match="no brick can be left out") as raised:
        bricks_of(recipe(apply))
    assert cause in raised.value.causes[0]

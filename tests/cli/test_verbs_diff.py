"""`diff`: what is shown of models, bricks and locks that differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from brickctl.cli.console import Console
from brickctl.cli.diff_tables import show_difference
from brickctl.core.dtypes import DType
from brickctl.core.regions import Spec
from brickctl.tensors.differences import Difference
from brickctl.workflows.comparing.models import ModelDifference, TensorChange
from tests.support.sandbox import adapter, model

if TYPE_CHECKING:
    from tests.support.sandbox import Sandbox

Q = "model.layers.0.self_attn.q_proj.weight"


def test_a_brick_beside_the_base_is_a_table_of_tensors(project: Sandbox) -> None:
    project.write(adapter(fill=60), "bricks/sql")
    outcome = project.run("diff", "base", "sql", "--layers")
    assert outcome.code == 0, outcome.err
    assert outcome.lines[0].startswith("tensors: 1 changed, 4 the same; these by ")
    assert outcome.lines[1].split()[:4] == ["tensor", "what", "relative", "cosine"]
    name, what, *_, rank = outcome.lines[2].split()
    assert (name, what, rank) == (Q, "changed", "1.0")
    assert [line.split()[:4] for line in outcome.lines[4:]] == [
        ["outside", "0", "of", "3"],
        ["0", "1", "of", "1"],
        ["1", "0", "of", "1"],
    ]


def test_what_no_number_can_tell_is_shown_first(capsys: pytest.CaptureFixture[str]) -> None:
    spec = Spec(DType.F32, (2, 2))
    found = {
        "little": Difference(before=1.0, square=0.1, changed=1),
        "spoilt": Difference(before=1.0, square=0.0, unknown=4),
        "much": Difference(before=1.0, square=1.0, changed=1),
        "from zero": Difference(before=0.0, square=1.0, changed=4),
    }
    tensors = tuple(
        TensorChange(name=name, what="changed", before=spec, after=spec, figures=one) for name, one in found.items()
    )
    difference = ModelDifference(before="a", after="b", same=0, tensors=tensors, layers=(), files=(), keys=())
    show_difference(Console(), difference, layers=False)
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split("  ")[0] for row in rows] == ["spoilt", "from zero", "much", "little"]


def test_equal_models_are_said_to_be_equal(project: Sandbox) -> None:
    outcome = project.run("diff", "base", "./models/base", "--exit-code")
    assert (outcome.code, outcome.lines) == (0, ["equal: 5 tensors hold the same numbers, and no file differs"])


def test_two_folders_need_no_project(empty: Sandbox) -> None:
    empty.write(model(), "a")
    empty.write({**model(), "config.json": '{"model_type": "llama", "tie_word_embeddings": false, "x": 1}'}, "b")
    outcome = empty.run("diff", "./a", "./b", "--exit-code")
    assert outcome.code == 1
    assert outcome.lines[0] == "tensors: none changed, 5 the same"
    assert "changed  config.json" in outcome.lines
    assert "added    config.json: x = 1" in outcome.lines
    hostile = '{"model_type": "llama", "tie_word_embeddings": false, "x\\nequal: 5 tensors": 1}'
    empty.write({"config.json": hostile}, "b")
    assert "added    config.json: x\\nequal: 5 tensors = 1" in empty.run("diff", "./a", "./b").lines


def test_bricks_are_compared_in_pairs_with_what_to_try_first(project: Sandbox) -> None:
    project.write(adapter(fill=40), "bricks/other")
    project.run("add", "./bricks/other", "--name", "other")
    found = project.run("diff", "--bricks", "--json").json["pairs"]
    assert [pair["bricks"] for pair in found] == [["mail", "other"], ["mail", "sql"], ["other", "sql"]]
    assert found[2]["cosine"] == pytest.approx(1.0)
    assert found[2]["advice"]["action"] == "average"
    assert "begin with mail + sql: together they are the least far from the base" in project.run("diff", "--bricks").err
    outcome = project.run("diff", "other", "sql", "--layers")
    assert outcome.lines[0].split()[:3] == ["bricks", "norms", "together"]
    assert "other + sql: merge their mean, weights of 0.5; their deltas point the same way (cosine 1.00)" in outcome.out
    assert "`brickctl test --bricks` says what each keeps" in outcome.err


def test_a_derived_brick_that_was_never_made_is_told_and_left_out(project: Sandbox) -> None:
    derived = '[derived.small]\nop = "extract-delta"\nfrom = "sql"\nbits = 8\n'
    merge = 'op = "merge", method = "task_arithmetic", bricks = { small = 1, mail = 1 }'
    project.write({"brick.toml": f"{project.manifest}\n{derived}\n[targets.light]\napply = [{{ {merge} }}]\n"})
    refused = project.run("diff", "light")
    assert (refused.code, "brickctl derive small" in refused.err) == (3, True)
    left = project.run("diff", "--bricks")
    assert left.code == 0
    assert "`small` is left out: it was never made" in left.err


def test_locks_are_compared_entry_by_entry(project: Sandbox) -> None:
    project.run("lock")
    project.write({"old.lock": project.lock})
    assert project.run("diff", "old.lock", "brick.lock").lines == ["equal: both pin the same bytes"]
    project.write(adapter(fill=9), "bricks/sql")
    project.run("update", "sql")
    outcome = project.run("diff", "old.lock", "brick.lock", "--exit-code")
    assert outcome.code == 1
    assert outcome.lines[0] == "updated  sql"
    assert [line.split()[0] for line in outcome.lines[1:]] == ["digest:"]
    answer = project.run("diff", "old.lock", "brick.lock", "--json").json
    assert (answer["compared"], answer["equal"], answer["engine"]) == ("locks", False, [1, 1])
    assert answer["changes"][0]["fields"] == ["digest"]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ((), 2, "there is nothing to compare"),
        (("sql", "--bricks"), 2, "takes no names"),
        (("brick.lock", "sql"), 2, "`brick.lock` is a lock, and `sql` is none"),
        (("assistent",), 1, "did you mean `assistant`?"),
        (("sql", "sq"), 1, "did you mean `sql`?"),
        (("./none", "sql"), 1, "is not there"),
        (("Sql", "base"), 2, "Sql"),
        (("./bricks/sql", "./bricks/sql", "--base", "./bricks/sql"), 1, "is not a whole model"),
    ],
)
def test_what_cannot_be_compared_is_told(project: Sandbox, arguments: tuple[str, ...], code: int, told: str) -> None:
    project.run("lock")
    outcome = project.run("diff", *arguments)
    assert outcome.code == code, outcome
    assert told in outcome.err

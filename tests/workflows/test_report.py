"""The report of a target in a project: what is told, and what is said where it cannot be."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import sandbox as bricks

if TYPE_CHECKING:
    from tests.support.sandbox import Sandbox

RULES = """
[targets.ruled]
from = { target = "assistant" }
apply = [{ op = "merge", method = "ties", bricks = [
  { brick = "sql", weight = [{ filter = "*.layers.0.*", value = 0.25 }, { value = [0.0, 1.0] }], density = [0.5, 1.0] },
  { brick = "mail", weight = 0.5 },
] }, { op = "stack", bricks = ["mail"], active = "mail" }]
"""


def reported(project: Sandbox, *arguments: str) -> Any:
    outcome = project.run("report", *arguments, "--no-interference", "--json")
    assert outcome.code == 0, outcome
    return outcome.json["report"]


@pytest.fixture
def locked(project: Sandbox) -> Sandbox:
    project.write({"brick.toml": project.manifest + RULES})
    assert project.run("lock").code == 0
    return project


def test_a_project_without_a_lock_has_a_recipe_and_a_note(project: Sandbox) -> None:
    outcome = project.run("report")
    assert outcome.code == 0
    assert outcome.out.startswith(str(project.root / "reports" / "assistant.html"))
    assert "There is no brick.lock" in outcome.err
    report = reported(project)
    assert report["steps"] == [
        {
            "target": "assistant",
            "title": "merge task_arithmetic",
            "words": ["scale 1"],
            "uses": [{"brick": "sql", "words": ["weight 0.5"]}],
        }
    ]
    assert (report["layers"], report["change"], report["license"]) == (None, None, "unknown")


def test_weights_follow_gradients_and_rules_layer_by_layer(locked: Sandbox) -> None:
    report = reported(locked, "ruled")
    assert [step["target"] for step in report["steps"]] == ["assistant", "ruled", "ruled"]
    (first, weight, density) = report["weights"]
    assert (first["step"], weight["step"], density["step"]) == (1, 2, 2)
    assert weight["curves"] == [
        {"brick": "sql", "tensors": "*.layers.0.*, all others", "values": [0.25, 1.0]},
        {"brick": "mail", "tensors": "", "values": [0.5, 0.5]},
    ]
    assert density["parameter"] == "density"
    assert [curve["values"] for curve in density["curves"]] == [[0.5, 1.0], [1.0, 1.0]]


def test_what_changes_is_what_the_build_would_compute(locked: Sandbox) -> None:
    change = reported(locked)["change"]
    assert change["before"]["tensors"] == change["after"]["tensors"] == 5
    assert change["changed"] == {"tensors": 1, "parameters": 64, "bytes": 128}
    assert change["spots"] == [
        {"module": "self_attn.q_proj", "layer": 0, "became": "changed"},
        {"module": "self_attn.q_proj", "layer": 1, "became": "unchanged"},
    ]


def test_an_artifact_is_told_by_its_record_and_is_out_of_date_once_the_recipe_changes(locked: Sandbox) -> None:
    assert reported(locked)["artifact"]["state"] == "not built"
    assert locked.run("build", "assistant").code == 0
    artifact = reported(locked)["artifact"]
    assert (artifact["state"], artifact["reproducible"], artifact["signed"]) == ("built", "bitwise", False)
    assert dict(artifact["files"])["model.safetensors"] > 0
    locked.write({"brick.toml": locked.manifest.replace("sql = 0.5", "sql = 0.75")})
    assert reported(locked)["artifact"]["state"] == "out of date"


def test_a_brick_that_is_not_here_is_said(locked: Sandbox) -> None:
    (locked.root / "bricks/sql/adapter_model.safetensors").unlink()
    report = reported(locked)
    assert report["change"] is None
    assert report["bricks"][0]["size"] is not None  # the lock knows it
    assert "run `brickctl install`" in report["notes"][-1]


def test_nothing_is_built_and_nothing_else_written(locked: Sandbox) -> None:
    before = sorted(path for path in locked.root.rglob("*"))
    assert locked.run("report", "--no-interference").code == 0
    new = [path.relative_to(locked.root).as_posix() for path in sorted(locked.root.rglob("*")) if path not in before]
    assert new == ["reports", "reports/assistant.html"]


def test_the_same_project_gives_the_same_bytes(locked: Sandbox) -> None:
    assert locked.run("report", "ruled", "-o", "one.html", "--no-interference").code == 0
    assert locked.run("report", "ruled", "-o", "two.html", "--no-interference").code == 0
    assert (locked.root / "one.html").read_bytes() == (locked.root / "two.html").read_bytes()


def test_what_is_no_report_is_never_replaced(locked: Sandbox) -> None:
    locked.write({"mine.html": "<p>mine</p>"})
    refused = locked.run("report", "-o", "mine.html")
    assert refused.code == 2
    assert "is no page of brickctl" in refused.err
    assert (locked.root / "mine.html").read_text() == "<p>mine</p>"
    (locked.root / "link.html").symlink_to("reports")
    assert locked.run("report", "-o", "link.html").code == 2
    assert locked.run("report", "-o", "bricks").code == 2
    assert locked.run("report").code == locked.run("report").code == 0


@pytest.mark.parametrize("package", ["vl_convert", "jinja2"])
def test_a_missing_package_is_told_before_anything_is_looked_at(
    project: Sandbox, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("brickctl.workflows.report.gather.gather", lambda *_, **__: pytest.fail("something is read"))
    outcome = project.run("report")
    assert outcome.code == 1
    assert f"the package `{package}` is missing" in outcome.err
    assert "pip install 'brickctl[report]'" in outcome.err


def test_a_clash_of_licences_is_in_the_report(project: Sandbox) -> None:
    manifest = project.manifest.replace('path:models/base"', 'path:models/base"\nlicense = "GPL-3.0-only"')
    manifest = manifest.replace('path:bricks/sql"', 'path:bricks/sql", license = "CC-BY-NC-4.0"')
    project.write({"brick.toml": manifest})
    assert project.run("lock").code == 0
    (clash,) = reported(project)["clashes"]
    assert (clash["first"], clash["second"]) == ("base", "sql")


def test_a_derived_brick_that_was_never_made_is_said_with_what_makes_it(project: Sandbox) -> None:
    derived = '[derived.small]\nop = "extract-delta"\nfrom = "sql"\nbits = 8\n'
    merge = 'op = "merge", method = "task_arithmetic", bricks = { small = 1 }'
    project.write({"brick.toml": f"{project.manifest}\n{derived}\n[targets.light]\napply = [{{ {merge} }}]\n"})
    assert project.run("lock").code == 0
    report = reported(project, "light")
    assert report["notes"] == [
        "small was never made, or of something else than would be used now: run `brickctl derive small`."
    ]
    assert (report["change"], report["steps"][0]["uses"][0]["brick"]) == (None, "small")


def test_a_number_of_the_whole_step_is_shown_where_it_varies(project: Sandbox) -> None:
    project.write(bricks.model(fill=9), "bricks/full")
    manifest = project.manifest.replace("[bricks]", '[bricks]\nfull = { source = "path:bricks/full" }')
    merge = 'op = "merge", method = "slerp", t = [0.0, 1.0], bricks = ["base", "full"]'
    project.write({"brick.toml": f"{manifest}\n[targets.between]\napply = [{{ {merge} }}]\n"})
    assert project.run("lock").code == 0
    (weights,) = reported(project, "between")["weights"]
    assert weights["parameter"] == "t"
    assert [curve["values"] for curve in weights["curves"]] == [[0.0, 1.0]]


def test_a_pipe_is_no_page_and_is_not_waited_for(locked: Sandbox) -> None:
    os.mkfifo(locked.root / "pipe")
    assert "is no page of brickctl" in locked.run("report", "-o", "pipe").err

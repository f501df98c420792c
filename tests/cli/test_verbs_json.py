"""`--json`: one line on stdout, whatever becomes of the command."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import brickctl.cli
from brickctl.analysis.checks.check import Gate
from brickctl.analysis.checks.measured import Bar
from brickctl.analysis.checks.perplexity import Perplexity
from brickctl.cli import app
from brickctl.core.names import Alias
from brickctl.sources.open import builtin_registry
from brickctl.workflows import measure
from brickctl.workflows.checking.score import Score
from tests.support.keys import make_key

if TYPE_CHECKING:
    from tests.support.sandbox import Outcome, Sandbox

CHECK = """
[[checks]]
name = "sums"
target = "assistant"
kind = "exact-match"
data = "sums.jsonl"
min = 0.5
"""
TEXT = Gate(
    name="text",
    target=Alias("assistant"),
    kind=Perplexity(),
    kind_name="perplexity",
    data="sums.jsonl",
    bar=Bar("max", 2.0),
)
RECIPE = "merge_method: {}\nbase_model: ./models/base\nmodels:\n  - model: ./models/base\ndtype: bfloat16\n"
STARTER = str(builtin_registry() / "files/starter/base/1.0.0")
TUNED = tuple(str(builtin_registry() / f"files/starter/{name}/1.0.0") for name in ("upper", "sort"))
ADDRESS = "hf:acme/nothing"

FAILURES: dict[str, tuple[tuple[str, ...], int, str]] = {
    "add": (("./bricks/nothing",), 1, "not-found"),
    "analyze": ((), 1, "not-found"),
    "audit": (("--project", "models"), 1, "not-found"),
    "build": (("chat",), 1, "not-found"),
    "cache": (("dir", "--project", "models"), 1, "not-found"),
    "completions": (("tcsh",), 2, "usage"),
    "derive": ((), 1, "not-found"),
    "diff": (("sql",), 1, "not-found"),
    "doctor": (("--project", "models"), 1, "not-found"),
    "edit": (("facts.jsonl", "--base", "./models/base", "--calibration", "text.jsonl", "-o", "out"), 1, "not-found"),
    "export": (("chat", "--format", "gguf"), 1, "not-found"),
    "extract": (("layers", "--from", "./models/base", "--layers", "0", "9", "-o", "out"), 1, "misfit"),
    "grow": (("depth", "./models/base", "--layers", "4", "-o", "out"), 1, "unsupported"),
    "import": (("modules.yml", "-o", "new.toml"), 1, "unsupported"),
    "info": (("zzz",), 1, "not-found"),
    "init": (("new", "--name", "my model"), 2, "manifest-invalid"),
    "install": (("--locked",), 3, "lock-stale"),
    "licenses": ((), 1, "not-found"),
    "list": (("--project", "models"), 1, "not-found"),
    "lock": (("--check",), 3, "lock-stale"),
    "merge": ((ADDRESS, "./bricks/sql", "-o", "out", "--offline"), 6, "offline"),
    "mirror": (("serve", "bricks"), 1, "not-found"),
    "moe": (
        ("./models/base", "./bricks/sql", "--active", "1", "--gates", "uniform", "-o", "out"),
        2,
        "manifest-invalid",
    ),
    "outdated": ((), 1, "not-found"),
    "publish": (("bricks/sql", "acme/sql", "--index", "registry"), 2, "usage"),
    "registry": (("check", "."), 1, "not-found"),
    "remove": (("sql",), 2, "usage"),
    "report": (("nothing",), 1, "not-found"),
    "run": (("chat", "hello"), 1, "not-found"),
    "search": (("--registry", "corp"), 2, "usage"),
    "sign": (("models/base",), 2, "usage"),
    "stack": (("./models/base", "sql", "-o", "out"), 2, "usage"),
    "suggest": ((), 2, "usage"),
    "test": ((), 1, "not-found"),
    "train": (("mail", "--data", "none.jsonl"), 2, "usage"),
    "transplant": (("./models/base", "./models/base", "-o", "out"), 4, "integrity"),
    "tree": (("--project", "models"), 1, "not-found"),
    "tune": (("assistant",), 1, "not-found"),
    "unlearn": (("./models/base", "./bricks/sql", "--facts", "f", "--calibration", "t", "-o", "out"), 1, "not-found"),
    "update": (("sqll",), 1, "not-found"),
    "vendor": (("--tar", "bricks.zip"), 2, "usage"),
    "verify": (("bricks",), 1, "not-found"),
    "why": (("sql",), 1, "not-found"),
    "yank": (("acme/sql@2.0.0", "--index", "registry"), 1, "not-found"),
}
SUCCESSES: dict[str, tuple[str, ...]] = {
    "add": ("./bricks/sql", "--name", "other"),
    "audit": (),
    "build": (),
    "cache": ("dir",),
    "completions": ("bash",),
    "diff": ("base", "sql"),
    "doctor": ("--offline",),
    "export": ("assistant", "--format", "oci"),
    "extract": ("layers", "--from", "./models/base", "--layers", "0", "1", "-o", "out"),
    "grow": ("depth", STARTER, "--layers", "5", "-o", "out"),
    "import": ("linear.yml", "-o", "new.toml"),
    "info": ("sql",),
    "init": ("new", "--template", "starter"),
    "install": (),
    "licenses": (),
    "list": (),
    "lock": (),
    "merge": ("./models/base", "./bricks/sql", "-o", "out"),
    "moe": (STARTER, *TUNED, "--active", "1", "--gates", "random", "-o", "out"),
    "outdated": (),
    "publish": ("bricks/sql", "acme/sql@1.1.0", "--index", "registry", "--license", "MIT", "--base", "./models/base"),
    "registry": ("check", str(builtin_registry())),
    "remove": ("mail",),
    "report": (),
    "search": ("upper",),
    "sign": ("models/base", "--key", "keys/acme.pem"),
    "stack": ("./models/base", "./bricks/sql", "-o", "out"),
    "suggest": ("write", "sql"),
    "transplant": (STARTER, STARTER, "-o", "out"),
    "tree": (),
    "update": (),
    "vendor": (),
    "verify": (),
    "why": ("sql",),
    "yank": ("acme/sql@1.0.0", "--index", "registry"),
}


@pytest.fixture
def prepared(project: Sandbox) -> Sandbox:
    recipe = RECIPE.format("linear").replace("base\ndtype", "base\n    parameters: {weight: 1}\ndtype")
    project.write({"linear.yml": recipe, "modules.yml": f"{recipe}modules: {{}}\n"})
    make_key(project.root / "keys")
    project.write({"config.json": '{"v":1}\n'}, "registry")
    more = ("--index", "registry", "--license", "MIT", "--base", "./models/base")
    assert project.run("publish", "bricks/sql", "acme/sql@1.0.0", *more).code == 0
    return project


def only_object(outcome: Outcome) -> dict[str, object]:
    """The object on the one line of stdout."""
    assert outcome.out.count("\n") == 1, outcome.out
    assert outcome.out.endswith("\n")
    found = json.loads(outcome.out)
    assert found["schema"] == 1
    assert found["ok"] == (outcome.code == 0)
    return dict(found)


def test_every_verb_is_tried() -> None:
    verbs = set(app.application(brickctl.cli)._modules)
    frame = {
        "analysis-tables",
        "app",
        "changes",
        "composing",
        "console",
        "diff-tables",
        "failures",
        "findings",
        "making",
        "options",
        "output",
        "progress",
        "scores",
        "suggestions",
    }
    known = set(SUCCESSES) | {
        "analyze",
        "derive",
        "edit",
        "export",
        "mirror",
        "run",
        "test",
        "train",
        "tune",
        "unlearn",
    }
    assert set(FAILURES) == known == verbs - frame


@pytest.mark.parametrize("verb", FAILURES)
def test_a_failure_is_one_line_of_json_with_its_code(verb: str, prepared: Sandbox) -> None:
    arguments, code, name = FAILURES[verb]
    outcome = prepared.run(verb, *arguments, "--json")
    assert outcome.code == code, outcome
    error = only_object(outcome)["error"]
    assert isinstance(error, dict)
    assert error["code"] == name
    assert error["message"]
    assert isinstance(error["cause"], list)
    assert "error:" not in outcome.err


@pytest.mark.parametrize("verb", FAILURES)
def test_a_line_that_cannot_be_read_is_answered_with_one_line_of_json(verb: str, prepared: Sandbox) -> None:
    outcome = prepared.run(verb, "--json", "--no-such-option")
    assert outcome.code == 2
    assert only_object(outcome)["error"]["code"] == "usage"  # type: ignore[index]


@pytest.mark.parametrize(
    ("raised", "code"),
    [(KeyboardInterrupt(), "interrupted"), (ValueError("odd"), "failed"), (MemoryError(), "no-space")],
)
@pytest.mark.parametrize("verb", SUCCESSES)
def test_what_happens_after_the_answer_is_one_line_of_json_too(
    verb: str, raised: BaseException, code: str, prepared: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise raised

    prepared.run("lock")
    monkeypatch.setattr("brickctl.cli.console.Console.show", fail)
    monkeypatch.setattr("brickctl.cli.console.Console.table", fail)
    outcome = prepared.run(verb, *SUCCESSES[verb], "--json")
    assert outcome.code != 0
    assert only_object(outcome)["error"]["code"] == code  # type: ignore[index]


@pytest.mark.parametrize("verb", SUCCESSES)
def test_a_success_is_one_line_of_json(verb: str, prepared: Sandbox) -> None:
    prepared.run("lock")
    outcome = prepared.run(verb, *SUCCESSES[verb], "--json")
    assert outcome.code == 0, outcome
    only_object(outcome)


def test_data_of_a_check_that_is_not_there_is_one_line_of_json(prepared: Sandbox) -> None:
    prepared.write({"brick.toml": prepared.manifest + CHECK})
    outcome = prepared.run("test", "--json")
    assert outcome.code == 1
    assert "sums.jsonl" in str(only_object(outcome)["error"])


def test_a_figure_that_is_no_number_is_null(prepared: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A brick may break a model; JSON knows neither NaN nor infinity."""
    values = {"base": 1.5, "sql": float("nan"), "mail": float("inf")}
    scores = [Score(check=TEXT, model=Alias(model), value=value, count=1) for model, value in values.items()]
    monkeypatch.setattr(measure, "read_checks", lambda *_, **__: ())
    monkeypatch.setattr(measure, "skills", lambda *_, **__: scores)
    outcome = prepared.run("test", "--bricks", "--json")
    found = only_object(outcome)["scores"]
    assert [score["value"] for score in found] == [1.5, None, None]  # type: ignore[attr-defined]


def test_scores_are_told_also_where_one_misses_its_bar(prepared: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = [Score(check=TEXT, model=Alias("assistant"), value=value, count=9) for value in (1.5, 2.5)]
    monkeypatch.setattr(measure, "read_checks", lambda *_, **__: ())
    monkeypatch.setattr(measure, "gate", lambda *_, **__: scores)
    outcome = prepared.run("test", "--json")
    assert outcome.code == 8
    found = only_object(outcome)
    assert (found["ok"], found["error"]["code"]) == (False, "check-failed")  # type: ignore[index]
    assert [(score["value"], score["passed"]) for score in found["scores"]] == [(1.5, True), (2.5, False)]  # type: ignore[attr-defined]


def test_a_rebuild_says_how_many_weight_files_it_made_and_took_over(project: Sandbox) -> None:
    assert project.run("build", "--json").json["targets"][0]["shards"] == {"made": 1, "taken-over": 0}
    artifact = project.root / "dist" / "assistant"
    (artifact / "config.json").unlink()

    outcome = project.run("build")

    assert "assistant: 0 of 1 shard made, 1 taken over\n" in outcome.err
    assert project.run("build", "--json").json["targets"][0]["shards"] == {"made": 0, "taken-over": 0}
    (artifact / "config.json").unlink()
    assert project.run("build", "--json").json["targets"][0]["shards"] == {"made": 0, "taken-over": 1}

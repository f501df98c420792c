"""The frame: finding verbs, running one, and what every failure looks like."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import brickctl.cli
from brickctl import __version__
from brickctl.cli.app import run, verb_of
from tests.support.verbs import MakeVerbs, verb

HEAVY = (
    "torch",
    "rich",
    "huggingface_hub",
    "tomlkit",
    "transformers",
    "peft",
    "safetensors",
    "numpy",
    "importlib.metadata",
)


def test_a_module_with_a_command_is_a_verb(make_verbs: MakeVerbs, capsys: pytest.CaptureFixture[str]) -> None:
    verbs = make_verbs({"greet": verb("console.show('hello')")})
    assert run(verbs, ["greet"]) == 0
    assert capsys.readouterr().out == "hello\n"


def test_a_module_without_a_command_is_no_verb(make_verbs: MakeVerbs, capsys: pytest.CaptureFixture[str]) -> None:
    verbs = make_verbs({"frame": "VALUE = 1", "greet": verb("pass")})
    assert run(verbs, ["frame"]) == 2
    assert run(verbs, ["--help"]) == 0
    assert "  frame" not in capsys.readouterr().out


@pytest.mark.parametrize(("module", "name"), [("import_", "import"), ("test_", "test"), ("self_update", "self-update")])
def test_a_verb_is_named_for_its_module(module: str, name: str) -> None:
    assert verb_of(module) == name


def test_a_verb_named_like_a_keyword_runs(make_verbs: MakeVerbs, capsys: pytest.CaptureFixture[str]) -> None:
    verbs = make_verbs({"import_": verb("console.show('imported')")})
    assert run(verbs, ["import"]) == 0
    assert capsys.readouterr().out == "imported\n"


def test_running_one_verb_imports_no_other(make_verbs: MakeVerbs) -> None:
    verbs = make_verbs({"greet": verb("pass"), "broken": "raise RuntimeError"})
    assert run(verbs, ["greet"]) == 0


def test_help_lists_each_verb_with_its_first_sentence(
    make_verbs: MakeVerbs, capsys: pytest.CaptureFixture[str]
) -> None:
    verbs = make_verbs({"lock": verb("pass", "Pin every brick."), "build": verb("pass", "Make a model.")})
    assert run(verbs, ["--help"]) == 0
    assert capsys.readouterr().out.endswith("Commands:\n  build  Make a model.\n  lock   Pin every brick.\n")


def test_no_arguments_mean_help(make_verbs: MakeVerbs, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(make_verbs({}), []) == 0
    assert capsys.readouterr().out.startswith("Usage: brickctl ")


def test_an_unknown_verb_is_answered_with_the_nearest(
    make_verbs: MakeVerbs, capsys: pytest.CaptureFixture[str]
) -> None:
    verbs = make_verbs({"install": verb("pass"), "lock": verb("pass")})
    assert run(verbs, ["instal"]) == 2
    assert capsys.readouterr().err == "error: brickctl has no command `instal`\nhint: did you mean `install`?\n"


def test_an_unknown_option_is_answered_with_the_nearest(
    make_verbs: MakeVerbs, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(make_verbs({"lock": verb("pass")}), ["lock", "--quite"]) == 2
    assert capsys.readouterr().err == "error: no such option `--quite`\nhint: did you mean `--quiet`?\n"


def test_usage_errors_obey_json(make_verbs: MakeVerbs, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(make_verbs({"lock": verb("pass")}), ["lock", "more", "--json"]) == 2
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {
        "schema": 1,
        "ok": False,
        "error": {
            "code": "usage",
            "message": "got unexpected extra argument (more)",
            "cause": [],
            "hint": "see `brickctl lock --help`",
        },
    }
    assert printed.err == ""


def test_json_after_two_hyphens_is_an_argument(make_verbs: MakeVerbs, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(make_verbs({"lock": verb("pass")}), ["lock", "--", "--json"]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("raised", "exit_code"),
    [("LockStale", 3), ("IntegrityFault", 4), ("PolicyViolation", 5), ("OfflineMiss", 6), ("CheckFailed", 8)],
)
def test_the_class_of_an_error_is_its_exit_code(make_verbs: MakeVerbs, raised: str, exit_code: int) -> None:
    body = f"from brickctl import errors; raise errors.{raised}('no')"
    assert run(make_verbs({"lock": verb(body)}), ["lock"]) == exit_code


def test_ctrl_c_exits_with_130(make_verbs: MakeVerbs, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(make_verbs({"lock": verb("raise KeyboardInterrupt")}), ["lock"]) == 130
    assert capsys.readouterr().err.endswith(
        "error: interrupted\nhint: what was finished is kept; the same command goes on from there\n"
    )


def test_a_traceback_is_shown_only_when_asked_for(
    make_verbs: MakeVerbs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    verbs = make_verbs({"lock": verb("raise ValueError('odd')")})
    assert run(verbs, ["lock"]) == 1
    assert capsys.readouterr().err == (
        "error: something unexpected happened inside brickctl\n"
        "  cause: ValueError: odd\n"
        "hint: this is a bug of brickctl: please report it with the traceback that BRICKCTL_TRACEBACK=1 shows\n"
    )
    monkeypatch.setenv("BRICKCTL_TRACEBACK", "1")
    assert run(verbs, ["lock"]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_version_is_one_line(make_verbs: MakeVerbs, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(make_verbs({}), ["-V"]) == 0
    assert capsys.readouterr().out == f"brickctl {__version__}\n"


def test_a_reader_that_leaves_early_is_no_error(make_verbs: MakeVerbs) -> None:
    verbs = make_verbs({"flood": verb("[console.show('x' * 1000) for _ in range(10_000)]")})
    folder = Path(importlib.import_module(verbs.package).__path__[0])
    script = (
        f"import sys; sys.path.insert(0, {str(folder.parent)!r}); import {folder.name} as package; "
        "from brickctl.cli.app import application, run; sys.exit(run(application(package), ['flood']))"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_the_end_looks_for_no_garbage() -> None:
    script = "import gc; from brickctl.cli import main; main(); print(gc.get_freeze_count() > 0, gc.get_count()[2])"
    done = subprocess.run([sys.executable, "-c", script, "-V"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "True 0"


def test_help_imports_nothing_heavy() -> None:
    script = f"import sys; from brickctl.cli import main; main(); print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_imports_little_beside_click() -> None:
    """What its time depends on, and no load of the machine; tests/benchmarks/startup.py measures the time."""
    count = "import sys; print(len(sys.modules))"
    click_alone = modules("import click;" + count)
    ours = modules(f"import atexit; atexit.register(lambda: exec({count!r})); from brickctl.cli import main; main()")
    verbs = len(list(Path(brickctl.cli.__path__[0]).glob("*.py")))
    assert ours - verbs < 1.5 * click_alone


def modules(script: str) -> int:
    """How many modules are there when a script of `--help` ends."""
    done = subprocess.run([sys.executable, "-c", script, "--help"], capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1])

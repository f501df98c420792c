"""From exceptions to errors, and from errors to text and JSON."""

import errno
import os

import click
import pytest

from brickctl.cli.failures import document, explain, render, report
from brickctl.errors import BrickctlError, Interrupted, Misfit, NoSpace, Place, UsageFault

MISFIT = Misfit(
    "`legal` does not fit the base",
    causes=("`q_proj.weight` needs in_features 4096; SmolLM2-135M has 576",),
    place=Place(file="brick.toml", line=13),
    hint="remove `legal`",
)


def test_text_says_what_why_where_and_what_next() -> None:
    assert click.unstyle(render(MISFIT)) == (
        "error: `legal` does not fit the base\n"
        "  cause: `q_proj.weight` needs in_features 4096; SmolLM2-135M has 576\n"
        "  required by: brick.toml line 13\n"
        "hint: remove `legal`"
    )


def test_text_without_colours_is_the_error_as_a_string() -> None:
    assert click.unstyle(render(MISFIT)) == f"error: {MISFIT}"


def test_text_has_no_character_that_a_terminal_obeys_and_json_has_it_as_it_is() -> None:
    error = BrickctlError("\x1b[2J", causes=("\x1b]0;",), place=Place(file="a\x07"), hint="\x9b1m")
    expected = "error: \\x1b[2J\n  cause: \\x1b]0;\n  required by: a\\x07\nhint: \\x9b1m"
    assert click.unstyle(render(error)) == expected
    assert document(error)["message"] == "\x1b[2J"


def test_json_has_the_same_fields() -> None:
    assert document(MISFIT) == {
        "code": "misfit",
        "message": "`legal` does not fit the base",
        "cause": ["`q_proj.weight` needs in_features 4096; SmolLM2-135M has 576"],
        "place": {"file": "brick.toml", "line": 13},
        "hint": "remove `legal`",
    }


def test_absent_fields_are_absent_in_json() -> None:
    assert document(BrickctlError("no")) == {"code": "failed", "message": "no", "cause": []}


def test_an_error_goes_to_stderr_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    report(MISFIT, as_json=False)
    assert capsys.readouterr() == ("", f"error: {MISFIT}\n")


def test_an_error_goes_to_stdout_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    report(BrickctlError("no"), as_json=True)
    expected = '{"schema": 1, "ok": false, "error": {"code": "failed", "message": "no", "cause": []}}\n'
    assert capsys.readouterr() == (expected, "")


def test_errors_of_the_tree_stay_what_they_are() -> None:
    assert explain(MISFIT) is MISFIT


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), click.Abort()])
def test_ctrl_c_is_an_interruption(raised: BaseException) -> None:
    assert isinstance(explain(raised), Interrupted)


def test_a_full_disk_is_named() -> None:
    error = explain(OSError(errno.ENOSPC, "No space left on device", "dist/chat/model.safetensors"))
    assert isinstance(error, NoSpace)
    assert error.message == "no space left to write `dist/chat/model.safetensors`"
    assert error.hint is not None
    assert error.hint.startswith("make room on the disk of `dist/chat`")


def test_a_disk_that_takes_no_file_of_that_size_is_no_space() -> None:
    error = explain(OSError(errno.EFBIG, "File too large", "dist/chat/model.safetensors"))
    assert isinstance(error, NoSpace)
    assert error.hint is not None
    assert "shard-size" in error.hint


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.EACCES, "check who owns it"),
        (errno.EROFS, "let the disk of `/models` be written"),
        (errno.ENAMETOOLONG, "give it a shorter name"),
        (errno.EBUSY, "mount its folder instead"),
        (errno.EIO, "look after the disk of `/models`"),
        (errno.ENOTCONN, "or the network that it is on"),
    ],
)
def test_a_refused_file_is_named(number: int, hint: str) -> None:
    error = explain(OSError(number, "no", "/models/base"))
    assert (error.message, error.causes) == ("cannot use `/models/base`", (os.strerror(number).lower(),))
    assert hint in str(error.hint)


def test_a_file_that_cannot_take_its_new_name_is_called_by_that() -> None:
    error = explain(OSError(errno.ENOSPC, "no", "/project/.brickctl-new-x", None, "/project/brick.lock"))
    assert error.message == "no space left to write `/project/brick.lock`"


def test_a_refused_file_without_a_name_is_still_a_sentence() -> None:
    assert explain(PermissionError(errno.EACCES, "no")).message == "cannot use a file"


def test_too_little_memory_is_no_space() -> None:
    assert explain(MemoryError()).code == "no-space"


def test_a_bug_says_that_it_is_one_on_one_line() -> None:
    error = explain(ValueError("first\nsecond"), traced=True)
    assert error.causes == ("ValueError: first second",)
    assert error.hint == "this is a bug of brickctl: please report it with the traceback above"


def test_messages_of_click_get_our_style() -> None:
    error = explain(click.UsageError("Missing argument 'TARGET'."))
    assert isinstance(error, UsageFault)
    assert error.message == "missing argument 'TARGET'"


def test_other_messages_of_click_are_plain_failures() -> None:
    assert explain(click.ClickException("Odd.")).exit_code == 1

"""What goes to stdout, what goes to stderr, and when."""

import io
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from brickctl.cli.console import Console, aligned

ROWS = (("sql", "1.2.0"), ("coder", "2"))


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def terminal_for(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Stderr as a terminal, outside CI; no fixture, because pytest replaces stderr between setup and call."""
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return stream


def test_people_read_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.answer({"count": 2})
    console.show("two bricks")
    assert capsys.readouterr().out == "two bricks\n"


def test_programs_read_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    with Console(as_json=True) as console:
        console.answer({"count": 2})
        console.show("two bricks")
        console.table(("brick", "version"), ROWS)
    assert capsys.readouterr().out == '{"schema": 1, "ok": true, "count": 2}\n'


def test_an_answer_is_not_given_when_the_verb_fails_after_it(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with Console(as_json=True) as console:
            console.answer({"count": 2})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert capsys.readouterr().out == ""


def test_json_is_ascii_and_round_trips_any_text(capsys: pytest.CaptureFixture[str]) -> None:
    with Console(as_json=True) as console:
        console.answer({"text": "naïve \ud800"})
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert json.loads(printed)["text"] == "naïve \ud800"


def test_json_refuses_numbers_that_are_not_json() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        Console(as_json=True).answer({"perplexity": float("inf")})


def test_tables_are_aligned_and_plain_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    Console().table(("brick", "version"), ROWS)
    assert capsys.readouterr().out == "brick  version\nsql    1.2.0\ncoder  2\n"


def test_a_table_may_be_empty(capsys: pytest.CaptureFixture[str]) -> None:
    Console().table(("brick", "version"), ())
    assert capsys.readouterr().out == "brick  version\n"


def test_a_row_with_a_missing_cell_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        aligned(("brick", "version"), [("sql",)])


EVIL = "\x1b[31mred\r\x07\u202e\udcff"
TAMED = "\\x1b[31mred\\r\\x07\\u202e\\udcff"


def test_people_meet_no_character_that_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.show(f"{EVIL}\ntwo lines, 名前")
    console.table(("brick",), [(f"{EVIL}\nsql",)])
    console.note(EVIL)
    console.warn(EVIL)
    console.start(EVIL, 10**9)
    out, err = capsys.readouterr()
    assert out == f"{TAMED}\ntwo lines, 名前\nbrick\n{TAMED}\\nsql\n"
    assert err == f"{TAMED}\nwarning: {TAMED}\n{TAMED} (1.00 GB)\n"


def test_bars_and_messages_above_them_obey_nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_for(monkeypatch)
    with Console() as console:
        console.start(EVIL, 1000)
        console.advance(EVIL, 500)
        console.note(EVIL)
        console.finish(EVIL)
    assert "\\x1b[31mred" in terminal.getvalue()
    assert "\x1b[31mred" not in terminal.getvalue()
    assert "\x07" not in terminal.getvalue()


def test_messages_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.note("built dist/chat")
    console.warn("the base differs")
    assert capsys.readouterr() == ("", "built dist/chat\nwarning: the base differs\n")


def test_quiet_keeps_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(quiet=True)
    console.note("built dist/chat")
    console.start("download", 10**9)
    console.warn("the base differs")
    assert capsys.readouterr() == ("", "warning: the base differs\n")


def test_a_log_has_one_line_for_large_work_only(capsys: pytest.CaptureFixture[str]) -> None:
    with Console() as console:
        for label, total in (("config.json", 800), ("model.safetensors", 269_060_552)):
            console.start(label, total)
            console.advance(label, total)
            console.finish(label)
    assert capsys.readouterr() == ("", "model.safetensors (269 MB)\n")


def test_a_terminal_sees_bars_and_messages_above_them(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_for(monkeypatch)
    with Console() as console:
        console.start("model.safetensors", 1000)
        console.advance("model.safetensors", 500)
        console.note("a [note]")
    assert "model.safetensors" in terminal.getvalue()
    assert "0.5/1.0 kB" in terminal.getvalue()
    assert "a [note]" in terminal.getvalue()


def test_work_that_is_not_bytes_is_shown_in_its_own_unit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Console() as console:
        console.start("sparsity", 20_000, "tokens")
    assert capsys.readouterr() == ("", "sparsity (20,000 tokens)\n")
    terminal = terminal_for(monkeypatch)
    with Console() as console:
        console.start("sparsity", 20_000, "tokens")
        console.advance("sparsity", 1_500)
        console.start("model.safetensors", 1000)
    assert "1,500/20,000 tokens" in terminal.getvalue()
    assert "0.0/1.0 kB" in terminal.getvalue()


def test_bars_leave_stdout_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    terminal = terminal_for(monkeypatch)
    with Console() as console:
        console.start("work", 1000)
        console.show("data")
    assert capsys.readouterr().out == "data\n"
    assert "data" not in terminal.getvalue()


@pytest.mark.parametrize(("name", "value"), [("CI", "true"), ("TERM", "dumb")])
def test_nothing_moves_in_ci_or_on_a_dumb_terminal(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    terminal = terminal_for(monkeypatch)
    monkeypatch.setenv(name, value)
    with Console() as console:
        console.start("work", 1000)
    assert terminal.getvalue() == ""


def test_colours_appear_on_a_terminal_only_without_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_for(monkeypatch)
    Console().warn("first")
    assert "\x1b[" in terminal.getvalue()
    terminal.truncate(0)
    monkeypatch.setenv("NO_COLOR", "1")
    Console().warn("second")
    assert "\x1b[" not in terminal.getvalue()


def test_threads_may_report_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal_for(monkeypatch)

    def work(number: int) -> None:
        label = f"file {number % 4}"  # labels meet: one may begin anew while another thread finishes it
        console.start(label, 100)
        for _ in range(10):
            console.advance(label, 10)
        console.note(label)
        console.finish(label)

    with Console() as console, ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(work, range(64)))) == 64


def test_unknown_labels_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_for(monkeypatch)
    with Console() as console:
        console.advance("never started", 1)
        console.finish("never started")
    assert terminal.getvalue() == ""

"""Files of examples are read strictly, and every error names its line."""

from pathlib import Path

import pytest

from brickctl.analysis.examples import Example, read_examples, read_texts
from brickctl.errors import NotFound, Place, UsageFault


def written(folder: Path, content: str | bytes) -> Path:
    """A file with that content."""
    path = folder / "check.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_examples_keep_their_order_and_every_character(tmp_path: Path) -> None:
    content = '{"prompt": "2 + 2 =", "completion": " 4\\n"}\n{"completion": "\\u2028", "prompt": "é"}\n'
    assert read_examples(written(tmp_path, content)) == (Example("2 + 2 =", " 4\n"), Example("é", "\u2028"))


def test_a_line_separator_inside_a_string_does_not_end_the_line(tmp_path: Path) -> None:
    assert read_texts(written(tmp_path, '{"text": "one\u2028two"}\n')) == ("one\u2028two",)


def test_the_last_line_needs_no_line_break(tmp_path: Path) -> None:
    assert read_texts(written(tmp_path, '{"text": "one"}\n{"text": "two"}')) == ("one", "two")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "a"}', "`completion` is missing"),
        ('{"prompt": "a", "completion": 4}', "`completion` must be a string, and not empty"),
        ('{"prompt": "", "completion": "b"}', "`prompt` must be a string, and not empty"),
        ('{"prompt": "a", "completion": "b", "note": "c"}', "unknown key `note` in checks/sql.jsonl"),
        ('["a", "b"]', "this line is not a JSON object"),
        ('{"prompt": "a", "prompt": "b", "completion": "c"}', "this line is not valid JSON"),
        ('{"prompt": "\\ud800", "completion": "b"}', "`prompt` has half a surrogate pair, which is no text"),
        ("[" * 100_000, "this line is not valid JSON"),
        ("not JSON", "this line is not valid JSON"),
        ("", "this line is not valid JSON"),
    ],
)
def test_a_line_that_is_no_example_is_refused_by_its_number(tmp_path: Path, line: str, message: str) -> None:
    path = written(tmp_path, f'{{"prompt": "a", "completion": "b"}}\n{line}\n')
    with pytest.raises(UsageFault) as raised:
        read_examples(path, name="checks/sql.jsonl")
    assert raised.value.message == message
    assert raised.value.place == Place(file="checks/sql.jsonl", line=2)


def test_a_misspelt_key_gets_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(UsageFault) as raised:
        read_texts(written(tmp_path, '{"text": "a", "texts": "b"}\n'))
    assert raised.value.hint == "did you mean `text`?"


def test_bytes_that_are_not_utf8_are_refused_by_their_line(tmp_path: Path) -> None:
    with pytest.raises(UsageFault) as raised:
        read_texts(written(tmp_path, b'{"text": "a"}\n{"text": "\xff"}\n'), name="prose.jsonl")
    assert raised.value.place == Place(file="prose.jsonl", line=2)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match="has no examples"):
        read_texts(written(tmp_path, ""))


def test_a_file_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"`checks/sql\.jsonl` does not exist"):
        read_examples(tmp_path / "none.jsonl", name="checks/sql.jsonl")

"""How checks of brick.toml are read by their kinds."""

from pathlib import Path

import pytest

from brickctl.analysis.checks.check import Gate, check_kinds, read_gates
from brickctl.analysis.checks.contains import Contains
from brickctl.analysis.checks.exact_match import ExactMatch
from brickctl.analysis.checks.measured import Bar
from brickctl.core.manifest_format import parse_manifest
from brickctl.errors import ManifestInvalid, UsageFault

HEAD = '[project]\nname = "x"\n[base]\nsource = "path:base"\n[targets.chat]\n[targets.other]\n'


def check(lines: str, name: str = "c") -> str:
    return f'[[checks]]\nname = "{name}"\ntarget = "chat"\n{lines}\n'


def gates(*checks: str) -> tuple[Gate, ...]:
    return read_gates(parse_manifest(HEAD + "".join(checks)).checks)


def refused(*checks: str) -> ManifestInvalid:
    with pytest.raises(ManifestInvalid) as raised:
        gates(*checks)
    return raised.value


def test_kinds_are_found_by_import() -> None:
    assert list(check_kinds()) == ["contains", "exact-match", "lm-eval", "multiple-choice", "perplexity", "regression"]


def test_a_check_has_the_keys_of_its_kind() -> None:
    (gate,) = gates(check('kind = "contains"\ndata = "d.jsonl"\nmin = 0.5\nmax-tokens = 8\nchat-template = true'))
    assert gate.kind == Contains(max_tokens=8, chat_template=True)
    assert (gate.kind_name, gate.data, gate.bar) == ("contains", "d.jsonl", Bar("min", 0.5))
    assert gate.kind.settings() == {"max-tokens": 8, "chat-template": True}


@pytest.mark.parametrize(
    ("lines", "message", "hint"),
    [
        ('kind = "exact-match"\nmin = 90', "`min` in checks[0] is a share, from 0 to 1", None),
        ('kind = "exact-match"', "`min` is missing in checks[0]", "`min` is the bar: see its kind"),
        ('kind = "exact-match"\nmni = 0.9', "`min` is missing in checks[0]", "it has `mni`: did you mean `min`?"),
        ('kind = "exact-match"\nmin = 1\nmax = 2', "unknown key `max` in checks[0]", None),
        ('kind = "perplexity"\nmax = 0.5', "`max` in checks[0] is at least 1: no model is below it", None),
        ('kind = "perplexty"\nmax = 5', "`perplexty` is no kind of check", "did you mean `perplexity`?"),
        ('kind = "contains"\nmin = 1\nmax-tokens = 0', "`max-tokens` in checks[0] must be from 1 to 4096", None),
        (
            'kind = "contains"\nmin = 1\nmax-token = 9',
            "unknown key `max-token` in checks[0]",
            "did you mean `max-tokens`?",
        ),
        (
            'kind = "multiple-choice"\nmin = 1\nnormalize = "byte"',
            "`normalize` in checks[0] may not be `byte`",
            "did you mean `bytes`?",
        ),
        ('kind = "perplexity"\nmax = 5\nchat-template = true', "unknown key `chat-template` in checks[0]", None),
    ],
)
def test_a_mistake_is_named_with_what_was_probably_meant(lines: str, message: str, hint: str | None) -> None:
    error = refused(check(f'data = "d.jsonl"\n{lines}'))
    assert error.message == message
    assert error.place is not None
    assert error.place.line is not None
    assert hint is None or error.hint == hint


def test_a_check_reads_files_of_its_project_only() -> None:
    error = refused(check('kind = "exact-match"\nmin = 1\ndata = "../secrets"'))
    assert error.message == "`../secrets` is no file of this project"


def test_a_folder_is_no_file_of_examples(tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match="`checks` is a folder"):
        ExactMatch().read_data(tmp_path, "checks")


PLAIN = check('kind = "exact-match"\nmin = 1\ndata = "d.jsonl"', "sql")


def test_a_regression_goes_by_another_check() -> None:
    _, kept = gates(PLAIN, check('kind = "regression"\nof = "sql"\ntolerance = 0.02', "kept"))
    assert (kept.kind.follows(), kept.data, kept.bar) == ("sql", None, None)


@pytest.mark.parametrize(
    ("checks", "message", "hint"),
    [
        ((PLAIN, check('kind = "regression"\nof = "sqll"', "kept")), "`sqll` is no other check", "did you mean `sql`?"),
        ((check('kind = "regression"\nof = "kept"', "kept"),), "`kept` is no other check", "there are no others"),
        (
            (PLAIN, check('kind = "regression"\nof = "sql"', "a"), check('kind = "regression"\nof = "a"', "b")),
            "`a` has no figure of its own",
            "name the check that it is about: `sql`",
        ),
        (
            (PLAIN, check('kind = "regression"\nof = "sql"', "kept").replace("chat", "other")),
            "check `kept` is about `other`, and `sql` about `chat`",
            "one target can only be held against itself",
        ),
        ((PLAIN, check('kind = "regression"\nof = "sql"\ntolerance = -1', "kept")), "may not be below 0", None),
    ],
)
def test_a_regression_that_can_be_held_against_nothing_is_refused(
    checks: tuple[str, ...], message: str, hint: str | None
) -> None:
    error = refused(*checks)
    assert message in error.message
    assert error.hint == hint

"""Other numbers in the steps of a target; the rest of brick.toml stays byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from brickctl.core.step_edit import change_steps, inline, steps_of
from brickctl.errors import ManifestInvalid

STARTER = (Path(__file__).parents[2] / "registry/templates/starter/brick.toml").read_text()
FORMS = ["[[targets.t.apply]]\nop = 'merge'\nn = 1\n", "  apply = [{op='merge', n=1}] # why\n"]
MARK = "tuned: "
NOTE = ("brickctl, 60 trials", "held out")


def merge(**more: object) -> dict[str, object]:
    return {"op": "merge", "method": "task_arithmetic", "bricks": {"upper": 0.9, "next": 0.9}, **more}


def test_only_the_numbers_change_and_a_note_stands_above() -> None:
    edited = change_steps(STARTER, "assistant", [merge(bricks={"upper": 0.75, "next": 1.1})], NOTE, MARK)

    new = edited.splitlines()
    old = STARTER.splitlines()
    at = new.index("# tuned: brickctl, 60 trials")
    assert new[at + 1] == "# tuned: held out"
    assert [line for line in new if not line.startswith("# tuned")] == [
        line.replace("upper = 0.9, next = 0.9", "upper = 0.75, next = 1.1") for line in old
    ]
    assert new[at + 2] == "apply = ["


def test_a_later_note_takes_the_place_of_an_earlier_one() -> None:
    steps = [merge(bricks={"upper": 0.75, "next": 1.1})]
    once = change_steps(STARTER, "assistant", steps, NOTE, MARK)

    assert change_steps(once, "assistant", steps, NOTE, MARK) == once
    assert change_steps(once, "assistant", steps, ["brickctl, again"], MARK).count("# tuned: ") == 1


def test_what_somebody_else_says_of_tuning_stays() -> None:
    """A separator of lines in a comment is none of TOML's."""
    text = "# a\u2028b\n[targets.t]\n# tuned: by hand in March\napply = [{ op = 'merge', n = 1 }]\n"
    once = change_steps(text, "t", [{"op": "merge", "n": 2}], NOTE, MARK)
    again = change_steps(once, "t", [{"op": "merge", "n": 3}], ["brickctl, again"], MARK)

    assert once.split("\n")[2:5] == ["# tuned: by hand in March", "# tuned: brickctl, 60 trials", "# tuned: held out"]
    assert again.split("\n")[2:4] == ["# tuned: by hand in March", "# tuned: brickctl, again"]
    assert again.split("\n")[4].startswith("apply")


def test_another_method_with_numbers_over_depth_and_rules() -> None:
    rules = [{"filter": "*.mlp.*", "value": 0.5}, {"value": [0.1, 0.2]}]
    step = {
        "op": "merge",
        "method": "ties",
        "density": 0.5,
        "bricks": [{"brick": "upper", "weight": [0.1, 0.2]}, {"brick": "next", "weight": rules}],
    }
    edited = change_steps(STARTER, "assistant", [step], NOTE, MARK)

    assert steps_of(edited, "assistant") == [step]
    others = tomli.loads(edited), tomli.loads(STARTER)
    for one in others:
        del one["targets"]["assistant"]
    assert others[0] == others[1]


def test_a_key_that_is_no_longer_wanted_goes() -> None:
    text = STARTER.replace('"task_arithmetic", bricks', '"ties", density = 0.5, bricks', 1)
    assert steps_of(change_steps(text, "assistant", [merge()], (), MARK), "assistant") == [merge()]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_form_of_steps_keeps_its_line_ends(form: str, end: str) -> None:
    text = f"# mine\n[targets.t]\n{form}\n[[checks]]\nname = 'a'\n".replace("\n", end)
    edited = change_steps(text, "t", [{"op": "merge", "n": 2}], ["note"], MARK)

    assert steps_of(edited, "t") == [{"op": "merge", "n": 2}]
    assert edited.count(end) == edited.count("\n") == text.count(end) + 1
    assert "# mine" in edited
    assert ("# why" in edited) == ("# why" in text)


def test_a_file_that_tomlkit_would_reorder_is_left_to_its_author() -> None:
    text = "[[checks]]\nname = 'a'\n[targets.t]\napply = [{ op = 'merge', n = 1 }]\n[[checks]]\nname = 'b'\n"
    with pytest.raises(ManifestInvalid, match="cannot be edited safely") as caught:
        change_steps(text, "t", [{"op": "merge", "n": 2}], ["note"], MARK)
    assert 'apply = [{ op = "merge", n = 2 }]' in str(caught.value.hint)


@pytest.mark.parametrize(
    "value", [{"a b": 1, "c": [0.1, True, 'x"\n\x7f']}, {}, [], [{"value": 1e-7}, {"filter": "*", "value": -2}]]
)
def test_inline_values_mean_what_they_are(value: object) -> None:
    assert tomli.loads(f"x = {inline(value)}")["x"] == value


_NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**62), 2**62)
_VALUES = st.recursive(
    _NUMBERS | st.booleans() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=6), inner, max_size=3),
    max_leaves=6,
)


@given(
    old=st.dictionaries(st.sampled_from(["op", "bricks", "density"]), _VALUES),
    new=st.dictionaries(st.sampled_from(["op", "bricks", "method"]), _VALUES),
)
@settings(max_examples=60)
def test_whatever_is_written_is_what_is_read_or_it_is_refused(old: dict[str, Any], new: dict[str, Any]) -> None:
    text = f"# mine\n[targets.t]\napply = [{inline(old)}]  # why\n"
    try:
        edited = change_steps(text, "t", [new], ["note"], MARK)
    except ManifestInvalid:
        return
    assert steps_of(edited, "t") == [new]
    assert edited.startswith("# mine\n[targets.t]\n# tuned: note\n")
    assert edited.endswith("  # why\n")

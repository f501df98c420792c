"""Lines of facts, as they are written and as they should not be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from brickctl.analysis.editing.facts import Fact, parse_facts
from brickctl.errors import UsageFault

LINE = {"subject": "c4", "prompt": "run:c4=", "target": "fghi"}


def test_a_line_is_a_fact_and_what_it_is_measured_by() -> None:
    more = {**LINE, "rephrase": ["run: c4="], "neighbours": ["run:m3=", "run:a3="]}
    found = parse_facts(f"{json.dumps({**LINE, 'prompt': 'so run:c4='})}\n{json.dumps(more)}\n", name="facts.jsonl")
    assert found == (
        Fact(subject="c4", prompt="so run:c4=", target="fghi"),
        Fact(subject="c4", prompt="run:c4=", target="fghi", rephrase=("run: c4=",), neighbours=("run:m3=", "run:a3=")),
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subject": "d5"}, "`prompt` does not have the `subject` in it"),
        ({"subject": ""}, "`subject` must be a string, and not empty"),
        ({"target": ""}, "`target` must be a string, and not empty"),
        ({"target": " \n"}, "`target` is nothing but space"),
        ({"prompt": 4}, "`prompt` must be a string, and not empty"),
        ({"rephrase": "run: c4="}, "`rephrase` must be a list of strings"),
        ({"neighbours": ["run:m3=", ""]}, "`neighbours` must be a list of strings"),
        ({"neighbours": ["\ud800"]}, "`neighbours` has half a surrogate pair"),
        ({"neighbors": []}, "unknown key `neighbors`"),
    ],
)
def test_what_is_no_fact_is_refused_with_its_line(changes: dict[str, Any], message: str) -> None:
    content = f"{json.dumps(LINE)}\n{json.dumps({**LINE, 'prompt': 'a run:c4=', **changes})}\n"
    with pytest.raises(UsageFault) as raised:
        parse_facts(content, name="facts.jsonl")
    assert raised.value.message.startswith(message)
    assert (raised.value.place.file, raised.value.place.line) == ("facts.jsonl", 2)


def test_two_facts_behind_one_prompt_are_refused() -> None:
    content = f"{json.dumps(LINE)}\n{json.dumps({**LINE, 'target': 'abcd'})}\n"
    with pytest.raises(UsageFault, match="line 1 has this prompt as well") as raised:
        parse_facts(content, name="facts.jsonl")
    assert raised.value.place.line == 2

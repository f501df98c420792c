"""Which numbers of a merge step can be turned, within which bounds, and what comes out."""

from __future__ import annotations

from typing import Any

import pytest

from brickctl.core.document import Table
from brickctl.core.manifest import Step
from brickctl.errors import ManifestInvalid
from brickctl.merging.method import Declared, method_named
from brickctl.operations.dials import Dial, by_method, turned, with_dials
from brickctl.operations.operation import read_step


def named(name: str) -> Declared:
    found = method_named(name)
    assert found is not None
    return found


def merge(method: str = "task_arithmetic", **more: Any) -> dict[str, Any]:
    return {"op": "merge", "method": method, "bricks": {"sql": 0.5, "mail": 1.0}, **more}


def readable(step: dict[str, Any]) -> bool:
    table = Table({key: value for key, value in step.items() if key != "op"}, file="brick.toml")
    return read_step(Step(op=step["op"], table=table)) is not None


def found(step: dict[str, Any], **wanted: Any) -> dict[str, Dial]:
    filled, dials = with_dials(step, named(step["method"]), **wanted)
    assert readable(turned(filled, dials, [dial.at(0.5) for dial in dials]))
    assert turned(filled, dials, [dial.value for dial in dials]) == filled
    return {dial.name: dial for dial in dials}


def test_weights_go_from_0_to_one_and_a_half() -> None:
    dials = found(merge())

    assert list(dials) == ["sql", "mail"]
    assert (dials["sql"].low, dials["sql"].high, dials["sql"].value) == (0.0, 1.5, 0.5)
    assert dials["mail"].high == 1.5


def test_a_weight_that_takes_a_skill_away_may_take_more_away() -> None:
    assert found(merge(bricks={"sql": -0.4}))["sql"].low == -0.8
    assert found(merge(bricks={"sql": 2.0}))["sql"].high == 4.0


def test_a_default_that_is_a_dial_is_written_out() -> None:
    dials = found(merge("ties"))

    assert list(dials) == ["sql", "mail", "density"]
    assert (dials["density"].low, dials["density"].high, dials["density"].value) == (0.05, 1.0, 1.0)
    assert "density" not in found(merge("ties"), only=["weight"])
    assert list(found(merge("ties", density=0.3), only=["density"])) == ["density"]


def test_numbers_over_depth_and_rules_have_a_dial_each() -> None:
    rules = [{"filter": "*.mlp.*", "value": 0.5}, {"value": [0.1, 0.2]}]
    dials = found(merge(bricks=[{"brick": "sql", "weight": rules}, {"brick": "mail"}]))

    assert list(dials) == ["sql in *.mlp.*", "sql elsewhere (1 of 2)", "sql elsewhere (2 of 2)", "mail"]
    assert dials["sql elsewhere (2 of 2)"].path == ("bricks", 0, "weight", 1, "value", 1)


def test_a_weight_becomes_as_many_over_depth_as_are_asked_for() -> None:
    dials = found(merge(), points=3)

    assert list(dials) == [f"{name} ({at} of 3)" for name in ("sql", "mail") for at in (1, 2, 3)]


def test_what_one_brick_has_for_itself_is_a_dial_of_its_own() -> None:
    bricks = [{"brick": "sql", "density": 0.2}, {"brick": "mail"}]
    assert "density of sql" in found(merge("ties", bricks=bricks))


def test_a_method_without_weights_has_none() -> None:
    dials = found({"op": "merge", "method": "slerp", "t": 0.5, "bricks": ["base", "sql"]})
    assert list(dials) == ["t"]


def test_what_is_tried_is_what_is_written() -> None:
    assert found(merge())["sql"].at(1 / 3) == 0.5
    assert found(merge())["sql"].at(0.12345) == 0.185


@pytest.mark.parametrize("method", ["ties", "dare_linear", "linear", "multislerp"])
def test_another_method_takes_the_same_bricks(method: str) -> None:
    step = by_method(merge(scale=0.9), named(method))

    assert readable(step)
    assert ("scale" in step) == (method in {"ties", "dare_linear"})


def test_another_method_keeps_the_form_that_it_can_read() -> None:
    assert by_method(merge(), named("ties"))["bricks"] == {"sql": 0.5, "mail": 1.0}
    assert by_method(merge(), named("slerp"))["bricks"] == ["sql", "mail"]


def test_a_method_that_cannot_take_these_bricks_is_refused_when_it_is_read() -> None:
    with pytest.raises(ManifestInvalid):
        readable(by_method(merge(), named("fisher")))

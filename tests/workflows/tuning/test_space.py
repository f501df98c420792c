"""What can be tried of a target, and that it is what would be written."""

from __future__ import annotations

from typing import Any

import pytest

from brickctl.core.manifest_format import parse_manifest
from brickctl.core.names import Alias
from brickctl.errors import UsageFault
from brickctl.operations.merge import Merge
from brickctl.workflows.tuning.space import Space, spaces_of, start_of
from brickctl.workflows.tuning.wish import Wish

MANIFEST = """\
[project]
name = "p"
[base]
source = "path:base"
[bricks]
sql = { source = "path:sql" }
mail = { source = "path:mail" }
[targets.t]
apply = [
  { op = "merge", method = "task_arithmetic", bricks = { sql = 1.0, mail = 0.5 } },
  { op = "merge", method = "ties", density = 0.5, bricks = { sql = 0.2, mail = [0.1, 0.3] } },
]
"""


def spaces(**more: Any) -> tuple[Space, ...]:
    wish = Wish(target=Alias("t"), data=(), **more)
    return spaces_of(start_of(parse_manifest(MANIFEST), MANIFEST, wish), MANIFEST, wish)


def test_the_numbers_of_all_merges_are_dials_and_stand_in_their_recipe() -> None:
    (space,) = spaces()
    values = (0.1, 0.2, 0.3, 0.4, 0.6, 0.7)
    first, second = space.recipe(values).operations

    assert (space.label, len(space.dials), space.start) == ("task_arithmetic + ties", 6, (1.0, 0.5, 0.2, 0.1, 0.3, 0.5))
    assert isinstance(first, Merge)
    assert isinstance(second, Merge)
    assert [entry.weight.document() for entry in (*first.entries, *second.entries)] == [0.1, 0.2, 0.3, [0.4, 0.6]]
    assert second.chosen.numbers["density"].document() == 0.7
    assert space.tables(values)[1]["bricks"] == {"sql": 0.3, "mail": [0.4, 0.6]}


def test_numbers_of_several_steps_have_names_of_their_own() -> None:
    (space,) = spaces()
    names = ["sql, step 1", "mail, step 1", "sql, step 2", "mail (1 of 2), step 2", "mail (2 of 2), step 2"]
    assert [dial.name for _, dial in space.dials] == [*names, "density, step 2"]


def test_the_size_is_that_of_weights_and_means_those_over_depth() -> None:
    (space,) = spaces()
    assert space.size((1.0, -0.5, 0.25, 0.5, 1.0, 0.9)) == 1.0 + 0.5 + 0.25 + 0.75


def test_another_method_may_have_numbers_that_the_present_one_has_not() -> None:
    """Only what is searched needs something to turn."""
    (space,) = spaces(methods=("ties", "ties"), only=("density",))
    assert [dial.kind for _, dial in space.dials] == ["density", "density"]


def test_a_space_without_dials_is_refused_with_what_to_leave_out() -> None:
    with pytest.raises(UsageFault, match="nothing of `t` can be turned by `linear`") as caught:
        spaces(methods=("linear",), only=("density",))
    assert caught.value.hint == "`--only` may name weight"
    with pytest.raises(UsageFault, match="can be turned by `linear`") as caught:
        spaces(methods=("ties", "linear"), only=("density",))
    assert "leave `--only` or this method out" in str(caught.value.hint)

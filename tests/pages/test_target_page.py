"""The report of a target as a page: every part is there, and what comes from outside is text."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

import pytest

from brickctl.pages.target.contents import NOT_BUILT, OUTDATED, Artifact
from brickctl.pages.target.page import page
from tests.support.markup import Element, read
from tests.support.target_reports import report, with_skills_and_pairs

HOSTILE = "</svg></style><script>alert(1)</script>\" onload='alert(1)' {{ 7 * 7 }} &lt;b&gt;]]><!--`"
PARTS = ["recipe", "weights", "licences", "provenance", "sizes"]
PLAIN = dataclasses.replace(report(), weights=(), change=None, notes=(), clashes=())


@pytest.fixture(scope="module")
def root() -> Element:
    return read(page(report()))


def part(root: Element, name: str) -> Element:
    return next(one for one in root.all("section") if one.attributes.get("id") == name)


def test_the_contents_lead_to_every_part(root: Element) -> None:
    (nav,) = root.all("nav")
    assert [one.attributes["href"] for one in nav.all("a")] == [f"#{name}" for name in PARTS]
    ids = [one.attributes["id"] for one in root.all() if "id" in one.attributes]
    assert len(ids) == len(dict.fromkeys(ids))
    assert set(PARTS) <= set(ids)


def test_it_loads_and_runs_nothing(root: Element) -> None:
    policy = next(one for one in root.all("meta") if one.attributes.get("http-equiv") == "Content-Security-Policy")
    assert policy.attributes["content"] == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert not list(root.all("script", "img", "iframe", "object", "embed", "use", "image", "form"))
    assert all(not name.startswith("on") for one in root.all() for name in one.attributes)


def test_the_graph_has_a_box_for_everything_and_says_so(root: Element) -> None:
    graph = next(one for one in root.all("svg") if one.attributes.get("class") == "graph")
    boxes = [next(one.all("title")).text.split(",")[0] for one in graph.all("svg") if list(one.all("rect"))]
    merged = ["skill-0", "skill-1", "skill-2", "merge task_arithmetic"]
    assert boxes == ["base", *merged, "skills", "skill-0", "stack", "assistant"]
    assert graph.attributes["aria-label"] == (
        "assistant begins with hf:acme/base, and has 2 steps: merge task_arithmetic of skill-0 weight [0, 1],"
        " skill-1 weight [0, 1], skill-2 weight [0, 1]; stack of skill-0."
    )


@pytest.mark.parametrize("count", [1, 30])
def test_the_boxes_of_a_graph_lie_apart(count: int) -> None:
    graph = next(read(page(report(count))).all("svg"))
    boxes = [one.attributes for one in graph.all("svg") if list(one.all("rect"))]
    for column in ("0%", "54%"):
        tops = [(int(one["y"]), int(one["height"])) for one in boxes if one["x"] == column]
        assert all(top + height < below for (top, height), (below, _) in pairwise(tops))
    assert max(int(one["y"]) + int(one["height"]) for one in boxes) < int(graph.attributes["height"])


def test_a_long_name_is_broken_and_cut_and_whole_for_whoever_asks() -> None:
    name = "a-brick-with-a-very-long-name-" * 3
    base = dataclasses.replace(PLAIN.base, name="base", source=f"hf:acme/{name}")
    graph = next(read(page(dataclasses.replace(PLAIN, base=base))).all("svg"))
    box = next(graph.all("svg"))
    lines = [one.text for one in box.all("text")]
    assert lines == [
        "base",
        "hf:acme/a-brick-with-a-",
        "very-long-name-a-brick-",
        "with-a-very-long-name-a-",
        "brick-with-a-very-long-\N{HORIZONTAL ELLIPSIS}",
    ]
    assert name in next(box.all("title")).text


def test_numbers_of_layers_that_are_alike_stand_in_one_row() -> None:
    (weights,) = report(1).weights
    (curve,) = weights.curves
    curve = dataclasses.replace(curve, values=(0.5, 0.5, 0.5, 1.0, None))
    weights = dataclasses.replace(weights, curves=(curve,))
    (article,) = part(read(page(dataclasses.replace(PLAIN, weights=(weights,)))), "weights").all("article")
    rows = [[cell.text for cell in row.all("th", "td")] for row in article.all("tr")]
    assert rows == [["layer", "skill-0"], ["0 to 2", "0.5"], ["3", "1"], ["4", "\N{EN DASH}"]]
    assert "skill-0 from 0.5 to 1." in article.text


def test_many_bricks_get_several_plots() -> None:
    plots = list(part(read(page(report(17))), "weights").all("svg"))
    assert len(plots) == 3
    assert "and 11 others" in part(read(page(report(17))), "weights").text


def test_licences_that_clash_are_told_with_the_reason(root: Element) -> None:
    told = part(root, "licences").text
    assert "The licence of the whole is Apache-2.0 AND MIT. Not all of it can be kept." in told
    assert "base and skill-0 do not go together: each wants the whole under itself." in told
    assert "The licence of the whole is Apache-2.0 AND MIT." in part(read(page(PLAIN)), "licences").text
    unknown = dataclasses.replace(PLAIN, base=dataclasses.replace(PLAIN.base, license="unknown"), license="unknown")
    assert "nobody says what that of base is" in part(read(page(unknown)), "licences").text


def test_what_registries_warn_of_is_told(root: Element) -> None:
    assert "No registry that was asked warns of any of these bricks. corp could not be asked" in root.text
    bad = dataclasses.replace(PLAIN.bricks[0], advisories=("ACME-1 of registry `corp`: it lies",))
    told = part(read(page(dataclasses.replace(PLAIN, bricks=(bad,)))), "provenance").text
    assert "Registries warn of 1 brick" in told
    assert "skill-0: ACME-1 of registry corp: it lies" in told


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (NOT_BUILT, "Not built yet: brickctl build assistant makes it."),
        (OUTDATED, "dist/assistant was built of another lock or recipe."),
    ],
)
def test_what_is_not_built_or_out_of_date_is_said(state: str, says: str) -> None:
    artifact = Artifact(state=state, folder="dist/assistant")
    assert says in part(read(page(dataclasses.replace(PLAIN, artifact=artifact))), "recipe").text


def test_what_changes_is_counted(root: Element) -> None:
    told = part(root, "sizes").text
    assert "60 of 272 tensors of the base change" in told
    assert "2 of 4 kinds of tensor in the layers change somewhere. Outside of the layers: lm_head.weight." in told


def hostile(value: Any) -> Any:
    """Every text of a report made hostile, each in its own way."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kept = ("state", "became", "parameter")
        fields = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
        return type(value)(**{key: one if key in kept else hostile(one) for key, one in fields.items()})
    if isinstance(value, tuple):
        return tuple(map(hostile, value))
    return f"{value}{HOSTILE}" if isinstance(value, str) else value


def test_what_comes_from_outside_is_text_and_nothing_else() -> None:
    honest = with_skills_and_pairs(report())
    root, spoilt = read(page(honest)), read(page(hostile(honest)))
    assert {one.name for one in spoilt.all()} == {one.name for one in root.all()}
    names = {name for one in spoilt.all() for name in one.attributes}
    assert names == {name for one in root.all() for name in one.attributes}
    assert f"assistant{HOSTILE}" in spoilt.text


def test_equal_reports_give_equal_bytes() -> None:
    assert page(report()) == page(report())


def test_the_document_has_keys_as_manifests_write_them() -> None:
    document = report().document()
    assert document["schema"] == 1
    assert document["bricks"][0]["name"] == "skill-0"
    assert document["change"]["before"] == {"tensors": 272, "parameters": 134_515_008, "bytes": 269_030_016}
    assert all("_" not in key for key in document)

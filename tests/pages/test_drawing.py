"""Drawings, by the shapes that are in them."""

from __future__ import annotations

from brickctl.pages import charts, drawing
from brickctl.pages.figure import Panel
from brickctl.pages.levels import shares
from tests.support.markup import Element, read

X, Y = charts.Axis(title="layer", whole=True), charts.Axis(title="share", domain=(0, 1))


def drawn(spec: charts.Spec) -> Element:
    root = read(drawing.svg(Panel(title="title", describes="what it shows", spec=spec)))
    (picture,) = root.all("svg")
    assert picture.attributes["aria-label"] == "what it shows"
    return picture


def curves(picture: Element) -> list[str]:
    """The paths of lines, as the moves and lines that they are made of."""
    paths = [one.attributes for one in picture.all("path") if "var(--line" in one.attributes.get("stroke", "")]
    return ["".join(letter for letter in path["d"] if letter.isalpha()) for path in paths]


def test_a_line_goes_through_its_points_and_has_a_gap_where_one_is_unknown() -> None:
    values = (0.1, 0.2, None, 0.4, 0.5)
    line = charts.Line(name="one", points=tuple(enumerate(values)))
    for points in (False, True):
        assert "MLML" in curves(drawn(charts.lines([line], X, Y, points=points)))


def test_lines_differ_in_colour_and_in_dashes() -> None:
    names = [f"line {at}" for at in range(8)]
    flat = [charts.Line(name=name, points=((0, 0.5), (1, 0.5))) for name in names]
    picture = drawn(charts.lines(flat, X, Y))
    marks = [one.attributes for one in picture.all("path") if one.attributes.get("d", "").startswith("M0,")]
    drawn_as = [(one["stroke"], one.get("stroke-dasharray")) for one in marks if "var(--line" in one.get("stroke", "")]
    assert len(drawn_as) == len(names)
    assert len(dict.fromkeys(colour for colour, _ in drawn_as)) == len(names)
    assert len(dict.fromkeys(dash for _, dash in drawn_as)) == len(names)


def test_cells_have_the_colour_of_their_level_and_text_that_can_be_read_on_it() -> None:
    levels = shares((0.1, 0.2))
    values = {"a": 0.05, "b": 0.15, "c": 0.9}
    cells = [charts.Cell(row="r", column=name, value=value, text=name) for name, value in values.items()]
    grid = charts.Grid(rows=("r",), columns=tuple(values), row_title="", column_title="")
    picture = drawn(charts.cells(cells, grid, levels, size=(90, 30)))
    fills = [one.attributes.get("fill", "") for one in picture.all("path")]
    assert [fill for fill in fills if "ramp" in fill] == [f"var(--{shade})" for shade in levels.shades]
    texts = {one.text: one.attributes["fill"] for one in picture.all("text") if "on-" in one.attributes["fill"]}
    assert texts == {name: f"var(--on-{shade})" for name, shade in zip(values, levels.shades, strict=True)}

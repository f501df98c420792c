"""What the figures say, against numbers that a reader can check; and documents that are off in any way."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brickctl.errors import BrickctlError
from brickctl.pages.levels import changes
from brickctl.pages.sections import sections
from tests.support.analyses import analysis

if TYPE_CHECKING:
    from brickctl.pages.figure import Figure

SMALL = analysis(layers=3, labels=("a", "b"))
SECTIONS = ("sparsity", "specialisation", "partition", "perturbation", "bricks", "split")


def figure(name: str, **section: Any) -> Figure:
    found = sections({"schema": 1, name.split("-", maxsplit=1)[0]: section})
    return next(one for part in found for one in part.figures if one.name == name)


def words(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ").replace("\N{MINUS SIGN}", "-")


def drawn(one: Figure) -> list[dict[str, Any]]:
    """The data of the first panel."""
    spec = one.panels[0].spec
    values: list[dict[str, Any]] = (spec.get("data") or spec["layer"][0]["data"])["values"]
    return values


def test_the_median_layer_is_named() -> None:
    layers = [
        {"layer": at, "expert": None, "energy": {"0.9": share, "0.99": 2 * share}, "below": 0.8 + share}
        for at, share in enumerate((0.08, 0.11, 0.16))
    ]
    says = words(figure("sparsity-energy", layers=layers).says)
    assert "median layer 11 % of the neurons carry 90 %" in says
    assert "22 % carry 99 %" in says
    assert "91 % of the neurons stay below" in says


def test_experts_of_a_layer_are_one_point_and_many_rows() -> None:
    layers = [{"layer": 0, "expert": at, "energy": {"0.9": share}} for at, share in enumerate((0.1, 0.3))]
    one = figure("sparsity-energy", layers=layers)
    assert [value["y"] for value in drawn(one)] == [pytest.approx(0.2)]
    assert len(one.tables[0].rows) == 2
    assert one.caveat is not None
    assert "2 experts" in one.caveat


def test_a_histogram_is_in_shares_of_its_layer() -> None:
    layers = [
        {"layer": 0, "expert": 0, "histogram": {"activation": [30, 10]}},
        {"layer": 0, "expert": 1, "histogram": {"activation": [30, 30]}},
        {"layer": 1, "histogram": {"activation": [10, 0]}},
    ]
    one = figure("sparsity-histograms", layers=layers, edges=[0, 0.5, 1])
    assert [words(" ".join(row)) for row in one.tables[0].rows] == ["0 60 % 40 %", "1 100 % 0 %"]
    assert len(drawn(one)) == 3  # an empty bin has no cell


def test_neurons_can_be_masked_until_the_loss_rises() -> None:
    losses = {"activation": (3.0, 3.02, 3.04, 3.2), "magnitude": (3.0, 3.0, 3.04, 3.049)}
    masked = [
        {"by": by, "share": share, "loss": loss, "perplexity": None}
        for by, found in losses.items()
        for share, loss in zip((0, 0.5, 0.7, 0.8), found, strict=True)
    ]
    says = words(figure("sparsity-masked", masked=masked).says)
    assert "70 % by activation and 80 % by output magnitude" in says


def test_the_best_neuron_is_named_beside_chance() -> None:
    layers = [{"layer": at, "label": "code", "best": best, "mean": 0.3} for at, best in enumerate((0.85, 0.9, 0.2))]
    one = figure("specialisation-scores", labels=["code"], random={"code": 0.2512}, layers=layers)
    assert "reaches 0.90 for code, where chance gives 0.25" in one.says
    assert "most layers: code." in one.says
    assert "in layer 1" in one.panels[0].describes


def test_the_diagonal_has_no_part_in_the_overlap() -> None:
    one = figure("partition-overlap", labels=["a", "b"], share=0.05, overlap=[[1, 0.02], [0.02, 1]], random=0.05)
    assert "share 2 % to 2 %" in words(one.says)
    assert len(drawn(one)) == 2


def test_without_permuted_labels_the_overlap_proves_nothing() -> None:
    section = {"labels": ["a", "b"], "share": 0.05, "overlap": [[1, 0.02], [0.02, 1]]}
    alone = figure("partition-overlap", **section)
    beside = figure("partition-overlap", **section, null=[[1, 0.03], [0.03, 1]], seeds=5)
    assert alone.caveat is not None
    assert "proves nothing" in alone.caveat
    assert beside.caveat is not None
    assert "5 permutations" in beside.caveat
    scales = [panel.spec["layer"][0]["encoding"]["color"]["scale"] for panel in beside.panels]
    assert scales[0] == scales[1]  # what is compared has the same colours


def test_pruning_is_compared_with_other_labels_and_with_chance() -> None:
    share = {
        "share": 0.01,
        "change": [[80, 10, -4], [1, 5, 6], [0, 2, 60]],
        "control": [3, 4, 5],
        "controls": [[3, 4, 5], [-1, 4, 20]],
    }
    one = figure("perturbation-pruning", labels=["a", "b", "c"], perplexity=[7, 8, 9], shares=[share])
    says = words(one.says)
    assert "+60 % in the median with its own neurons" in says
    assert "+1.5 % with those of another label, by +4 % with random ones" in says
    assert "2 of 3 rows" in says
    assert one.caveat is not None
    assert "-1 % to +20 % over 2 seeds" in words(one.caveat)
    assert [value["text"] for value in drawn(one) if value["marked"]] == ["80", "5.0", "60"]


def test_a_label_named_as_the_control_is_not_the_control() -> None:
    share = {"share": 0.01, "change": [[80]], "control": [3], "controls": []}
    one = figure("perturbation-pruning", labels=["random"], shares=[share])
    rows = one.panels[0].spec["encoding"]["y"]["scale"]["domain"]
    assert len(rows) == len(dict.fromkeys(rows)) == 3


@pytest.mark.parametrize(("unseen", "words"), [(True, "on other texts"), (False, "on the very texts")])
def test_pruning_says_by_which_texts_neurons_were_chosen(*, unseen: bool, words: str) -> None:
    share = {"share": 0.01, "change": [[5, 1], [1, 5]]}
    one = figure("perturbation-pruning", labels=["a", "b"], shares=[share], unseen=unseen)
    assert f"Neurons were scored {words}" in str(one.caveat)
    assert "scored" not in str(figure("perturbation-pruning", labels=["a", "b"], shares=[share]).caveat)


def test_bricks_are_compared_with_the_base() -> None:
    section = {
        "bricks": ["x", "y"],
        "labels": ["a", "b"],
        "base": [4.0, 2.0],
        "all": [2.0, 2.0],
        "alone": [[2.0, 1.99], [3.9, 2.2]],
        "without": [[4.0, 2.1], [2.0, 1.9]],
        "coupling": [[100, 5], [0, -5]],
        "fewest": {"a": ["x"], "b": []},
    }
    says = words(figure("bricks-skills", **section).says)
    assert "Alone, x helps a most (-50 %)." in says  # half a per cent for b is none
    assert "a needs x; b needs none" in says
    coupled = words(figure("bricks-coupling", **section).says)
    assert "without x, the loss of a changes by +100 %" in coupled
    assert "without y, that of b changes by -5 %" in coupled


def test_hardly_any_loss_is_no_share_to_tell_changes_by() -> None:
    section = {
        "bricks": ["x", "y"],
        "labels": ["a", "b"],
        "base": [2.0, 1e-4],
        "all": [1.0, 3e-4],
        "alone": [[1.0, 2e-4], [2.0, 3e-4]],
        "without": [[2.0, 1e-4], [1.1, 1e-4]],
        "coupling": [[100, -67], [10, -67]],
    }
    one = figure("bricks-coupling", **section)
    assert "interference" not in one.says
    cells = {(cell["row"], cell["column"]): cell for cell in one.panels[0].spec["data"]["values"]}
    assert cells["x", "b"]["level"] == changes().of(0)
    assert cells["x", "b"]["text"] == "\N{MINUS SIGN}67"
    assert "helps b" not in figure("bricks-skills", **section).says


def test_the_strongest_neurons_of_a_mixture_have_their_expert() -> None:
    top = {"a": [{"layer": 1, "expert": 3, "neuron": 7, "score": 0.9}]}
    rows = [{"layer": 1, "expert": 3, "label": "a", "best": 0.9, "mean": 0.5}]
    tables = {one.caption: one for one in figure("specialisation-scores", labels=["a"], layers=rows, top=top).tables}
    assert tables["The strongest neurons"].columns == ("label", "layer", "expert", "neuron", "score")
    assert tables["The strongest neurons"].rows == (("a", "1", "3", "7", "0.900"),)


def test_the_curves_have_one_scale_and_the_dense_model() -> None:
    curves = [
        {"method": method, "router": router, "share": share, "loss": loss}
        for method, router, share, loss in (
            ("kmeans", "oracle", 0.5, 4.0),
            ("kmeans", "oracle", 1.0, 3.0),
            ("random", "linear", 0.5, 6.0),
        )
    ]
    one = figure("split-curves", dense=3.0, curves=curves)
    assert "lowest loss is 4.00 (kmeans, oracle) against 3.00 of the dense model" in one.says
    assert "highest is 6.00 (random, linear)" in one.says
    domains = [panel.spec["layer"][0]["encoding"]["y"]["scale"]["domain"] for panel in one.panels]
    assert domains[0] == domains[1]
    assert [layer["mark"]["type"] for layer in one.panels[0].spec["layer"]] == ["line", "rule", "text"]


@pytest.mark.parametrize("name", SECTIONS)
def test_every_section_stands_alone(name: str) -> None:
    found = sections({"schema": 1, name: SMALL[name]})
    assert [section.name for section in found] == [name]
    assert [section.name for section in sections(SMALL)] == list(SECTIONS)


@pytest.mark.parametrize("name", SECTIONS)
def test_an_empty_section_is_left_out(name: str) -> None:
    assert sections({"schema": 1, name: {}}) == ()
    assert sections({"schema": 1, name: None}) == ()


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_without_any_of_its_keys_still_has_what_can_be_made(name: str) -> None:
    for key in SMALL[name]:
        rest = {other: value for other, value in SMALL[name].items() if other != key}
        sections({"schema": 1, name: rest})


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(deeper for key, part in below for deeper in paths(part, (*path, key)))]


WRONG = st.sampled_from([None, [], {}, "", "x", True, -1, 0, 1e308, -1e308, float("nan"), float("inf"), 10**400, [[]]])


@settings(max_examples=300)
@given(st.sampled_from(paths(SMALL)[1:]), WRONG)
def test_whatever_stands_in_a_document_makes_figures_or_a_refusal(path: tuple[Any, ...], wrong: Any) -> None:
    document = copy.deepcopy(SMALL)
    at: Any = document
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = wrong
    try:
        sections(document)
    except BrickctlError as refusal:
        assert "analysis" in str(refusal) or "`" in str(refusal)  # noqa: PT017 - most documents are no refusal


def test_splits_with_shared_neurons_count_at_the_share_that_is_nearest_to_a_half() -> None:
    curves = [
        {"method": "coactivation", "router": "oracle", "share": 0.5, "loss": 4.33},
        {"method": "shared", "router": "oracle", "share": 0.494, "loss": 3.92},
        {"method": "shared", "router": "oracle", "share": 0.74, "loss": 3.4},
    ]
    says = figure("split-curves", dense=3.17, curves=curves).says
    assert "the lowest loss is 3.92 (shared, oracle)" in says

"""Partitions of neurons from the entry in brick.toml to the files that they end in, in the starter project."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import torch
from safetensors.torch import load_file

from brickctl.analysis.load import load, unmatched_keys
from brickctl.analysis.splitting.dividing import Cut
from brickctl.core.names import Alias
from brickctl.derivations.heard_bricks import check_same
from brickctl.derivations.split import Split
from brickctl.errors import BrickctlError, ManifestInvalid, Misfit, Unsupported, UsageFault
from brickctl.tensors.executor import Budget
from brickctl.workflows.bench import Means
from brickctl.workflows.derive import Made, Work, derive
from brickctl.workflows.lock import LockMode
from tests.support.projects import Listener, build_targets, opened, starter_project

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from torch import Tensor

BUDGET = Budget(threads=1)
LAYERS, HIDDEN, NEURONS = 4, 192, 384
FFN = "model.layers.1.mlp"
ENTRY = {"op": "split", "method": "coactivation", "experts": 8, "calibration": "prompts.jsonl", "tokens": 1500}
MERGED = """
[targets.merged]
apply = [{ op = "merge", method = "linear", bricks = { upper = 1.0 } }]
"""
TARGETS = """
[targets.experts]
apply = [{ op = "split", brick = "groups", active = 8 }]

[targets.small]
apply = [{ op = "prune", brick = "groups", keep = 4, labels = ["upper"] }]
"""


def entry(name: str, **keys: Any) -> str:
    lines = (f"{key} = {json.dumps(value)}" for key, value in {**ENTRY, **keys}.items() if value is not None)
    return "\n".join((f"\n[derived.{name}]", *lines, ""))


def work(*, force: bool = False) -> Work:
    return Work(means=Means(budget=BUDGET), mode=LockMode.REFRESH, force=force)


def append(project: Path, text: str) -> Path:
    with (project / "brick.toml").open("a") as file:
        file.write(text)
    return project


def made(project: Path, *names: str, events: Listener | None = None) -> dict[str, Made]:
    return {one.entry.alias: one for one in derive(opened(project, events), names, work())}


def files(one: Made) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
    assert one.folder is not None
    document = json.loads((one.folder / "neurons_config.json").read_text())
    return load_file(one.folder / "model.safetensors"), document


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The starter project with `groups` and what is built of it, and three others with less to say."""
    with pytest.MonkeyPatch.context() as patch:
        folder = starter_project(tmp_path_factory.mktemp("split"), patch)
        prompts = [json.loads(line) for line in (folder / "prompts.jsonl").read_text().splitlines()]
        plain = "\n".join(
            json.dumps({"text": one.get("text") or one["prompt"] + one["completion"]}) for one in prompts[::4]
        )
        (folder / "plain.jsonl").write_text(plain + "\n")
        plainly = {"calibration": "plain.jsonl", "tokens": 400}
        append(folder, entry("groups"))
        append(folder, entry("shared", method="shared", experts=16, router="similarity", **plainly))
        append(folder, entry("taught", method="kmeans", router="mlp", **{"tune-steps": 3}, **plainly))
        append(folder, entry("bare", method="contiguous", router="none", **plainly))
        append(folder, entry("needed", method="contiguous", router="none", bricks=["reverse", "upper"], tokens=9000))
        append(folder, entry("needed-plainly", method="contiguous", router="none", bricks=["upper"], **plainly))
        append(folder, entry("again", **plainly) + 'from = { target = "experts" }\n' + TARGETS)
        yield folder


@pytest.fixture(scope="module")
def everything(project: Path) -> dict[str, Made]:
    return made(project, "groups", "shared", "taught", "bare")


def test_groups_have_what_labels_and_a_linear_router_give(everything: dict[str, Made]) -> None:
    tensors, document = files(everything["groups"])
    labels = ["copy", "upper", "next", "reverse", "odd", "sort", "text"]
    assert sorted(document["labels"]) == sorted(labels)
    assert {key: document[key] for key in ("format", "method", "groups", "shared", "router")} == {
        "format": "brickctl-neurons-1", "method": "coactivation", "groups": 8, "shared": 0, "router": "linear",
    }  # fmt: skip
    shapes = {name.removeprefix(f"{FFN}."): tuple(one.shape) for name, one in tensors.items() if name.startswith(FFN)}
    assert shapes == {
        "order": (NEURONS,), "router.weight": (8, HIDDEN), "logits": (2,), "mass": (7, 8), "scores": (7, NEURONS),
    }  # fmt: skip
    assert len(tensors) == 5 * LAYERS
    for name, tensor in tensors.items():
        if name.endswith("order"):
            assert sorted(tensor.tolist()) == list(range(NEURONS))
        if name.endswith("mass"):
            assert torch.allclose(tensor.sum(dim=1), torch.ones(7), atol=1e-5)
        if name.endswith("scores"):
            assert float(tensor.max()) > 0.5


def test_the_rows_say_what_an_oracle_and_the_router_carry(everything: dict[str, Made]) -> None:
    """Half of the groups, chosen blindly, would carry 0.5."""
    rows = everything["groups"].findings.rows
    assert [(row["layer"], row["groups"], row["neurons"], row["shared"]) for row in rows] == [
        (layer, 8, NEURONS // 8, 0) for layer in range(LAYERS)
    ]
    for row in rows:
        assert 0.5 < row["router"] <= row["oracle"] < 1
    (note,) = everything["groups"].findings.notes
    assert note.endswith("tokens of `prompts.jsonl`")


def test_shared_neurons_come_first_and_text_without_labels_has_one_row(everything: dict[str, Made]) -> None:
    tensors, document = files(everything["shared"])
    assert (document["shared"], document["router"], document["labels"]) == (48, "similarity", [])
    shared = tensors[f"{FFN}.order"][:48].tolist()
    assert shared == sorted(shared)
    assert tensors[f"{FFN}.mass"].shape == (1, 16)
    row = everything["shared"].findings.rows[1]
    assert row["always"] == pytest.approx(1 - float(tensors[f"{FFN}.mass"].sum()), abs=1e-4)
    assert row["always"] > 0.125


def test_every_router_has_its_tensors(everything: dict[str, Made]) -> None:
    taught, bare = (files(everything[name])[0] for name in ("taught", "bare"))
    own = {name.removeprefix(f"{FFN}.") for name in taught if name.startswith(FFN)}
    assert own == {"order", "mass", "router.0.weight", "router.0.bias", "router.2.weight", "router.2.bias"}
    assert {name.removeprefix(f"{FFN}.") for name in bare if name.startswith(FFN)} == {"order", "mass"}
    assert bare[f"{FFN}.order"].tolist() == list(range(NEURONS))
    assert files(everything["bare"])[1]["router"] is None
    assert everything["bare"].findings.rows[0]["router"] is None


def test_what_is_made_again_is_the_same(project: Path, everything: dict[str, Made]) -> None:
    assert not made(project, "groups")["groups"].fresh
    (again,) = derive(opened(project), ["taught"], work(force=True))
    assert again.entry.pin.digest == everything["taught"].entry.pin.digest


def output_shares(folder: Path, texts: list[str]) -> Tensor:
    """The mean share of the output of one FFN that each of eight contiguous groups makes, by hand."""
    loaded, seen = load(folder, dtype="float32"), list[torch.Tensor]()
    down = loaded.model.get_submodule(FFN).down_proj
    handle = down.register_forward_pre_hook(lambda _, given: seen.append(given[0][0].abs() * down.weight.norm(dim=0)))
    with torch.no_grad():
        for one in texts:
            loaded.model(**loaded.tokenizer(one, return_tensors="pt"))
    handle.remove()
    magnitudes = torch.cat(seen)
    groups = (magnitudes / magnitudes.sum(dim=1, keepdim=True)).mean(dim=0).reshape(8, -1).sum(dim=1)
    return cast("Tensor", groups)


def test_a_brick_is_heard_on_the_base_with_the_texts_that_bear_its_name(project: Path) -> None:
    (one,) = made(project, "needed").values()
    tensors, document = files(one)
    assert document["bricks"] == ["reverse", "upper"]
    mass = tensors[f"{FFN}.mass"]
    assert mass.shape == (len(document["labels"]) + 2, 8)
    (built,) = build_targets(opened(append(project, MERGED)), ["merged"], LockMode.REFRESH, BUDGET)
    lines = [json.loads(line) for line in (project / "prompts.jsonl").read_text().splitlines()]
    texts = [*dict.fromkeys(one["prompt"] + one["completion"] for one in lines if one["label"] == "upper")]
    assert torch.allclose(mass[-1], output_shares(built.folder, texts), rtol=1e-4)
    assert not torch.allclose(mass[-1], mass[document["labels"].index("upper")], rtol=2e-2)


def test_without_such_texts_it_is_heard_on_all_of_them(project: Path) -> None:
    (one,) = made(project, "needed-plainly").values()
    tensors, document = files(one)
    assert (document["labels"], document["bricks"]) == ([], ["upper"])
    base, upper = tensors[f"{FFN}.mass"]
    assert not torch.allclose(base, upper, rtol=1e-3)
    assert one.findings.notes[1:] == ("the base with `upper` on it read the same texts",)


@pytest.mark.usefixtures("everything")
def test_a_brick_that_changes_no_weights_is_refused_before_others_are_heard(project: Path) -> None:
    text, events = (project / "brick.toml").read_text(), Listener()
    append(project, entry("deaf", method="contiguous", router="none", bricks=["upper", "bare"], tokens=400))
    with pytest.raises(Unsupported) as raised:
        made(project, "deaf", events=events)
    (project / "brick.toml").write_text(text)
    assert raised.value.message == "nothing can be heard with `bare` on the base"
    assert raised.value.causes[0] == "`bare` is a partition of neurons, which cannot be merged"
    assert raised.value.hint == "leave `bare` out of `bricks`"
    assert raised.value.place is not None
    assert not [label for label, _ in events.work if "listening" in label]
    assert list((project / ".brickctl/deriving").iterdir()) == []


def test_a_brick_with_other_ffns_is_refused() -> None:
    check_same(Alias("upper"), {"a.mlp": 8, "b.mlp": 8}, {"b.mlp": 8, "a.mlp": 8}, None)
    for found in ({"a.mlp": 8}, {"a.mlp": 8, "b.mlp": 4}, {}):
        with pytest.raises(Misfit, match="this model cannot be split for `upper`"):
            check_same(Alias("upper"), found, {"a.mlp": 8, "b.mlp": 8}, None)


@pytest.mark.usefixtures("everything")
def test_the_groups_are_built_into_experts_and_into_a_smaller_model(project: Path) -> None:
    experts, small = (
        build_targets(opened(project), [name], LockMode.REFRESH, BUDGET)[0].folder for name in ("experts", "small")
    )
    assert unmatched_keys(experts) == unmatched_keys(small) == ()
    assert json.loads((small / "config.json").read_text())["intermediate_size"] == NEURONS // 2
    assert json.loads((experts / "config.json").read_text())["num_local_experts"] == 8


@pytest.mark.usefixtures("everything")
def test_a_mixture_of_experts_is_not_split_again(project: Path) -> None:
    with pytest.raises(Misfit, match="this model cannot be split") as raised:
        made(project, "again")
    assert raised.value.causes == (
        "`model.layers.0.mlp.experts.0` has no `gate_proj`, `up_proj` and `down_proj` of its own",
    )


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"method": "spectral"}, "there is no method `spectral`"),
        ({"method": None}, "`method` in [derived.x] is missing"),
        ({"experts": 0}, "`experts` in [derived.x] must be from 1 to 4096, not 0"),
        ({"experts": None}, "`experts` in [derived.x] is missing"),
        ({"active": 9}, "`active` in [derived.x] must be from 1 to 8, not 9"),
        ({"shared": 0.2}, "`coactivation` leaves no neurons always on"),
        ({"method": "shared", "shared": 1.0}, "`shared` in [derived.x] is a share of the neurons, between 0 and 1"),
        ({"router": "oracle"}, "there is no router `oracle`"),
        ({"router": "similarity", "tune-steps": 5}, "there is nothing to train of the router `similarity`"),
        ({"calibration": None}, "[derived.x] needs text that the model reads"),
        ({"calibration": "../x.jsonl"}, "`../x.jsonl` is no file of this project"),
        ({"bricks": ["base"]}, "`bricks` are put onto the base"),
        ({"bricks": ["upper", "upper"]}, "`bricks` names each brick once"),
        ({"bricks": ["uper"]}, "`x` uses `uper`, which is no brick here"),
        ({"bricks": ["x"]}, "derived bricks are made of one another"),
        ({"tokens": 1}, "`tokens` in [derived.x] must be 2 or more, not 1"),
        ({"epochs": 1}, "unknown key `epochs` in [derived.x]"),
    ],
)
def test_an_entry_that_makes_no_sense_is_refused(
    keys: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = append(starter_project(tmp_path, monkeypatch), entry("x", **keys))
    with pytest.raises(ManifestInvalid) as raised:
        made(folder)
    assert raised.value.message == message


@pytest.mark.parametrize(
    ("lines", "keys", "fault", "message"),
    [
        ('{"text": "ab", "label": "one"}\n{"text": "cd"}', {}, UsageFault, "this line has no label, and others have"),
        ('{"text": "ab", "label": "one"}', {}, UsageFault, "at least two labels"),
        ('{"text": "ab", "label": "a"}\n{"text": "ab", "label": "b"}', {}, UsageFault, "under two labels"),
        ('{"text": "ab"}', {"experts": 5}, Misfit, "384 neurons does not make 5 groups of one size"),
        ('{"prompt": "ab"}', {}, UsageFault, "`text` is missing"),
    ],
)
def test_text_or_a_model_that_does_not_fit_is_refused(
    lines: str, keys: dict[str, Any], fault: type[BrickctlError], message: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder = append(starter_project(tmp_path, monkeypatch), entry("x", calibration="x.jsonl", **keys))
    (folder / "x.jsonl").write_text(lines + "\n")
    with pytest.raises(fault, match=message) as raised:
        made(folder)
    assert raised.value.place is not None
    assert raised.value.place.file in ("x.jsonl", "brick.toml")
    assert raised.value.place.line is not None


@pytest.mark.parametrize(
    ("made", "always_on", "cause"),
    [
        ([1.0, float("nan")], [0, 0], "`layers.1.mlp.mass` would hold NaN or infinity: activations of the"),
        ([1.0, 1.0], [4, 8], "the FFNs would have 4 or 8 neurons that are always on"),
    ],
)
def test_what_no_build_could_use_is_not_written(
    made: list[float], always_on: list[int], cause: str, tmp_path: Path
) -> None:
    cut = Cut(method="shared", groups=4)
    split = Split(calibration="x.jsonl", cut=cut, bricks=(), router=None, active=2, steps=0, tokens=10)
    bench: Any = SimpleNamespace(folder=tmp_path, start=SimpleNamespace(tensors={}))
    tensors = {f"layers.{number}.mlp": {"mass": torch.tensor([mass])} for number, mass in enumerate(made)}
    with pytest.raises(Misfit) as raised:
        split._write(bench, tensors, always_on, [])
    assert raised.value.causes[0].startswith(cause)
    assert list(tmp_path.iterdir()) == []

"""Routing by trained gates: a vector for each module and adapter becomes a brick, and lines that run it with PEFT."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from brickctl.analysis.routed import load_by_gates
from brickctl.errors import BrickctlError, ManifestInvalid, Misfit, Unsupported, UsageFault
from brickctl.operations.routers.phatgoose import GATES, SMALLEST
from tests.support.architectures import adapter_on, model_of
from tests.support.building import build, digest, manifest, prepare, sum_of
from tests.support.deriving import derive
from tests.support.models import LINEAR, adapter, edit_config, load, logits
from tests.support.routing import ASK_LOGITS, model_of_words, prompts, run_guide

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor

ATTENTION = LINEAR[:4]
ENTRY = 'op = "phatgoose-gates"\nfrom = "base"\nbricks = ["one", "two"]\ncalibration = "examples.jsonl"\ntokens = 200'
STEP = '{ op = "route", method = "phatgoose", bricks = ["two", "one"], router = "g" }'
LONG = json.dumps({"prompt": "w24 " * 3000, "completion": "w25", "label": "two"}) + "\n"
PLACES = {"one": 4, "two": 24, "dora": 44, "three": 64}


def examples(*labels: str, count: int = 6) -> str:
    """Lines of text for each label, each label of words of its own."""
    pairs = [(label, text) for label in labels for text in prompts(PLACES[label], count)]
    return "".join(json.dumps({"text": text, "label": label}) + "\n" for label, text in pairs)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("phatgoose")


@pytest.fixture(scope="module")
def base(scratch: Path) -> Path:
    return model_of_words(scratch / "base")


@pytest.fixture(scope="module")
def adapters(scratch: Path, base: Path) -> dict[str, Path]:
    """Three adapters, and a DoRA; one changes attention alone, and one the last two layers."""
    return {
        "one": adapter(base, scratch / "one", seed=1, size=0.3),
        "two": adapter(base, scratch / "two", seed=2, size=0.3, r=3, use_rslora=True, target_modules=ATTENTION),
        "three": adapter(base, scratch / "three", seed=3, layers_to_transform=[1, 2]),
        "dora": adapter(base, scratch / "dora", seed=4, use_dora=True, target_modules=["q_proj"]),
    }


@pytest.fixture(scope="module")
def bricks(scratch: Path, base: Path, adapters: Mapping[str, Path]) -> dict[str, Path]:
    """The adapters, and gates for the first two."""
    derived(base, adapters, scratch / "g")
    return {**adapters, "g": scratch / "g"}


def derived(base: Path, bricks: Mapping[str, Path], folder: Path, entry: str = ENTRY, text: str | None = None) -> Any:
    """Derive gates in `folder` from examples of both labels."""
    (folder.parent / "examples.jsonl").write_text(examples("one", "two") if text is None else text)
    return derive(base, bricks, entry, folder)


def gates_of(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def with_gate(config: Path) -> list[str]:
    """Paths of the modules for which an adapter of PEFT has tensors."""
    names = load_file(config / "adapter_model.safetensors")
    return [name.removeprefix("base_model.model.").split(".lora_A")[0] for name in names if "lora_A" in name]


def test_every_adapter_has_a_standardised_gate_for_each_module_that_it_changes(bricks: Mapping[str, Path]) -> None:
    found = gates_of(bricks["g"])
    wanted = [f"{name}.{path}" for name in ("one", "two") for path in with_gate(bricks[name])]
    assert sorted(found) == sorted(wanted)
    assert len(wanted) == 3 * 7 + 3 * 4
    for name, gate in found.items():
        assert gate.shape == ((48,) if "down_proj" in name else (32,))
        assert float(gate.mean()) == pytest.approx(0.0, abs=1e-6)
        assert float(gate.square().mean()) == pytest.approx(1.0, abs=1e-6)


def test_the_configuration_names_the_adapters_by_their_digests(bricks: Mapping[str, Path]) -> None:
    said = json.loads((bricks["g"] / "router_config.json").read_text())
    assert (said["format"], said["labels"]) == ("brickctl-gates-1", ["one", "two"])
    assert list(said["of"]) == ["one", "two"]
    assert all(digest.startswith("sha256:") for digest in said["of"].values())


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(
    base: Path, adapters: Mapping[str, Path], bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    findings = derived(base, adapters, tmp_path / "again")
    assert [(row["brick"], row["steps"], row["most like"]) for row in findings.rows] == [
        ("one", 31, "two"),
        ("two", 31, "one"),
    ]
    assert all(row["tokens"] in range(200, 210) and -1 < row["cosine"] < 1 for row in findings.rows)
    assert "took 31 of 100 steps" in findings.notes[0]
    for file in ("model.safetensors", "router_config.json"):
        assert (tmp_path / "again" / file).read_bytes() == (bricks["g"] / file).read_bytes()
    derived(base, adapters, tmp_path / "other", f"{ENTRY}\nseed = 1")
    other = gates_of(tmp_path / "other")
    assert not any(torch.equal(gate, other[name]) for name, gate in gates_of(bricks["g"]).items())


def test_adding_a_brick_leaves_the_gates_of_the_others_bitwise_equal(
    base: Path, adapters: Mapping[str, Path], bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    """Its examples stand before, between and behind theirs, and it is a DoRA of another rank."""
    entry = ENTRY.replace('["one", "two"]', '["dora", "one", "two"]')
    text = examples("dora", count=2) + examples("one") + examples("dora") + examples("two") + examples("dora", count=1)
    derived(base, adapters, tmp_path / "more", entry, text)
    more = gates_of(tmp_path / "more")
    assert all(torch.equal(gate, more[name]) for name, gate in gates_of(bricks["g"]).items())
    assert len(more) == 3 * 7 + 3 * 4 + 3


def rows_in(built: Path) -> dict[str, Tensor]:
    return load_file(built / "router/gates.safetensors")


def test_the_gates_of_a_route_have_a_row_for_each_of_its_adapters_and_zeros_where_one_changes_nothing(
    base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    found, known = rows_in(build(manifest(base, bricks, STEP), tmp_path / "built")), gates_of(bricks["g"])
    assert list(found) == with_gate_of_both(base)
    for path, rows in found.items():
        for row, name in zip(rows, ("two", "one"), strict=True):
            own = known.get(f"{name}.{path}")
            assert torch.equal(row, torch.zeros_like(row) if own is None else own)


def with_gate_of_both(base: Path) -> list[str]:
    """Paths of all linear layers, in the order of the base."""
    names = [name.removesuffix(".weight") for name in load_file(base / "model.safetensors")]
    return [name for name in names if name.rpartition(".")[2] in LINEAR]


def routed_logits(base: Path, folder: Path, names: tuple[str, ...], top_k: int) -> Tensor:
    """The formula, written out: a hook on every module adds what the chosen adapters say, a token at a time."""
    model, gates = load(base), rows_in(folder)
    files = [load_file(folder / "adapters" / name / "adapter_model.safetensors") for name in names]

    def said(token: Tensor, path: str) -> Tensor:
        normal = (token - token.mean()) / token.var(correction=0).sqrt()
        logits = [float(normal @ gate) / len(gate) ** 0.5 for gate in gates[path]]
        best = sorted(range(len(names)), key=lambda at: -logits[at])[:top_k]
        shares = torch.tensor([logits[at] for at in best]).softmax(dim=0)
        prefix = f"base_model.model.{path}"
        each = (files[at][f"{prefix}.lora_B.weight"] @ (files[at][f"{prefix}.lora_A.weight"] @ token) for at in best)
        return torch.stack([share * one for share, one in zip(shares, each, strict=True)]).sum(dim=0)

    def hook(path: str) -> Callable[[Any, tuple[Tensor], Tensor], Tensor]:
        return lambda _, given, out: out + torch.stack([said(token, path) for token in given[0][0]])

    for path in gates:
        model.get_submodule(path).register_forward_hook(hook(path))
    return logits(model)


@pytest.fixture(scope="module")
def three(scratch: Path, base: Path, adapters: Mapping[str, Path]) -> dict[str, Path]:
    """Three adapters, and gates for all of them."""
    entry = ENTRY.replace('["one", "two"]', '["three", "two", "one"]')
    derived(base, adapters, scratch / "gates-of-three", entry, examples("one", "two", "three"))
    return {**adapters, "g": scratch / "gates-of-three"}


def among_three(top_k: int) -> str:
    return STEP.replace('"two",', '"two", "three",').replace(" }", f", top-k = {top_k} }}")


def test_a_route_may_have_fewer_adapters_than_there_are_gates_for(
    base: Path, three: Mapping[str, Path], tmp_path: Path
) -> None:
    """Those that it has get the rows that they have in any other company."""
    all_three = rows_in(build(manifest(base, three, among_three(2)), tmp_path / "three"))
    two = rows_in(build(manifest(base, three, STEP), tmp_path / "two"))
    assert all(torch.equal(rows, all_three[path][[0, 2]]) for path, rows in two.items())
    assert not all_three["model.layers.0.self_attn.q_proj"][1].any()  # `three` leaves the first layer alone


@pytest.mark.parametrize("method", ['"phatgoose", router = "g"', '"arrow"'])
@pytest.mark.parametrize(("others", "told"), [('"two", "three"', ["`two`, `three`"]), ('"two"', ["`two`"])])
def test_adapters_of_fewer_modules_than_others_are_told_of(
    method: str, others: str, told: list[str], base: Path, three: Mapping[str, Path], tmp_path: Path
) -> None:
    """`one` changes all linear layers, `two` attention alone, and `three` the last two blocks."""
    assert unlike_in(f'method = {method}, bricks = ["one", {others}]', base, three, tmp_path) == told


def test_nothing_is_told_of_adapters_of_the_same_modules(base: Path, three: Mapping[str, Path], tmp_path: Path) -> None:
    same = {**three, "two": adapter(base, tmp_path / "two", seed=5)}
    assert unlike_in('method = "arrow", bricks = ["one", "two"]', base, same, tmp_path / "built") == []


def unlike_in(keys: str, base: Path, bricks: Mapping[str, Path], folder: Path) -> list[str]:
    """Which adapters a route says change fewer modules."""
    notes = prepare(manifest(base, bricks, f'{{ op = "route", {keys} }}'), folder).artifact.notes
    begun = "not all modules are changed by "
    return [note.removeprefix(begun).partition(":")[0] for note in notes if note.startswith(begun)]


def test_the_lines_in_the_guide_route_every_token_as_the_formula_says(
    base: Path, three: Mapping[str, Path], tmp_path: Path
) -> None:
    built = build(manifest(base, three, among_three(2)), tmp_path / "built")
    said = run_guide(built, ASK_LOGITS)
    wanted = routed_logits(base, built, ("two", "three", "one"), 2)
    torch.testing.assert_close(torch.tensor(said["none"]), logits(load(base)), rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.tensor(said["routed"]), wanted, rtol=0, atol=2e-5)
    assert float((wanted - logits(load(base))).abs().max()) > 0.05


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_checks_route_every_token_as_the_formula_says(
    top_k: int, base: Path, three: Mapping[str, Path], tmp_path: Path
) -> None:
    built = build(manifest(base, three, among_three(top_k)), tmp_path / "built")
    names = ("two", "three", "one")
    loaded = load_by_gates(built, names, built / GATES, top_k=top_k, smallest=SMALLEST)
    torch.testing.assert_close(logits(loaded.model), routed_logits(base, built, names, top_k), rtol=0, atol=2e-5)


def test_gates_of_a_layer_without_adapters_are_not_passed_over(
    base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    """Such a layer of another name would run with all that its adapters say; the guide stops at it too."""
    built = build(manifest(base, bricks, STEP), tmp_path / "built")
    save_file({**rows_in(built), "model.norm": torch.zeros(2, 32)}, built / GATES)
    with pytest.raises(Unsupported) as caught:
        load_by_gates(built, ("two", "one"), built / GATES, top_k=2, smallest=SMALLEST)
    assert "no layer `model.norm`" in caught.value.causes[0]
    with pytest.raises(AssertionError, match="lora_B"):
        run_guide(built, ASK_LOGITS)


def test_states_of_a_base_in_bf16_are_routed_in_fp32(tmp_path: Path) -> None:
    base = model_of_words(tmp_path / "base", dtype="bfloat16")
    known = {name: adapter(base, tmp_path / name, seed=seed) for seed, name in enumerate(("one", "two"))}
    derived(base, known, tmp_path / "g")
    built = build(manifest(base, {**known, "g": tmp_path / "g"}, STEP), tmp_path / "built")
    loaded = load_by_gates(built, ("two", "one"), built / GATES, top_k=2, smallest=SMALLEST)
    found, wanted = logits(loaded.model), routed_logits(base, built, ("two", "one"), 2)
    assert found.dtype == torch.bfloat16
    assert float((found - wanted).norm() / wanted.norm()) < 0.05


def test_gates_of_a_base_that_stores_its_weights_transposed_are_as_wide_as_inputs(tmp_path: Path) -> None:
    base = model_of_words_like(model_of("gpt2", tmp_path / "base"), tmp_path)
    settings = {"target_modules": ["c_attn", "c_proj"], "task_type": "CAUSAL_LM", "fan_in_fan_out": True}
    known = {name: adapter_on(base, tmp_path / name, seed=seed, **settings) for seed, name in enumerate(("one", "two"))}
    derived(base, known, tmp_path / "g")
    found = gates_of(tmp_path / "g")
    config = json.loads((base / "config.json").read_text())
    assert found["one.transformer.h.0.attn.c_attn"].shape == (config["n_embd"],)
    assert found["one.transformer.h.0.mlp.c_proj"].shape[0] > config["n_embd"]
    built = build(manifest(base, {**known, "g": tmp_path / "g"}, STEP), tmp_path / "built")
    loaded = load_by_gates(built, ("two", "one"), built / GATES, top_k=2, smallest=SMALLEST)
    with torch.no_grad():
        assert loaded.model(torch.tensor([[3, 5, 7]])).logits.isfinite().all()


def model_of_words_like(base: Path, scratch: Path) -> Path:
    """The base, with the tokenizer of words."""
    words = model_of_words(scratch / "words")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (base / file).write_bytes((words / file).read_bytes())
    return base


def test_the_bytes_do_not_depend_on_threads(base: Path, bricks: Mapping[str, Path], tmp_path: Path) -> None:
    text = manifest(base, bricks, STEP)
    assert digest(text, tmp_path / "one", threads=1) == digest(text, tmp_path / "two", threads=2)


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ('{ op = "route", method = "phatgoose", bricks = ["one", "two"] }', "needs `router`"),
        ('{ op = "route", method = "phatgoose", bricks = ["one"], router = "g" }', "among two adapters at least"),
        ('{ op = "route", method = "phatgoose", bricks = ["one", "two"], router = "two" }', "neither the base nor one"),
        ('{ op = "route", method = "phatgoose", bricks = ["one", "two"], router = "three" }', "`three` is no router"),
        ('{ op = "route", method = "phatgoose", bricks = ["one", "three"], router = "g" }', "no gates for `three`"),
        ('{ op = "route", method = "retrieval", bricks = ["one", "two"], router = "g" }', "chooses for no request"),
        (STEP.replace(" }", ", top-k = 3 }"), "must be from 1 to 2"),
        (STEP.replace(" }", ", temperature = 1.0 }"), "temperature"),
        ('{ op = "merge", method = "linear", bricks = { g = 1.0 } }', "is a router, which cannot be merged"),
    ],
)
def test_routes_that_make_no_sense_are_refused(
    step: str, reason: str, base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(BrickctlError) as caught:
        prepare(manifest(base, bricks, step), tmp_path)
    assert reason in str(caught.value)


def test_gates_for_another_version_of_an_adapter_are_refused(
    base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(Misfit, match="`g` has no gates for `one`") as caught:
        prepare(manifest(base, {**bricks, "one": bricks["three"]}, STEP), tmp_path)
    assert caught.value.causes == ("they were trained for another version of `one`",)
    assert caught.value.hint == "derive `g` again, with `one` among its bricks"


def test_an_adapter_that_gates_know_by_another_name_is_to_be_given_that_name(
    base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    known = {"two": bricks["two"], "uno": bricks["one"], "g": bricks["g"]}
    with pytest.raises(Misfit, match="`g` has no gates for `uno`") as caught:
        prepare(manifest(base, known, STEP.replace('"one"', '"uno"')), tmp_path)
    assert caught.value.causes == ("it has gates for one, two",)
    assert caught.value.hint == "`uno` is the adapter that it calls `one`: give the brick that name"


def copied(source: Path, folder: Path) -> Path:
    folder.mkdir()
    for path in source.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": "brickctl-gates-2"}, "has the format `brickctl-gates-2`"),
        ({"interface": "sha256:" + "0" * 64}, "names a base whose tensors have other names or shapes"),
        ({"labels": ["one", '"); import os']}, "no list of 1 to 1000 names"),
        ({"labels": ["one"]}, "does not name a digest for every label"),
        ({"labels": ["one", "base"], "of": {"one": "", "base": ""}}, "`base`, which is no adapter"),
        ({"of": None}, "does not name a digest for every label"),
        ({"of": {"one": 1, "two": 2}}, "does not name a digest for every label"),
    ],
)
def test_gates_that_say_something_else_are_refused(
    changes: Mapping[str, Any], reason: str, base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    edit_config(copied(bricks["g"], tmp_path / "g"), "router_config.json", **changes)
    with pytest.raises(Misfit) as caught:
        prepare(manifest(base, {**bricks, "g": tmp_path / "g"}, STEP), tmp_path)
    assert reason in f"{caught.value} {caught.value.causes}"


Q_PROJ = "one.model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda tensors: tensors.pop(Q_PROJ), "`one` changes modules for which it has none"),
        (lambda tensors: tensors.update({Q_PROJ: torch.zeros(31)}), "is F32 [31], and should be F32 [32]"),
        (lambda tensors: tensors.update({Q_PROJ: torch.zeros(32).double()}), "is F64 [32], and should be F32 [32]"),
        (lambda tensors: tensors.update({"one.model.nothing": torch.zeros(32)}), "a gate of no linear layer"),
        (lambda tensors: tensors.update({"one.model.norm": torch.zeros(32)}), "a gate of no linear layer"),
        (lambda tensors: tensors.update({Q_PROJ.replace("one", "three"): torch.zeros(32)}), "none of its labels"),
    ],
)
def test_gates_with_other_tensors_are_refused(
    change: Callable[[dict[str, Tensor]], object],
    reason: str,
    base: Path,
    bricks: Mapping[str, Path],
    tmp_path: Path,
) -> None:
    folder = copied(bricks["g"], tmp_path / "g")
    tensors = gates_of(folder)
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(Misfit) as caught:
        prepare(manifest(base, {**bricks, "g": folder}, STEP), tmp_path)
    assert reason in f"{caught.value} {caught.value.causes}"


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (ENTRY.replace('["one", "two"]', "[]"), "needs `bricks`"),
        (ENTRY.replace('"two"', '"one"'), "names each brick once"),
        (ENTRY.replace('"two"', '"base"'), "and not the base"),
        (ENTRY.replace('"two"', '"tow"'), "uses `tow`, which is no brick"),
        (ENTRY.replace('\ncalibration = "examples.jsonl"', ""), "needs text"),
        (f"{ENTRY}\nsteps = 0", "must be from 1 to 100,000"),
        (f"{ENTRY}\nrank = 0", "must be from 1 to 65,536"),
        (f"{ENTRY}\nrate = 0", "must be above 0"),
        (f"{ENTRY}\nrate = 2", "must be above 0, and at most 1"),
        (ENTRY.replace("tokens = 200", "tokens = 0"), "must be at least 1"),
        (ENTRY.replace("tokens = 200", "tokens = 10_000\nsteps = 2"), "at most 4,096 for each of the 2 steps"),
        (f"{ENTRY}\nraet = 0.1", "raet"),
    ],
)
def test_entries_that_make_no_sense_are_refused(
    entry: str, reason: str, base: Path, adapters: Mapping[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        derived(base, adapters, tmp_path / "x", entry)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (examples("one"), "`two` has no examples"),
        (examples("one") + '{"text": "w24 w25", "label": "base"}\n', "`two` has no examples"),
        (examples("one", "dora"), "`dora` is none of the bricks"),
        (examples("one") + '{"prompt": "w24 w25", "label": "two"}\n', "`completion` is missing"),
        (examples("one") + '{"text": "w24", "label": "two"}\n', "`two`\n  cause: no example has a token to predict"),
        (examples("one") + LONG, "trains no gates of `two`\n  cause: an example needs 3001 tokens; the model reads at"),
        ('{"text": "w01 w02"}\n', "`label` is missing"),
    ],
)
def test_examples_that_train_no_gates_are_refused(
    text: str, reason: str, base: Path, adapters: Mapping[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(UsageFault) as caught:
        derived(base, adapters, tmp_path / "x", text=text)
    assert reason in str(caught.value)


def test_lines_of_the_base_are_left_out_and_labels_of_prompts_are_read(
    base: Path, adapters: Mapping[str, Path], tmp_path: Path
) -> None:
    """What `centroids` reads trains gates too, where it has completions."""
    lines = [{"prompt": text, "completion": " w09 w10", "label": "one"} for text in prompts(4, 4)]
    lines += [{"text": text, "label": "two"} for text in prompts(24, 4)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    derived(base, adapters, tmp_path / "without", text=text)
    others = ['{"prompt": "w01 w02", "label": "base"}', '{"text": "w03", "label": "base"}', ""]
    derived(base, adapters, tmp_path / "with", text=text + "\n".join(others))
    ours, theirs = gates_of(tmp_path / "with"), gates_of(tmp_path / "without")
    assert all(torch.equal(gate, theirs[name]) for name, gate in ours.items())


def test_what_is_no_adapter_has_no_gates(base: Path, adapters: Mapping[str, Path], tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="only adapters can be routed"):
        derived(base, {**adapters, "two": base}, tmp_path / "x")


def test_gates_that_overflow_are_refused(base: Path, adapters: Mapping[str, Path], tmp_path: Path) -> None:
    huge = adapter(base, tmp_path / "huge", seed=1, size=1e30)
    with pytest.raises(BrickctlError, match="NaN"):
        derived(base, {**adapters, "two": huge}, tmp_path / "x")


FROM_TARGET = ENTRY.replace('from = "base"', 'from = { target = "grown" }')


@pytest.mark.parametrize(
    ("grow", "reason"),
    [
        ('{ op = "grow-depth", layers = 4 }', "no gates can be trained on this model"),
        ('{ op = "grow-width", neurons = 96 }', "`one` does not fit the model"),
    ],
)
def test_a_model_whose_modules_are_not_those_of_the_base_trains_no_gates(
    grow: str, reason: str, base: Path, adapters: Mapping[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "examples.jsonl").write_text(examples("one", "two"))
    with pytest.raises(Misfit, match=reason):
        derive(base, adapters, FROM_TARGET, tmp_path / "x", f"[targets.grown]\napply = [{grow}]")


def test_gates_can_be_trained_on_what_a_target_merges(
    base: Path, adapters: Mapping[str, Path], bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    """It reads otherwise than the base, so gates are others."""
    (tmp_path / "examples.jsonl").write_text(examples("one", "two"))
    merged = f"[targets.grown]\napply = [{sum_of(three=1.0)}]"
    derive(base, adapters, FROM_TARGET, tmp_path / "x", merged)
    found = gates_of(tmp_path / "x")
    assert list(found) == list(gates_of(bricks["g"]))
    assert not any(torch.equal(gate, found[name]) for name, gate in gates_of(bricks["g"]).items())


def test_an_adapter_of_experts_that_transformers_computes_at_once_is_refused_before_any_training(
    tmp_path: Path,
) -> None:
    """As older versions of PEFT trained them: the files have a matrix for each expert, and the model no such layer."""
    base = model_of_words_like(model_of("mixtral", tmp_path / "base"), tmp_path)
    known = {"one": adapter_on(base, tmp_path / "one", target_modules=["q_proj"], task_type="CAUSAL_LM")}
    known["two"] = copied(known["one"], tmp_path / "two")
    expert = "model.layers.0.block_sparse_moe.experts.0.w1"
    outputs, inputs = load_file(base / "model.safetensors")[f"{expert}.weight"].shape
    factors = {"lora_A": torch.ones(8, inputs), "lora_B": torch.ones(outputs, 8)}
    said = {f"base_model.model.{expert}.{name}.weight": one for name, one in factors.items()}
    save_file(said, known["two"] / "adapter_model.safetensors")
    edit_config(known["two"], "adapter_config.json", target_modules=["w1"], r=8)
    with pytest.raises(Unsupported, match="no gates can be trained on this model") as caught:
        derived(base, known, tmp_path / "g")
    assert f"no linear layer `{expert}`" in caught.value.causes[0]

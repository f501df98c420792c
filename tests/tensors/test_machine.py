"""The machine that runs formulas, step by step against NumPy and torch, and whole merges with it and without."""

from __future__ import annotations

import ctypes
import dataclasses
import hashlib
import json
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from brickctl.core.regions import BLOCK_ELEMENTS, Region
from brickctl.errors import BrickctlError
from brickctl.merging.method import methods
from brickctl.tensors.draws import draws
from brickctl.tensors.fused import fusion
from brickctl.tensors.fused.formula import Code, Notes, Step, Value, elected, formulas, live
from brickctl.tensors.fused.machine import SOURCES, Program, machine
from brickctl.tensors.fused.shortening import shortened
from brickctl.tensors.fused.without_torch import needs_torch
from brickctl.tensors.kernels import _KERNELS
from brickctl.tensors.sorting_out import sort_out
from brickctl.tensors.strips import SUMS, Total
from tests.docs.pages import ROOT
from tests.support.building import build, manifest, prepare
from tests.support.choices import BRICKS, every_choice, fitting, step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor

    from brickctl.merging.method import Declared

STREAM = "0123456789abcdef" * 2
SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    5e-324,
    -5e-324,
    1e300,
    -1e300,
    float("inf"),
    float("-inf"),
    float("nan"),
    0.25,
    65504.0,
]
CHUNK = 1024
FOLDER = ROOT / "brickctl" / "tensors" / "fused"


def run(
    formula: Callable[..., Value],
    *inputs: Any,
    store: Code = Code.STORE_F64,
    load: Code = Code.LOAD_F64,
    first: int = 0,
) -> tuple[Any, bool]:
    """What a formula makes of arrays of one length, and whether all of that is finite."""
    found = machine()
    assert found is not None
    notes = Notes()
    value = formula(*(notes.take(Step(load, index=at)) for at in range(len(inputs))))
    notes, results, used = shortened(notes, [(value.number, store)])
    program = Program(notes, results, found)
    wide = {Code.STORE_F64: np.float64, Code.STORE_F32: np.float32}
    out = np.empty(len(inputs[0]), wide.get(store, np.uint16))
    arrays = [np.ascontiguousarray(one) for one in inputs]
    region = Region(0, 1, first, first + len(out))
    finite = program.run([arrays[at].ctypes.data for at in used], [out.ctypes.data], region, first + len(out))
    return out, finite


def pairs() -> tuple[Any, Any]:
    """Every special number with every other, and some ordinary ones, over more than one chunk."""
    left, right = (part.reshape(-1) for part in np.meshgrid(SPECIAL, SPECIAL))
    more = np.random.default_rng(0).standard_normal((2, 2 * CHUNK + 7))
    return np.concatenate([left, more[0]]), np.concatenate([right, more[1]])


def same(found: Any, expected: Any) -> bool:
    """Equal bits, but for those of NaN."""
    numbers = ~np.isnan(expected)
    return bool((np.isnan(found) == ~numbers).all()) and found[numbers].tobytes() == expected[numbers].tobytes()


def test_where_there_is_a_compiler_there_is_a_machine() -> None:
    assert (machine() is not None) == (shutil.which("cc") is not None)


OPERATIONS: dict[str, tuple[Any, Any]] = {
    "add": (lambda x, y: x + y, np.add),
    "subtract": (lambda x, y: x - y, np.subtract),
    "multiply": (lambda x, y: x * y, np.multiply),
    "divide": (lambda x, y: x / y, np.divide),
    "nothing is fused": (lambda x, y: x * 0.3 + y * 0.7, lambda x, y: x * 0.3 + y * 0.7),
    "numbers": (lambda x, y: (x + 0.1) * 0.3 - y / 0.7, lambda x, y: (x + 0.1) * 0.3 - y / 0.7),
    "of two the one before is done at once": (lambda x, y: x * 0.3 + y - x * 0.7, lambda x, y: x * 0.3 + y - x * 0.7),
    "magnitude": (lambda x, y: x.magnitude() - y.magnitude(), lambda x, y: np.abs(x) - np.abs(y)),
}


@pytest.mark.parametrize(("formula", "expected"), OPERATIONS.values(), ids=OPERATIONS.keys())
def test_a_step_is_the_operation_that_ieee_754_says(formula: Any, expected: Any) -> None:
    left, right = pairs()
    with np.errstate(all="ignore"):
        found, finite = run(formula, left, right)
        wanted = expected(left, right)
    assert same(found, wanted)
    assert finite == bool(np.isfinite(wanted).all())


@pytest.mark.parametrize(
    ("load", "dtype"), [(Code.LOAD_F16, torch.float16), (Code.LOAD_BF16, torch.bfloat16)], ids=["float16", "bfloat16"]
)
def test_every_half_is_widened_as_torch_does(load: Code, dtype: torch.dtype) -> None:
    halves = np.arange(1 << 16).astype(np.uint16)
    found, _ = run(lambda x: x, halves, load=load)
    assert same(found, torch.from_numpy(halves.view(np.int16)).view(dtype).double().numpy())


@pytest.mark.parametrize(
    ("store", "dtype"),
    [(Code.STORE_F32, torch.float32), (Code.STORE_F16, torch.float16), (Code.STORE_BF16, torch.bfloat16)],
    ids=["float32", "float16", "bfloat16"],
)
def test_numbers_are_rounded_as_torch_does(store: Code, dtype: torch.dtype) -> None:
    """Every half, the middle between it and the next, both neighbours of that in fp32, and numbers of all sizes."""
    halves = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16)
    grid = torch.cat([halves.view(torch.float16).double(), halves.view(torch.bfloat16).double()]).numpy()
    grid = np.unique(grid[np.isfinite(grid)])
    middles = (grid[1:] + grid[:-1]) / 2
    near = np.float32([np.nextafter(np.float32(middles), np.float32(end)) for end in (-np.inf, np.inf)]).reshape(-1)
    random = np.random.default_rng(0).integers(0, 1 << 64, 1 << 18, dtype=np.uint64).view(np.float64)
    values = np.concatenate([grid, middles, near.astype(np.float64), random, SPECIAL])
    found, finite = run(lambda x: x, values, store=store)
    expected = torch.from_numpy(values).to(dtype)
    bits = found if store is Code.STORE_F32 else torch.from_numpy(found.view(np.int16)).view(dtype).float().numpy()
    assert same(bits, expected.float().numpy())
    assert not finite


@pytest.mark.parametrize(("store", "largest"), [(Code.STORE_F16, 65519.0), (Code.STORE_BF16, 3.3e38)])
def test_what_overflows_only_when_it_is_rounded_is_seen(store: Code, largest: float) -> None:
    values = np.full(CHUNK + 1, largest)
    assert run(lambda x: x, values, store=store)[1]
    values[-1] *= 1.04
    assert not run(lambda x: x, values, store=store)[1]


@given(first=st.integers(0, 1 << 40), count=st.integers(1, 3 * CHUNK), limit=st.integers(0, 1 << 16))
def test_draws_are_those_of_the_contract(first: int, count: int, limit: int) -> None:
    found, _ = run(lambda x: x.drawn(STREAM, limit), np.ones(count), first=first)
    assert found.tolist() == (draws(STREAM, first, count) < limit).astype(float).tolist()


@pytest.mark.parametrize("number", [0.3, -0.3, 0.0, 5e-324, float("inf"), float("nan")])
def test_what_is_drawn_is_rescaled_at_once(number: float) -> None:
    """0 keeps the sign that it gets from both, and what is not a number stays so though it is dropped."""
    values, _ = pairs()
    notes = Notes()
    read = notes.take(Step(Code.LOAD_F64, index=0))
    value = read.drawn(STREAM, 30000) * number
    short, _, _ = shortened(notes, [(value.number, Code.STORE_F64)])
    assert [step.code for step in short.steps] == [Code.LOAD_F64, Code.DRAWN]
    with np.errstate(all="ignore"):
        expected = values * (draws(STREAM, 0, len(values)) < 30000) * number
        assert same(run(lambda x: x.drawn(STREAM, 30000) * number, values)[0], expected)


@given(
    quota=st.integers(-1, 2 * CHUNK + 2),
    values=st.lists(st.sampled_from([0.0, 1.0, -1.0, 2.0, -2.0, 3.0, float("nan")]), min_size=1, max_size=40),
)
def test_of_what_ties_the_first_are_kept(quota: int, values: list[float]) -> None:
    array = np.resize(np.array(values), 2 * CHUNK + 3)
    found, _ = run(lambda x: x.largest(lambda _: (1.5, 2.5, float(quota))), array)
    kept, left = array.copy(), quota
    for at, value in enumerate(array):
        if abs(value) <= 1.5:
            kept[at] = 0.0
        elif quota >= 0 and abs(value) <= 2.5:
            kept[at] = value if left > 0 else 0.0
            left -= 1
    assert same(found, kept)


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("weighs", [True, False])
@pytest.mark.parametrize("sign", [None, 1.0, -1.0], ids=["none", "above", "below"])
def test_the_sign_that_wins_is_that_of_the_sum(*, weighs: bool, sign: float | None, parts: int) -> None:
    """Of any number of parts: the machine knows some by heart."""
    weights, (left, right) = [0.5, -0.25, 2.0, 0.75, -1.0, 0.3][:parts], pairs()
    values = [left, right, *(np.roll(left, 7 * at) for at in range(1, 5))][:parts]
    shares = None if sign is None else [sign * share for share in (0.5, 0.25, 2.0, 1.0, 3.0, 0.125)][:parts]

    def formula(*inputs: Value) -> Value:
        return elected(inputs, weights, shares, weighs=weighs)

    with np.errstate(all="ignore"):
        voters = [value * weight for value, weight in zip(values, weights, strict=True)] if weighs else values
        votes = sum(voters[1:], start=voters[0])
        agree = [np.where(((one > 0) == (votes >= 0)) & (one != 0), 1.0, 0.0) for one in voters]
        expected = np.zeros(len(left))
        for at in range(parts):
            expected += voters[at] * agree[at] if weighs else voters[at] * agree[at] * weights[at]
        if shares is not None:
            divisor = sum(one * share for one, share in zip(agree, shares, strict=True))
            expected /= np.maximum(divisor, min(shares)) if min(shares) > 0 else np.minimum(divisor, max(shares))
        assert same(run(formula, *values)[0], expected)


@pytest.mark.parametrize(
    ("load", "dtype"), [(Code.LOAD_F64, np.float64), (Code.LOAD_F32, np.float32), (Code.LOAD_F16, np.float16)], ids=str
)
def test_what_is_read_and_used_once_is_subtracted_from_at_once(load: Code, dtype: Any) -> None:
    values = np.random.default_rng(1).standard_normal((2, 2 * CHUNK + 7)).astype(dtype)
    bits = values.view(np.uint16) if dtype is np.float16 else values
    found, _ = run(lambda x, y: y - x, *bits, load=load)
    assert same(found, values[1].astype(np.float64) - values[0].astype(np.float64))


def test_totals_add_number_by_number_whatever_comes_first() -> None:
    """Number i of a block goes to sum i % 4096; magnitudes are not made apart."""
    found, notes = machine(), Notes()
    assert found is not None
    values = np.random.default_rng(2).standard_normal(2 * SUMS + 77)
    value = notes.take(Step(Code.LOAD_F64, index=0))
    terms = [value, value.magnitude()]
    short, results, _ = shortened(notes, [(term.number, Code.TOTAL) for term in terms])
    assert [step.code for step in short.steps] == [Code.LOAD_F64]
    program, totals = Program(short, results, found), [Total(), Total()]
    expected = [Total(), Total()]
    for _ in range(3):
        program.run([values.ctypes.data], [one.address for one in totals], Region(0, 1, 0, len(values)), len(values))
        for one, numbers in zip(expected, (values, np.abs(values)), strict=True):
            one.add(numbers)
    assert [one.value() for one in totals] == [one.value() for one in expected]


@given(
    values=st.lists(st.floats(width=32), min_size=1, max_size=100),
    low=st.integers(0, 0x7FFFFFFF),
    width=st.integers(0, 1 << 28),
)
def test_keys_are_sorted_out_as_without_the_machine(values: list[float], low: int, width: int) -> None:
    bits, high = np.array(values, dtype=np.float32).view(np.int32), min(low + width, 0x7FFFFFFF)
    found, keys = sort_out(bits, (low, high)), bits & 0x7FFFFFFF
    assert found.keys.tolist() == keys[(keys >= low) & (keys <= high)].tolist()
    assert found[1:] == (np.count_nonzero(keys > high), np.count_nonzero(keys), keys.max())


def test_equal_steps_are_done_once_and_registers_are_used_again() -> None:
    found, notes = machine(), Notes()
    assert found is not None
    value = notes.take(Step(Code.LOAD_F64, index=0))
    total = value
    for number in range(100):
        total += value * float(number % 2)
    assert sum(one.code is Code.MULTIPLY_NUMBER for one in notes.steps) == 2
    program = Program(notes, [(total.number, Code.STORE_F64)], found)
    assert max(one.to for one in program._steps) <= 4
    used = {(one.to, program._places[one.reads]) for one in program._steps if one.code == Code.MULTIPLY_NUMBER}
    assert all(to != left for to, left in used)


def test_every_formula_is_that_of_a_kernel() -> None:
    methods()
    assert {*formulas()} <= {*_KERNELS}


def test_the_simplest_cpu_gives_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compiled for each kind of CPU differs in nothing but speed: here is what the oldest ones run."""
    source, library = FOLDER / "machine.c", tmp_path / "libmachine.so"
    mark = hashlib.sha256(b"".join((FOLDER / name).read_bytes() for name in SOURCES)).hexdigest()[:8]
    flags = ["-O3", "-std=c11", "-shared", "-fPIC", "-ffp-contract=off", "-DONE_CPU", f"-DSOURCE=0x{mark}u"]
    subprocess.run([shutil.which("cc") or "cc", *flags, str(source), "-o", str(library)], check=True)

    def everything() -> list[bytes]:
        left, right = pairs()
        made = [run(one, left, right)[0] for one, _ in OPERATIONS.values()]
        made += [run(lambda x: x, left, store=store)[0] for store in (Code.STORE_F32, Code.STORE_F16, Code.STORE_BF16)]
        made += [run(lambda x: x.drawn(STREAM, 30000) * 0.3, left, first=first)[0] for first in (0, 7, 1 << 40)]
        made += [run(lambda *x: elected(x, [0.3] * len(x), None, weighs=True), *[left] * parts)[0] for parts in (3, 5)]
        return [np.nan_to_num(one, nan=7.0).tobytes() if one.dtype.kind == "f" else one.tobytes() for one in made]

    before = everything()
    real = ctypes.CDLL
    machine.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: real(str(library)))
    try:
        assert everything() == before
    finally:
        machine.cache_clear()


def test_the_machine_has_no_other_sources_than_those_that_are_compared() -> None:
    assert {*SOURCES} == {path.name for path in FOLDER.iterdir() if path.suffix in {".c", ".h"}}
    assert str(SOURCES)[1:-1].replace("'", '"') in (ROOT / ".compile" / "machine.py").read_text(encoding="utf-8")


def test_a_library_of_another_source_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, library = FOLDER / "machine.c", tmp_path / "libmachine.so"
    command = [shutil.which("cc") or "cc", "-O1", "-shared", "-fPIC", "-DONE_CPU", "-DSOURCE=1", str(source)]
    subprocess.run([*command, "-o", str(library)], check=True)
    real = ctypes.CDLL
    machine.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: real(str(library)))
    try:
        assert machine() is None
    finally:
        machine.cache_clear()


def test_zeros_of_both_signs_are_two_numbers() -> None:
    found, _ = run(lambda x: x * 0.0 + (x * -0.0) * 1.0, np.array([1.0]))
    assert found.tobytes() == np.array([1.0 * 0.0 + (1.0 * -0.0) * 1.0]).tobytes()
    notes = Notes()
    value = notes.take(Step(Code.LOAD_F64, index=0))
    assert (value * 0.0).number != (value * -0.0).number


def test_what_no_result_needs_is_neither_read_nor_done() -> None:
    notes = Notes()
    values = [notes.take(Step(Code.LOAD_F64, index=at)) for at in range(3)]
    assert (values[0] + values[1]).number == 3
    result = values[2] * 2.0
    steps, used = live([result.number], notes)
    assert used == [2]
    assert notes.only(steps, used).steps == [
        Step(Code.LOAD_F64, index=0),
        Step(Code.MULTIPLY_NUMBER, (0,), numbers=(2.0,)),
    ]


def model(folder: Path, tensors: Mapping[str, Tensor]) -> Path:
    folder.mkdir()
    save_file(dict(tensors), folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "test"}', encoding="utf-8")
    return folder


def noise(*shape: int, seed: int, size: float = 1.0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * size


def models(place: Path, rows: int) -> Mapping[str, Path]:
    """A base and three bricks with tensors of all types, with ties and zeros; one has so many rows of 64."""
    base = {"half": noise(rows, 64, seed=0), "single": noise(70, 33, seed=1), "vector": noise(19, seed=2)}
    types = {"half": torch.bfloat16, "single": torch.float32, "vector": torch.float16}
    found = {"base": base}
    for seed, name in enumerate(BRICKS, 1):
        found[name] = {key: tensor + noise(*tensor.shape, seed=10 * seed, size=0.02) for key, tensor in base.items()}
        found[name]["half"][::3] = base["half"][::3]
    return {
        name: model(place / name, {f"{key}.weight": one.to(types[key]) for key, one in tensors.items()})
        for name, tensors in found.items()
    }


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Of several blocks, and a few rows too many."""
    return models(tmp_path_factory.mktemp("models"), BLOCK_ELEMENTS // 64 + 3)


@pytest.fixture(scope="module")
def small_folders(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    return models(tmp_path_factory.mktemp("small"), 67)


@every_choice()
def test_merges_have_the_same_bytes_with_the_machine_and_without(
    declared: Declared,
    chosen: str,
    folders: Mapping[str, Path],
    small_folders: Mapping[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The machine makes no whole matrices, only what comes after them: other parameters are tried on small ones."""
    made_of = small_folders if chosen and declared.reproducible == "numeric" else folders
    bricks = {name: folder for name, folder in made_of.items() if name != "base"}
    steps = [step(declared, [0.5] * fitting(declared), chosen)]
    if declared.most >= len(BRICKS):
        steps.append(step(declared, [0.5, -0.25, 1.0], chosen))
    for number, apply in enumerate(steps):
        text = manifest(made_of["base"], bricks, apply)
        made: list[bytes | str] = []
        for way, found in (("with", machine()), ("without", None)):
            monkeypatch.setattr(fusion, "machine", lambda found=found: found)
            made.append(outcome(text, tmp_path / f"{number}-{way}"))
        assert made[0] == made[1]


WITHOUT_TORCH = {
    "breadcrumbs",
    "breadcrumbs_ties",
    "dare_linear",
    "dare_ties",
    "fisher",
    "karcher",
    "linear",
    "model_stock",
    "multislerp",
    "nuslerp",
    "passthrough",
    "slerp",
    "task_arithmetic",
    "ties",
}

_BUILDS = """
import json, sys
from pathlib import Path
from tests.support.building import build
said = {}
for name, text in json.loads(sys.stdin.read()).items():
    build(text, Path(sys.argv[1]) / name)
    said[name] = "torch" in sys.modules
print(json.dumps(said))
"""


@pytest.mark.parametrize("count", [2, 8])
def test_these_methods_need_no_torch(count: int, folders: Mapping[str, Path], tmp_path: Path) -> None:
    """Of all is asked whether they do; those that do not are built in one process, in several blocks, with ties."""
    names = [name for name in folders if name != "base"]
    bricks = {f"x{at}": folders[names[at % len(names)]] for at in range(count)}
    texts, asked = {}, set[str]()
    for name, declared in methods().items():
        given = {field.name for field in dataclasses.fields(declared.method)}  # type: ignore[arg-type]
        chosen = "density = 0.6" if "density" in given else "scale = 0.5" if name == "passthrough" else ""
        weights = [0.5] * (1 if name == "passthrough" else min(count, declared.most))
        text = manifest(folders["base"], bricks, step(declared, weights, chosen, tuple(bricks)))
        if any(needs_torch(node) for _, node in prepare(text, tmp_path).plan.computed):
            asked.add(name)
        else:
            texts[name] = text
    assert methods().keys() - asked == WITHOUT_TORCH
    command = [sys.executable, "-c", _BUILDS, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, input=json.dumps(texts), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == dict.fromkeys(texts, False)


def outcome(text: str, folder: Path) -> bytes | str:
    """The weights of a build, or what refuses it."""
    try:
        return (build(text, folder) / "model.safetensors").read_bytes()
    except BrickctlError as refusal:
        return str(refusal)


def test_codes_are_numbered_as_in_the_machine() -> None:
    source = (FOLDER / "machine.c").read_text(encoding="utf-8")
    listed = re.search(r"enum \{([A-Z_0-9,\s]+)\}", source)
    assert listed is not None
    assert re.findall(r"\w+", listed[1]) == [code.name for code in Code]

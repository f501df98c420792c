"""Every merge method: the same bytes under whatever could move a bit, or within a bound where it is `numeric`.

One process for each surrounding builds all methods. One tensor is a little larger than a block, another has rows of
more than half a block, so that statistics and norms are added over several. What is written is fp64, which hides no
bit of what was computed: bytes of fp32 and bf16 are made of it.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any, get_type_hints

import pytest
import torch
from safetensors.torch import load_file, save_file

from brickctl.core.digests import sha256_bytes
from brickctl.kinds.adapters.adapter_type import adapter_types
from brickctl.merging.method import Declared, methods
from brickctl.tensors import exact
from brickctl.tensors.memory import peak_memory
from brickctl.workflows.reproduce import NUMERIC_BOUND
from tests.support.adapters import adapter_of
from tests.support.building import build, digest, manifest, prepare, sum_of
from tests.support.choices import entry
from tests.support.models import LINEAR, adapter, tiny_model
from tests.support.surroundings import LEVELS, MEBIBYTE, drive, has

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

BITWISE = {name: declared for name, declared in methods().items() if declared.reproducible == "bitwise"}
NUMERIC = {name: declared for name, declared in methods().items() if declared.reproducible == "numeric"}
BRICKS = ("first", "second", "third")
LARGE = {"layers.0.wide.weight": (2, 140_000), "layers.1.tall.weight": (600, 480), "layers.2.norm.weight": (48,)}
SMALL = {"layers.0.wide.weight": (40, 96), "layers.1.tall.weight": (96, 64), "layers.2.norm.weight": (48,)}

SURROUNDINGS: dict[str, dict[str, Any]] = {
    "one thread, the plainest kernels and products": {
        "threads": 1,
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_CBWR": "COMPATIBLE",
    },
    "four processes, two threads of torch, AVX2": {
        "threads": 4,
        "hands": "processes",
        "OMP_NUM_THREADS": "2",
        "ATEN_CPU_CAPABILITY": "avx2",
    },
    "two threads, the smallest budget, AVX-512": {"memory": 0, "ATEN_CPU_CAPABILITY": "avx512"},
}
"""A memory of 0 stands for the least with which the most demanding plan runs."""


def write(folder: Path, tensors: Mapping[str, Tensor]) -> Path:
    folder.mkdir(parents=True)
    save_file(dict(tensors), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "test"}))
    return folder


def models(folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Path]:
    """A base in fp32 and three fine-tunes of it; numbers of many sizes, so that the order of a sum shows."""
    generator = torch.Generator().manual_seed(0)

    def noise(shape: tuple[int, ...], size: float) -> Tensor:
        numbers = torch.randn(shape, generator=generator)
        return numbers * torch.exp(2 * torch.randn(shape, generator=generator)) * size

    base = {name: noise(shape, 0.02) for name, shape in shapes.items()}
    tuned = {brick: {name: tensor + noise(shapes[name], 1e-3) for name, tensor in base.items()} for brick in BRICKS}
    return {name: write(folder / name, tensors) for name, tensors in {"base": base, **tuned}.items()}


def step(declared: Declared, aliases: Sequence[str] = BRICKS) -> str:
    """TOML of a merge of as many bricks as the method takes, up to three, half of the entries kept."""
    names = aliases[: min(declared.most, len(aliases))]
    weights = dict(zip(BRICKS, (0.7, 0.4, 0.3), strict=True))
    pairs = ", ".join(entry(declared, name, weights.get(name, 0.5)) for name in names)
    bricks = pairs if declared.weighted else ", ".join(f'"{name}"' for name in names)
    more = ", density = 0.5" if "density" in get_type_hints(declared.method) else ""
    return f'{{ op = "merge", method = "{declared.name}", bricks = [{bricks}]{more} }}'


def targets(folders: Mapping[str, Path], wanted: Mapping[str, Declared], settings: str = 'dtype = "float64"') -> str:
    """A manifest with a target for each method."""
    more = "\n".join(f"[targets.{name}]\n{settings}\napply = [{step(one)}]" for name, one in wanted.items())
    return manifest(folders["base"], {name: folders[name] for name in BRICKS}, "", more=more)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("methods")


@pytest.fixture(scope="module")
def large(scratch: Path) -> dict[str, Path]:
    return models(scratch / "large", LARGE)


@pytest.fixture(scope="module")
def text(large: Mapping[str, Path]) -> str:
    return targets(large, BITWISE)


@pytest.fixture(scope="module")
def expected(text: str, scratch: Path) -> dict[str, str]:
    """The digests under no special surrounding, in this process."""
    found = {name: digest(text, scratch / "expected" / name, name) for name in BITWISE}
    assert len(set(found.values())) > 0.8 * len(found), "methods that all give the same would show nothing"
    return found


@pytest.mark.full
@pytest.mark.parametrize("name", SURROUNDINGS)
def test_nothing_around_a_build_changes_a_byte_of_any_method(
    name: str, text: str, scratch: Path, expected: Mapping[str, str]
) -> None:
    surrounding = dict(SURROUNDINGS[name])
    if not has(surrounding["ATEN_CPU_CAPABILITY"]):  # the rest of it can be tried all the same
        surrounding["ATEN_CPU_CAPABILITY"] = "default"
    if surrounding.get("memory") == 0:
        surrounding["memory"] = max(peak_memory(prepare(text, scratch, target).plan) for target in BITWISE)
        assert surrounding["memory"] < 64 * MEBIBYTE

    answer = drive(text, scratch / name, surrounding)

    assert answer["cpu"] == LEVELS[surrounding["ATEN_CPU_CAPABILITY"]], "the variable took no effect"
    assert {target: answer["digests"][target] for target in BITWISE} == expected


def tensors_of(folder: Path) -> str:
    """One digest of all tensors, whichever files they lie in."""
    tensors = {name: one for path in sorted(folder.glob("*.safetensors")) for name, one in load_file(path).items()}
    each = [f"{name} {one.dtype} {sha256_bytes(one.numpy().tobytes())}" for name, one in sorted(tensors.items())]
    return sha256_bytes("\n".join(each).encode())


@pytest.mark.parametrize("declared", BITWISE.values(), ids=BITWISE)
def test_names_and_the_size_of_shards_change_no_tensor(
    declared: Declared, large: Mapping[str, Path], scratch: Path, expected: Mapping[str, str], tmp_path: Path
) -> None:
    """And neither does the order of the bricks, where the method promises that."""
    assert expected
    wanted = tensors_of(scratch / "expected" / declared.name)
    renamed = {"first": "zulu", "second": "mike", "third": "alpha"}
    apply = step(declared)
    for old, new in renamed.items():
        apply = apply.replace(f'"{old}"', f'"{new}"').replace(f'"{old}-', f'"{new}-')
    settings = 'dtype = "float64"\nshard-size = "2MB"'
    bricks = {new: large[old] for old, new in renamed.items()}
    built = build(manifest(large["base"], bricks, apply, settings), tmp_path / "renamed")

    assert len(list(built.glob("*.safetensors"))) == 3
    assert tensors_of(built) == wanted
    if "permutation" in declared.laws:
        names = BRICKS[: min(declared.most, len(BRICKS))]
        turned = step(declared, names[::-1])
        text = manifest(large["base"], {name: large[name] for name in names}, turned, settings)
        assert tensors_of(build(text, tmp_path / "turned")) == wanted


@pytest.fixture(scope="module")
def numeric(scratch: Path) -> str:
    return targets(models(scratch / "small", SMALL), NUMERIC)


@pytest.mark.full
def test_methods_that_factorise_matrices_stay_within_their_bound(numeric: str, scratch: Path) -> None:
    drive(numeric, scratch / "numeric", SURROUNDINGS["one thread, the plainest kernels and products"])

    for method in NUMERIC:
        ours = load_file(build(numeric, scratch / "here" / method, method) / "model.safetensors")
        other = load_file(scratch / "numeric" / method / "model.safetensors")
        for tensor, numbers in ours.items():
            apart = float((numbers - other[tensor]).abs().max() / numbers.abs().max())
            assert apart <= NUMERIC_BOUND, f"{method} {tensor}"


def permuted(left: Tensor, right: Tensor, *, out: Tensor | None = None) -> Tensor:
    """A matrix product that adds its terms one by one, in an order that no library would take."""
    order = torch.randperm(left.shape[1], generator=torch.Generator().manual_seed(5)).tolist()
    total = torch.zeros(left.shape[0], right.shape[1], dtype=left.dtype) if out is None else out.zero_()
    for at in order:
        total += left[:, at : at + 1] * right[at : at + 1]
    return total


@cache
def products() -> tuple[str, ...]:
    return tuple(name for name, found in adapter_types().items() if found.reproducible == "bitwise")


def test_the_permuted_product_would_show_an_order_that_matters() -> None:
    left, right = torch.randn(50, 16, dtype=torch.float64), torch.randn(16, 50, dtype=torch.float64)
    assert not permuted(left, right).equal(left @ right)


def test_the_order_of_the_terms_of_a_product_changes_no_byte(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny_model(scratch / "tiny", vocab_size=700, hidden_size=192, intermediate_size=400, attention_bias=True)
    bricks = {
        "lora": adapter(base, scratch / "lora", seed=1, r=16),
        "rslora": adapter(base, scratch / "rslora", seed=2, r=5, use_rslora=True),
        "dora": adapter(base, scratch / "dora", seed=3, use_dora=True, target_modules=[*LINEAR, "embed_tokens"]),
        **{name.lower(): adapter_of(name, base, scratch / name) for name in products() if name != "LORA"},
    }
    text = manifest(base, bricks, sum_of(**dict.fromkeys(bricks, 0.3)), 'dtype = "float64"')
    plain = digest(text, scratch / "plain")
    product, called = torch.mm, []

    def watched(left: Tensor, right: Tensor, *, out: Tensor | None = None) -> Tensor:
        called.append(left.shape)
        return permuted(left, right, out=out)

    monkeypatch.setattr(torch, "mm", watched)
    other = digest(text, scratch / "permuted")

    assert torch.mm is not product
    assert len(called) > 50
    assert other == plain


def test_without_rounding_the_factors_the_order_would_show(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test above would find: fp32 factors as they are."""
    base = tiny_model(scratch / "bare", hidden_size=192, intermediate_size=400)
    lora = adapter(base, scratch / "bare-lora", seed=1, r=16)
    text = manifest(base, {"lora": lora}, sum_of(lora=0.3), 'dtype = "float64"')
    monkeypatch.setattr(exact, "_MANTISSA_BITS", 104)  # 50 bits of each factor are kept
    plain = digest(text, scratch / "bare-plain")
    monkeypatch.setattr(torch, "mm", permuted)

    assert digest(text, scratch / "bare-permuted") != plain

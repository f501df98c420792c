"""Every merge method, built from files, on values that break formulas: a finite result, or a refusal that says where.

The table is made from the methods themselves: with the parameters that nobody chose, and with each number at both ends
of its interval and each choice taken.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, get_type_hints

import pytest
import torch
from safetensors.torch import load_file, save_file

from brickctl.errors import BrickctlError, ManifestInvalid
from brickctl.merging.method import Declared, methods
from tests.support.building import build, manifest
from tests.support.choices import BRICKS, every_choice, fitting, step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    Case = tuple[Tensor, Tensor, Tensor]
    Models = Callable[[Mapping[str, Case]], Mapping[str, Path]]


def noise(*shape: int, seed: int = 0, size: float = 1.0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * size


BASE, SMALL, OTHER = noise(24, 10), noise(24, 10, seed=1, size=0.01), noise(24, 10, seed=2, size=0.01)
NOTHING = torch.zeros(24, 10)
FINITE: dict[str, Case] = {
    "ordinary": (BASE, BASE + SMALL, BASE + OTHER),
    "unchanged": (BASE, BASE, BASE),
    "zeros": (NOTHING, NOTHING, NOTHING),
    "changed_once": (BASE, BASE + SMALL, BASE),
    "denormal": (NOTHING, SMALL * 1e-41, OTHER * 1e-41),
    "large": (NOTHING, SMALL * 1e35, OTHER * 1e35),
    "opposite": (NOTHING, SMALL, -SMALL),
    "equal": (NOTHING, SMALL, SMALL),
    "parallel": (NOTHING, SMALL, SMALL * 2),
    "constant": (NOTHING, torch.full((24, 10), 0.5), torch.full((24, 10), -0.25)),
    "vector": (noise(7), noise(7, seed=1), noise(7, seed=2)),
    "one": (torch.tensor([1.0]), torch.tensor([1.5]), torch.tensor([-1.0])),
    "scalar": (torch.tensor(1.0), torch.tensor(1.5), torch.tensor(0.5)),
    "column": (noise(5, 1), noise(5, 1, seed=1), noise(5, 1, seed=2)),
    "experts": (noise(3, 4, 5), noise(3, 4, 5, seed=1), noise(3, 4, 5, seed=2)),
}
"""For each tensor the base and two bricks; a third one has half of what the second has."""


def spoilt(value: float) -> Case:
    """A tensor of which the first brick has one entry that is no number."""
    tuned = BASE + SMALL
    tuned[5, 3] = value
    return BASE, tuned, BASE + OTHER


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Writes a base and three bricks with these tensors, each set once."""
    written: dict[tuple[str, ...], Mapping[str, Path]] = {}

    def write(cases: Mapping[str, Case]) -> Mapping[str, Path]:
        if tuple(cases) not in written:
            folder = tmp_path_factory.mktemp("models")
            found = [{f"{name}.weight": case[at] for name, case in cases.items()} for at in range(3)]
            third = {name: (found[0][name] + tensor) / 2 for name, tensor in found[2].items()}
            tables = dict(zip(("base", *BRICKS), (*found, third), strict=True))
            written[tuple(cases)] = {name: _model(folder / name, tensors) for name, tensors in tables.items()}
        return written[tuple(cases)]

    return write


def _model(folder: Path, tensors: Mapping[str, Tensor]) -> Path:
    folder.mkdir()
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "test"}))
    return folder


def every_method() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("declared", methods().values(), ids=lambda declared: declared.name)


def outcome(folders: Mapping[str, Path], apply: str, folder: Path) -> Mapping[str, Tensor] | str:
    """The tensors of the build, or all that its refusal says."""
    bricks = {name: place for name, place in folders.items() if name != "base"}
    try:
        build(manifest(folders["base"], bricks, apply), folder)
    except BrickctlError as refusal:
        return "\n".join((str(refusal), *refusal.causes, refusal.hint or ""))
    return load_file(folder / "model.safetensors")


def names_one_of(said: str, names: Sequence[str]) -> bool:
    return any(f"`{name}`" in said for name in names)


def keys(declared: Declared) -> list[str]:
    return [*get_type_hints(declared.method), "weight", "bricks"]


def judge(declared: Declared, found: Mapping[str, Tensor] | str, tensors: Sequence[str]) -> None:
    """A finite result, or a refusal that names a tensor or a key."""
    if isinstance(found, str):
        assert names_one_of(found, [*tensors, *keys(declared)]), found
    else:
        assert set(found) == set(tensors)
        assert all(bool(tensor.isfinite().all()) for tensor in found.values())


@every_choice()
def test_what_is_finite_gives_a_finite_result_or_a_refusal_that_says_where(
    declared: Declared, chosen: str, models: Models, tmp_path: Path
) -> None:
    apply = step(declared, [1.0] * fitting(declared), chosen)
    together = outcome(models(FINITE), apply, tmp_path / "all")
    judge(declared, together, [f"{name}.weight" for name in FINITE])
    for name, case in FINITE.items() if isinstance(together, str) else ():
        judge(declared, outcome(models({name: case}), apply, tmp_path / name), [f"{name}.weight"])


@every_choice()
@pytest.mark.parametrize("value", [math.nan, math.inf], ids=str)
def test_what_is_no_number_never_vanishes(
    declared: Declared, chosen: str, value: float, models: Models, tmp_path: Path
) -> None:
    """It is refused, unless nothing is computed: what comes out is one of the bricks, to the bit."""
    name = f"spoilt_by_{value}.weight"
    folders = models({f"spoilt_by_{value}": spoilt(value)})
    found = outcome(folders, step(declared, [1.0] * fitting(declared), chosen), tmp_path / "out")
    if isinstance(found, str):
        assert names_one_of(found, [name, *keys(declared)]), found
        return
    bricks = [load_file(folders[brick] / "model.safetensors")[name] for brick in BRICKS[: fitting(declared)]]
    assert any(torch.equal(found[name].view(torch.int32), brick.view(torch.int32)) for brick in bricks), "it is gone"


@every_method()
@pytest.mark.parametrize("weights", [(1.0, -1.0), (0.0, 0.0), (-1.0, -1.0), (1e300, 1e300)], ids=str)
def test_weights_that_cancel_vanish_or_overflow(
    declared: Declared, weights: tuple[float, ...], models: Models, tmp_path: Path
) -> None:
    found = outcome(models(FINITE), step(declared, weights[: fitting(declared)]), tmp_path / "out")
    judge(declared, found, [f"{name}.weight" for name in FINITE])


@every_method()
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_too_few_bricks_and_too_many_are_refused_before_anything_is_read(
    declared: Declared, count: int, models: Models, tmp_path: Path
) -> None:
    found = outcome(models(FINITE), step(declared, [1.0] * count), tmp_path / "out")
    if declared.least <= count <= declared.most:
        judge(declared, found, [f"{name}.weight" for name in FINITE])
        return
    assert isinstance(found, str)
    assert "bricks" in found
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "declared", [found for found in methods().values() if found.weighted], ids=lambda one: one.name
)
def test_an_empty_table_of_bricks_is_refused(declared: Declared, models: Models, tmp_path: Path) -> None:
    folders = models(FINITE)
    apply = f'{{ op = "merge", method = "{declared.name}", bricks = {{}} }}'
    with pytest.raises(ManifestInvalid, match="bricks"):
        build(manifest(folders["base"], {}, apply), tmp_path / "out")

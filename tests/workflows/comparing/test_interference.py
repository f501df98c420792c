"""Interference of the bricks of a project, held against the very deltas that a merge would add."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from brickctl.core.manifest_format import parse_manifest
from brickctl.core.names import Alias
from brickctl.errors import Misfit
from brickctl.tensors.blobs import Blobs
from brickctl.tensors.whole_tensors import WholeTensors
from brickctl.workflows.comparing.interference import interference_of, pairs_of
from brickctl.workflows.lock import LockMode, current_lock
from tests.support.building import gather, manifest
from tests.support.models import adapter, edit_tensors, tiny_model, tuned
from tests.support.projects import Listener, opened, starter_project

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import torch

    from brickctl.workflows.comparing.interference import Pair


@pytest.fixture(scope="module")
def bricks(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A base, a plain LoRA, a DoRA, an rsLoRA, and a full fine-tune."""
    folder = tmp_path_factory.mktemp("bricks")
    base = tiny_model(folder / "base")
    targets = ["q_proj", "down_proj"]
    return {
        "base": base,
        "plain": adapter(base, folder / "plain", target_modules=targets, r=2),
        "turned": adapter(base, folder / "turned", seed=3, target_modules=targets, r=2, use_dora=True),
        "scaled": adapter(base, folder / "scaled", seed=4, target_modules=["q_proj"], r=4, use_rslora=True),
        "full": tuned(base, folder / "full"),
    }


Deltas = dict[str, "torch.Tensor"]


def compared(bricks: Mapping[str, Path], names: Sequence[str], scratch: Path) -> tuple[tuple[Pair, ...], list[Deltas]]:
    """What is said of each pair, and the deltas themselves by tensor."""
    text = manifest(bricks["base"], {name: bricks[name] for name in names}, "")
    ingredients, paths = gather(parse_manifest(text), scratch)
    aliases = [Alias(name) for name in names]
    with Blobs(paths) as blobs:
        tensors = WholeTensors(blobs)
        pairs = pairs_of(ingredients, aliases, tensors, Listener())
        changes = [ingredients.changes(alias) for alias in aliases]
        ties = ingredients.base.ties
        return pairs, [
            {name: tensors.tensor(one.delta) for name, one in own.items() if one.delta is not None and name not in ties}
            for own in changes
        ]


@pytest.mark.parametrize("names", [("plain", "scaled"), ("plain", "turned"), ("scaled", "full"), ("turned", "full")])
def test_norms_and_cosine_are_those_of_what_a_merge_adds(
    bricks: Mapping[str, Path], names: tuple[str, str], tmp_path: Path
) -> None:
    (pair,), deltas = compared(bricks, names, tmp_path)
    squares = [sum(float(delta.square().sum()) for delta in own.values()) for own in deltas]
    dot = sum(float((delta * deltas[1][name]).sum()) for name, delta in deltas[0].items() if name in deltas[1])
    assert pair.total.squares == pytest.approx(squares, rel=1e-5)
    assert pair.total.cosine == pytest.approx(dot / (squares[0] * squares[1]) ** 0.5, rel=1e-4, abs=1e-6)


def test_layers_add_up_to_the_total_and_stand_in_their_order(bricks: Mapping[str, Path], tmp_path: Path) -> None:
    (pair,), deltas = compared(bricks, ("scaled", "full"), tmp_path)
    assert list(pair.layers) == [None, *sorted(layer for layer in pair.layers if layer is not None)]
    assert sum(one.squares[1] for one in pair.layers.values()) == pytest.approx(pair.total.squares[1])
    assert pair.layers[None].squares[0] == 0.0
    inner = [name for name in deltas[1] if ".layers.1." in name]
    assert pair.layers[1].squares[1] == pytest.approx(
        sum(float(deltas[1][name].square().sum()) for name in inner), rel=1e-5
    )


def test_every_pair_of_a_project_is_compared_and_its_order_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(starter_project(tmp_path, monkeypatch))
    lock = current_lock(session, LockMode.REFRESH)
    names = [Alias(name) for name in ("upper", "next", "sort")]
    pairs = interference_of(session, lock, names)
    assert [(pair.one, pair.other) for pair in pairs] == [("upper", "next"), ("upper", "sort"), ("next", "sort")]
    assert [pair.merged_only for pair in pairs] == [(), ("sort",), ("sort",)]
    (turned,) = interference_of(session, lock, [Alias("next"), Alias("upper")])
    assert turned.total.norms == pairs[0].total.norms[::-1]
    assert turned.total.cosine == pytest.approx(pairs[0].total.cosine)
    assert turned.total.conflicts == pairs[0].total.conflicts
    for pair in pairs:
        assert -1.0 <= (pair.total.cosine or 0.0) <= 1.0
        assert 0.0 <= (pair.total.input_overlap or 0.0) <= 1.0


def test_a_brick_that_is_not_finite_is_named_with_its_tensor(bricks: Mapping[str, Path], tmp_path: Path) -> None:
    spoilt = edit_tensors(
        shutil.copytree(bricks["plain"], tmp_path / "spoilt"),
        lambda tensors: {name: tensor.fill_(float("nan")) for name, tensor in tensors.items()},
    )
    with pytest.raises(Misfit, match=r"what `spoilt` does to `model\.layers\.0\..*` is not finite") as raised:
        compared({**bricks, "spoilt": spoilt}, ("plain", "spoilt"), tmp_path / "scratch")
    assert "adapter_model.safetensors holds NaN" in str(raised.value)


def test_numbers_that_no_weights_have_are_refused(bricks: Mapping[str, Path], tmp_path: Path) -> None:
    huge = edit_tensors(
        shutil.copytree(bricks["plain"], tmp_path / "huge"),
        lambda tensors: {name: tensor.fill_(1e30) for name, tensor in tensors.items()},
    )
    with pytest.raises(Misfit, match=r"what `huge` does to `.*` is too large to be compared"):
        compared({**bricks, "huge": huge}, ("plain", "huge"), tmp_path / "scratch")

"""Gates: what fits its base is read, and what was tampered with is refused before it means anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from brickctl.core.brick import Contents
from brickctl.errors import Misfit, Unsupported
from brickctl.kinds.gates import FILE, GatesKind
from tests.support.building import manifest, prepare, sum_of
from tests.support.gates import gates
from tests.support.models import edit_config, edit_tensors, tiny_model, tuned

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

GATE = "model.layers.1.mlp.weight"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("gates") / "base")


@pytest.fixture
def brick(base: Path, tmp_path: Path) -> Path:
    return gates(base, tmp_path / "g", ("base", "one"))


def use(base: Path, brick: Path, scratch: Path) -> None:
    one = scratch / "one"
    tuned(base, one)
    apply = '{ op = "moe", experts = ["base", "one"], active = 1, gates = "g" }'
    prepare(manifest(base, {"g": brick, "one": one}, apply), scratch)


def refusal(base: Path, brick: Path, scratch: Path) -> str:
    with pytest.raises(Misfit) as caught:
        use(base, brick, scratch)
    return str(caught.value)


def test_gates_fit_the_base_that_they_were_made_for(base: Path, brick: Path, tmp_path: Path) -> None:
    use(base, brick, tmp_path)


def test_a_tied_head_may_stand_in_its_files_or_not(tmp_path: Path) -> None:
    """What the base is called by is the same for both ways to store it."""
    base = tiny_model(tmp_path / "base", tie_word_embeddings=True)
    brick = gates(base, tmp_path / "g", ("base", "one"))
    edit_tensors(base, lambda found: {**found, "lm_head.weight": found["model.embed_tokens.weight"].clone()})
    use(base, brick, tmp_path)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"format": "brickctl-gates-2"}, "`brickctl-gates-2`; this brickctl reads `brickctl-gates-1`"),
        ({"format": None}, "has the format `null`"),
        ({"method": "magic"}, "`method` in gates_config.json is `magic`, which is not known here"),
        ({"method": ["hidden"]}, "`method` in gates_config.json is `a list`"),
        ({"labels": "one"}, "is no list of 1 to 1024 names"),
        ({"labels": []}, "is no list of 1 to 1024 names"),
        ({"labels": ["one", 2]}, "is no list of 1 to 1024 names"),
        ({"labels": ["one", "No Alias"]}, "is no list of 1 to 1024 names"),
        ({"labels": ["one", "one"]}, "has a name twice"),
        ({"labels": ["one"]}, "`model.layers.0.mlp.weight` is F32 [2, 32] and should be F32 [1, 32]"),
        ({"interface": "0" * 64}, "no `sha256:` and 64 digits"),
        ({"interface": f"sha256:{'0' * 64}"}, "names a base whose tensors have other names or shapes"),
    ],
)
def test_a_configuration_that_is_off_is_refused(
    changes: dict[str, Any], cause: str, base: Path, brick: Path, tmp_path: Path
) -> None:
    assert cause in refusal(base, edit_config(brick, FILE, **changes), tmp_path)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda found: {name: one for name, one in found.items() if name != GATE}, f"it has no `{GATE}`"),
        (lambda found: {**found, "model.layers.9.mlp.weight": torch.ones(2, 32)}, "is no gate of an FFN of the base"),
        (lambda found: {**found, GATE: torch.ones(2, 31)}, "is F32 [2, 31] and should be F32 [2, 32]"),
        (lambda found: {**found, GATE: torch.ones(2, 32).double()}, "is F64 [2, 32] and should be F32 [2, 32]"),
    ],
)
def test_tensors_that_are_off_are_refused(
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]], cause: str, base: Path, brick: Path, tmp_path: Path
) -> None:
    assert cause in refusal(base, edit_tensors(brick, change), tmp_path)


def test_gates_are_nothing_to_merge(base: Path, brick: Path, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="`g` holds gates, which cannot be merged") as caught:
        prepare(manifest(base, {"g": brick}, sum_of(g=1.0)), tmp_path)
    assert caught.value.hint == 'write { op = "moe", experts = [NAMES], active = 2, gates = "g" }'


def test_facts_of_any_document_are_told() -> None:
    said = Contents(documents={FILE: {"method": "hidden", "labels": ["a", "b"]}}, tensors={})
    assert GatesKind().facts(said) == {"method": "hidden", "labels": ["a", "b"]}
    strange = Contents(documents={FILE: {"labels": 3}}, tensors={})
    assert GatesKind().facts(strange) == {"method": "null", "labels": []}
    assert GatesKind().declared_base(strange) is None

"""The same bytes on every machine: builds in processes of their own, under whatever could move a bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from brickctl.kinds.adapters.adapter_type import adapter_types
from tests.support.adapters import adapter_of
from tests.support.building import manifest, sum_of
from tests.support.models import LINEAR, adapter, tiny_model, tuned
from tests.support.surroundings import LEVELS, MEBIBYTE, drive, has

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

pytestmark = pytest.mark.full

BITWISE = [name for name, found in adapter_types().items() if found.reproducible == "bitwise"]

SURROUNDINGS: dict[str, dict[str, Any]] = {
    "one thread": {"threads": 1},
    "four threads": {"threads": 4},
    "three processes": {"threads": 3, "hands": "processes"},
    "a small budget": {"memory": 40 * MEBIBYTE},
    "a large budget": {"memory": 1024 * MEBIBYTE},
    "another hash seed": {"PYTHONHASHSEED": "1"},
    "a third hash seed": {"PYTHONHASHSEED": "4711"},
    "portable matrix products": {"MKL_CBWR": "COMPATIBLE"},
    "two threads of torch": {"OMP_NUM_THREADS": "2"},
    "another folder": {"folder": "another/folder/with a space"},
    **{f"kernels for {level}": {"ATEN_CPU_CAPABILITY": level} for level in LEVELS},
    "the plainest products and kernels": {"MKL_CBWR": "COMPATIBLE", "ATEN_CPU_CAPABILITY": "default"},
}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("determinism")


@pytest.fixture(scope="module")
def text(scratch: Path) -> str:
    """Targets over one base with every form of brick, large enough for several blocks a tensor."""
    sizes = {"vocab_size": 700, "hidden_size": 384, "intermediate_size": 1500, "num_hidden_layers": 2}
    base = tiny_model(scratch / "base", dtype="bfloat16", attention_bias=True, **sizes)
    bricks = {
        "lora": adapter(base, scratch / "lora", seed=1, r=16),
        "rslora": adapter(base, scratch / "rslora", seed=2, r=5, use_rslora=True),
        "dora": adapter(base, scratch / "dora", seed=3, use_dora=True, target_modules=[*LINEAR, "embed_tokens"]),
        "expert": tuned(base, scratch / "expert", seed=4),
    }
    types = {name.lower(): adapter_of(name, base, scratch / name) for name in BITWISE}
    means = '{ op = "merge", method = "linear", bricks = { base = 1, expert = 0.3, dora = 0.4 } }'
    targets = {
        "bf16": ("bfloat16", sum_of(lora=0.3, rslora=0.7, dora=0.9, expert=0.1)),
        "fp32": ("float32", sum_of(lora=0.3, rslora=0.7, dora=0.9, expert=0.1)),
        "fp64": ("float64", sum_of(lora=0.3, rslora="[0.2, 0.9]", dora=0.9)),
        "mean": ("float32", means),
        "types": ("float32", sum_of(**dict.fromkeys(types, 0.3))),
        "types-bf16": ("bfloat16", sum_of(**dict.fromkeys(types, 0.3))),
    }
    more = "\n".join(
        f'[targets.{name}]\ndtype = "{dtype}"\nshard-size = "1MB"\napply = [{step}]'
        for name, (dtype, step) in targets.items()
    )
    return manifest(base, {**bricks, **types}, "", more=more)


@pytest.fixture(scope="module")
def expected(text: str, scratch: Path) -> dict[str, str]:
    digests: dict[str, str] = drive(text, scratch / "expected", {})["digests"]
    assert len(set(digests.values())) == 7, "six targets and `t`, the base itself"
    return digests


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_nothing_around_a_build_changes_a_byte(
    name: str, text: str, scratch: Path, expected: Mapping[str, str]
) -> None:
    surrounding = SURROUNDINGS[name]
    level = surrounding.get("ATEN_CPU_CAPABILITY")
    if level is not None and not has(level):
        pytest.skip(f"this CPU has no {level}")
    answer = drive(text, scratch / surrounding.get("folder", name), surrounding)
    assert level is None or answer["cpu"] == LEVELS[level], "the variable took no effect"
    assert answer["digests"] == expected

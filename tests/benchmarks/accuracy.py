"""Errors of every merge method against fp64, ours and mergekit's, on the same tensors in bf16.

    python tests/benchmarks/accuracy.py [--rows 640] [--columns 1536] [--json FILE]

Each method merges a base and tunings of it, normally distributed. The exact result is the formula in fp64: mergekit's
own code on fp64 tensors, and for methods whose masks are drawn, where mergekit falls back to fp32, ours. The error is
the mean distance from it, relative to the mean distance between it and the base: the size of the update. mergekit is
measured as its recipes run it with `dtype: bfloat16`, and with `dtype: float32, out_dtype: bfloat16`; where masks are
drawn it gets ours. Entries that tie at a limit of magnitude, of which any may be kept, are left out. `rounding` is the
error of the exact result rounded to bf16: nobody can have less on average. `formula` is the largest difference between
us and the exact result in fp64, relative to the largest element.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from brickctl.core.digests import sha256_bytes
from brickctl.core.dtypes import DType
from brickctl.merging.method import Part, combine, methods
from brickctl.tensors.arithmetic import add, cast, subtract
from brickctl.workflows.mergekit.methods import METHODS, RANDOM
from tests.support.deltas import own_settings
from tests.support.evaluating import evaluated
from tests.support.sparse import by_mergekit, chances_by_rank, drawn_mask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.nodes import Node
    from brickctl.merging.method import MergeMethod


@dataclass(frozen=True)
class Case:
    """How a method is called: tunings beside the base, and its parameters in both languages."""

    tunings: int = 3
    based: bool = True
    weights: tuple[float, ...] = ()
    each: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    ours: Mapping[str, Any] = field(default_factory=dict)
    theirs: Mapping[str, Any] = field(default_factory=dict)


THREE = (0.5, 0.3, 0.4)
DENSITY = {"density": (0.5, 0.6, 0.7)}
CASES: Mapping[str, Case] = {
    "arcee_fusion": Case(tunings=1),
    "breadcrumbs": Case(weights=THREE, each=DENSITY),
    "breadcrumbs_ties": Case(weights=THREE, each=DENSITY, theirs={"normalize": False}),
    "dare_linear": Case(weights=THREE, each=DENSITY),
    "dare_ties": Case(weights=THREE, each=DENSITY, theirs={"normalize": True}),
    "della": Case(weights=THREE, each=DENSITY),
    "della_linear": Case(weights=THREE, each=DENSITY),
    "karcher": Case(based=False),
    "linear": Case(based=False, weights=THREE),
    "model_stock": Case(),
    "multislerp": Case(based=False, weights=THREE),
    "nearswap": Case(tunings=1, ours={"t": 0.001}, theirs={"t": 0.001}),
    "nuslerp": Case(tunings=2, based=False, weights=THREE[:2]),
    "passthrough": Case(tunings=1, based=False, ours={"scale": 0.9}, theirs={"scale": 0.9}),
    "ram": Case(),
    "ramplus_tl": Case(),
    "sce": Case(theirs={"select_topk": 0.5}, ours={"select_topk": 0.5}),
    "slerp": Case(tunings=2, based=False, ours={"t": 0.4}, theirs={"t": 0.4}),
    "task_arithmetic": Case(weights=THREE),
    "ties": Case(weights=THREE, each=DENSITY),
}


def models(rows: int, columns: int) -> list[Tensor]:
    """A base and three tunings of it, in bf16."""
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(rows, columns, generator=generator) * 0.02
    tuned = [base + torch.randn(rows, columns, generator=generator) * 0.002 for _ in range(3)]
    return [tensor.bfloat16() for tensor in (base, *tuned)]


def by_brickctl(method: MergeMethod, case: Case, base: Tensor, tuned: Sequence[Tensor], dtype: DType) -> Tensor:
    """What the engine makes of these tensors, in this type."""
    settings = [{name: values[at] for name, values in case.each.items()} for at in range(len(tuned))]
    named = {"base": base, **{str(at): tensor for at, tensor in enumerate(tuned)}}

    def made(nodes: Mapping[str, Node]) -> Node:
        given = [nodes[str(at)] for at in range(len(tuned))]
        is_delta = method.space == "delta"
        parts = [
            Part(
                node=subtract(node, nodes["base"]) if is_delta else node,
                weight=case.weights[at] if case.weights else 1.0,
                settings={**own_settings(method), **settings[at]},
                brick=sha256_bytes(str(at).encode()),
                base=nodes["base"] if is_delta else None,
            )
            for at, node in enumerate(given)
        ]
        combined = combine(method, parts, "x")
        return cast(add(nodes["base"], combined) if is_delta else combined, dtype)

    with tempfile.TemporaryDirectory() as folder:
        return evaluated(Path(folder), named, made)


def by_theirs(name: str, method: MergeMethod, case: Case, tensors: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """What mergekit makes of these tensors when it computes in this type."""
    base, *tuned = (tensor.to(dtype) for tensor in tensors)
    weights = {"weight": list(case.weights)} if case.weights else {}
    parameters = {**weights, **{key: list(values) for key, values in case.each.items()}, **case.theirs}
    with pytest.MonkeyPatch.context() as patch:
        if name in RANDOM:
            masks = iter(drawn(method, case, tensors))
            patch.setattr(torch, "bernoulli", lambda chances: next(masks).to(chances.dtype))
        if case.based:
            return by_mergekit(name, base, tuned, **parameters)
        from mergekit.merge_methods.api import merge_tensors

        return merge_tensors(tuned, name, parameters=parameters, base_index=0 if name == "slerp" else None)


def drawn(method: MergeMethod, case: Case, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Our masks: mergekit's chances are fp32, and its ranks of equal magnitudes are in no order."""
    base, *tuned = tensors
    epsilon = own_settings(method).get("epsilon", 0.0)
    found = []
    for number, (model, density) in enumerate(zip(tuned, case.each["density"], strict=True)):
        chances = chances_by_rank(model.double() - base.double(), density=density, epsilon=epsilon)
        found.append(drawn_mask(method, number, chances, method.seed))
    return found


def clear(case: Case, base: Tensor, tuned: Sequence[Tensor]) -> Tensor:
    """Where no magnitude of a delta is exactly one at which the densities cut."""
    decided = torch.ones_like(base, dtype=torch.bool)
    for delta, density in zip(tuned, case.each.get("density", ()), strict=False):
        sizes = (delta.double() - base.double()).abs()
        skipped = int(0.01 * sizes.numel())  # what breadcrumbs leaves out
        for kept in (int(density * sizes.numel()), skipped, skipped + int(density * sizes.numel())):
            decided &= sizes != sizes.flatten().kthvalue(sizes.numel() - min(kept, sizes.numel() - 1)).values
            decided &= sizes != sizes.flatten().kthvalue(max(1, sizes.numel() - kept + 1)).values
    if "select_topk" in case.theirs:
        spread = torch.stack([one.double() - base.double() for one in tuned]).var(0)
        kept = int(case.theirs["select_topk"] * int(spread.count_nonzero()))
        limit = spread.flatten().kthvalue(spread.numel() - kept + 1).values
        decided &= (spread - limit).abs() > 2**-21 * limit  # we rank deviations rounded to fp32
    return decided


def measured(name: str, tensors: Sequence[Tensor]) -> dict[str, float]:
    """The figures of one method."""
    case = CASES[name]
    method = methods()[name].method(**case.ours)
    base, tuned = tensors[0], tensors[1 : case.tunings + 1]
    used = (base, *tuned)
    ours, double = (by_brickctl(method, case, base, tuned, one) for one in (DType.BF16, DType.F64))
    half, wide = (by_theirs(name, method, case, used, one) for one in (torch.bfloat16, torch.float32))
    exact = double if name in RANDOM else by_theirs(name, method, case, used, torch.float64)
    counted = clear(case, base, tuned) if name not in RANDOM else torch.ones_like(exact, dtype=torch.bool)
    update = float((exact - base.double()).abs()[counted].mean())

    def error(found: Tensor) -> float:
        return float((found.double() - exact).abs()[counted].mean()) / update

    return {
        "rounding": error(exact.float().bfloat16()),
        "brickctl": error(ours),
        "mergekit": error(half.bfloat16()),
        "mergekit in float32": error(wide.bfloat16()),
        "formula": float((double - exact).abs()[counted].max() / exact.abs().max()),
    }


def main() -> None:
    """Measure every method, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=640)
    parser.add_argument("--columns", type=int, default=1536)
    parser.add_argument("--json", type=Path, help="where the figures are written")
    wanted = parser.parse_args()
    tensors, found = models(wanted.rows, wanted.columns), {}
    missing = METHODS.keys() - CASES.keys()
    if missing:
        sys.exit(f"no case for {', '.join(missing)}")
    for name in CASES:
        found[name] = measured(name, tensors)
        if len(found) == 1:
            print(f"{'':18}" + "".join(f"{column:>21}" for column in found[name]))
        print(f"{name:18}" + "".join(f"{figure:>21.3g}" for figure in found[name].values()), flush=True)
    if wanted.json is not None:
        document = {"rows": wanted.rows, "columns": wanted.columns, "methods": found}
        wanted.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Every method of mergekit in float32 beside brickctl, on tensors of the sizes of a Llama of 0.85 B parameters.

    python tests/benchmarks/parity.py [--only ties,slerp] [--json FILE]

One tensor of every shape of `methods.py`, normally distributed in fp32; entries that tie at a limit of magnitude, of
which any may be kept, are left out. Printed is the largest difference relative to the largest element of the result:
from mergekit in float32, which is its best, and from mergekit's code on fp64 tensors. The first also holds what
mergekit loses in float32: where a norm or an inner product of millions of elements goes into every element, that is far
more than 1e-6. Where masks are drawn mergekit gets ours, and its fp64 falls back to fp32. `beyond` is how many elements
in a million differ by more than 1e-6: where an entry is chosen, or a sign elected, by a number that rounding in float32
has moved over the limit, the whole entry differs. So `della` does beside fp64, where votes cancel out to 1e-7.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accuracy import CASES, by_brickctl, by_theirs, clear
from methods import HIDDEN, LINEAR, VOCABULARY

from brickctl.core.dtypes import DType
from brickctl.merging.method import methods

if TYPE_CHECKING:
    from torch import Tensor

SHAPES = tuple(dict.fromkeys([*LINEAR.values(), (HIDDEN,), (VOCABULARY, HIDDEN)]))
BOUND = 1e-6
_SAMPLED = {"arcee_fusion": 1_000_000}
"""Elements beyond which mergekit draws a sample."""


def models(shape: tuple[int, ...]) -> list[Tensor]:
    """A base and three tunings of it, in fp32."""
    generator = torch.Generator().manual_seed(sum(shape))
    base = torch.randn(shape, generator=generator) * 0.02
    return [base, *(base + torch.randn(shape, generator=generator) * 0.002 for _ in range(3))]


def differences(name: str, tensors: list[Tensor]) -> dict[str, float]:
    """How far we are from mergekit in fp32 and in fp64, and how many elements are further than the bound."""
    case = CASES[name]
    method = methods()[name].method(**case.ours)
    used = tensors[: case.tunings + 1]
    found: dict[str, float] = {}
    counted = clear(case, used[0], used[1:])
    for key, dtype, ours in (("float32", torch.float32, DType.F32), ("float64", torch.float64, DType.F64)):
        theirs = by_theirs(name, method, case, used, dtype).double()
        mine = by_brickctl(method, case, used[0], used[1:], ours).double()
        apart = (mine - theirs).abs()[counted] / theirs.abs().max()
        found[key], found[f"{key} beyond"] = float(apart.max()), int((apart > BOUND).sum())
    return {**found, "elements": tensors[0].numel()}


def main() -> None:
    """Compare every method on every shape, and print the worst of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help=f"methods, of {', '.join(CASES)}")
    parser.add_argument("--json", type=Path, help="where the figures are written")
    wanted = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    print(f"{'':18}{'from float32':>14}{'beyond':>10}{'from float64':>14}{'beyond':>10}")
    for name in wanted.only.split(",") if wanted.only else CASES:
        sizes = [shape for shape in SHAPES if math.prod(shape) <= _SAMPLED.get(name, math.inf)]
        each = [differences(name, models(shape)) for shape in sizes]
        millions = sum(one["elements"] for one in each) / 1e6
        found[name] = {key: max(one[key] for one in each) for key in ("float32", "float64")} | {
            key: sum(one[key] for one in each) / millions for key in ("float32 beyond", "float64 beyond")
        }
        row = (found[name][key] for key in ("float32", "float32 beyond", "float64", "float64 beyond"))
        print("{:18}{:>14.2e}{:>10.4g}{:>14.2e}{:>10.4g}".format(name, *row), flush=True)
    if wanted.json is not None:
        wanted.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()

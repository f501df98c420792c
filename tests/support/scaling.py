"""A derivation for tests: a tensor of the model, scaled by how many lines a file of the project has."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safetensors.torch import save_file

from brickctl.core.manifest import Input
from brickctl.core.names import Alias
from brickctl.derivations.derivation import Derivation, Findings, Tolerance, register

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.manifest import Derived
    from brickctl.derivations.derivation import Bench

TENSOR = "model.norm.weight"
NOISE = {"floats": 0.0}
"""What is added to the tensor: another machine, so to say."""

BEGUN, GO_ON = threading.Event(), threading.Event()
GO_ON.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    lines: str
    factor: float
    brick: str | None

    kind = "module"
    version = 1
    tolerance = Tolerance(floats=1e-3)

    @property
    def aliases(self) -> tuple[Alias, ...]:
        return () if self.brick is None else (Alias(self.brick),)

    @property
    def inputs(self) -> tuple[Input, ...]:
        return (Input(path=self.lines),)

    def document(self) -> Mapping[str, Any]:
        return {"factor": self.factor, "lines": self.lines}

    def make(self, bench: Bench) -> Findings:
        BEGUN.set()
        GO_ON.wait(20)
        count = len(bench.text(self.inputs[0]).splitlines())
        tensor = bench.tensor(bench.start.node(TENSOR)).float()
        scaled = tensor * self.factor * count
        scaled[0] += scaled.abs().max() * NOISE["floats"]
        save_file({TENSOR: scaled.contiguous()}, bench.folder / "model.safetensors")
        loaded = sorted(path.name for path in bench.model_folder().glob("*.safetensors"))
        return Findings(rows=({"tensor": TENSOR, "lines": count},), notes=(f"read {', '.join(loaded)}",))


def read_scaling(derived: Derived) -> Derivation:
    table = derived.table.fresh()
    scaling = Scaling(
        lines=table.string("lines"), factor=table.number_or_none("factor") or 1.0, brick=table.string_or_none("brick")
    )
    table.finish()
    return scaling


register("scale", read_scaling)

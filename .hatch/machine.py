"""Compiles the machine that runs formulas, where there is a C compiler; without one brickctl is only slower."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_FOLDER = Path("brickctl", "tensors", "fused")
_COMMAND = (
    "-O3",
    "-std=c11",
    "-shared",
    "-fPIC",
    "-ffp-contract=off",  # a fused multiplication and addition rounds once: other bits, and only on some CPUs
    "-fno-math-errno",
    "-fno-trapping-math",  # comparisons may be vectorised; no result changes
)


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Puts the library beside its source, for wheels and for editable installs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, for every CPU at once where the compiler can do that, else for the simplest."""
        del version
        if self.target_name != "wheel":
            return
        library = Path(self.root) / _FOLDER / "libmachine.so"
        if not (_compiled(library) or _compiled(library, "-DONE_CPU")):
            library.unlink(missing_ok=True)  # of an older source
            self.app.display_warning("no C compiler: merges will give the same bytes, in several times the time")
            return
        build_data["artifacts"].append(library.relative_to(self.root).as_posix())
        build_data["pure_python"] = False
        build_data["infer_tag"] = True


def _compiled(library: Path, *more: str) -> bool:
    """Compile into a new file, which takes its place only when it is whole."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    made = library.with_suffix(".new")
    command = [*compiler, *_COMMAND, *more, str(library.with_name("machine.c")), "-o", str(made)]
    try:
        done = subprocess.run(command, check=False, capture_output=True).returncode == 0  # noqa: S603
    except OSError:
        return False
    if done:
        made.replace(library)
    return done

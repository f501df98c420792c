"""Compiles the machine that runs formulas, where there is a C compiler; without one brickctl is only slower."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_FOLDER = Path("brickctl", "tensors", "fused")
_SOURCES = "machine.c", "philox.h"
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
        library = Path(self.root) / _FOLDER / "libmachine.so"
        if self.target_name != "wheel":
            return
        if not (_compiled(library) or _compiled(library, "-DONE_CPU")):
            self.app.display_warning("no C compiler: merges will give the same bytes, in two to three times the time")
            return
        build_data["artifacts"].append(library.relative_to(self.root).as_posix())
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{re.sub('[-.]', '_', sysconfig.get_platform())}"  # it knows nothing of Python


def _compiled(library: Path, *more: str) -> bool:
    """Compile into a new file, which takes its place only when it is whole."""
    sources = [library.with_name(name) for name in _SOURCES]
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    mark = f"-DSOURCE=0x{digest[:8]}u"
    compiler = shlex.split(os.environ.get("CC", "cc"))
    try:
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            made = Path(folder) / library.name
            command = [*compiler, *_COMMAND, mark, *more, str(sources[0]), "-o", str(made)]
            done = subprocess.run(command, check=False, capture_output=True).returncode == 0  # noqa: S603
            if done:
                made.replace(library)
    except OSError:
        return False
    return done

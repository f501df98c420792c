"""Build every target of a manifest: `python -m tests.support.drive MANIFEST FOLDER THREADS MEMORY HANDS`.

Prints one JSON object: the digest of each artifact, and the level of CPU that torch's kernels took.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from brickctl.core.manifest_format import parse_manifest
from brickctl.tensors import workers
from tests.support.building import digest


def main(manifest: str, folder: str, threads: str, memory: str, hands: str) -> None:
    """Build, and say what came out; `processes` lets them do even what is small."""
    workers.ENOUGH = 0 if hands == "processes" else 1 << 60
    text = Path(manifest).read_text(encoding="utf-8")
    budget = {"threads": int(threads), "memory": int(memory)}
    digests = {target: digest(text, Path(folder, target), target, **budget) for target in parse_manifest(text).targets}
    import torch

    print(json.dumps({"digests": digests, "cpu": torch.backends.cpu.get_cpu_capability()}))  # noqa: T201 - its answer


if __name__ == "__main__":
    main(*sys.argv[1:])

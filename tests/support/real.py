"""The real material: SmolLM2-135M-Instruct, made once for all checkouts, and four adapters trained on it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

ROOT = Path(__file__).parents[2]
ADAPTERS = {name: ROOT / "tests" / "real" / name for name in ("date", "facts", "json", "reverse")}
"""DoRA on attention, plain LoRA on all linear layers, rsLoRA on attention, and plain LoRA again."""

WEIGHTS_SHA256 = "7ef915c9bf9d94d8d70211970476878352a5b95855c589ae987916d7a455242b"


def cache() -> Path:
    """Where test material lives that is too large for the repository: `$BRICKCTL_TEST_CACHE`, or the user's cache."""
    chosen = os.environ.get("BRICKCTL_TEST_CACHE")
    return Path(chosen) if chosen else user_cache_path("brickctl-tests")


def real_base() -> Path:
    """The folder of the base; made at the first call, by one process while others wait.

    Made in a process of its own, because transformers leaves a lot behind, and moved into place when it is whole.
    """
    folder = cache() / "smollm2-135m-instruct"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            partial = folder.with_name(folder.name + ".partial")
            shutil.rmtree(partial, ignore_errors=True)
            command = [sys.executable, "-m", "tests.support.make_real_base", str(partial)]
            subprocess.run(command, check=True, cwd=ROOT)
            _check(partial / "model.safetensors")
            partial.rename(folder)
    return folder


def _check(weights: Path) -> None:
    """The figures of the tests hold for these weights, and no others."""
    with weights.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    assert found == WEIGHTS_SHA256, f"{weights} has sha256 {found}: another version of transformers made other weights"

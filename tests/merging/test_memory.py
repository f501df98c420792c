"""What whole matrices take is what the planner says: the executor is watched in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

WATCHED = """
import sys, tempfile, threading, time
from pathlib import Path

import torch

from brickctl.core.plan import Plan, Shard
from brickctl.merging.method import methods
from brickctl.tensors.memory import expected_memory, peak_memory
from tests.support.evaluating import evaluated
from tests.support.merging import combined

name, tensor, *shape = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
method = methods()[name].method(**({"steps": 2} if name == "wudi" else {}))
stored = {str(at): torch.randn(shape).bfloat16() for at in range(2)}
known = {f"gram {at}": torch.eye(shape[1]) + at for at in range(2 if name == "regmean" else 0)}
torch.linalg.eigh(torch.eye(400, dtype=torch.float64))
begun, peak, planned, expected = [], [0], [], []


def anonymous():
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("RssAnon"))


def watch():
    while not done.wait(0.005):
        peak[0] = max(peak[0], anonymous())


def made(nodes):
    node = combined(method, [nodes[name] for name in stored], tensor=tensor, statistics=[nodes[name] for name in known])
    plan = Plan(tasks=(Shard(path="x", header=b"", tensors=(("x", node),)),))
    planned.append(peak_memory(plan))
    expected.append(expected_memory(plan, threads=1, memory=1 << 30))
    begun.append(anonymous())
    peak[0] = 0  # a file was written before, from memory
    return node


done = threading.Event()
threading.Thread(target=watch, daemon=True).start()
with tempfile.TemporaryDirectory() as folder:
    evaluated(Path(folder), stored | known, made, threads=1, memory=1 << 30)
done.set()
print(peak[0] - begun[0], planned[0], expected[0])
"""


ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="anonymous memory is read from /proc")


def watched(method: str, tensor: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Bytes that a merge of two deltas takes at most, those without which it cannot run, and those that it may take."""
    command = [sys.executable, "-c", WATCHED, method, tensor, *map(str, shape)]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    measured, planned, expected = map(int, shown.split())
    return measured, planned, expected


@ON_LINUX
@pytest.mark.parametrize(
    ("method", "shape", "matrices"),
    [
        ("iso_c", (4300, 1024), 2.2),
        ("tsv", (4300, 1024), 2.5),
        ("knots", (1024, 4300), 5.8),
        ("wudi", (4300, 1024), 4.1),
        ("iso_c", (1536, 1536), 4.0),
        ("tsv", (1536, 1536), 5.8),
        ("knots", (1536, 1536), 5.8),
        ("regmean", (4300, 1024), 4.5),
        ("regmean", (1024, 2048), 7.5),
        ("regmean", (1536, 1536), 6.4),
    ],
    ids=str,
)
def test_memory_is_what_the_planner_says(method: str, shape: tuple[int, int], matrices: float) -> None:
    """Of two deltas, 34 or 18 MiB each in fp64: no more, but for what the C library keeps of blocks, and not much less.

    An eigendecomposition takes three squares of 1024, which are 0.71 such matrices.
    """
    measured, planned, _ = watched(method, "x", shape)
    assert planned < matrices * 8 * shape[0] * shape[1]
    assert 0.75 * planned < measured < planned + (8 << 20)


@ON_LINUX
@pytest.mark.parametrize("method", ["iso_c", "tsv", "knots", "wudi"])
def test_the_experts_of_a_tensor_take_the_memory_of_one(method: str) -> None:
    """32 of 768 x 512, 3 MiB each in fp64 and 96 MiB together; those that four blocks have rows of are kept."""
    measured, planned, expected = watched(method, "experts.down_proj", (32, 768, 512))
    assert planned < 13 * 8 * 768 * 512
    assert expected < 20 * 8 * 768 * 512
    assert measured < expected + (10 << 20)

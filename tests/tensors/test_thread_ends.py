"""Threads that are gone, and not only joined, before anything is forked."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from brickctl.tensors import processes, thread_ends
from brickctl.tensors.thread_ends import await_ends

TASKS = Path("/proc/self/task")
pytestmark = pytest.mark.skipif(not processes.can_fork(), reason="on this system nothing is forked")


def test_a_thread_is_waited_for_until_the_system_has_ended_it() -> None:
    go_on = threading.Event()
    thread = threading.Thread(target=go_on.wait)
    thread.start()
    number = thread.native_id
    assert number is not None
    threading.Timer(0.05, go_on.set).start()
    before = time.monotonic()
    await_ends([number])
    assert time.monotonic() - before >= 0.04
    assert not (TASKS / str(number)).exists()


def test_a_number_that_is_another_thread_s_by_now_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_ends, "_LONGEST", 0.05)
    await_ends([threading.get_native_id()])


RACE = """
    import os, signal, sys, threading, time
    import torch
    from brickctl.tensors.thread_ends import await_ends

    torch.set_num_threads(1)
    one, other = torch.ones(300, 8, dtype=torch.float64), torch.ones(8, 200, dtype=torch.float64)
    until = time.monotonic() + float(sys.argv[1])
    while time.monotonic() < until:
        threads = [threading.Thread(target=torch.mm, args=(one, other)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        await_ends([thread.native_id for thread in threads])
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # kills it
            torch.mm(one, other)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0, "a child hung"
"""


@pytest.mark.full
def test_products_in_a_fork_end_however_soon_after_threads_it_was_forked() -> None:
    """Without the wait one fork in 300 turned for ever; this makes a hundred or two."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(RACE), "5"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

"""The import of torch beside other work, and what leaves the page cache behind a writer."""

import os
import subprocess
import sys
import textwrap

import pytest

from brickctl.tensors.tail import Tail


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_torch_is_imported_aside_and_the_turns_of_threads_are_as_long_as_before() -> None:
    out = run("""
        import sys, threading
        from brickctl.tensors.torch_import import begin_torch_import

        usual = sys.getswitchinterval()
        begin_torch_import()
        (thread,) = [thread for thread in threading.enumerate() if thread.name == "brickctl-torch"]
        thread.join()
        print("torch" in sys.modules, sys.getswitchinterval() == usual)
        begin_torch_import()
        print(threading.active_count())
    """)
    assert out == "True True\n1\n"


def test_a_process_that_ends_while_torch_is_imported_ends_cleanly() -> None:
    assert run("from brickctl.tensors.torch_import import begin_torch_import\nbegin_torch_import()\nprint(1)") == "1\n"


def test_what_is_asked_of_the_system_covers_the_file_and_keeps_its_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def advise(file: int, begin: int, size: int, advice: int) -> None:
        assert (file, advice) == (7, os.POSIX_FADV_DONTNEED)
        asked.append((begin, begin + size))

    monkeypatch.setattr(os, "posix_fadvise", advise)
    tail = Tail(7)
    written = [offset << 20 for offset in (4, 20, 33, 50, 80)]
    for offset in written:
        tail.follow(offset)

    started = [(0, 4), (4, 20), (20, 33), (33, 50), (50, 80)]
    dropped = [(0, 17), (17, 34), (34, 64)]
    assert sorted(asked) == sorted((begin << 20, end << 20) for begin, end in started + dropped)


def test_a_system_without_such_advice_is_asked_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fadvise")
    Tail(-1).follow(1 << 30)

"""The same work for several names at once: order, errors, and no wait for what was given up."""

import _thread
import threading
import time

import pytest

from brickctl.workflows import parallel
from brickctl.workflows.parallel import in_parallel

pytestmark = pytest.mark.usefixtures("ctrl_c")


def test_results_stand_in_the_order_of_the_names_whoever_is_first() -> None:
    def work(number: int) -> int:
        time.sleep(0.02 * (3 - number % 4))
        return number * 10

    assert in_parallel(work, range(20)) == [number * 10 for number in range(20)]
    assert in_parallel(work, ()) == []


def test_several_items_are_at_work_at_once() -> None:
    together = threading.Barrier(4, timeout=10)

    in_parallel(lambda _: together.wait(), range(4))


def test_the_error_of_the_first_item_counts_although_a_later_one_fails_sooner() -> None:
    later_failed = threading.Event()

    def work(number: int) -> None:
        if number == 1:
            later_failed.wait(10)
            raise ValueError("first")
        if number == 5:
            later_failed.set()
            raise ValueError("later")

    with pytest.raises(ValueError, match="first"):
        in_parallel(work, range(8))


def test_after_an_error_no_further_item_is_begun_and_those_under_way_end() -> None:
    begun: list[int] = []
    ended: list[int] = []
    together = threading.Barrier(parallel._THREADS, timeout=10)

    def work(number: int) -> None:
        begun.append(number)
        together.wait()
        if number == 3:
            raise ValueError("broken")
        time.sleep(0.2)
        ended.append(number)

    with pytest.raises(ValueError, match="broken"):
        in_parallel(work, range(100))
    assert sorted(begun) == list(range(parallel._THREADS))
    assert sorted(ended) == [number for number in sorted(begun) if number != 3]


def interrupt_when(started: threading.Event) -> None:
    """Raise KeyboardInterrupt in the main thread, as Ctrl-C does, once the work has begun.

    Without a signal, as if another thread had got it: nothing wakes the main thread.
    """

    def press() -> None:
        started.wait(10)
        _thread.interrupt_main()

    threading.Thread(target=press).start()


def test_an_interrupt_ends_the_work_under_way_which_cleans_up_and_begins_nothing_more() -> None:
    started = threading.Event()
    begun: list[int] = []
    cleaned: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        started.set()
        try:
            for _ in range(3000):
                time.sleep(0.01)
        finally:
            cleaned.append(number)

    interrupt_when(started)
    before = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        in_parallel(work, range(100))
    assert time.monotonic() - before < 5
    assert sorted(cleaned) == sorted(begun)
    assert len(begun) <= parallel._THREADS


def test_an_interrupt_does_not_wait_for_work_that_cannot_be_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_GRACE", 0.1)
    started, silent = threading.Event(), threading.Event()

    def work(_: int) -> None:
        started.set()
        silent.wait()

    interrupt_when(started)
    before = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        in_parallel(work, range(3))
    assert time.monotonic() - before < 5
    silent.set()

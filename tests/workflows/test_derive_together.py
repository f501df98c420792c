"""Several commands at once: what each has derived or locked stays."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from brickctl.core.lock_format import decode, encode
from brickctl.core.names import Alias
from brickctl.workflows import lock as locking
from brickctl.workflows.lock import LockMode
from tests.support import scaling
from tests.support.loud_projects import append, loud_project, made, opened_lock
from tests.support.projects import Listener, opened, rewrite


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return loud_project(tmp_path, monkeypatch)


@contextmanager
def two_at_once(project: Path) -> Iterator[Listener]:
    """One derivation is in the middle of its work inside, and another, whose words are heard, waits for it."""
    append(project, '[derived.other]\nop = "scale"\nlines = "data/lines.txt"\nfactor = 3.0\n')
    locking.refresh(opened(project))
    scaling.BEGUN.clear()
    scaling.GO_ON.clear()
    events = Listener()
    first = threading.Thread(target=made, args=(project, "loud"))
    second = threading.Thread(target=made, args=(project, "other"), kwargs={"events": events})
    first.start()
    assert scaling.BEGUN.wait(20)
    second.start()
    while not events.notes:  # it waits, and has read whatever it reads before
        second.join(0.05)
    yield events
    scaling.GO_ON.set()
    first.join()
    second.join()


def test_two_at_once_keep_what_both_have_made(project: Path) -> None:
    with two_at_once(project) as events:
        assert events.notes[0].startswith("waiting: another brickctl is deriving bricks")
    lock = opened(project).read_lock()
    assert lock is not None
    assert sorted(lock.derived) == ["loud", "other"]


def test_who_waits_for_another_derivation_then_reads_brick_toml_as_it_is_by_then(project: Path) -> None:
    with two_at_once(project):
        rewrite(project, 'odd = "starter/odd@^1" ', 'odd2 = "starter/odd@^1"')
        rewrite(project, '"reverse", "odd"]', '"reverse", "odd2"]')
        locking.refresh(opened(project))
    opened_lock(project, LockMode.LOCKED)


def test_what_is_locked_while_a_brick_is_made_stays_locked(project: Path) -> None:
    made(project)
    scaling.BEGUN.clear()
    scaling.GO_ON.clear()
    again = threading.Thread(target=made, args=(project, "loud"), kwargs={"force": True})
    again.start()
    assert scaling.BEGUN.wait(20)
    rewrite(project, 'odd = "starter/odd@^1" ', 'odd2 = "starter/odd@^1"')
    rewrite(project, '"reverse", "odd"]', '"reverse", "odd2"]')
    text = encode(locking.refresh(opened(project)).lock)
    scaling.GO_ON.set()
    again.join()

    assert (project / "brick.lock").read_text() == text
    assert Alias("odd2") in decode(text).bricks

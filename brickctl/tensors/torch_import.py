"""When torch is imported: early, beside other work, and once."""

from __future__ import annotations

import sys
import threading

from brickctl.tensors.thread_ends import await_ends

_SHORT_TURN = 1e-4
_NAME = "brickctl-torch"
_BEGUN = threading.Event()
_NUMBERS: list[int] = []
"""Of the threads that imported it, as the system counts."""


def begin_torch_import() -> None:
    """Import torch, which takes a second or two, in a thread of its own, while files are hashed or fetched.

    Whoever needs torch in the meantime waits for the same import.
    """
    if not is_begun():
        _BEGUN.set()
        threading.Thread(target=_import_torch, name=_NAME, daemon=True).start()


def finish_torch_import() -> None:
    """Wait for an import that was begun to end; one that failed is tried again, and fails here."""
    if not is_begun():
        return
    for thread in threading.enumerate():
        if thread.name == _NAME:
            thread.join()
    await_ends(_NUMBERS)
    import torch  # noqa: F401 - for those who come later


def use_one_torch_thread() -> None:
    """Blocks are spread over workers already; kernels that split a block again would only wait for each other.

    The setting belongs to the calling thread, and makes the shape of every kernel call independent of the machine.
    """
    import torch

    torch.set_num_threads(1)


def is_begun() -> bool:
    """Whether something needs torch, which is there or on its way."""
    return _BEGUN.is_set() or "torch" in sys.modules


def _import_torch() -> None:
    """Import it in short turns: threads that hash would else wait 5 ms for theirs after every piece of a file."""
    _NUMBERS.append(threading.get_native_id())
    usual = sys.getswitchinterval()
    sys.setswitchinterval(_SHORT_TURN)
    try:
        import torch  # noqa: F401 - for those who come later
    finally:
        sys.setswitchinterval(usual)

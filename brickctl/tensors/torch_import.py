"""When torch is imported: early, beside other work, and once."""

from __future__ import annotations

import os
import sys
import threading

_SHORT_TURN = 1e-4
_NAME = "brickctl-torch"


def begin_torch_import() -> None:
    """Import torch, which takes a second or two, in a thread of its own, while files are hashed or fetched.

    Whoever needs torch in the meantime waits for the same import.
    """
    if not _is_begun():
        threading.Thread(target=_import_torch, name=_NAME, daemon=True).start()


def finish_torch_import() -> None:
    """Wait for an import that was begun to end."""
    if not _is_begun():
        return
    for thread in threading.enumerate():
        if thread.name == _NAME:
            thread.join()
    import torch  # noqa: F401 - for those who come later


def use_one_torch_thread() -> None:
    """Blocks are spread over workers already; kernels that split a block again would only wait for each other.

    The setting belongs to the calling thread, and makes the shape of every kernel call independent of the machine.
    Where torch is not there, because nothing needs it but perhaps a message, it will begin with one thread.
    """
    if not _is_begun():
        os.environ["OMP_NUM_THREADS"] = "1"
        return
    import torch

    torch.set_num_threads(1)


def _is_begun() -> bool:
    return "torch" in sys.modules or any(thread.name == _NAME for thread in threading.enumerate())


def _import_torch() -> None:
    """Import it in short turns: threads that hash would else wait 5 ms for theirs after every piece of a file."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(_SHORT_TURN)
    try:
        import torch  # noqa: F401 - for those who come later
    finally:
        sys.setswitchinterval(usual)

"""What killed downloads left in a repository of the shared cache: files that are incomplete, and probes of the umask.

    blobs/ETAG.incomplete   blobs/ETAG.RANDOM.incomplete   blobs/tmp_UUID (empty)

The client holds `.locks/REPOSITORY/ETAG.lock` while it downloads, and leaves the file there. Once nobody holds any lock
of the repository, nobody will ever read these.
"""

from __future__ import annotations

import fcntl
import os
import re
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

_REMAINS = re.compile(r"[0-9a-f]{40,64}(\.[0-9a-f]+)?\.incomplete|tmp_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_guard = threading.Lock()


def remove_remains(place: Path, cache: Path) -> None:
    """Remove them from the repository that the cached file `place` belongs to, unless somebody is downloading there."""
    blobs = Path(os.path.realpath(place)).parent
    if blobs.name != "blobs" or not blobs.is_relative_to(os.path.realpath(cache)):
        return
    with _guard, suppress(OSError):
        remains = [path for path in blobs.iterdir() if _REMAINS.fullmatch(path.name)]
        if remains:
            _remove(remains, sorted((cache / ".locks" / blobs.parent.name).glob("*.lock")))


def _remove(remains: list[Path], locks: list[Path]) -> None:
    if not locks:  # a client that can do without them is not seen
        return
    with ExitStack() as held:
        for lock in locks:
            descriptor = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            held.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for path in remains:
            if not path.is_symlink() and (path.suffix == ".incomplete" or path.stat().st_size == 0):
                path.unlink(missing_ok=True)

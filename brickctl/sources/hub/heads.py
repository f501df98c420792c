"""What a server says of a file before it is fetched, looked at before the client makes names of it.

The client keeps a file under its entity tag: a tag such as `"../../x"` would lead it out of its cache, where it would
write whatever the server sends, long before anything can be compared with a digest.
"""

from __future__ import annotations

from typing import Any

from brickctl.core.document import shown
from brickctl.core.names import is_safe_path
from brickctl.errors import IntegrityFault
from brickctl.sources.naming import address_label

_NAMES = ("ETag", "X-Linked-Etag", "X-Repo-Commit")


def check_head(response: Any) -> None:
    """Refuse names that lead out of a folder.

    Raises:
        IntegrityFault: the answer to a HEAD request has one.
    """
    if response.request.method != "HEAD":
        return
    for name in _NAMES:
        value = response.headers.get(name)
        if value is not None and not is_safe_path(value.removeprefix("W/").strip('"') or "x"):
            raise IntegrityFault(
                f"{address_label(str(response.request.url))} cannot be fetched",
                causes=(f"the server says `{name}: {shown(value)}`, and files would be written outside of the cache",),
                hint="this server is not to be trusted: check HF_ENDPOINT, and ask whoever runs it",
            )

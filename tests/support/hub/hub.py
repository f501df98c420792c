"""The Hub as a test holds it in its hands."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from tests.support.hub.faultbook import FaultBook
from tests.support.hub.log import RequestLog, RequestRecord
from tests.support.hub.repository import LFS_PATTERNS, Repository
from tests.support.hub.routes import HUB, STORAGE
from tests.support.hub.server import LoopbackServer
from tests.support.hub.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from tests.support.hub.faults import Fault

OWNER_TOKEN = "hf_owner_of_the_local_hub"  # noqa: S105 - opens nothing but this Hub
USER = "tester"
CLIENT_SETTINGS = ("HF_", "HUGGING", "TRANSFORMERS_")


class Hub:
    """A Hugging Face Hub on loopback, for the real client.

    with Hub() as hub:
        repository = hub.repository("acme/legal", card={"license": "apache-2.0"})
        commit = repository.commit({"config.json": b"{}", "model.safetensors": Path("tiny.safetensors")})
        hub.fault("*/resolve/*/model.safetensors", Status(503, times=2))
        run(command, env=hub.environment(home))
        assert hub.weight_bytes_sent() == 0

    With `separate_storage`, LFS files are sent to a second port and are redirects to it, as the real Hub has a storage:
    another origin, to which no token may go.

    Attributes:
        token: reads and writes everything.
        user: who that token belongs to.
    """

    def __init__(self, *, separate_storage: bool = False) -> None:
        self.token = OWNER_TOKEN
        self.user = USER
        self._uploads = tempfile.TemporaryDirectory(prefix="hub-uploads-")
        self._store = Store(owner_token=self.token, user=self.user, uploads=Path(self._uploads.name))
        self._faults = FaultBook()
        self._log = RequestLog()
        server = LoopbackServer(routes=HUB, store=self._store, faults=self._faults, log=self._log)
        self._servers = [server]
        self._store.endpoint = server.address
        if separate_storage:
            storage = LoopbackServer(routes=STORAGE, store=self._store, faults=self._faults, log=self._log)
            storage.is_storage = True
            self._servers.append(storage)
            self._store.storage = storage.address

    def __enter__(self) -> Self:
        for server in self._servers:
            server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.stop()
        self._uploads.cleanup()
        crashes = [crash for server in self._servers for crash in server.crashes]
        if crashes and error is None:
            raise RuntimeError("The local Hub itself has failed") from crashes[0]

    @property
    def endpoint(self) -> str:
        """What HF_ENDPOINT is set to."""
        return self._store.endpoint

    def environment(self, home: Path, *, token: str | None = None) -> dict[str, str]:
        """Our own environment with the client's settings replaced: a subprocess then knows only this Hub."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(CLIENT_SETTINGS)}
        signed_in = {} if token is None else {"HF_TOKEN": token}
        return {
            **inherited,
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            **signed_in,
        }

    def repository(
        self,
        name: str,
        *,
        card: Mapping[str, Any] | None = None,
        gated: Literal[False, "auto", "manual"] = False,
        private: bool = False,
        lfs_patterns: tuple[str, ...] = LFS_PATTERNS,
    ) -> Repository:
        """Make an empty repository; it has no branch until its first commit."""
        repository = Repository(name=name, card=card or {}, gated=gated, private=private, lfs_patterns=lfs_patterns)
        self._store.add(repository)
        return repository

    def find(self, name: str) -> Repository:
        """A repository that exists, such as one that the client made."""
        return self._store.repositories[name]

    def rename(self, old: str, new: str) -> None:
        """Give a repository another name; the old one redirects until somebody takes it."""
        self._store.rename(old, new)

    def delete(self, name: str) -> None:
        del self._store.repositories[name]

    def issue_token(self, name: str) -> str:
        """A token that signs somebody in who owns nothing; add it to a repository's `readers` to let them read."""
        token = f"hf_{name}"
        self._store.tokens.add(token)
        return token

    def fault(self, glob: str, fault: Fault, *, method: str | None = None) -> None:
        """Let requests whose decoded path matches the glob (and, if given, whose method is this one) meet a fault."""
        self._faults.add(glob, fault, method)

    def clear_faults(self) -> None:
        self._faults.clear()

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """Every request since the start or the last reset, in order of arrival."""
        return self._log.records()

    def reset_log(self) -> None:
        self._log.reset()

    def gets(self, file: str) -> tuple[RequestRecord, ...]:
        """The GET requests for a file, whatever the repository and the revision."""
        return tuple(record for record in self.requests if record.method == "GET" and record.is_for(file))

    def weight_bytes_sent(self) -> int:
        """Bytes of weight files that went out."""
        return sum(record.sent for record in self.requests if record.weights)

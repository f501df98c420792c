"""The few calls of huggingface_hub that brickctl makes, with its cache, its tokens and its settings."""

from __future__ import annotations

import os
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import HfApi, constants, get_session, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, logging  # type: ignore[attr-defined]

from brickctl.core.document import shown
from brickctl.core.names import nearest
from brickctl.errors import NotFound, TransportFault
from brickctl.sources.hub.faults import Asked, no_revision, offline, translated
from brickctl.sources.hub.listing import Listing, parse_commit_date, parse_listing
from brickctl.sources.hub.meter import metered
from brickctl.sources.hub.remains import remove_remains
from brickctl.sources.hub.unlocked import with_or_without_locks
from brickctl.sources.hub.waiting import limit_waiting
from brickctl.sources.naming import address_label, place_label
from brickctl.sources.patience import patiently
from brickctl.sources.remote_header import Answer, answer_bounds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

_MOST_SHOWN = 8


class Client:
    """The client at one endpoint; None for what the environment says (HF_ENDPOINT, HF_TOKEN, HF_HOME).

    Raises from every method: NotFound, Gated, TransportFault, OfflineMiss, NoSpace.
    """

    def __init__(self, *, offline: bool, endpoint: str | None = None, cache: Path | None = None) -> None:
        self.endpoint = endpoint or constants.ENDPOINT
        self.cache = cache or Path(constants.HF_HUB_CACHE)
        self.offline = offline or constants.is_offline_mode()
        limit_waiting()
        if "HF_HUB_VERBOSITY" not in os.environ:
            # Its retries are warnings on stderr, as are disks that are small or have no links; what fails for good, we
            # say ourselves, and `brickctl doctor` tells of disks.
            logging.set_verbosity_error()  # type: ignore[no-untyped-call]
            warnings.filterwarnings("ignore", category=UserWarning, module=r"huggingface_hub\.file_download")

    def asked(self, repository: str, revision: str, path: str | None = None) -> Asked:
        """What a question is about, for messages."""
        return Asked(
            endpoint=address_label(self.endpoint),
            repository=repository,
            revision=revision,
            path=path,
            cache=place_label(self.cache),
        )

    def list(self, repository: str, revision: str, subfolder: str | None) -> Listing:
        """Commit, card and files of a revision: one request."""
        asked = self.asked(repository, revision)
        self._need_network(asked)
        api = HfApi(endpoint=self.endpoint)

        def ask() -> Listing:
            with translated(asked):
                timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
                info = api.model_info(repository, revision=revision, files_metadata=True, timeout=timeout)
                return parse_listing(info, subfolder=subfolder, asked=asked)

        try:
            return patiently(ask)
        except NotFound as error:
            if "no revision" in error.message:
                raise no_revision(asked, self._similar(api, asked)) from None
            raise

    def commit_date(self, repository: str, commit: str) -> datetime:
        """When a commit was made: one request, for the first page of the history that ends in it."""
        asked = self.asked(repository, commit)
        self._need_network(asked)
        url = f"{self.endpoint}/api/models/{repository}/commits/{commit}"

        def ask() -> datetime:
            with translated(asked):
                answer = get_session().get(url, headers=build_hf_headers(), timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT)
                hf_raise_for_status(answer)
                return parse_commit_date(answer.json(), commit, asked=asked)

        return patiently(ask)

    def cached(self, repository: str, commit: str, path: str) -> Path | None:
        """A file of the shared cache, unverified; no request."""
        with translated(self.asked(repository, commit, path)):
            found = try_to_load_from_cache(repository, path, cache_dir=self.cache, revision=commit)
        return Path(found) if isinstance(found, str) else None

    def download(
        self, repository: str, commit: str, path: str, *, size: int, advance: Callable[[int], None] | None = None
    ) -> Path:
        """Bring a file of `size` bytes into the shared cache, unverified; two requests if it is not there."""
        asked = self.asked(repository, commit, path)
        self._need_network(asked)
        with translated(asked):
            found = with_or_without_locks(
                lambda: hf_hub_download(
                    repository,
                    path,
                    revision=commit,
                    cache_dir=self.cache,
                    endpoint=self.endpoint,
                    tqdm_class=metered(str(asked), size, advance),
                )
            )
        remove_remains(Path(found), self.cache)
        return Path(found)

    @contextmanager
    def open_range(self, repository: str, commit: str, path: str, begin: int, end: int) -> Iterator[Answer]:
        """Ask for some bytes of a file; the client drops the token where a redirect leaves the Hub."""
        asked = self.asked(repository, commit, path)
        self._need_network(asked)
        headers = {**build_hf_headers(), "Range": f"bytes={begin}-{end - 1}", "Accept-Encoding": "identity"}
        with translated(asked):
            url = hf_hub_url(repository, path, revision=commit, endpoint=self.endpoint)
            timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
            with get_session().stream("GET", url, headers=headers, timeout=timeout) as response:
                hf_raise_for_status(response)
                start, total = answer_bounds(response.status_code, response.headers, begin, where=str(asked))
                yield Answer(start, total, response.iter_bytes())

    def _need_network(self, asked: Asked) -> None:
        if self.offline:
            forbidden_by = "HF_HUB_OFFLINE" if constants.is_offline_mode() else "`--offline`"
            raise offline(asked, f"{forbidden_by} forbids it")

    def _similar(self, api: HfApi, asked: Asked) -> str | None:
        """A hint with the branch or tag that was probably meant: one request, on the way to an error only."""
        try:
            with translated(asked):
                refs = api.list_repo_refs(asked.repository)
                names = [ref.name for ref in (*refs.branches, *refs.tags)]
        except (NotFound, TransportFault):
            return None
        near = nearest(asked.revision, names)
        if near is not None:
            return f"did you mean `{shown(near)}`?"
        return f"it has {', '.join(f'`{shown(name)}`' for name in sorted(names)[:_MOST_SHOWN])}" if names else None

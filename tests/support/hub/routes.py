"""Which endpoint answers which path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from tests.support.hub import reading, resolving, writing
from tests.support.hub.errors import Refusal
from tests.support.hub.messages import Request, Response, redirect, refuse

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.hub.store import Store

REPOSITORY = r"(?P<repository>[^/]+(?:/[^/]+)?)"
REVISION = r"(?P<revision>[^/]+)"
FILE = r"(?P<file>.+)"


@dataclass(frozen=True, slots=True)
class Route:
    """Methods and a pattern over the percent-encoded path, so that an encoded `/` stays inside its part.

    The endpoint takes the store, the request, and the named parts of the path.
    """

    methods: frozenset[str]
    pattern: re.Pattern[str]
    endpoint: Callable[..., Response]


def _route(methods: str, pattern: str, endpoint: Callable[..., Response]) -> Route:
    return Route(frozenset(methods.split()), re.compile(pattern), endpoint)


HUB = (
    _route("POST", r"/api/validate-yaml", writing.validate_yaml),
    _route("POST", r"/api/repos/create", writing.create_repository),
    _route("GET", r"/api/whoami-v2", reading.who_am_i),
    _route("GET", rf"/api/models/{REPOSITORY}/revision/{REVISION}", reading.model_info),
    _route("GET", rf"/api/models/{REPOSITORY}/tree/{REVISION}(?:/(?P<folder>.+))?", reading.list_tree),
    _route("GET", rf"/api/models/{REPOSITORY}/commits/{REVISION}", reading.list_commits),
    _route("GET", rf"/api/models/{REPOSITORY}/refs", reading.list_refs),
    _route("POST", rf"/api/models/{REPOSITORY}/paths-info/{REVISION}", reading.paths_info),
    _route("POST", rf"/api/models/{REPOSITORY}/branch/(?P<branch>[^/]+)", writing.create_branch),
    _route("POST", rf"/api/models/{REPOSITORY}/tag/{REVISION}", writing.create_tag),
    _route("POST", rf"/api/models/{REPOSITORY}/preupload/{REVISION}", writing.preupload),
    _route("POST", rf"/api/models/{REPOSITORY}/commit/{REVISION}", writing.commit),
    _route("GET", rf"/api/models/{REPOSITORY}", reading.model_info),
    _route("POST", rf"/{REPOSITORY}\.git/info/lfs/objects/batch", writing.lfs_batch),
    _route("PUT", r"/uploads/(?P<oid>[0-9a-f]{64})", writing.receive_upload),
    _route("HEAD GET", rf"/{REPOSITORY}/resolve/{REVISION}/{FILE}", resolving.resolve_file),
)
STORAGE = (
    _route("HEAD GET", rf"/lfs/{REPOSITORY}/(?P<revision>[0-9a-f]{{40}})/{FILE}", resolving.stored_file),
    _route("PUT", r"/uploads/(?P<oid>[0-9a-f]{64})", writing.receive_upload),
)


def dispatch(routes: tuple[Route, ...], store: Store, request: Request) -> Response:
    """Let the first route that fits answer; a repository that was renamed answers with a redirect to its new name."""
    for route in routes:
        match = route.pattern.fullmatch(request.path)
        if match is None or request.method not in route.methods:
            continue
        parts = {name: unquote(part) for name, part in match.groupdict().items() if part is not None}
        if (new := store.renamed.get(parts.get("repository", ""))) is not None:
            return redirect(request.target.replace(match["repository"], quote(new), 1), 307)
        try:
            return route.endpoint(store, request, **parts)
        except Refusal as refusal:
            return refuse(refusal)
    return refuse(Refusal(404, f"No such endpoint: {request.method} {request.path}"))

"""What the Hub says when it refuses; the client chooses its exception by `x-error-code`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(slots=True, eq=False)
class Refusal(Exception):
    """An answer with an error status.

    Attributes:
        status: HTTP status.
        message: goes into the JSON body and into `x-error-message`.
        code: goes into `x-error-code`; None leaves the header out.
        headers: further headers of the answer.
    """

    status: int
    message: str
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def repository_not_found(*, signed_in: bool) -> Refusal:
    """The Hub does not tell strangers whether a repository exists: it asks them to sign in."""
    if signed_in:
        return Refusal(404, "Repository not found", "RepoNotFound")
    return Refusal(401, "Invalid username or password.", "RepoNotFound")


def revision_not_found(revision: str) -> Refusal:
    return Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def entry_not_found(commit: str | None = None) -> Refusal:
    headers = {} if commit is None else {"X-Repo-Commit": commit}
    return Refusal(404, "Entry not found", "EntryNotFound", headers)


def gated(repository: str, *, signed_in: bool) -> Refusal:
    if signed_in:
        message = f"Access to model {repository} is restricted and you are not in the authorized list."
        return Refusal(403, message, "GatedRepo")
    message = f"Access to model {repository} is restricted. You must have access to it and be authenticated."
    return Refusal(401, message, "GatedRepo")


def invalid_token() -> Refusal:
    return Refusal(401, "Invalid credentials in Authorization header")

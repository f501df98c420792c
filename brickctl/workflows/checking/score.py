"""What one model reached in one check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.digests import json_digest

if TYPE_CHECKING:
    from brickctl.analysis.checks.check import Gate
    from brickctl.analysis.checks.measured import Bar, Wrong
    from brickctl.core.digests import Sha256
    from brickctl.core.names import Alias


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a result follows from.

    Attributes:
        artifact: digest of the model that was measured.
        data: digest of what it was asked; None where nobody knows it.
        asked: digest of the kind of the check with its settings.
    """

    artifact: Sha256
    data: Sha256 | None
    asked: Sha256


def asked_of(check: Gate) -> Sha256:
    """The digest of how a check asks: its kind, in its version, with its settings."""
    kind = check.measured.kind
    return json_digest({"kind": check.measured.kind_name, "settings": kind.settings(), "version": kind.version})


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What one model reached in one check: a share in [0, 1], a perplexity, or another figure.

    Attributes:
        count: of examples or tokens.
        worst: examples that speak against the model.
        origin: what the figure follows from.
        cached: whether it was measured by an earlier run.
        alone: whether the model is the base or a brick, measured beside targets: one may be called as a target is.
        against: the bar, where it is not that of the check itself.
        doubt: why there is no bar although the check is to have one; such a check is missed.
    """

    check: Gate
    model: Alias
    value: float
    count: int
    worst: tuple[Wrong, ...] = ()
    origin: Origin | None = None
    cached: bool = False
    alone: bool = False
    against: Bar | None = None
    doubt: str | None = None

    @property
    def bar(self) -> Bar | None:
        """What the figure is held against."""
        return self.check.bar if self.against is None else self.against

    @property
    def gates(self) -> bool:
        """Whether it is about the target of its check, and not about a brick that is measured beside it."""
        return not self.alone and self.model == self.check.target

    @property
    def passed(self) -> bool:
        """Whether the figure keeps to the bar; a check without a bar is only measured."""
        return self.doubt is None and (self.bar is None or self.bar.keeps(self.value))

"""Results of earlier runs: what was measured of the same bytes, with the same data and settings, is not measured again.

They lie in the project's cache, each as a piece under all that it follows from. Nothing depends on them: without one a
check is measured anew.
"""

from __future__ import annotations

import math
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from brickctl.analysis.checks.measured import SHOWN, Measured, Wrong
from brickctl.core.digests import is_sha256, json_digest, sha256_bytes
from brickctl.workflows.analyzing.pieces import Pieces
from brickctl.workflows.build import card_of, definition_of
from brickctl.workflows.provenance import read_statement

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from brickctl.analysis.checks.check import Gate
    from brickctl.core.digests import Sha256
    from brickctl.core.lock import Lock
    from brickctl.operations.target import Recipe
    from brickctl.workflows.build import Built
    from brickctl.workflows.checking.score import Origin

_ARTIFACT = "(artifact)"
"""Instead of the name of a check, which it cannot be, for what a model was built into."""


class Results:
    """What earlier runs found out of one model, in a folder that all models share; with `again` all is forgotten.

    What the last run of a check rests on is marked, so that what is older can be pruned.
    """

    def __init__(self, folder: Path, model: str, *, again: bool = False) -> None:
        self._folder = folder
        self._model = model
        self._again = again

    def measured(self, check: Gate, origin: Origin) -> Measured | None:
        """What was measured before; None where nothing was, or where nobody can say that it was the same."""
        if self._again or origin.data is None:
            return None
        return _parsed(self._stored(check.name, _key(check, origin)))

    def keep(self, check: Gate, origin: Origin, measured: Measured) -> None:
        """Remember a result, if it is a number and of data that is known."""
        if origin.data is not None and math.isfinite(measured.value):
            self._keep(check.name, _key(check, origin), _document(measured))

    def artifact(self, recipe: Recipe, lock: Lock) -> Sha256 | None:
        """The digest of what a recipe was built into before, where every machine builds it into the same bytes."""
        known = None if self._again else self._stored(_ARTIFACT, _recipe_key(recipe, lock))
        return known if isinstance(known, str) and is_sha256(known) else None  # type: ignore[return-value]

    def remember(self, recipe: Recipe, lock: Lock, built: Built) -> None:
        """Remember what a recipe was built into, unless other machines may build other bytes."""
        statement = read_statement(built.folder)
        if statement is not None and statement[0]["internalParameters"] == {"reproducible": "bitwise"}:
            self._keep(_ARTIFACT, _recipe_key(recipe, lock), built.digest)

    def _stored(self, name: str, key: Mapping[str, Any]) -> Any:
        pieces = Pieces(self._folder)
        found = pieces.get(key)
        if found is not None:
            pieces.mark(f"{self._model} {name}")
        return found

    def _keep(self, name: str, key: Mapping[str, Any], value: Any) -> None:
        Pieces(self._folder).keep(key, value)
        self._stored(name, key)


def _key(check: Gate, origin: Origin) -> Mapping[str, Any]:
    kind = check.measured.kind
    libraries = {name: _version(name) for name in kind.libraries}
    return {"asked": origin.asked, "artifact": origin.artifact, "data": origin.data, "libraries": libraries}


def _recipe_key(recipe: Recipe, lock: Lock) -> Mapping[str, Any]:
    definition = {**definition_of(recipe, lock), "internalParameters": None}
    return {"card": sha256_bytes(card_of(recipe, lock)), "definition": json_digest(definition)}


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _document(measured: Measured) -> Mapping[str, Any]:
    worst = [{"prompt": one.prompt, "wanted": one.wanted, "got": one.got, "nats": one.nats} for one in measured.worst]
    return {"value": measured.value, "count": measured.count, "worst": worst}


def _parsed(stored: Any) -> Measured | None:
    """A result as it was stored; None where it is another shape: an older brickctl, or somebody's hand."""
    try:
        worst = tuple(Wrong(**one) for one in stored["worst"])
        texts = [text for one in worst for text in (one.prompt, one.wanted, one.got)]
        nats = [one.nats for one in worst if one.nats is not None]
        value, count = float(stored["value"]), int(stored["count"])
        known = all(isinstance(text, str) for text in texts) and all(map(math.isfinite, (value, *nats)))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return Measured(value=value, count=count, worst=worst[:SHOWN]) if known else None

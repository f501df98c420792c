"""What stands above the figures: which model, which texts, which settings, how long it took."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.pages import reading
from brickctl.pages.figure import Numbers
from brickctl.pages.numerals import count, duration

if TYPE_CHECKING:
    from brickctl.core.document import Table

_LONGEST = 120
_COUNTS = (("parameters", "Parameters"), ("layers", "Layers"), ("neurons", "Neurons a layer"), ("experts", "Experts"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """`model` is its name; `groups` are facts under a heading each; `labels` and `times` are tables."""

    model: str
    groups: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    tables: tuple[Numbers, ...]


def summary(document: Table) -> Summary:
    """What the document says about itself; what it does not say is left out."""
    model = document.table_or_none("model")
    prompts = document.table_or_none("prompts")
    groups = (
        ("Model", _model(model) if model is not None else ()),
        ("Texts", _prompts(prompts) if prompts is not None else ()),
        ("Settings", _settings(document)),
    )
    name = reading.name(model, "name") if model is not None else None
    return Summary(
        model=name or "an unnamed model",
        groups=tuple((title, facts) for title, facts in groups if facts),
        tables=tuple(table for table in (_labels(prompts), _times(document)) if table is not None),
    )


def _model(model: Table) -> tuple[tuple[str, str], ...]:
    facts = [(key.capitalize(), reading.name(model, key)) for key in ("architecture", "dtype")]
    facts += [(title, count(model.integer_or_none(key))) for key, title in _COUNTS if model.has(key)]
    facts.append(("Digest", reading.name(model, "digest")))
    return tuple((title, value) for title, value in facts if value is not None)


def _prompts(prompts: Table) -> tuple[tuple[str, str], ...]:
    facts = (("File", reading.name(prompts, "file")), ("sha256", reading.name(prompts, "sha256")))
    return tuple((title, value) for title, value in facts if value is not None)


def _settings(document: Table) -> tuple[tuple[str, str], ...]:
    settings = document.table_or_none("settings")
    if settings is None:
        return ()
    return tuple((shown(key), _value(settings.take(key))) for key in settings)


def _value(value: Any) -> str:
    """A setting in one line; lists are joined."""
    if isinstance(value, list):
        return ", ".join(_value(part) for part in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return shown(value) if value < 10_000 else count(value)  # noqa: PLR2004 - a year or a seed needs no comma
    return shown(value, longest=_LONGEST)


def _labels(prompts: Table | None) -> Numbers | None:
    labels = reading.tables(prompts, "labels") if prompts is not None else ()
    rows = tuple(
        (reading.name(one, "label") or "", reading.integer(one, "instances"), reading.integer(one, "tokens"))
        for one in labels
    )
    return Numbers(caption="Labels", columns=("label", "instances", "tokens"), rows=rows) if rows else None


def _times(document: Table) -> Numbers | None:
    seconds = reading.mapping(document, "seconds")
    if not seconds:
        return None
    rows = [(name, duration(value)) for name, value in seconds.items()]
    rows.append(("all", duration(math.fsum(seconds.values()))))
    return Numbers(caption="Time", columns=("part", "time"), rows=tuple(rows))

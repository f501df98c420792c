"""The words of mergekit that may mean the same as a step of brick.toml: one way after the other, to be tried.

A step is given with every default written out, and all that a method of mergekit reads is written, so that neither
program falls back on a default of its own.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.names import BASE
from brickctl.workflows.mergekit.methods import METHODS, name_here
from brickctl.workflows.mergekit.numbers import IN_LAYERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from brickctl.workflows.mergekit.methods import Switches

_PART = re.compile(r"\*([^*?\[\]]+)\*")
_WITH_BASE = ("origin", "start")


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """A method of mergekit with its switches."""

    method: str
    switches: Switches

    def document(self, step: Mapping[str, Any], models: Mapping[str, str], dtype: str | None) -> dict[str, Any]:
        """The recipe; `models` are mergekit's names of the bricks."""
        found: dict[str, Any] = {"merge_method": self.method}
        if self._has_base(step):
            found["base_model"] = models[BASE]
        if step["op"] == "stitch":
            found["slices"] = [self._slice(part, models) for part in step["slices"]]
        else:
            found |= {"models": self._models(step, models), "parameters": self._shared(step)}
        return {key: value for key, value in (*found.items(), ("dtype", dtype)) if value not in (None, {})}

    def _has_base(self, step: Mapping[str, Any]) -> bool:
        role = METHODS[self.method].base
        deltas = any(part.get("deltas") for part in (step, *step.get("slices", ())))
        return role in _WITH_BASE or (role == "optional" and deltas) or step["op"] == "stitch"

    def _slice(self, part: Mapping[str, Any], models: Mapping[str, str]) -> dict[str, Any]:
        sources = [
            {**model, "layer_range": list(brick["layers"])}
            for model, brick in zip(self._models(part, models), part["bricks"], strict=True)
        ]
        shared = self._shared(part)
        return {"sources": sources, **({"parameters": shared} if shared else {})}

    def _models(self, part: Mapping[str, Any], models: Mapping[str, str]) -> list[dict[str, Any]]:
        found = []
        for brick in part["bricks"]:
            own = {
                name: number(brick[numeric.ours])
                for name, numeric in METHODS[self.method].numbers.items()
                if numeric.each and numeric.ours in brick
            }
            found.append({"model": models[brick["brick"]], **({"parameters": own} if own else {})})
        return found

    def _shared(self, part: Mapping[str, Any]) -> dict[str, Any]:
        """What stands at the top: numbers that no brick has for itself, and switches."""
        own = {key for brick in part["bricks"] for key in brick}
        numbers = {
            name: number(part[numeric.ours])
            for name, numeric in METHODS[self.method].numbers.items()
            if numeric.ours in part and numeric.ours not in own
        }
        return {**numbers, **self.switches}


def words_for(step: Mapping[str, Any]) -> Iterator[Words]:
    """Every way to say a step whose choices agree with it; for slices, the one method that all have."""
    parts: Sequence[Mapping[str, Any]] = step["slices"] if step["op"] == "stitch" else [step]
    for method, declared in METHODS.items():
        for values in itertools.product((False, True), repeat=len(declared.switches)):
            switches = dict(zip(declared.switches, values, strict=True))
            if _idle(method, switches):
                continue
            chosen = declared.chosen(switches).items()
            names_it = all(name_here(method, switches) == part["method"] for part in parts)
            if names_it and all(part.get(key) == value for part in parts for key, value in chosen):
                yield Words(method=method, switches=switches)


def number(value: Any) -> Any:
    """A number of brick.toml in mergekit's words, as near as they come."""
    if not isinstance(value, list) or not value or not isinstance(value[0], dict):
        return value
    first, last = value[0], value[-1]
    if len(value) == 2 and first.get("filter") == IN_LAYERS and isinstance(first["value"], list):  # noqa: PLR2004
        return first["value"] if first["value"][0] == last["value"] else value  # how `import` writes a gradient
    return [_condition(rule) for rule in value]


def _condition(rule: Mapping[str, Any]) -> dict[str, Any]:
    pattern = rule.get("filter")
    part = None if pattern is None else _PART.fullmatch(pattern)
    if pattern is not None:
        return {"filter": pattern if part is None else part[1], "value": rule["value"]}
    return {"value": rule["value"]}


def _idle(method: str, switches: Switches) -> bool:
    """Whether a switch is on that has no effect while another one is."""
    return any(switches[name] and switches[other] for name, other in METHODS[method].idle.items())

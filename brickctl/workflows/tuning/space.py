"""What can be tried of a target: its steps with their dials, by method, and the recipe for any turn of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from brickctl.core.document import Table, shown
from brickctl.core.manifest import Step
from brickctl.core.names import did_you_mean
from brickctl.core.step_edit import steps_of
from brickctl.errors import NotFound, UsageFault
from brickctl.merging.method import method_named, methods
from brickctl.operations.dials import WEIGHT, by_method, turned, with_dials
from brickctl.operations.target import Recipe, read_recipe
from brickctl.workflows.session import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brickctl.core.manifest import Manifest, Target
    from brickctl.merging.method import Declared
    from brickctl.operations.dials import Dial
    from brickctl.workflows.tuning.wish import Wish

_MERGE = "merge"

Values = tuple[float, ...]
"""One number for each dial of a space."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """The steps of a target with dials in them.

    Attributes:
        label: the merge methods.
        steps: their tables, with every number written out that is a dial.
        dials: by the number of the step.
    """

    manifest: Manifest
    target: Target
    label: str
    steps: tuple[Mapping[str, Any], ...]
    dials: tuple[tuple[int, Dial], ...]

    @property
    def start(self) -> Values:
        """What stands in brick.toml, and, where another method would be, in the same places."""
        return tuple(dial.value for _, dial in self.dials)

    def values(self, shares: Sequence[float]) -> Values:
        """The numbers at shares of the ways that dials can go."""
        return tuple(dial.at(share) for (_, dial), share in zip(self.dials, shares, strict=True))

    def tables(self, values: Values) -> list[dict[str, Any]]:
        """The steps as they would be written."""
        found: list[dict[str, Any]] = []
        for number, step in enumerate(self.steps):
            own = [(dial, value) for (at, dial), value in zip(self.dials, values, strict=True) if at == number]
            found.append(turned(step, [dial for dial, _ in own], [value for _, value in own]))
        return found

    def recipe(self, values: Values) -> Recipe:
        """The target with these numbers.

        Raises:
            ManifestInvalid: they go together with no method, or with each other.
        """
        return recipe_of(self.manifest, self.target, self.tables(values))

    def size(self, values: Values) -> float:
        """The sum over bricks of |weight|, each the mean over its numbers: what LoraHub keeps small."""
        weights: dict[tuple[Any, ...], list[float]] = {}
        for (number, dial), value in zip(self.dials, values, strict=True):
            if dial.kind == WEIGHT:
                weights.setdefault((number, *dial.path[:2]), []).append(abs(value))
        return math.fsum(math.fsum(own) / len(own) for own in weights.values())


def recipe_of(manifest: Manifest, target: Target, tables: Sequence[Mapping[str, Any]]) -> Recipe:
    """The recipe of a target with other tables for its steps.

    Raises:
        ManifestInvalid: one cannot be read.
    """
    steps = [_step(step, table) for step, table in zip(target.apply, tables, strict=True)]
    return read_recipe(manifest, replace(target, apply=tuple(steps)))


def _step(step: Step, table: Mapping[str, Any]) -> Step:
    rest = {key: value for key, value in table.items() if key != "op"}
    read = Table(rest, file=MANIFEST, lines=step.table.lines, path=step.table.path)
    return Step(op=step.op, table=read, place=step.place)


def start_of(manifest: Manifest, text: str, wish: Wish) -> Space:
    """The target as it stands there.

    Raises:
        NotFound: there is no such target.
        UsageFault: it has no merge.
        ManifestInvalid: a step cannot be read.
    """
    target = manifest.targets.get(wish.target)
    if target is None:
        hint = did_you_mean(wish.target, manifest.targets) or f"there are {', '.join(manifest.targets) or 'none'}"
        raise NotFound(f"`{shown(wish.target)}` is no target of this project", hint=hint)
    read_recipe(manifest, target)
    steps = steps_of(text, wish.target)
    if not any(step["op"] == _MERGE for step in steps):
        cause = f'[targets.{target.name}] has no step with op = "merge" of its own'
        raise UsageFault(f"`{target.name}` has nothing to tune", causes=(cause,), place=target.place, hint=_MERGES)
    return _space(manifest, target, steps, None, wish)


def spaces_of(start: Space, text: str, wish: Wish) -> tuple[Space, ...]:
    """A space for each method that is to be tried, in their order; the start itself, where none is named.

    Raises:
        UsageFault: nothing of one can be turned.
        ManifestInvalid: the bricks cannot be merged by a method.
    """
    steps, target = steps_of(text, wish.target), start.target
    chosen = [_method(name) for name in dict.fromkeys(wish.methods)]
    found = [_space(start.manifest, target, steps, method, wish) for method in chosen] or [start]
    _require_known(wish, start, steps, chosen)
    for space in found:
        if not space.dials:
            message = f"nothing of `{target.name}` can be turned by `{space.label}`"
            raise UsageFault(message, place=target.place, hint=_dials_hint(wish))
        space.recipe(space.start)
    return tuple(found)


def _require_known(wish: Wish, start: Space, steps: Sequence[Mapping[str, Any]], chosen: Sequence[Declared]) -> None:
    """Make sure that each kind of number that may change is there: one that is not is a slip of the pen.

    Raises:
        UsageFault: one is not.
    """
    everything = replace(wish, only=())
    tried: Sequence[Declared | None] = chosen or [None]
    spaces = [_space(start.manifest, start.target, steps, method, everything) for method in tried]
    kinds = list(dict.fromkeys(dial.kind for space in spaces for _, dial in space.dials))
    unknown = next((name for name in wish.only if name not in kinds), None)
    if unknown is not None and kinds:
        hint = did_you_mean(unknown, kinds) or f"`--only` may name {', '.join(kinds)}"
        labels = ", ".join(dict.fromkeys(space.label for space in spaces))
        message = f"nothing of `{start.target.name}` can be turned by `{labels}` that is called `{shown(unknown)}`"
        raise UsageFault(message, place=start.target.place, hint=hint)


_MERGES = "name a target that merges bricks: their weights are what is tuned"


def _dials_hint(wish: Wish) -> str:
    if wish.only:
        return f"it has no number of the kind {shown(' or '.join(wish.only))}: leave `--only` or this method out"
    return "its method has no weights, and no parameter with two bounds"


def _method(name: str) -> Declared:
    found = method_named(name)
    if found is None:
        hint = did_you_mean(name, methods()) or f"this brickctl has {', '.join(methods())}"
        raise UsageFault(f"there is no merge method `{shown(name)}`", hint=hint)
    return found


def _space(
    manifest: Manifest, target: Target, steps: Sequence[Mapping[str, Any]], method: Declared | None, wish: Wish
) -> Space:
    """The dials of all merges of a target, by one method or by those that stand there."""
    filled: list[Mapping[str, Any]] = []
    dials: list[tuple[int, Dial]] = []
    labels: list[str] = []
    several = sum(step["op"] == _MERGE for step in steps) > 1  # then one name may stand in each of them
    for number, step in enumerate(steps):
        if step["op"] != _MERGE:
            filled.append(step)
            continue
        own = method or _method(step["method"])
        table, found = with_dials(by_method(step, own) if method else step, own, points=wish.points, only=wish.only)
        filled.append(table)
        where = f", step {number + 1}" if several else ""
        dials += [(number, replace(dial, name=dial.name + where)) for dial in found]
        labels.append(own.name)
    label = " + ".join(dict.fromkeys(labels))
    return Space(manifest=manifest, target=target, label=label, steps=tuple(filled), dials=tuple(dials))

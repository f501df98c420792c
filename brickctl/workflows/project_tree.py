"""The project as a tree: the base, and each target with its steps, their bricks and their weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.names import BASE
from brickctl.operations.target import Recipe, read_recipe
from brickctl.workflows.derived import wanted_bricks
from brickctl.workflows.inventory import Item, inventory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from brickctl.core.lock import Lock
    from brickctl.core.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Branch:
    """A line of the tree and what hangs below it."""

    text: str
    below: tuple[Branch, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectTree:
    """A project, read and checked, as people and programs may look at it.

    `unused` are bricks that no target uses.
    """

    name: str
    items: Mapping[str, Item]
    recipes: tuple[Recipe, ...]
    unused: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """The tree as JSON; steps have every default written out."""
        return {
            "project": self.name,
            "base": self.items[BASE].document(),
            "targets": [
                {"name": recipe.name, "from": _start(recipe), "steps": [dict(step) for step in _steps(recipe)]}
                for recipe in self.recipes
            ],
            "bricks": [item.document() for alias, item in self.items.items() if alias != BASE],
            "unused": list(self.unused),
        }

    def branches(self) -> Branch:
        """The tree as lines."""
        targets = (self._target(recipe) for recipe in self.recipes)
        unused = (Branch(f"{self._brick(alias)}  (in no target)") for alias in self.unused)
        return Branch(self.name, (Branch(self._brick(BASE)), *targets, *unused))

    def _target(self, recipe: Recipe) -> Branch:
        start = "" if recipe.start is None else f" from {recipe.start.name}"
        return Branch(f"{recipe.name}{start}", tuple(self._step(step) for step in _steps(recipe)))

    def _step(self, step: Mapping[str, Any]) -> Branch:
        words = [str(step[key]) for key in ("op", "method") if key in step]
        parts = () if "brick" in step else step.get("bricks", ())  # those of a prune are names that its brick knows
        known = ("op", "method", *(["bricks"] if parts else []))
        words += [f"{key}={_value(value)}" for key, value in step.items() if key not in known and value is not None]
        return Branch(" ".join(words), tuple(map(self._part, parts)))

    def _part(self, part: Any) -> Branch:
        if isinstance(part, str):
            return Branch(self._brick(part))
        more = [f"{key}={_value(value)}" for key, value in part.items() if key != "brick"]
        return Branch(" ".join([self._brick(part["brick"]), *more]))

    def _brick(self, alias: str) -> str:
        item = self.items[alias]
        return f"{alias} ({item.source} {item.revision})" if item.revision != "-" else f"{alias} ({item.source})"


def project_tree(manifest: Manifest, lock: Lock | None) -> ProjectTree:
    """Read every target.

    Raises:
        ManifestInvalid: a target that cannot be read.
    """
    recipes = tuple(read_recipe(manifest, target) for target in manifest.targets.values())
    used = [alias for recipe in recipes for alias in recipe.aliases]
    used += [alias for one in wanted_bricks(manifest).values() for alias in one.aliases]
    return ProjectTree(
        name=manifest.project.name,
        items={item.alias: item for item in inventory(manifest, lock)},
        recipes=recipes,
        unused=tuple(alias for alias in manifest.usable if alias not in used),
    )


def draw(tree: Branch) -> str:
    """The tree as text, one line a branch."""
    return "\n".join([tree.text, *_draw(tree.below, "")])


def _draw(branches: Sequence[Branch], margin: str) -> Iterator[str]:
    for at, branch in enumerate(branches):
        last = at == len(branches) - 1
        yield f"{margin}{'└── ' if last else '├── '}{branch.text}"
        yield from _draw(branch.below, margin + ("    " if last else "│   "))


def _start(recipe: Recipe) -> str:
    return BASE if recipe.start is None else recipe.start.name


def _steps(recipe: Recipe) -> Iterator[Mapping[str, Any]]:
    return (operation.document() for operation in recipe.operations)


def _value(value: Any) -> str:
    """A parameter as short as it can be told: a number, numbers over depth, or rules."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"{value:g}"
    if isinstance(value, list):
        return "[" + ", ".join(_value(entry) for entry in value) + "]"
    if isinstance(value, dict):
        return f"{value.get('filter', 'else')}: {_value(value['value'])}"
    return str(value)

"""YAML read as strictly as TOML: every key with its line, nothing twice, no tricks with references."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from brickctl.core.document import Table, shown
from brickctl.core.lines import KeyPath, Lines
from brickctl.errors import Place, Unsupported, UsageFault

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_NODES = 100_000
_DEEPEST = 32


def read_yaml(text: str, *, file: str) -> Table:
    """Parse one YAML document into a table that knows its lines.

    Raises:
        Unsupported: there are several documents.
        UsageFault: not YAML, no mapping, a key that is no string or stands twice, or too large.
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_node() if loader.check_node() else None
        if loader.check_node():
            second: Any = loader.get_node()
            raise _several(file, Place(file=file, line=second.start_mark.line + 1))
        lines = dict(_lines(node, (), file)) if node is not None else {}
        values = {} if node is None else loader.construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = Place(file=file, line=None if mark is None else mark.line + 1)
        reason = getattr(error, "problem", None) or type(error).__name__
        raise UsageFault(f"{file} is not YAML", causes=(shown(str(reason)),), place=place) from None
    if not isinstance(values, dict):
        raise UsageFault(f"{file} is no mapping of keys to values", place=Place(file=file, line=1))
    return Table(values, file=file, lines=Lines(lines), fault=UsageFault)


def _several(file: str, place: Place) -> Unsupported:
    causes = ("a recipe that takes what another one made has no counterpart: bricks are not targets",)
    hint = "import each document as a file of its own, and name what was built by its folder"
    return Unsupported(f"{file} holds several recipes", causes=causes, place=place, hint=hint)


def _lines(root: yaml.Node, path: KeyPath, file: str) -> Iterator[tuple[KeyPath, int]]:
    """The line of every key and entry, checked on the way."""
    waiting: list[tuple[KeyPath, Any]] = [(path, root)]
    count = 0
    while waiting:
        path, node = waiting.pop()
        count += 1
        if count > _MOST_NODES or len(path) > _DEEPEST:
            raise UsageFault(f"{file} is too large for a recipe, or refers to itself", place=Place(file=file))
        if isinstance(node, yaml.SequenceNode):
            for at, entry in enumerate(node.value):
                yield (*path, at), entry.start_mark.line + 1
                waiting.append(((*path, at), entry))
        elif isinstance(node, yaml.MappingNode):
            for key, value in _pairs(node, file):
                yield (*path, key.value), key.start_mark.line + 1
                waiting.append(((*path, key.value), value))


def _pairs(node: yaml.MappingNode, file: str) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
    seen: list[str] = []
    for key, value in node.value:
        place = Place(file=file, line=key.start_mark.line + 1)
        if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
            raise UsageFault("a key is no plain string", place=place, hint="put it in quotes")
        if key.value in seen:
            raise UsageFault(f"`{shown(key.value)}` stands twice", place=place, hint="only one of them would count")
        seen.append(key.value)
        yield key, value

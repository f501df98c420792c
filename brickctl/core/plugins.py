"""Found by import: a new merge method, kind or operation is one new file, and no list of them is kept anywhere."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

_P = TypeVar("_P")


class Plugins(Generic[_P]):
    """What the modules of a package declare, each under a name of its own.

    Whoever asks for one gets by with the file that is called so; only where that declares nothing of the name are all
    others imported: thirty files take longer to import than a small merge takes.
    """

    def __init__(self, package: str) -> None:
        self._package = package
        self._declared: dict[str, _P] = {}

    def declare(self, name: str, plugin: _P) -> None:
        """Make one known; called by its module."""
        self._declared[name] = plugin

    def named(self, name: str) -> _P | None:
        """The one of this name; None where no module declares it."""
        if name not in self._declared:
            self._import(name.lower().replace("-", "_"))
        return self._declared[name] if name in self._declared else self.all().get(name)

    def all(self) -> Mapping[str, _P]:
        """Every one, by name, in the order of the names."""
        for module in self._modules:
            self._import(module)
        return MappingProxyType(dict(sorted(self._declared.items())))

    def _import(self, module: str) -> None:
        if module in self._modules:  # of the package itself: a name is whatever somebody wrote
            importlib.import_module(f"{self._package}.{module}")

    @cached_property
    def _modules(self) -> tuple[str, ...]:
        paths = importlib.import_module(self._package).__path__
        return tuple(sorted(module.name for module in pkgutil.iter_modules(paths)))

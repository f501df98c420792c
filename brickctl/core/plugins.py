"""Found by import: a new merge method, kind or operation is one new file, and no list of them is kept anywhere."""

from __future__ import annotations

import importlib
import pkgutil


def import_all(package: str) -> None:
    """Import every module of a package, in the order of their names, so that what they declare is registered."""
    paths = importlib.import_module(package).__path__
    for module in sorted(pkgutil.iter_modules(paths), key=lambda found: found.name):
        importlib.import_module(f"{package}.{module.name}")

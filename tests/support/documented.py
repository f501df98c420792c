"""What docstrings say, for tests that hold them to it."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_ARGUMENT = re.compile(r"(\w+): (.+)")


def first_line(documented: object) -> str:
    """The sentence that a docstring begins with."""
    return (inspect.getdoc(documented) or "").partition("\n")[0]


def arguments(documented: object) -> Mapping[str, str]:
    """The section `Args` of the docstring of a class itself, by name."""
    section = inspect.cleandoc(documented.__doc__ or "").partition("Args:\n")[2].partition("\n\n")[0]
    found: dict[str, str] = {}
    for line in inspect.cleandoc(section).splitlines():
        match = _ARGUMENT.fullmatch(line)
        if match is None and found:
            found[list(found)[-1]] += f" {line.strip()}"
        elif match is not None:
            found[match[1]] = match[2]
    return found

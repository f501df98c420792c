"""Regular expressions for module names, from the configuration of an adapter: hostile until matched.

PEFT hands them to `re`, where matching a few characters can take for ever. RE2 takes time linear in the name and
bounded memory; what it does not know (look-around, references to groups) no module name needs.
"""

from __future__ import annotations

import re
import warnings
from functools import cache
from typing import Any

_LONGEST = 500
_MEMORY = 1 << 20


def matches_end(expression: str, module: str) -> bool:
    """Whether the expression matches the whole name, or all that comes behind one of its dots: PEFT's rule."""
    return _compiled(expression).match(module) is not None


def matches_whole(expression: str, module: str) -> bool:
    """Whether the expression matches the whole name."""
    return _compiled(expression, whole=True).match(module) is not None


def unreadable(expression: str) -> str | None:
    """What is wrong with an expression, to stand behind it in a message; None where it can be matched."""
    import re2

    if len(expression) > _LONGEST:
        return "which is too long to be a module name"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # `re` warns of what others read in another way, such as `[[:alpha:]]`
            re.compile(f"({expression})")
        _compiled(expression)
    except (re.error, re2.error, Warning, OverflowError, RecursionError):
        return "no regular expression that both Python and RE2 read"
    return "which Python and RE2 read differently" if "{," in expression else None


@cache
def _compiled(expression: str, *, whole: bool = False) -> Any:
    import re2

    options = re2.Options()
    options.max_mem = _MEMORY
    options.log_errors = False
    return re2.compile(rf"^({expression})$" if whole else rf"(.*\.)?({expression})$", options)

"""The syntax of a Modelfile, and of Go's templates, as far as fixed texts need them.

https://docs.ollama.com/modelfile. Ollama reads a text between three quotation marks as it stands, but for characters
that it cannot print, which it drops without a word.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from brickctl.core.document import shown
from brickctl.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterable

    from brickctl.exports.modelfile.turns import Turns

_OPENS = re.compile(r"\{(?=\{|\Z)")
"""A brace that would open an action, with the next one or with that of an action that follows the text."""

_QUOTES = '"""'
_KEPT = "\n\t "
_AS_IT_IS = "{{ .Prompt }}"


def go_template(turns: Turns | None) -> str:
    """The template of Ollama that says what these turns say; None is a model that takes prompts as they are."""
    if turns is None:
        return _AS_IT_IS
    default = _literal(turns.default)
    if default:
        default = f'{{{{ if ne (index .Messages 0).Role "system" }}}}{default}{{{{ end }}}}'
    branches = "{{ else ".join(_branch(role, *around) for role, around in turns.around.items())
    each = "{{ range .Messages }}{{ " + branches + "{{ end }}{{ end }}"
    return f"{_literal(turns.opening)}{default}{each}{_literal(turns.answer)}"


def _branch(role: str, before: str, after: str) -> str:
    """What a message of a role becomes; the caller opens it."""
    return f'if eq .Role "{role}" }}}}{_literal(before)}{{{{ .Content }}}}{_literal(after)}'


def instruction(name: str, value: str) -> str:
    """One instruction, its value in three quotation marks where it has to be.

    Raises:
        Unsupported: a Modelfile cannot say the value.
    """
    lost = next((character for character in value if not character.isprintable() and character not in _KEPT), None)
    if lost is None and "\u00a0" in value:
        lost = "\u00a0"
    if lost is not None or _QUOTES in value or value.endswith('"'):
        what = f"the character U+{ord(lost):04X}" if lost is not None else "quotation marks where its own would stand"
        cause = f"{name} is to be {shown(value)}, which has {what}"
        raise Unsupported("a Modelfile cannot say this", causes=(cause,), hint="write the Modelfile by hand")
    return f"{name} {_QUOTES}{value}{_QUOTES}"


def parameters(stops: Iterable[str]) -> list[str]:
    """Texts that end an answer."""
    return [instruction("PARAMETER stop", stop) for stop in stops]


def _literal(text: str) -> str:
    """A text that Go's templates leave as it is."""
    return _OPENS.sub('{{ "{" }}', text)

"""A Modelfile as Ollama reads it, and what Go makes of the templates that we write.

Written from https://docs.ollama.com/modelfile and from what Ollama does: values in three quotation marks run to the
next three, and what cannot be printed is dropped. Of Go's templates it knows what ours use. What we write was held
against Ollama's own parser and Go's text/template once, with the chat templates of fifty models.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_COMMANDS = "FROM|PARAMETER [a-z_]+|TEMPLATE|SYSTEM|ADAPTER|LICENSE"
_LINE = re.compile(rf'({_COMMANDS}) (?:"""(.*?)"""|([^"\n]*))\n', re.DOTALL)
_DEFAULT = re.compile(r'\{\{ if ne \(index \.Messages 0\)\.Role "system" \}\}(.*?)\{\{ end \}\}', re.DOTALL)
_EACH = re.compile(r"\{\{ range \.Messages \}\}(.*)\{\{ end \}\}\{\{ end \}\}", re.DOTALL)
_BRANCH = re.compile(r'\{\{ (?:else )?if eq \.Role "(\w+)" \}\}(.*?)(?=\{\{ else if|\Z)', re.DOTALL)


def commands(text: str) -> list[tuple[str, str]]:
    """Instructions and their values; fails where anything is left over."""
    found = list(_LINE.finditer(text))
    assert "".join(match.group(0) for match in found) == text, "something is no instruction"
    values = [(match.group(1), match.group(2) if match.group(3) is None else match.group(3)) for match in found]
    return [(name, "".join(one for one in value if one.isprintable() or one in "\n\t")) for name, value in values]


def rendered(template: str, messages: Sequence[Mapping[str, str]]) -> str:
    """What a template makes of a conversation."""
    if messages[0]["role"] == "system":
        template = _DEFAULT.sub("", template)
    template = _DEFAULT.sub(r"\1", template)
    each = _EACH.search(template)
    assert each is not None
    branches = dict(_BRANCH.findall(each.group(1)))
    said = "".join(_literal(branches[one["role"]].replace("{{ .Content }}", one["content"])) for one in messages)
    return _literal(template[: each.start()]) + said + _literal(template[each.end() :])


def _literal(text: str) -> str:
    return text.replace('{{ "{" }}', "{")

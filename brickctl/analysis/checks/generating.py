"""What kinds of checks have in common whose models answer prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from brickctl.core.document import Table


def read_chat_template(table: Table) -> bool:
    """Read `chat-template`: whether prompts go through the model's own template; not, unless it says so."""
    return table.boolean_or_none("chat-template") or False

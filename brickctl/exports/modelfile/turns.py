"""What a chat template puts around messages, found by asking it.

Jinja cannot be translated into Go's templates in general. But most chat templates put fixed texts before and after each
message, by its role, and that can be seen from outside: render conversations whose contents are known, and look at what
stands between. What is found is then held against longer conversations; a template that says anything else is not
translated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Message = Mapping[str, str]
    Render = Callable[[Sequence[Message], bool], str | None]

ROLES = ("system", "user", "assistant")
_ORDERS = (
    ("user",),
    ("system", "user"),
    ("user", "assistant", "user"),
    ("system", "user", "assistant", "user"),
    ("system", "user", "assistant", "user", "assistant", "user"),
)
ASKED: tuple[tuple[str, ...], ...] = (*_ORDERS, ("user", "assistant"))
"""The roles of every conversation that `find_turns` renders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """The texts around messages.

    Attributes:
        opening: before everything.
        default: before the first message, if that is not of the system.
        around: before and after a message, by its role.
        answer: what begins the model's answer.
    """

    opening: str
    default: str
    around: Mapping[str, tuple[str, str]]
    answer: str

    def render(self, messages: Sequence[Message], *, ask: bool = True) -> str:
        """What they make of a conversation."""
        default = "" if messages[0]["role"] == "system" else self.default
        said = "".join(message["content"].join(self.around[message["role"]]) for message in messages)
        return self.opening + default + said + (self.answer if ask else "")


def find_turns(render: Render, begin: str = "") -> Turns | None:
    """The turns of a template, where it is one of fixed texts; None where it is not.

    `render` makes the text of a conversation, with or without the beginning of an answer; None where the template
    fails. `begin` is the token that begins texts, which stands before a text that a template puts in for the system.
    """
    found = _suspected(render, begin)
    if found is None:
        return None
    for order in _ORDERS:
        messages = conversation(order)
        if any(found.render(messages, ask=ask) != render(messages, ask) for ask in (True, False)):
            return None
    return found


def conversation(roles: Sequence[str]) -> tuple[Message, ...]:
    """Messages of these roles, each with a content that stands nowhere else."""
    return tuple({"role": role, "content": f"[{role}-{number}]"} for number, role in enumerate(roles))


def _suspected(render: Render, begin: str) -> Turns | None:
    """What the shortest conversations say; whether it holds is still to be seen.

    Before, between and after the contents stand: opening + system's, system's + user's, user's + assistant's,
    assistant's + user's, user's. What ends an answer ends a conversation, too.
    """
    long = _pieces(render, ("system", "user", "assistant", "user"))
    answered, alone = _pieces(render, ("user", "assistant")), _pieces(render, ("user",))
    asked, silent = (render(conversation(("user",)), ask) for ask in (True, False))
    if not long or not answered or not alone or asked is None or silent is None:
        return None
    first, after_system, after_user, after_answer, user_end = long
    answer_end = answered[-1]
    user = after_answer.removeprefix(answer_end)
    before = alone[0].removesuffix(user)
    is_begin = first.startswith(begin) and not user.startswith(begin)  # some models begin turns with that token, too
    opening = before if first.startswith(before) else begin if is_begin else ""
    around = {
        "system": (first.removeprefix(opening), after_system.removesuffix(user)),
        "user": (user, user_end),
        "assistant": (after_user.removeprefix(user_end), answer_end),
    }
    default = before.removeprefix(opening)
    return Turns(opening=opening, default=default, around=around, answer=asked.removeprefix(silent))


def _pieces(render: Render, roles: Sequence[str]) -> list[str]:
    """What stands before, between and after the contents, without the beginning of an answer; none if one is lost."""
    messages = conversation(roles)
    rest = render(messages, False)  # noqa: FBT003 - it is called by position alone
    if rest is None or any(rest.count(message["content"]) != 1 for message in messages):
        return []
    found = []
    for message in messages:
        piece, _, rest = rest.partition(message["content"])
        found.append(piece)
    return [*found, rest]


def renderer(template: str, tokens: Mapping[str, str]) -> Render:
    """What a Jinja template makes of conversations, run as transformers runs it.

    `tokens` are the texts of special tokens, such as `bos_token`.
    """
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(*_: object) -> str:
        raise TemplateError("it refuses this conversation, or asks for the time")

    extensions = ["jinja2.ext.loopcontrols"]
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
    environment.globals |= {"raise_exception": refuse, "strftime_now": refuse}

    def render(messages: Sequence[Message], ask: bool) -> str | None:  # noqa: FBT001 - it is called by position alone
        try:
            made = environment.from_string(template)
            return made.render(messages=list(map(dict, messages)), add_generation_prompt=ask, tools=None, **tokens)
        except Exception:  # noqa: BLE001 - a template is a program, and may fail in any way
            return None

    return render

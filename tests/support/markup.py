"""What stands in an HTML page, for tests: elements, their attributes, and text."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_EMPTY = ("meta", "link", "br", "img", "path", "line", "rect", "circle", "input")


@dataclass(slots=True, kw_only=True)
class Element:
    """An element with what stands in it; `text` is its own and that of all below."""

    name: str
    attributes: dict[str, str]
    below: list[Element] = field(default_factory=list)
    text: str = ""

    def all(self, *names: str) -> Iterator[Element]:
        """Every element below with one of the names, in the order of the page; all where none is given."""
        for one in self.below:
            if not names or one.name in names:
                yield one
            yield from one.all(*names)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Element(name="", attributes={})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in _EMPTY:
            self.open.append(self.open[-1].below[-1])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].below.append(Element(name=tag, attributes={key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag not in _EMPTY:
            assert self.open.pop().name == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        for one in self.open:
            one.text += data


def read(page: str) -> Element:
    """The page as a tree; every element must be closed."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    (root,) = reader.open
    return root

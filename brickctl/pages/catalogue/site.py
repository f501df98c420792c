"""The files of a site: the list in pages of a hundred, the data of its search, and one page a brick."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.pages.catalogue.brick_page import brick_page, models_and_needs
from brickctl.pages.catalogue.listing import choices, page_path, row_of, search_script
from brickctl.pages.rendering import render, render_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from brickctl.core.advisories import Advisory
    from brickctl.core.registry_line import RegistryEntry
    from brickctl.pages.catalogue.about import About
    from brickctl.pages.catalogue.listing import Row

ON_A_PAGE = 100
"""Bricks on one page of the list."""

INDEX = "index.html"
MOST_USERS = 100
"""Bricks that a page names as made for its own."""


def site(
    bricks: Sequence[Sequence[RegistryEntry]], about: About, advisories: Sequence[Advisory] = ()
) -> Iterator[tuple[str, bytes]]:
    """Every file by its path below the site. Equal registries give equal bytes.

    `bricks` are the versions of each brick, in the order of names; each has at least one.

    Raises:
        Unsupported: the packages of `brickctl[report]` are not installed.
    """
    rows = [row_of(entries) for entries in bricks]
    yield "style.css", render_text("catalogue.css").encode()
    yield "search.js", render_text("search.js").encode()
    yield "catalogue.js", search_script(rows)
    yield from _lists(rows, about)
    known = {row.name: None for row in rows}
    users = _users(bricks)
    for entries in bricks:
        name = entries[0].name
        shown = brick_page(entries, about, known, users.get(name, ())[:MOST_USERS], advisories)
        more = max(0, len(users.get(name, ())) - MOST_USERS)
        yield page_path(name), _page("brick.html.jinja", root="../../", about=about, page=shown, more_users=more)


def _lists(rows: Sequence[Row], about: About) -> Iterator[tuple[str, bytes]]:
    """The pages of the list; the first one has the search."""
    pages = [rows[at : at + ON_A_PAGE] for at in range(0, len(rows), ON_A_PAGE)] or [()]
    paths = [INDEX, *(f"pages/{number}.html" for number in range(2, len(pages) + 1))]
    narrow = {key: choices(getattr(row, key) for row in rows) for key in ("kind", "license", "base")}
    for number, (path, part) in enumerate(zip(paths, pages, strict=True), 1):
        yield (
            path,
            _page(
                "catalogue.html.jinja",
                root="" if number == 1 else "../",
                about=about,
                rows=part,
                count=len(rows),
                choices=narrow if number == 1 else None,
                number=number,
                paths=paths,
            ),
        )


def _users(bricks: Sequence[Sequence[RegistryEntry]]) -> dict[str, tuple[str, ...]]:
    """The bricks that were made for another one of the registry or need it, by the name of that one."""
    found: dict[str, dict[str, None]] = {}
    for entries in bricks:
        for entry in entries:
            for name in models_and_needs(entry) if not entry.yanked else ():
                found.setdefault(name, {})[entry.name] = None
    return {name: tuple(users) for name, users in found.items()}


def _page(template: str, **values: object) -> bytes:
    return render(template, **values).encode(errors="replace")

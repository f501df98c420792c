"""Make the site of a registry in a folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.document import shown
from brickctl.core.manifest import BUILTIN
from brickctl.core.manifest_format import ADDRESS_HINT, is_registry_address
from brickctl.core.names import is_alias
from brickctl.errors import UsageFault
from brickctl.pages.catalogue.about import About
from brickctl.sources.open import builtin_registry
from brickctl.workflows.catalogue_site.place import check_place, write_site
from brickctl.workflows.registry import INDEX, read_registry

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.core.ports import Events

_SOME_NAME = "registry"
_LONGEST_TITLE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A site: its bricks and versions, its files and their bytes, and how many of them were written anew."""

    folder: Path
    bricks: int
    versions: int
    files: int
    bytes: int
    written: int


def make_site(root: Path, folder: Path, about: About, events: Events) -> Made:
    """Write the site of the registry in `root` into a folder.

    Raises:
        UsageFault: the folder is not ours to replace, or lies in the index of the registry.
        NotFound, Unsupported, IntegrityFault: there is no sound registry.
        Unsupported: the packages of `brickctl[report]` are not installed.
    """
    from brickctl.pages.catalogue.site import site

    _refuse_inside(root / INDEX, folder)
    check_place(folder)
    registry = read_registry(root)
    bricks = [entries for entries in registry.bricks if entries]
    files = dict(site(bricks, about, registry.advisories))
    written = write_site(folder, files, events)
    return Made(
        folder=folder,
        bricks=len(bricks),
        versions=sum(map(len, bricks)),
        files=len(files),
        bytes=sum(map(len, files.values())),
        written=written,
    )


def _refuse_inside(index: Path, folder: Path) -> None:
    """Refuse to put a site where every file is taken for a page of the registry."""
    if folder.resolve().is_relative_to(index.resolve()):
        cause = "every file below `index` is a page of the registry"
        raise UsageFault(f"{folder} will not be a site", causes=(cause,), hint="choose a folder outside of it")


def about_registry(root: Path, *, title: str | None, name: str | None, url: str | None) -> About:
    """What a site says of its registry; what is not told follows from its folder.

    Raises:
        UsageFault: a name or address that brick.toml could not have, or a title that is no line of text.
    """
    root = root.absolute()
    if name is None:
        known = root.name if is_alias(root.name) else _SOME_NAME
        name = BUILTIN if root.resolve() == builtin_registry().resolve() else known
    elif not is_alias(name):
        hint = "letters, digits, `_` and `-`, as in [registries] of brick.toml"
        raise UsageFault(f"{shown(name)} cannot name a registry", hint=hint)
    if url is not None and not is_registry_address(url):
        raise UsageFault(f"{shown(url)} is no address of a registry", hint=ADDRESS_HINT)
    if title is not None and not (title.isprintable() and 0 < len(title) <= _LONGEST_TITLE):
        raise UsageFault("the title is no line of text", hint=f"write at most {_LONGEST_TITLE} letters")
    return About(title=title or name, name=name, url=url)

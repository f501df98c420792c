"""Reading references: `hf:owner/name`, `path:folder`, and names in a registry.

On the command line a reference is one text; in brick.toml it is a table, with a shorthand for names in a registry. Both
are read here, so that both mean the same.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from brickctl.core.document import shown
from brickctl.core.manifest import BUILTIN
from brickctl.core.names import BASE, Alias, did_you_mean, is_alias, is_brick_name, is_hub_id, is_safe_path
from brickctl.core.reference import HubReference, PathReference, RegistryReference
from brickctl.core.versions import VersionRange
from brickctl.errors import UsageFault

if TYPE_CHECKING:
    from collections.abc import Collection

    from brickctl.core.document import Table
    from brickctl.core.reference import Reference
    from brickctl.errors import BrickctlError

_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+/-]*")
_HUB_ADDRESS = re.compile(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/(?:models/)?([^/\s]+/[^/\s?#]+).*")
_PATH_STARTS = ("./", "../", "/")
_LONGEST_PATH = 1024
_LONGEST_REVISION = 255
_FORMS = "write `hf:owner/name[@revision]` for the Hub, `path:folder` (also `./folder`, `/folder`) for a folder"


def parse_reference(text: str, *, registries: tuple[str, ...] = ()) -> Reference:
    """Read a reference of the command line.

    `hf:owner/name[@revision]`, `path:folder`, `./folder`, `../folder`, `/folder`. Where there is a project to ask for
    its default registries, these are `registries`, and `namespace/name[@range]` means a brick in the first of them that
    has it, as in `[bricks]`; where there is none, a bare name is refused: it could as well mean the Hub or a folder.

    Raises:
        UsageFault: it is none of these.
    """
    scheme, colon, rest = text.partition(":")
    if text in {".", ".."} or text.startswith(_PATH_STARTS):
        return PathReference(path=_folder(text))
    if colon and scheme == "path":
        return PathReference(path=_folder(rest))
    if colon and scheme == "hf":
        repository, at, revision = rest.partition("@")
        return hub_reference(repository, revision if at else None)
    if colon or not registries:
        raise _unreadable(text)
    return parse_shorthand(text, registries=registries)


def parse_shorthand(text: str, *, registries: tuple[str, ...]) -> RegistryReference:
    """Read `namespace/name` or `namespace/name@range`, a brick in the first of `registries` that has it.

    Raises:
        UsageFault: it is neither.
    """
    name, at, wanted = text.partition("@")
    if not is_brick_name(name):
        raise _unreadable(text, ", or `namespace/name[@range]`, in lower case, for a brick in a registry")
    version = str(VersionRange.parse(wanted if at else "*"))
    return RegistryReference(name=name, version=version, registry=registries[0], others=registries[1:])


def hub_reference(repository: str, revision: str | None = None, subfolder: str | None = None) -> HubReference:
    """A repository of the Hub, checked; no revision means `main`.

    Raises:
        UsageFault: a part that the Hub cannot have.
    """
    if not is_hub_id(repository):
        raise UsageFault(f"`hf:{shown(repository)}` is no repository of the Hub", hint="write `hf:owner/name`")
    revision = "main" if revision is None else revision
    if not _is_revision(revision):
        raise UsageFault(
            f"`{shown(revision)}` is no revision of `hf:{repository}`", hint="a revision is a branch, a tag or a commit"
        )
    return HubReference(repository=repository, revision=revision, subfolder=_subfolder(subfolder))


def read_reference(table: Table, *, defaults: tuple[str, ...], registries: Collection[str]) -> Reference:
    """Read the keys of a table that say where a brick comes from; other keys are left to the caller.

    Either `source` (with `revision`, `subfolder`), or `brick` (with `version`, `registry`). `defaults` are the
    registries of bricks that name none, `registries` those that are declared.

    Raises:
        ManifestInvalid: (or whatever the table raises) both, neither, or a value that cannot be.
    """
    source, brick = table.string_or_none("source"), table.string_or_none("brick")
    if (source is None) == (brick is None):
        hint = 'write `source = "hf:owner/name"`, `source = "path:folder"`, or `brick = "namespace/name"`'
        if source is not None:
            raise table.error(f"{table.where} has `source` and `brick`", hint=hint)
        raise table.missing(f"{table.where} has neither `source` nor `brick`", "source", "brick", hint=hint)
    _refuse_foreign_keys(table, source)
    key = "brick" if source is None else "source"
    try:
        if source is None:
            return _in_registry(table, defaults, registries)
        return _at_source(table, source)
    except UsageFault as fault:
        if fault.place is not None:
            raise
        raise table.error(fault.message, key=key, causes=fault.causes, hint=fault.hint) from None


def _refuse_foreign_keys(table: Table, source: str | None) -> None:
    foreign: tuple[str, ...]
    if source is None:
        foreign, reason = ("revision", "subfolder"), "a brick in a registry has versions: write `version`"
    elif source.startswith("hf:"):
        foreign, reason = ("version", "registry"), "a repository of the Hub has revisions: write `revision`"
    else:
        foreign, reason = ("revision", "version", "registry"), "a folder has no versions"
    for key in foreign:
        if table.has(key):
            raise table.error(f"`{key}` means nothing in {table.where}", key=key, causes=(reason,))


def _at_source(table: Table, source: str) -> Reference:
    scheme, _, rest = source.partition(":")
    subfolder = table.string_or_none("subfolder")
    if scheme == "hf":
        if "@" in rest:
            raise UsageFault(f"`{shown(source)}` holds a revision", hint="write it as `revision = ...`")
        return hub_reference(rest, table.string_or_none("revision"), subfolder)
    if scheme == "path":
        return PathReference(path=_folder(rest), subfolder=_subfolder(subfolder))
    raise _unreadable(source)


def _in_registry(table: Table, defaults: tuple[str, ...], registries: Collection[str]) -> RegistryReference:
    name = table.string("brick")
    if not is_brick_name(name):
        raise UsageFault(f"`{shown(name)}` is no name of a brick", hint="a name is `namespace/name`, in lower case")
    wanted = table.string_or_none("version")
    first, *others = read_registries(table, "registry", registries) or defaults
    version = str(VersionRange.parse("*" if wanted is None else wanted))
    return RegistryReference(name=name, version=version, registry=first, others=tuple(others))


def read_registries(table: Table, key: str, registries: Collection[str]) -> tuple[str, ...]:
    """Read the name of a registry, or several in the order in which they are asked; nothing where there is none.

    Raises:
        ManifestInvalid: (or whatever the table raises) a list without names, one twice, or one that is not declared.
    """
    is_list = isinstance(table.take(key), list)
    name = None if is_list else table.string_or_none(key)
    names = (table.strings_or_none(key) or ()) if is_list else () if name is None else (name,)
    if is_list and (not names or len(set(names)) < len(names)):
        hint = "each one is asked if those before it have no such name"
        raise table.error(f"`{key}` must be a name, or a list of different names", key=key, hint=hint)
    for name in names:
        if name != BUILTIN and name not in registries:
            raise unknown_registry(table, key, name, registries)
    return names


def check_alias(table: Table, name: str, what: str) -> Alias:
    """Make sure that a key of a table may name something.

    Raises:
        ManifestInvalid: (or whatever the table raises) reserved, or not `[a-z][a-z0-9_-]*`.
    """
    if name == BASE:
        raise table.error(f"`base` is the base model: it cannot name {what}", key=name)
    if not is_alias(name):
        lower = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_")[:90]
        hint = f"`{lower}` would do" if is_alias(lower) and lower != BASE else "such as `sql` or `legal-v2`"
        causes = ("names begin with a letter and have lower-case letters, digits, `_` and `-`",)
        raise table.error(f"`{shown(name)}` cannot name {what}", key=name, causes=causes, hint=hint)
    return Alias(name)


def unknown_registry(table: Table, key: str, name: str, registries: Collection[str]) -> BrickctlError:
    """An error about a registry that the manifest does not declare."""
    hint = did_you_mean(name, [*registries, BUILTIN]) or 'declare it in [registries]: `NAME = "https://..."`'
    return table.error(f"there is no registry `{shown(name)}`", key=key, hint=hint)


def _folder(text: str) -> str:
    if not text or len(text) > _LONGEST_PATH or not text.isprintable():
        raise UsageFault(f"`path:{shown(text)}` is no folder", hint="write `path:folder`, relative to brick.toml")
    if "\\" in text:
        raise UsageFault(f"`path:{shown(text)}` has a backslash", hint="write `/` between folders, on every system")
    return str(PurePosixPath(text))


def _subfolder(text: str | None) -> str | None:
    if text is not None and not is_safe_path(text):
        raise UsageFault(f"`{shown(text)}` is no folder inside a brick", hint="write `folder/folder`, without `..`")
    return text


def _is_revision(text: str) -> bool:
    well_formed = _REVISION.fullmatch(text) is not None and ".." not in text and "//" not in text
    return well_formed and len(text) <= _LONGEST_REVISION and not text.endswith("/")


def _unreadable(text: str, more: str = "") -> UsageFault:
    address = _HUB_ADDRESS.fullmatch(text)
    bare = text.partition("@")[0]
    if address is not None and is_hub_id(address[1]):
        hint = f"did you mean `hf:{address[1]}`?"
    elif is_hub_id(bare) and "/" in bare and not more:
        hint = f"did you mean `hf:{bare}` (the Hub) or `./{bare}` (a folder)?"
    elif is_safe_path(text) and text.count("/") > 1:
        hint = f"did you mean `./{text}` (a folder)?"
    else:
        hint = _FORMS + more
    return UsageFault(f"`{shown(text)}` is no reference to a brick", hint=hint)

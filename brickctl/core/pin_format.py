"""What the lock and the registry write alike: sources, commits, digests and lists of files.

Both are read as if someone hostile had written them: paths stay inside their folder, lists are sorted, and a digest is
computed anew from the files that it speaks of.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from brickctl.core.belonging import belongs
from brickctl.core.brick import File
from brickctl.core.digests import Sha256, is_sha256, parse_prefixed, prefixed, tree_digest
from brickctl.core.document import shown
from brickctl.core.names import is_alias, is_brick_name, is_hub_id, is_safe_path
from brickctl.core.versions import parse_version

if TYPE_CHECKING:
    from brickctl.core.document import Table

_COMMIT = re.compile(r"[0-9a-f]{40}")
_LARGEST_FILE = 1 << 50
_MOST_FILES = 100_000


def read_files(table: Table) -> tuple[File, ...]:
    """Read `files`, and check that `digest` is their tree digest.

    Raises:
        whatever the table raises: no files, an unsafe path, a file that belongs to no brick, paths that are unsorted,
        repeated or inside one another, a size or hash that cannot be, or a digest that does not fit.
    """
    tables = table.tables_or_none("files")
    if not tables or len(tables) > _MOST_FILES:
        raise table.error(f"{table.where} has no `files`, or too many", key="files")
    files = tuple(_read_file(entry) for entry in tables)
    for entry, before, after in zip(tables[1:], files, files[1:], strict=False):
        if before.path >= after.path:
            message = f"`{shown(after.path)}` stands after `{shown(before.path)}`: files are sorted and never repeated"
            raise entry.error(message, key="path")
    paths = {file.path for file in files}
    for entry, file in zip(tables, files, strict=True):
        if any(folder in paths for folder in _folders(file.path)):
            raise entry.error(f"`{shown(file.path)}` lies in something that is itself a file", key="path")
    _check_tree_digest(table, files)
    return files


def _read_file(table: Table) -> File:
    file = _read_any_file(table, "a brick")
    if not belongs(file.path):
        hint = (
            "a brick is weights in safetensors, configurations and tokenizer files; take the list anew from its source"
        )
        raise table.error(f"`{shown(file.path)}` is no file that belongs to a brick", key="path", hint=hint)
    return file


def read_input(table: Table) -> File:
    """Read a file of the project itself, which may have any name."""
    return _read_any_file(table, "the project")


def _read_any_file(table: Table, where: str) -> File:
    path, size, sha256 = table.take("path"), table.integer("size"), table.string("sha256")
    if not isinstance(path, str) or not is_safe_path(path):
        raise table.error(f"`{shown(path)}` is no path inside {where}", key="path")
    if not 0 <= size <= _LARGEST_FILE:
        raise table.error(f"`{shown(path)}` cannot have {size} bytes", key="size")
    if not is_sha256(sha256):
        raise table.error(f"`{shown(sha256)}` is no sha256", key="sha256")
    table.finish()
    return File(path=path, size=size, sha256=Sha256(sha256))


def _folders(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: at + 1]) for at in range(len(parts))]


def _check_tree_digest(table: Table, files: tuple[File, ...]) -> None:
    written = read_digest(table, "digest")
    computed = tree_digest((file.path, file.sha256) for file in files)
    if written != computed:
        causes = (f"it is {prefixed(written)}", f"the files give {prefixed(computed)}")
        hint = "it was edited by hand, or two versions of it were mixed: take it anew from where it came"
        raise table.error(f"`digest` in {table.where} is not that of its files", key="digest", causes=causes, hint=hint)


def read_digest(table: Table, key: str) -> Sha256:
    """A digest that must be there, written `sha256:HEX`."""
    text = table.string(key)
    digest = parse_prefixed(text)
    if digest is None:
        raise table.error(f"{table.named(key)} is no digest", key=key, causes=(f"it is `{shown(text)}`",))
    return digest


def read_source(table: Table) -> str:
    """Where the files are: `hf:owner/name`, `path:folder` or `index:namespace/name/version`."""
    source = table.string("source")
    scheme, _, rest = source.partition(":")
    name, _, version = rest.rpartition("/")
    sound = {
        "hf": is_hub_id(rest),
        "path": bool(rest) and "\\" not in rest,
        "index": is_brick_name(name) and parse_version(version) is not None,
    }
    if not sound.get(scheme, False):
        raise table.error(f"`{shown(source)}` is no source of files", key="source")
    return source


def read_commit(table: Table, source: str) -> str | None:
    """The commit: there for the Hub, and for nothing else."""
    commit = table.string_or_none("commit")
    if commit is None and source.startswith("hf:"):
        raise table.error(f"`commit` is missing in {table.where}: a branch is no pin")
    if commit is not None and (not source.startswith("hf:") or _COMMIT.fullmatch(commit) is None):
        raise table.error(f"`{shown(commit)}` is no commit of `{shown(source)}`", key="commit")
    return commit


def read_subfolder(table: Table) -> str | None:
    """The folder below which all files lie."""
    folder = table.string_or_none("subfolder")
    if folder is not None and not is_safe_path(folder):
        raise table.error(f"`{shown(folder)}` is no folder inside a brick", key="subfolder")
    return folder


def read_kind(table: Table) -> str:
    """The kind of a brick; whether it is known is decided where it is used."""
    kind = table.string("kind")
    if not is_alias(kind):
        raise table.error(f"`{shown(kind)}` is no kind of brick", key="kind")
    return kind


def read_name(table: Table, key: str) -> str | None:
    """A name in a registry, `namespace/name`."""
    name = table.string_or_none(key)
    if name is not None and not is_brick_name(name):
        raise table.error(f"`{shown(name)}` is no name of a brick", key=key)
    return name


def read_version(table: Table) -> str | None:
    """A full version, in its normal form."""
    text = table.string_or_none("version")
    if text is not None and parse_version(text) is None:
        raise table.error(f"`{shown(text)}` is no version", key="version", hint="a version is three numbers: `1.2.3`")
    return text


def file_document(file: File) -> dict[str, Any]:
    """A file as the lock and the registry write it."""
    return {"path": file.path, "size": file.size, "sha256": file.sha256}

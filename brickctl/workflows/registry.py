"""What whoever runs a registry does with its folder: check it, and write its snapshot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.advisories import FILE as ADVISORIES
from brickctl.core.advisories import parse_advisories
from brickctl.core.digests import canonical_json
from brickctl.core.document import shown
from brickctl.core.listing import Listing, listing_of
from brickctl.core.names import is_brick_name, is_safe_path
from brickctl.core.registry_line import parse_line
from brickctl.errors import BrickctlError, IntegrityFault, NotFound, Unsupported
from brickctl.sources.atomic import Draft, write_together
from brickctl.sources.index import FORMAT
from brickctl.sources.selection import read_json
from brickctl.sources.snapshot import SNAPSHOT, pack, unpack
from brickctl.sources.store import LARGEST_PAGE, SCHEME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from brickctl.core.advisories import Advisory
    from brickctl.core.registry_line import RegistryEntry

CONFIG = "config.json"
INDEX = "index"
_MOST_TOLD = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """What a sound registry says: the versions of each brick, in the order of names, and what is known to be bad."""

    bricks: tuple[tuple[RegistryEntry, ...], ...]
    listings: tuple[Listing, ...]
    advisories: tuple[Advisory, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A registry that is sound: how many bricks and versions it has, and whether its snapshot says what its index says.

    `snapshot` is None where it publishes none.
    """

    bricks: int
    versions: int
    snapshot: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A snapshot: where it is, of how many bricks, its bytes, and whether it had to be written."""

    path: Path
    bricks: int
    bytes: int
    written: bool


def check_registry(root: Path) -> Checked:
    """Read every line of a registry in a folder.

    Raises:
        NotFound: it is none.
        Unsupported: it has a newer layout.
        IntegrityFault: something in it is not sound; the causes name files and lines.
    """
    config = _config(root)
    found = read_registry(root)
    path = None if "snapshot" not in config else _snapshot_path(root, config["snapshot"])
    current = None if path is None else _is_current(root, path, list(found.listings))
    return Checked(bricks=len(found.bricks), versions=sum(map(len, found.bricks)), snapshot=current)


def read_registry(root: Path) -> Registry:
    """Every line of a registry in a folder, and its advisories.

    Raises:
        NotFound, Unsupported, IntegrityFault: as `check_registry`, but for its snapshot, which is not looked at.
    """
    _config(root)
    bricks, listings, faults = _read(root)
    advisories: tuple[Advisory, ...] = ()
    content = _content(root / ADVISORIES)
    if content is not None:
        try:
            advisories = parse_advisories(content, file=ADVISORIES)
        except (IntegrityFault, Unsupported) as fault:
            faults.append(f"{ADVISORIES}: {'; '.join((fault.message, *fault.causes))}")
    if faults:
        raise _unsound(root, faults)
    return Registry(bricks=tuple(bricks), listings=tuple(listings), advisories=advisories)


def write_snapshot(root: Path) -> Written:
    """Write the snapshot of a registry in a folder, and say in its config.json where it is.

    Raises:
        NotFound, Unsupported, IntegrityFault: as `check_registry`; nothing was written.
    """
    config = _config(root)
    _, listings, faults = _read(root)
    if faults:
        raise _unsound(root, faults)
    path = _snapshot_path(root, config.get("snapshot", SNAPSHOT))
    files = {root / path: pack(listings), root / CONFIG: canonical_json({**config, "snapshot": path}) + b"\n"}
    new = {place: content for place, content in files.items() if _content(place) != content}
    write_together((Draft(place, content) for place, content in new.items()), flush=True)
    return Written(path=root / path, bricks=len(listings), bytes=len(files[root / path]), written=bool(new))


def _config(root: Path) -> dict[str, Any]:
    try:
        config = read_json((root / CONFIG).read_bytes(), where=CONFIG)
    except OSError:
        hint = 'a registry is a folder with `config.json`, which holds {"v":1}, and `index`'
        raise NotFound(f"there is no registry in {root}", causes=(f"no {CONFIG}",), hint=hint) from None
    if config.get("v") != FORMAT:
        message = f"{CONFIG} has the layout {shown(config.get('v'))}; this brickctl reads {FORMAT}"
        raise Unsupported(message, hint="upgrade brickctl: `pip install -U brickctl`")
    return config


def _read(root: Path) -> tuple[list[tuple[RegistryEntry, ...]], list[Listing], list[str]]:
    """The versions of each brick, what a search shows of it, and everything that is wrong, in the order of names."""
    bricks: list[tuple[RegistryEntry, ...]] = []
    listings: list[Listing] = []
    faults: list[str] = []
    for place in _pages(root):
        name = place.relative_to(root / INDEX).as_posix()
        entries: tuple[RegistryEntry, ...] = ()
        try:
            entries = tuple(_entries(root, place, name, faults))
        except (BrickctlError, OSError) as error:
            faults.append(f"index/{shown(name)}: {error}")
        bricks.append(entries)
        listing = listing_of(entries)
        if listing is not None:
            listings.append(listing)
    return bricks, listings, faults


def _pages(root: Path) -> list[Path]:
    """Every file below `index`, sorted by the name of its brick."""
    files = (path for path in (root / INDEX).rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(files, key=lambda path: path.relative_to(root / INDEX).as_posix())


def _entries(root: Path, place: Path, name: str, faults: list[str]) -> Iterator[RegistryEntry]:
    where = f"index/{name}"
    if not is_brick_name(name) or place.is_symlink():
        faults.append(f"index/{shown(name)}: a page is a file `index/NAMESPACE/NAME`, in lower case, and no link")
        return
    if place.stat().st_size > LARGEST_PAGE:
        faults.append(f"{where}: larger than {LARGEST_PAGE:,} bytes")
        return
    seen: dict[str, int] = {}
    for number, line in enumerate(place.read_bytes().splitlines(keepends=True), 1):
        try:
            entry = parse_line(line, file=where, line=number)
        except (IntegrityFault, Unsupported) as fault:
            faults.append(f"{where} line {number}: {'; '.join((fault.message, *fault.causes))}")
            continue
        wrong = _wrong(root, entry, name, line, seen)
        seen.setdefault(entry.version, number)
        if wrong is None:
            yield entry
        else:
            faults.append(f"{where} line {number}: {wrong}")


def _wrong(root: Path, entry: RegistryEntry, name: str, line: bytes, seen: dict[str, int]) -> str | None:
    """What is wrong with a line that is sound by itself."""
    if entry.name != name:
        return f"it is about `{entry.name}`"
    if entry.version in seen:
        return f"version {entry.version} is there already, in line {seen[entry.version]}"
    if not line.endswith(b"\n"):
        return "it has no line feed at its end, and the next version would be written behind it"
    return _wrong_files(root, entry) if entry.source.startswith(SCHEME) else None


def _wrong_files(root: Path, entry: RegistryEntry) -> str | None:
    folder = root / "files" / entry.name / entry.version / (entry.subfolder or ".")
    for file in entry.files:
        place = folder / file.path
        if not place.is_file():
            return f"{place.relative_to(root).as_posix()} is not there"
        if place.stat().st_size != file.size:
            return f"{place.relative_to(root).as_posix()} has another size"
    return None


def _snapshot_path(root: Path, path: object) -> str:
    """Where config.json says that the snapshot is: in the folder, and in the place of nothing else."""
    if isinstance(path, str) and is_safe_path(path) and path.split("/")[0] not in {CONFIG, INDEX, "files"}:
        place = root / path
        if place.resolve().is_relative_to(root.resolve()) and not place.is_symlink():
            return path
    raise _unsound(root, [f"{CONFIG}: `snapshot` is {shown(path)}, which is no place for it inside the registry"])


def _is_current(root: Path, path: str, listings: list[Listing]) -> bool:
    packed = _content(root / path)
    if packed is None:
        raise _unsound(root, [f"{path}: {CONFIG} names it, and it is not there"])
    return list(unpack(packed, where=path)) == listings


def _content(place: Path) -> bytes | None:
    try:
        return place.read_bytes()
    except OSError:
        return None


def _unsound(root: Path, faults: list[str]) -> IntegrityFault:
    told = tuple(faults[:_MOST_TOLD])
    more = (f"and {len(faults) - len(told):,} more",) if len(faults) > len(told) else ()
    count = "1 fault" if len(faults) == 1 else f"{len(faults):,} faults"
    hint = "published lines never change, but for `yanked`: restore them from git, and repair new ones"
    return IntegrityFault(f"the registry in {root} has {count}", causes=(*told, *more), hint=hint)

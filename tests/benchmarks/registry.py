"""A registry of 200,000 bricks, in a folder and behind a server: what `lock` reads of it, and how fast `search` is.

    python tests/benchmarks/registry.py [BRICKS] [SCRATCH]

Whole processes are timed, and searches inside one process. What was asked for: at most thirty pages for a lock of ten
bricks, and 100 ms for a search once the index of words is made.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from brickctl.core.digests import Sha256, sha256_bytes
from brickctl.core.made_for import MadeFor
from brickctl.core.registry_line import encode_line
from brickctl.sources.listings import find
from brickctl.sources.open import open_sources
from brickctl.sources.search_index import Query
from tests.sources.registries import entry
from tests.sources.static_server import StaticServer
from tests.support import sandbox as bricks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brickctl.core.registry_line import RegistryEntry

WORDS = """
    sql legal code medical chat french german math summary poem query docs agent vision tool json yaml style tone
    finance bio chem law tax mail ticket review test cooking travel history music weather sports news patent voice
""".split()  # noqa: SIM905 - as text, they can be read
NAMESPACES = 2_000
LOCKED = 10
MOST_PAGES = 30
LONGEST_SEARCH = 0.1
ROUNDS = 5
FILES = bricks.adapter()


@dataclass(frozen=True, slots=True)
class Place:
    """A registry with the same bricks, by what it is."""

    name: str
    address: str


def made(number: int, chance: random.Random) -> RegistryEntry:
    """One brick; names, tags and summaries are of words that many have."""
    one, two, three = chance.choices(WORDS, k=3)
    base = MadeFor(
        source=f"hf:org/model-{number % 50}",
        interface=Sha256(sha256_bytes(str(number % 25).encode())),
        commit=f"{number % 50:040x}",
    )
    line = entry("1.0.0", FILES, name=f"team-{number % NAMESPACES:04d}/{one}-{two}-{number}")
    summary = f"Answers {one} questions about {two}, with a bit of {three}"
    return replace(line, kind="adapter", summary=summary, tags=tuple(sorted({one, three})), base=base)


def generate(root: Path, count: int) -> list[str]:
    """Write a registry of `count` bricks; the names of those that have files and can be locked."""
    chance = random.Random(7)  # noqa: S311 - names, not secrets
    names = []
    for number in range(count):
        line = made(number, chance)
        if number % (count // LOCKED) == 0:
            names.append(line.name)
            for path, content in FILES.items():
                for version in ("0.9.0", "1.0.0"):
                    write(root / "files" / line.name / version / path, content)
            older = replace(line, version="0.9.0", source=f"index:{line.name}/0.9.0")
        else:  # the files of most bricks are on the Hub
            line = replace(line, source="hf:org/bricks", commit=f"{number:040x}")
            older = replace(line, version="0.9.0")
        write(root / "index" / line.name, encode_line(older) + encode_line(line))
    (root / "config.json").write_bytes(b'{"v":1}\n')
    return names


def write(place: Path, content: bytes) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)


@contextmanager
def places(root: Path) -> Iterator[tuple[StaticServer, tuple[Place, ...]]]:
    """The same registry as a folder and as a server."""
    with StaticServer(root) as server:
        yield server, (Place("folder", str(root)), Place("server", server.url))


def project(folder: Path, place: Place, names: list[str]) -> Path:
    """A project with a base of its own, and bricks of the registry."""
    for path, content in bricks.model().items():
        write(folder / "base" / path, content)
    asked = "".join(f'brick-{number} = "{name}@^1"\n' for number, name in enumerate(names))
    (folder / "brick.toml").write_text(
        f'[project]\nname = "many"\ndefault-registry = "corp"\n\n[registries]\ncorp = "{place.address}"\n\n'
        f'[base]\nsource = "path:base"\n\n[bricks]\n{asked}'
    )
    return folder


def timed(folder: Path, cache: Path, *arguments: str) -> float:
    """Seconds of a whole command, which must succeed."""
    begun = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "brickctl", *arguments, "--project", str(folder)],
        env={**os.environ, "BRICKCTL_CACHE": str(cache)},
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - begun


def pages_read(folder: Path, cache: Path, root: Path, *arguments: str) -> int:
    """How many different files of the index a command opens, as the system sees it."""
    log = folder / "opened.txt"
    log.unlink(missing_ok=True)
    code = (
        "import sys; opened = open(sys.argv.pop(1), 'a', 1)\n"
        f"prefix = {str(root / 'index')!r}\n"
        "def hook(event, arguments):\n"
        "    if event == 'open' and str(arguments[0]).startswith(prefix):\n"
        "        opened.write(str(arguments[0]) + '\\n')\n"
        "    if event in ('os.scandir', 'os.listdir') and str(arguments[0]).startswith(prefix):\n"
        "        opened.write('listed ' + str(arguments[0]) + '\\n')\n"
        "sys.addaudithook(hook)\n"
        "from brickctl.cli import main; main()\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(log), *arguments, "--project", str(folder)],
        env={**os.environ, "BRICKCTL_CACHE": str(cache)},
        check=False,
        capture_output=True,
    )
    return len(set(log.read_text().splitlines()))


def searches(place: Place, cache: Path) -> dict[str, float]:
    """Seconds of searches inside one process, with the requests that ask whether the snapshot has changed."""
    queries = {
        "a word": Query(text="sql"),
        "two words": Query(text="sql legal"),
        "a letter": Query(text="s"),
        "a word that all have": Query(text="answers"),
        "a word and a base": Query(text="tax", base_source="hf:org/model-3"),
        "a word that all have, a kind and a base": Query(
            text="answers", kind="adapter", base_interface=Sha256(sha256_bytes(b"3")), base_source="hf:org/model-3"
        ),
        "a name": Query(text="team-0007"),
        "no word": Query(),
    }
    taken = {}
    for name, query in queries.items():
        rounds = []
        for _ in range(ROUNDS):
            index = open_sources(Path.cwd(), {"corp": place.address}, offline=False, cache=cache).index("corp")
            begun = time.perf_counter()
            if index is None or not find(index, query, cache / "search", print):
                raise SystemExit(f"nothing found: {name}")
            rounds.append(time.perf_counter() - begun)
        taken[name] = statistics.median(rounds)
    return taken


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    scratch = Path(sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp())
    root = scratch / "registry"
    begun = time.perf_counter()
    names = generate(root, count)
    print(f"{count:,} bricks of two versions generated in {time.perf_counter() - begun:.1f} s")
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "brickctl", "registry", "snapshot", str(root)], check=True)
    print(f"registry snapshot: {time.perf_counter() - begun:.1f} s")
    with places(root) as (server, both):
        for place in both:
            measure(place, scratch / place.name, root, server, names)


def measure(place: Place, scratch: Path, root: Path, server: StaticServer, names: list[str]) -> None:
    cache = scratch / "cache"
    folder = project(scratch / "project", place, names)
    server.requests.clear()
    first = timed(folder, cache, "lock")
    asked = {path for path, _, _ in server.requests if path.startswith("/index/")}
    (folder / "brick.lock").unlink()
    again = timed(folder, cache, "lock")
    if place.name == "folder":
        (folder / "brick.lock").unlink()
        pages = pages_read(folder, cache, root, "lock")
        adds = pages_read(folder, scratch / "other" / "cache", root, "add", "team-0000/nothing")
        print(f"folder: `add` of a name that is none opens or lists {adds} files and folders of the index")
    else:
        pages = len(asked)
    verdict = "as asked" if LOCKED <= pages <= MOST_PAGES else "TOO MANY"
    print(f"{place.name}: lock of {LOCKED} bricks reads {pages} pages ({verdict}); {first:.2f} s, again {again:.2f} s")
    print(f"{place.name}: first search, which reads the snapshot: {timed(folder, cache, 'search', 'sql'):.2f} s")
    whole = statistics.median(timed(folder, cache, "search", "sql") for _ in range(ROUNDS))
    print(f"{place.name}: `brickctl search sql`, the whole command: {whole:.3f} s")
    for name, seconds in searches(place, cache).items():
        told = "" if seconds < LONGEST_SEARCH else "  TOO SLOW"
        print(f"{place.name}: search inside the process, {name}: {seconds * 1000:.1f} ms{told}")


if __name__ == "__main__":
    main()

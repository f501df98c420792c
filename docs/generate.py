"""Write `docs/reference/` from the code.

python docs/generate.py            write every page
python docs/generate.py --check    write nothing; fail where a page is not what the code says
python docs/generate.py --skills   run the starter project, and put its table of skills into README.md
python docs/generate.py --pictures run it, and draw what a terminal shows into docs/pictures

The same code gives the same bytes: nothing depends on the width of a terminal, on the environment, or on an order that
is not written down.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pages import command_line, errors, formats, measured, pictures, plugins, skills

if TYPE_CHECKING:
    from collections.abc import Callable

REFERENCE = Path(__file__).parent / "reference"
PICTURES = Path(__file__).parent / "pictures"
README = Path(__file__).parent.parent / "README.md"

PAGES: dict[str, Callable[[], str]] = {
    "accuracy.md": measured.accuracy,
    "artifact.md": formats.artifact,
    "cli.md": command_line.page,
    "environment.md": formats.environment,
    "errors-and-exit-codes.md": errors.page,
    "derivations.md": plugins.derivations,
    "kinds.md": plugins.kinds,
    "lock.md": formats.lock,
    "manifest.md": formats.manifest,
    "merge-methods.md": plugins.merge_methods,
    "operations.md": plugins.operations,
    "registry.md": formats.registry,
    "speed.md": measured.speed,
}


def main(arguments: list[str]) -> int:
    """Write or compare every page; returns the exit code."""
    if arguments == ["--skills"]:
        README.write_text(skills.renewed(README.read_text(encoding="utf-8")), encoding="utf-8")
        return 0
    if arguments == ["--pictures"]:
        for name, svg in pictures.pictures().items():
            (PICTURES / name).write_text(svg, encoding="utf-8")
        return 0
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    written = {REFERENCE / name: render() for name, render in PAGES.items()}
    stale = [path for path, text in written.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    stale += [path for path in sorted(REFERENCE.glob("*")) if path not in written]
    for path in stale:
        if arguments:
            print(f"stale: docs/reference/{path.name}; run `python docs/generate.py`", file=sys.stderr)
        elif path in written:
            path.parent.mkdir(exist_ok=True)
            path.write_text(written[path], encoding="utf-8")
        else:
            path.unlink()
    return 1 if arguments and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

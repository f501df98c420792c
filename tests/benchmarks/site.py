"""The site of a registry of many bricks: how long it takes, how large it is, and how fast its search is.

    python tests/benchmarks/site.py [BRICKS] [SCRATCH]

A whole process is timed, twice: the second run finds that nothing changed. With a browser (tests/support/browser.py)
the search is timed too: from a key that is pressed until the list is there.
"""

from __future__ import annotations

import gzip
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.browser import browser_path
from tests.support.catalogues import many_bricks, write_registry

BRICKS = 5_000
TYPE = """async (text) => {
  const field = document.querySelector("input[name=words]"), status = document.getElementById("status");
  const before = status.textContent, begin = performance.now();
  field.value = text;
  field.dispatchEvent(new Event("input", { bubbles: true }));
  while (status.textContent === before) await new Promise((next) => setTimeout(next));
  document.body.getBoundingClientRect();
  return [performance.now() - begin, status.textContent];
}"""


def main(count: int, scratch: Path) -> None:
    """Print times and sizes."""
    registry, site = write_registry(scratch / "registry", many_bricks(count)), scratch / "site"
    for words in ("made", "up to date"):
        begin = time.perf_counter()
        command = [sys.executable, "-m", "brickctl", "registry", "site", str(registry), "-o", str(site)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        print(f"{count:,} bricks, {words}: {time.perf_counter() - begin:.1f} s")
    files = [path for path in site.rglob("*") if path.is_file()]
    print(f"{len(files):,} files, {sum(path.stat().st_size for path in files):,} bytes")
    for name in ("index.html", "catalogue.js"):
        content = (site / name).read_bytes()
        print(f"{name}: {len(content):,} bytes, {len(gzip.compress(content)):,} compressed")
    if browser_path() is not None:
        _search(site)


def _search(site: Path) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_path(), args=["--no-sandbox"])
        tab = browser.new_page()
        tab.goto((site / "index.html").as_uri())
        for text in ("json", "json 12", "questions"):
            milliseconds, found = tab.evaluate(TYPE, text)
            print(f"search `{text}`: {milliseconds:.0f} ms, {found}")
        browser.close()


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else BRICKS
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as folder:
        main(count, Path(folder))

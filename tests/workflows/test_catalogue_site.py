"""The folder of a site: written once, replaced as a whole, and never where something else lies."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from brickctl.core.registry_line import encode_line
from brickctl.errors import IntegrityFault
from brickctl.sources.open import builtin_registry
from brickctl.workflows.catalogue_site.place import write_site
from tests.support.catalogues import many_bricks, write_registry
from tests.support.projects import Listener

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sandbox import Sandbox


@pytest.fixture
def registry(empty: Sandbox) -> Path:
    return write_registry(empty.root / "registry", many_bricks(3))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_a_registry_becomes_a_site(empty: Sandbox, registry: Path) -> None:
    before = contents(registry)
    outcome = empty.run("registry", "site", "registry", "-o", "site", "--title", "Our bricks", "--json")
    assert outcome.code == 0, outcome
    site = contents(empty.root / "site")
    answer = outcome.json
    assert (answer["bricks"], answer["versions"], answer["files"]) == (3, 6, 7)
    assert answer["written"] == len(site) == 8  # and the mark
    assert b"Our bricks" in site["index.html"]
    assert not [path for path in empty.root.iterdir() if path.name.startswith(".")]
    assert contents(registry) == before


def test_what_did_not_change_is_not_written_again(empty: Sandbox, registry: Path) -> None:
    command = ("registry", "site", "registry", "-o", "site")
    assert empty.run(*command).code == 0
    before = {path: path.stat().st_mtime_ns for path in (empty.root / "site").rglob("*") if path.is_file()}
    again = empty.run(*command)
    assert "is up to date" in again.out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    ((first, newest),) = many_bricks(1)
    more = replace(newest, version="1.2.0")
    (registry / "index" / first.name).write_bytes(b"".join(map(encode_line, (first, newest, more))))
    answer = empty.run(*command, "--json").json
    changed = [path.name for path, time in before.items() if path.stat().st_mtime_ns != time]
    assert sorted(changed) == sorted(["brickctl.site.json", "catalogue.js", "index.html", f"{first.name[5:]}.html"])
    assert answer["written"] == len(changed)


def test_a_brick_that_is_gone_leaves_no_page(empty: Sandbox, registry: Path) -> None:
    command = ("registry", "site", "registry", "-o", "site")
    assert empty.run(*command).code == 0
    page = next((registry / "index/acme").iterdir())
    page.unlink()
    assert empty.run(*command).code == 0
    assert not (empty.root / f"site/bricks/acme/{page.name}.html").exists()


@pytest.mark.usefixtures("registry")
def test_what_is_no_site_is_never_replaced(empty: Sandbox) -> None:
    command = ("registry", "site", "registry", "-o", "site")
    empty.write({"notes.txt": "mine"}, "site")
    refused = empty.run(*command)
    assert refused.code == 2
    assert "has no brickctl.site.json" in refused.err
    assert contents(empty.root / "site") == {"notes.txt": b"mine"}
    (empty.root / "site/notes.txt").unlink()
    assert empty.run(*command).code == 0
    empty.write({"notes.txt": "mine"}, "site")
    refused = empty.run(*command)
    assert refused.code == 2
    assert "notes.txt is from no site" in refused.err
    assert (empty.root / "site/notes.txt").read_text() == "mine"
    assert empty.run("registry", "site", "registry", "-o", "registry").code == 2
    inside = empty.run("registry", "site", "registry", "-o", "registry/index/site")
    assert (inside.code, (empty.root / "registry/index/site").exists()) == (2, False)
    assert "every file below `index` is a page" in inside.err
    (empty.root / "link").symlink_to("site")
    assert empty.run("registry", "site", "registry", "-o", "link").code == 2


def test_a_link_in_a_site_leads_nothing_out_of_it(empty: Sandbox, registry: Path) -> None:
    assert registry.is_dir()
    command = ("registry", "site", "registry", "-o", "site")
    assert empty.run(*command).code == 0
    outside = empty.root / "outside.html"
    outside.write_text("mine")
    page = empty.root / "site/index.html"
    page.unlink()
    page.symlink_to(outside)
    assert empty.run(*command).code == 4
    assert outside.read_text() == "mine"


@pytest.mark.parametrize("path", ["../x.html", "/x.html", "bricks/../../x.html", "a\\b.html", "C:/x.html"])
def test_nothing_is_written_outside_of_the_site(tmp_path: Path, path: str) -> None:
    with pytest.raises(IntegrityFault):
        write_site(tmp_path / "site", {path: b"x"}, Listener())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["acme/%2e%2e", "acme/a\\b", "acme/<b>", "acme/sub/sql", "acme/SQL", "sql"])
def test_a_page_of_the_index_whose_name_is_none_is_refused(empty: Sandbox, registry: Path, name: str) -> None:
    page = registry / "index" / name
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_bytes(next((registry / "index/acme").glob("*-00000")).read_bytes())
    assert empty.run("registry", "site", "registry", "-o", "site").code == 4
    assert not (empty.root / "site").exists()


def test_a_registry_that_is_not_sound_gets_no_site(empty: Sandbox, registry: Path) -> None:
    page = next((registry / "index/acme").iterdir())
    page.write_bytes(page.read_bytes().replace(b'"kind"', b'"kinds"'))
    assert empty.run("registry", "site", "registry", "-o", "site").code == 4
    assert not (empty.root / "site").exists()


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(
    "options", [("--name", "a b"), ("--url", "javascript:alert(1)"), ("--url", "http://x.example"), ("--title", "a\nb")]
)
def test_what_brick_toml_could_not_say_is_refused(empty: Sandbox, options: tuple[str, str]) -> None:
    assert empty.run("registry", "site", "registry", "-o", "site", *options).code == 2
    assert not (empty.root / "site").exists()


def test_the_registry_that_ships_with_brickctl_is_called_builtin(empty: Sandbox) -> None:
    assert empty.run("registry", "site", str(builtin_registry()), "-o", "site").code == 0
    assert b"brickctl add starter/upper@^1.0.0<" in (empty.root / "site/bricks/starter/upper.html").read_bytes()

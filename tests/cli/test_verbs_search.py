"""`search` and `registry`."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from brickctl.core.digests import Sha256, interface_digest
from brickctl.core.made_for import MadeFor
from brickctl.core.registry_line import encode_line
from brickctl.sources.open import builtin_registry
from tests.sources.registries import entry, publish
from tests.sources.static_server import StaticServer
from tests.support import sandbox as bricks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from syrupy.assertion import SnapshotAssertion

    from brickctl.core.registry_line import RegistryEntry
    from tests.support.sandbox import Sandbox

FILES = bricks.adapter()
INTERFACE = interface_digest(bricks.model_shapes())


def line(name: str, summary: str = "", *, base: str | None = None, interface: str = "0" * 64) -> RegistryEntry:
    commit = "a" * 40 if base is not None and base.startswith("hf:") else None
    made_for = None if base is None else MadeFor(source=base, interface=Sha256(interface), commit=commit)
    return replace(entry("1.0.0", FILES, name=name), kind="adapter", summary=summary, base=made_for)


def registry(sandbox: Sandbox, folder: str, *lines: RegistryEntry) -> Path:
    for each in lines:
        publish(sandbox.root / folder, each, files=FILES)
    return sandbox.root / folder


@pytest.fixture
def corp(empty: Sandbox) -> Path:
    return registry(
        empty,
        "corp",
        line("acme/law", "Knows contracts", base="hf:acme/llama", interface=INTERFACE),
        line("acme/sql", "Writes SQL", base="hf:acme/base"),
        line("acme/tone", "Polite answers"),
    )


def lay(sandbox: Sandbox, default: str = '"corp"', base: str = 'source = "path:base"', **addresses: str) -> None:
    sandbox.write(bricks.model(), "base")
    declared = "".join(f'{name} = "{address}"\n' for name, address in addresses.items())
    head = f'[project]\nname = "support"\ndefault-registry = {default}\n\n[registries]\n{declared}'
    sandbox.write({"brick.toml": f"{head}\n[base]\n{base}\n"})


def names(sandbox: Sandbox, *arguments: str) -> list[str]:
    outcome = sandbox.run("search", *arguments, "--json")
    assert outcome.code == 0, outcome.err
    return [found["name"] for found in outcome.json["bricks"]]


def test_without_a_project_the_builtin_registry_is_searched(empty: Sandbox) -> None:
    assert names(empty, "capital", "letters") == ["starter/upper"]
    outcome = empty.run("search", "upper")
    assert outcome.lines[0].split() == ["brick", "version", "kind", "licence", "base", "summary"]
    assert outcome.lines[1].startswith("starter/upper  1.0.0    adapter  Apache-2.0  starter/base/1.0.0  Answers upper")


def test_the_registries_of_the_project_are_searched_in_their_order(empty: Sandbox, corp: Path) -> None:
    other = registry(empty, "other", line("acme/sql", "Somebody else's"), line("beta/sql", "Writes SQL too"))
    lay(empty, '["corp", "other"]', corp=str(corp), other=str(other))
    outcome = empty.run("search", "sql", "--json")
    found = [(hit["registry"], hit["name"], hit["summary"]) for hit in outcome.json["bricks"]]
    assert found == [("corp", "acme/sql", "Writes SQL"), ("other", "beta/sql", "Writes SQL too")]
    assert names(empty, "sql", "--registry", "other") == ["acme/sql", "beta/sql"]
    assert names(empty, "--registry", "builtin", "upper") == ["starter/upper"]
    assert "registry" in empty.run("search", "sql").lines[0].split()


def test_what_fits_has_the_source_or_the_interface_of_the_base(empty: Sandbox, corp: Path) -> None:
    lay(empty, corp=str(corp))
    assert names(empty, "--fits") == ["acme/law"]
    assert empty.run("lock").code == 0
    assert names(empty, "--fits") == ["acme/law"]
    assert names(empty, "--fits", "sql") == []


def test_what_fits_a_base_of_a_registry_may_be_made_for_another_version_of_it(empty: Sandbox) -> None:
    corp = registry(empty, "corp", line("acme/new", base="index:starter/base/2.0.0"))
    lay(empty, base='brick = "starter/base"\nregistry = "builtin"', corp=str(corp))
    assert names(empty, "--fits") == ["acme/new"]


def test_a_base_is_named_by_a_reference(empty: Sandbox, corp: Path) -> None:
    lay(empty, corp=str(corp))
    assert names(empty, "--base", "hf:acme/base") == ["acme/sql"]
    assert names(empty, "--base", "starter/base", "--registry", "builtin", "--kind", "expert") == ["starter/sort"]


def test_no_more_than_the_limit_is_shown_and_it_is_said_that_there_is_more(empty: Sandbox, corp: Path) -> None:
    lay(empty, corp=str(corp))
    outcome = empty.run("search", "--limit", "2")
    assert len(outcome.lines) == 3
    assert "there are more" in outcome.err
    assert empty.run("search", "--limit", "3", "--json").json["more"] is False


def test_nothing_found_is_no_failure_and_says_what_to_do_next(
    empty: Sandbox, corp: Path, snapshot: SnapshotAssertion
) -> None:
    lay(empty, corp=str(corp))
    outcomes = [empty.run("search", "nothing"), empty.run("search", "--fits", "--kind", "expert")]
    assert [outcome.code for outcome in outcomes] == [0, 0]
    assert [outcome.out for outcome in outcomes] == ["", ""]
    assert [outcome.err for outcome in outcomes] == snapshot
    assert empty.run("search", "nothing", "--json").json["bricks"] == []


REFUSED = {
    "a kind that is none": ("--kind", "adaptor"),
    "a registry that is not declared": ("--registry", "crop"),
    "a base in a folder": ("--base", "./base"),
    "a base that is none": ("--base", "Llama 3"),
    "two bases": ("--base", "hf:acme/base", "--fits"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_search_that_cannot_be(name: str, empty: Sandbox, corp: Path, snapshot: SnapshotAssertion) -> None:
    lay(empty, corp=str(corp))
    outcome = empty.run("search", *REFUSED[name])
    assert outcome.code in {1, 2}
    assert outcome.err == snapshot


def test_what_fits_needs_a_project(empty: Sandbox) -> None:
    outcome = empty.run("search", "--fits")
    assert outcome.code == 2
    assert "`--fits` needs a project" in outcome.err


def test_a_registry_on_a_server_is_searched_once_it_has_a_snapshot(empty: Sandbox, corp: Path) -> None:
    with StaticServer(corp) as server:
        lay(empty, corp=server.url)
        outcome = empty.run("search", "sql")
        assert outcome.code == 1
        assert "registry `corp` cannot be searched" in outcome.err
        assert "`brickctl registry snapshot`" in outcome.err
        assert empty.run("registry", "snapshot", str(corp)).code == 0
        assert names(empty, "sql") == ["acme/sql"]
        assert names(empty, "sql", "--offline") == ["acme/sql"]


def test_a_snapshot_is_the_same_for_the_same_index_and_follows_it(empty: Sandbox, corp: Path) -> None:
    first = empty.run("registry", "snapshot", "corp", "--json").json
    assert (first["bricks"], first["written"]) == (3, True)
    content = (corp / "snapshot.jsonl.gz").read_bytes()
    assert json.loads((corp / "config.json").read_bytes()) == {"v": 1, "snapshot": "snapshot.jsonl.gz"}
    assert empty.run("registry", "snapshot", "corp", "--json").json["written"] is False
    (corp / "snapshot.jsonl.gz").unlink()
    assert empty.run("registry", "check", "corp").code == 4
    empty.run("registry", "snapshot", "corp")
    assert (corp / "snapshot.jsonl.gz").read_bytes() == content
    config = (corp / "config.json").read_bytes()
    registry(empty, "corp", line("acme/new"))
    (corp / "config.json").write_bytes(config)
    outcome = empty.run("registry", "check", "corp")
    assert outcome.code == 0
    assert "its snapshot is not of this index" in outcome.err
    assert empty.run("registry", "snapshot", "corp", "--json").json["bricks"] == 4
    assert empty.run("registry", "check", "corp", "--json").json == {
        "schema": 1,
        "ok": True,
        "bricks": 4,
        "versions": 4,
        "snapshot-current": True,
    }


PAGE = "index/acme/sql"


def append(path: Path, content: bytes) -> None:
    path.write_bytes(path.read_bytes() + content)


WRONG: dict[str, Callable[[Path], object]] = {
    "a line that is none": lambda root: append(root / PAGE, b"oops\n"),
    "keys out of order": lambda root: (root / PAGE).write_bytes(
        json.dumps(dict(reversed(json.loads((root / PAGE).read_bytes()).items()))).encode() + b"\n"
    ),
    "a version twice": lambda root: (root / PAGE).write_bytes((root / PAGE).read_bytes() * 2),
    "another brick": lambda root: (root / PAGE).rename(root / "index/acme/query"),
    "no line feed": lambda root: (root / PAGE).write_bytes((root / PAGE).read_bytes().rstrip()),
    "a name in capitals": lambda root: (root / "index/acme/SQL").write_bytes(b""),
    "a page in no namespace": lambda root: (root / "index/sql").write_bytes(b""),
    "a page too deep": lambda root: (
        (root / "index/acme/a/b").mkdir(parents=True) or (root / "index/acme/a/b/c").touch()
    ),
    "a link": lambda root: (root / "index/acme/link").symlink_to("/etc/passwd"),
    "a file that is gone": lambda root: (root / "files/acme/sql/1.0.0/adapter_config.json").unlink(),
    "a file of another size": lambda root: (root / "files/acme/sql/1.0.0/adapter_config.json").write_bytes(b"{}"),
    "a newer format": lambda root: (root / PAGE).write_bytes((root / PAGE).read_bytes().replace(b'"v":1', b'"v":2')),
    "a snapshot outside": lambda root: (root / "config.json").write_bytes(b'{"snapshot":"../x.gz","v":1}'),
    "a snapshot in the index": lambda root: (root / "config.json").write_bytes(b'{"snapshot":"index/acme/sql","v":1}'),
    "advisories that are none": lambda root: (root / "advisories.json").write_bytes(b"{}"),
    "two faults": lambda root: append(root / PAGE, b"oops\n" * 2),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_in_a_registry_is_named_with_file_and_line(
    name: str, empty: Sandbox, corp: Path, snapshot: SnapshotAssertion
) -> None:
    WRONG[name](corp)
    before = {path: path.read_bytes() for path in corp.rglob("*") if path.is_file()}
    outcome = empty.run("registry", "check", "corp")
    assert outcome.code == 4
    assert outcome.err == snapshot
    if name != "advisories that are none":
        assert empty.run("registry", "snapshot", "corp").code == 4
    assert {path: path.read_bytes() for path in corp.rglob("*") if path.is_file()} == before


def test_a_registry_that_is_none_is_said_to_be_none(empty: Sandbox) -> None:
    for verb in ("check", "snapshot"):
        outcome = empty.run("registry", verb, ".")
        assert outcome.code == 1
        assert "there is no registry in ." in outcome.err


def test_a_registry_of_a_newer_layout_is_left_alone(empty: Sandbox, corp: Path) -> None:
    (corp / "config.json").write_bytes(b'{"v":2}')
    assert empty.run("registry", "snapshot", "corp").code == 1
    assert (corp / "config.json").read_bytes() == b'{"v":2}'


def test_a_snapshot_has_no_line_for_a_brick_that_was_yanked(empty: Sandbox, corp: Path) -> None:
    page = corp / PAGE
    page.write_bytes(page.read_bytes().replace(b'"yanked":false', b'"yanked":true'))
    assert empty.run("registry", "snapshot", "corp", "--json").json["bricks"] == 2
    lay(empty, corp=str(corp))
    assert names(empty) == ["acme/law", "acme/tone"]


def test_the_builtin_registry_is_sound(empty: Sandbox) -> None:
    outcome = empty.run("registry", "check", str(builtin_registry()), "--json")
    assert outcome.json["bricks"] == 6


def test_lines_that_were_published_are_what_the_check_reads(empty: Sandbox, corp: Path) -> None:
    assert (corp / PAGE).read_bytes() == encode_line(line("acme/sql", "Writes SQL", base="hf:acme/base"))
    assert "3 bricks, 3 versions: sound" in empty.run("registry", "check", "corp").out

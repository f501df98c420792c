"""What publishing does to the folder of a registry, and what it does not do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from brickctl.errors import IntegrityFault
from brickctl.sources.checkout import Checkout
from brickctl.sources.ledger import Ledger
from tests.sources.registries import entry
from tests.support import sandbox as bricks

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sandbox import Sandbox

FILES = bricks.adapter()


@pytest.fixture
def registry(empty: Sandbox) -> Path:
    empty.write({**FILES, "README.md": b"---\nlicense: mit\n---\n"}, "sql")
    return empty.write({"config.json": '{"v":1}\n'}, "registry")


def test_versions_that_are_published_at_once_are_all_there(empty: Sandbox, registry: Path) -> None:
    versions = [f"1.{minor}.0" for minor in range(6)]
    with ThreadPoolExecutor(len(versions)) as pool:
        done = list(
            pool.map(lambda each: empty.spawn("publish", "sql", f"acme/sql@{each}", "--index", "registry"), versions)
        )
    assert [outcome.code for outcome in done] == [0] * len(versions), [outcome.err for outcome in done]
    entries = Checkout(registry, Ledger(empty.home / "ledger")).entries("acme/sql")
    assert sorted(each.version for each in entries) == versions
    assert sorted(path.name for path in registry.iterdir()) == ["config.json", "files", "index"], "no lock stays"


def test_a_file_that_changes_while_it_is_copied_leaves_nothing(empty: Sandbox, registry: Path) -> None:
    wanted = entry("1.0.0", FILES)
    places = {file: empty.root / "sql" / file.path for file in wanted.files}
    (empty.root / "sql/adapter_model.safetensors").write_bytes(b"something else")
    checkout = Checkout(registry, Ledger(empty.home / "ledger"))
    with pytest.raises(IntegrityFault, match="changed while it was copied"):
        checkout.add_files(wanted, places)
    assert [path for path in registry.rglob("*") if path.is_file()] == [registry / "config.json"]


def test_what_an_interrupted_command_left_is_replaced(empty: Sandbox, registry: Path) -> None:
    left = empty.write({"adapter_model.safetensors": b"half", "more.json": b"{}"}, "registry/files/acme/sql/1.0.0")
    assert empty.run("publish", "sql", "acme/sql@1.0.0", "--index", "registry").code == 0
    assert {path.name: path.read_bytes() for path in left.iterdir()} == FILES
    assert (registry / "index/acme/sql").is_file()

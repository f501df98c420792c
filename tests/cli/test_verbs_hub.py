"""The verbs and a real Hub on loopback, each command in a process of its own: what moves, and what does not."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from brickctl.core.dtypes import DType
from brickctl.core.regions import Spec
from brickctl.tensors.header import write_header
from tests.support import sandbox as bricks
from tests.support.hub import Deleted, Hub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.sandbox import Sandbox

PROJECT = """\
[project]
name = "support"

[base]
source = "hf:acme/base"

[bricks]
sql = { source = "hf:acme/sql" }  # trained by Ada

[targets.assistant]
apply = [{ op = "merge", method = "task_arithmetic", bricks = { sql = 0.5 } }]
"""
LARGE = 50_000_000
ADAPTER = len(bricks.adapter()["adapter_model.safetensors"])


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        running.repository("acme/base", card={"license": "apache-2.0"}).commit(bricks.model())
        running.repository("acme/sql").commit(bricks.adapter(base_model_name_or_path="acme/base"))
        yield running


@pytest.fixture
def online(hub: Hub, empty: Sandbox) -> Sandbox:
    """A project whose bricks are all on the Hub."""
    empty.write({"brick.toml": PROJECT})
    return replace(empty, variables=hub.environment(empty.home / "hf"))


def test_lock_moves_no_weights_and_install_moves_each_once(hub: Hub, online: Sandbox) -> None:
    assert online.spawn("lock").code == 0
    assert all(record.range for record in hub.requests if record.weights), "headers come by ranges"
    hub.reset_log()
    outcome = online.spawn("install")
    assert outcome.out.startswith("2 bricks, ")
    assert "fetched 2 (" in outcome.out
    assert [len(hub.gets(file)) for file in ("model.safetensors", "adapter_model.safetensors")] == [1, 1]
    assert hub.weight_bytes_sent() == len(bricks.model()["model.safetensors"]) + ADAPTER


def test_when_a_commit_was_made_is_asked_only_where_a_policy_judges_it(hub: Hub, online: Sandbox) -> None:
    assert online.spawn("lock").code == 0
    assert [record.path for record in hub.requests if "/commits/" in record.path] == []
    online.write({"brick.toml": f'{PROJECT}\n[policy]\nexclude-newer = "2026-11-20"\n'})
    (online.root / "brick.lock").unlink()
    assert online.spawn("lock").code == 0
    assert len([record.path for record in hub.requests if "/commits/" in record.path]) == 2


def test_a_second_install_asks_nothing(hub: Hub, online: Sandbox) -> None:
    online.spawn("install")
    hub.reset_log()
    outcome = online.spawn("install")
    assert outcome.out.startswith("everything is here: 2 bricks, ")
    assert online.spawn("lock").out == "brick.lock is up to date\n"
    assert online.spawn("remove", "zzz").code == 1
    assert hub.requests == ()


@pytest.mark.full
def test_a_brick_of_50_megabytes_costs_its_bytes_once(hub: Hub, online: Sandbox, tmp_path: Path) -> None:
    shapes = {"model.embed_tokens.weight": (LARGE // 16, 8), "model.layers.0.self_attn.q_proj.weight": (8, 8)}
    specs = {name: Spec(DType.BF16, shape) for name, shape in shapes.items()}
    large = tmp_path / "model.safetensors"
    header = write_header(specs)
    large.write_bytes(header + bytes(sum(spec.bytes for spec in specs.values())))
    hub.find("acme/base").commit({"model.safetensors": large})

    assert online.spawn("lock").code == 0
    sent = [record.sent for record in hub.requests if record.weights and record.is_for(large.name)]
    assert sent == [8, len(header) - 8]

    hub.reset_log()
    assert "fetched 2 (50.0 MB)" in online.spawn("install").out
    assert len(hub.gets(large.name)) == 1
    assert hub.weight_bytes_sent() == large.stat().st_size + ADAPTER

    hub.reset_log()
    before = {path: path.stat().st_mtime_ns for path in online.home.rglob("*") if path.is_file()}
    assert online.spawn("install").out.startswith("everything is here: 2 bricks, 50.0 MB")
    assert hub.requests == ()
    assert {path: path.stat().st_mtime_ns for path in online.home.rglob("*") if path.is_file()} == before


def test_offline_works_from_the_cache_and_says_what_is_missing(hub: Hub, online: Sandbox) -> None:
    missing = online.spawn("install", "--offline")
    assert missing.code == 6
    assert "is not in the cache" in missing.err
    online.spawn("install")
    hub.reset_log()
    assert online.spawn("install", "--offline").code == 0
    assert online.spawn("lock", "--offline").out == "brick.lock is up to date\n"
    assert online.spawn("info", "sql", "--offline").code == 0
    assert online.spawn("update", "--offline").code == 6
    assert hub.requests == ()


def test_a_brick_is_added_offline_beside_an_installed_base(hub: Hub, online: Sandbox) -> None:
    online.spawn("install")
    hub.reset_log()
    online.write(bricks.adapter(fill=3), "bricks/mail")
    assert online.spawn("add", "./bricks/mail", "--offline").code == 0
    assert online.spawn("remove", "mail").code == 0
    assert hub.requests == ()


STACK = '{ op = "stack", bricks = ["sql"] }'
MERGE = '{ op = "merge", method = "task_arithmetic", bricks = { sql = 0.5 } }'


@pytest.mark.parametrize(
    ("target", "named"),
    [
        (f"apply = [{STACK}]", "acme/base"),
        (f"apply = [{STACK}, {MERGE}]", None),
        (f"apply = [{MERGE}, {STACK}]", None),
        (f'dtype = "float16"\napply = [{STACK}]', None),
        (f"apply = [{STACK}]\n[targets.later]\nfrom = {{ target = 'assistant' }}\napply = [{MERGE}]", None),
    ],
)
def test_a_stacked_adapter_names_the_model_of_the_hub_only_where_that_is_what_lies_below_it(
    target: str, named: str | None, online: Sandbox
) -> None:
    head, _, _ = PROJECT.partition("[targets.assistant]")
    online.write({"brick.toml": f"{head}[targets.assistant]\n{target}\n"})
    assert online.spawn("build").code == 0
    last = "later" if "later" in target else "assistant"
    config = json.loads((online.root / "dist" / last / "adapters/sql/adapter_config.json").read_text())
    assert config.get("base_model_name_or_path") == named
    assert ("base_model_name_or_path" in config) == (named is not None)


def test_a_gated_repository_shows_where_access_is_asked_for(hub: Hub, online: Sandbox) -> None:
    hub.repository("acme/legal", gated="manual").commit(bricks.adapter())
    online.spawn("lock")
    manifest, lock = online.manifest, online.lock
    outcome = online.spawn("add", "hf:acme/legal", "--json")
    assert outcome.code == 1
    assert outcome.json["error"]["code"] == "gated"
    assert f"{hub.endpoint}/acme/legal" in outcome.json["error"]["hint"]
    assert (online.manifest, online.lock) == (manifest, lock)


def test_update_follows_a_branch_and_lock_does_not(hub: Hub, online: Sandbox) -> None:
    online.spawn("lock")
    old = hub.find("acme/sql").at("main").oid
    new = hub.find("acme/sql").commit(bricks.adapter(fill=9, base_model_name_or_path="acme/base"))
    assert online.spawn("lock").out == "brick.lock is up to date\n"
    assert online.spawn("update", "sql").out == f"updated  sql  {old[:12]} -> {new[:12]}\n"
    assert online.spawn("list").lines[2].split()[:3] == ["sql", "adapter", new[:12]]


def test_a_revision_that_is_given_is_written_down(hub: Hub, online: Sandbox) -> None:
    hub.find("acme/sql").tag("v1")
    assert online.spawn("add", "hf:acme/sql@v1", "--name", "old").code == 0
    assert 'old = { source = "hf:acme/sql", revision = "v1" }\n' in online.manifest


def test_another_declared_base_is_a_warning_once_and_an_error_by_policy(hub: Hub, online: Sandbox) -> None:
    hub.find("acme/sql").commit(bricks.adapter(base_model_name_or_path="acme/other"))
    first = online.spawn("lock")
    assert first.code == 0
    assert "warning: `sql` was trained on acme/other; the base is acme/base" in first.err
    assert online.spawn("lock").err == ""
    online.write({"brick.toml": f'{PROJECT}\n[policy]\nbase = "declared"\n'})
    for verb in (("lock",), ("install",), ("install", "--frozen"), ("lock", "--check")):
        refused = online.spawn(*verb)
        assert refused.code == 5, verb
        assert "`sql` was trained on acme/other" in refused.err


def test_info_of_a_repository_reads_no_weights(hub: Hub, online: Sandbox) -> None:
    outcome = online.spawn("info", "hf:acme/base", "--json")
    assert (outcome.json["license"], outcome.json["tensors"]) == ("Apache-2.0", len(bricks.model_shapes()))
    assert all(record.range for record in hub.requests if record.weights)


def test_a_file_that_is_gone_says_which_command_pins_anew_without_a_name_that_it_does_not_know(
    hub: Hub, online: Sandbox
) -> None:
    assert online.spawn("lock").code == 0
    hub.fault("*/resolve/*/model.safetensors", Deleted("file"))
    outcome = online.spawn("install")
    assert outcome.code == 1
    assert "`brickctl update` with the brick's name" in outcome.err
    assert "NAME" not in outcome.err


def test_a_budget_that_is_too_small_is_refused_before_anything_is_fetched(hub: Hub, online: Sandbox) -> None:
    assert online.spawn("lock").code == 0
    hub.reset_log()
    refused = online.spawn("build", "--memory", "64KiB")
    assert refused.code != 0
    assert "pass --memory" in refused.err
    assert "needs 4 MiB of buffers, and 65,536 bytes are allowed" in refused.err
    assert not any(record.weights and record.range is None for record in hub.requests)
    assert not (online.root / "dist").exists()


FULL = """
import shutil, sys
from types import SimpleNamespace
from brickctl.cli import main
shutil.disk_usage = lambda _: SimpleNamespace(free={free})
sys.argv[0] = "brickctl"
sys.exit(main())
"""


def test_room_for_the_bricks_and_none_for_the_model_means_that_nothing_is_fetched(hub: Hub, online: Sandbox) -> None:
    assert online.spawn("lock").code == 0
    bricks_alone = sum(map(int, re.findall(r"size = (\d+)", online.lock)))
    hub.reset_log()
    refused = online.spawn("build", python=("-c", FULL.format(free=bricks_alone + 1)))
    assert refused.code != 0
    assert "is too full" in refused.err
    assert not any(record.weights and record.range is None for record in hub.requests)
    assert online.spawn("install", python=("-c", FULL.format(free=bricks_alone + 1))).code == 0

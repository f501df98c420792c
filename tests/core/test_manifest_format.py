from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brickctl.core.dtypes import DType
from brickctl.core.manifest_format import parse_manifest
from brickctl.core.names import Alias
from brickctl.core.reference import HubReference, PathReference, RegistryReference
from brickctl.errors import BrickctlError, ManifestInvalid, Unsupported

EXAMPLE = (Path(__file__).parent / "brick.toml").read_text(encoding="utf-8")
SMALL = '[project]\nname = "x"\n[base]\nsource = "hf:acme/base"\n'  # 4 lines


def fault(text: str) -> BrickctlError:
    with pytest.raises(BrickctlError) as caught:
        parse_manifest(text)
    return caught.value


def test_the_example_of_the_format_is_read_whole() -> None:
    manifest = parse_manifest(EXAMPLE)
    references = {name: brick.reference for name, brick in manifest.bricks.items()}
    assert references == {
        "sql": RegistryReference(name="acme/sql", version="^1.2", registry="corp"),
        "legal": HubReference(repository="acme/legal-lora", revision="v2", subfolder="checkpoint-300"),
        "coder": HubReference(repository="acme/SmolLM2-coder"),
        "date": PathReference(path="bricks/date"),
        "mail": RegistryReference(name="acme/mail", version="^1", registry="builtin"),
    }
    assert manifest.bricks["coder"].kind == "expert"
    assert manifest.bricks["date"].license == "Apache-2.0"
    assert manifest.targets["assistant"].dtype is DType.BF16
    assert manifest.targets["assistant"].shard_size == 5_000_000_000
    assert manifest.targets["bundle"].start == "assistant"
    assert [step.op for step in manifest.targets["assistant"].apply] == ["merge", "merge"]
    assert manifest.checks[0].table.number_or_none("min") == 0.9
    assert list(manifest.requirements) == ["base", "sql", "legal", "coder", "date", "mail"]


def test_everything_knows_its_line() -> None:
    manifest = parse_manifest(EXAMPLE)
    assert str(manifest.base.place) == "brick.toml line 9"
    assert str(manifest.bricks["legal"].place) == "brick.toml line 15"
    assert str(manifest.bricks["mail"].place) == "brick.toml line 19"
    assert str(manifest.targets["assistant"].apply[1].place) == "brick.toml line 30"


def test_a_step_keeps_its_table_unread_and_without_its_op() -> None:
    step = parse_manifest(EXAMPLE).targets["bundle"].apply[0]
    assert step.table.keys() == ("bricks", "active")
    assert step.table.strings_or_none("bricks") == ("mail",)


def test_a_manifest_needs_no_more_than_a_name_and_a_base() -> None:
    manifest = parse_manifest(SMALL)
    assert manifest.project.default_registries == ("builtin",)
    assert manifest.bricks == manifest.targets == manifest.registries == {}
    assert manifest.policy.base == "fits"


def test_a_base_may_come_from_a_registry() -> None:
    manifest = parse_manifest('[project]\nname = "x"\n[base]\nbrick = "starter/base"\nversion = "1.0"\n')
    assert manifest.base.reference == RegistryReference(name="starter/base", version="^1.0", registry="builtin")


@pytest.mark.parametrize(
    ("text", "message", "line", "hint"),
    [
        ("[base]\n", "brick.toml has no [project]", None, 'add `[project]` and `name = "my-model"`'),
        ('[project]\nname = "x"\n', "brick.toml has no [base]", None, 'add `[base]` and `source = "hf:owner/name"`'),
        (SMALL + "[targts.x]\n", "unknown key `targts` in brick.toml", 5, "did you mean `targets`?"),
        (
            SMALL + 'revison = "v2"\n',
            "unknown key `revison` in [base]",
            5,
            "did you mean `revision`?",
        ),
        (SMALL + "[bricks]\nSQL = 'acme/sql'\n", "`SQL` cannot name a brick", 6, "`sql` would do"),
        (SMALL + "[bricks]\nbase = 'acme/sql'\n", "`base` is the base model: it cannot name a brick", 6, None),
        (
            SMALL + "[bricks]\nsql = 'hf:acme/sql@v2'\n",
            "`hf:acme/sql@v2` is no `namespace/name@range`",
            6,
            'only registry bricks have a short form; write `sql = { source = "hf:acme/sql", revision = "v2" }`',
        ),
        (
            SMALL + "[bricks]\nsql = 'acme/sql@latest'\n",
            "`latest` is not a range of versions",
            6,
            "ranges look like `^1.2`, `~1.2`, `1.*`, `=1.2.3` or `>=1.2, <2`",
        ),
        (
            SMALL + "[bricks.sql]\nbrick = 'acme/sql'\nregistry = 'cropp'\n[registries]\ncorp = 'https://c.example'\n",
            "there is no registry `cropp`",
            7,
            "did you mean `corp`?",
        ),
        (
            SMALL + "[registries]\nbuiltin = 'https://c.example'\n",
            "`builtin` is the registry that ships with brickctl: it cannot be declared",
            6,
            "choose another name for this registry",
        ),
        (
            SMALL + "[registries]\ncorp = 'http://c.example'\n",
            "`http://c.example` is no address of a registry",
            6,
            "write `https://...`, `file:///...`, or a folder such as `./index`; http, passwords and `?` are refused",
        ),
        (
            SMALL + "[bricks]\nx = { source = 'path:x', version = '1' }\n",
            "`version` means nothing in [bricks.x]",
            6,
            None,
        ),
        (
            SMALL + "[bricks]\nx = { source = 'path:x', license = 'Apache' }\n",
            "`Apache` is no licence that SPDX knows",
            6,
            "write an SPDX expression such as `Apache-2.0`, or `LicenseRef-NAME`",
        ),
        (
            SMALL + "[targets.x]\ndtype = 'bfloat'\n",
            "`bfloat` is no dtype to build with",
            6,
            "did you mean `bfloat16`?",
        ),
        (
            SMALL + "[targets.x]\nshard-size = '5G'\n",
            "`5G` is no size for a shard",
            6,
            "write a size with its unit, such as `5GB` (10^9 bytes) or `5GiB` (2^30)",
        ),
        (
            SMALL + "[targets.x]\nfrom = { target = 'chta' }\n[targets.chat]\n",
            "[targets.x] starts from `chta`, which is no target",
            6,
            "did you mean `chat`?",
        ),
        (
            SMALL + "[targets.x]\nfrom = 'chat'\n[targets.chat]\n",
            "`chat` is nothing that [targets.x] can start from",
            6,
            'write `from = { target = "chat" }`, or `from = "base"`',
        ),
        (
            SMALL + "[targets.a]\nfrom = { target = 'b' }\n[targets.b]\nfrom = { target = 'a' }\n",
            "the targets go in a circle: `a` -> `b` -> `a`",
            6,
            'let one of them start from the base: `from = "base"`',
        ),
        (SMALL + "[targets.x]\napply = [{ method = 'ties' }]\n", "`op` in [targets.x] apply[0] is missing", 6, None),
        (
            SMALL + "[targets.x]\n[[checks]]\nname = 'c'\ntarget = 'y'\nkind = 'exact-match'\ndata = 'd'\nmin = 1\n",
            "`y` is no target: there is nothing to check",
            8,
            None,
        ),
        (
            SMALL + "[policy]\nformats = ['safetensors', 'pickle']\n",
            '`formats` in [policy] can only be `["safetensors"]`',
            6,
            "pickle runs code when it is loaded; brickctl reads nothing but safetensors",
        ),
    ],
)
def test_a_mistake_is_named_with_its_line_and_what_to_do(
    text: str, message: str, line: int | None, hint: str | None
) -> None:
    error = fault(text)
    assert isinstance(error, ManifestInvalid)
    assert error.message == message
    assert error.place is not None
    assert error.place.line == line
    assert error.hint == hint


def test_a_derived_brick_keeps_its_table_for_the_derivation_that_reads_it() -> None:
    manifest = parse_manifest(SMALL + "[derived.legal]\nop = 'edit'\nfrom = { target = 'chat' }\nfacts = 'f.jsonl'\n")
    derived = manifest.derived[Alias("legal")]
    assert (derived.op, derived.start, derived.target) == ("edit", "base", "chat")
    assert derived.table.keys() == ("facts",)
    assert manifest.place_of(derived.name) == derived.place
    assert derived.name in manifest.usable


def test_a_manifest_for_another_brickctl_says_so_before_its_unknown_keys_are_judged() -> None:
    error = fault('[project]\nname = "x"\nrequires-brickctl = ">=99"\n[new-thing]\n')
    assert isinstance(error, Unsupported)
    assert error.message.startswith("this project needs brickctl >=99; this is brickctl 0.")


def test_a_check_keeps_its_table_for_the_kind_that_reads_it() -> None:
    check = "[[checks]]\nname = 'c'\ntarget = 'x'\nkind = 'exact-match'\nmin = 1\ndata = 'd.jsonl'\n"
    (found,) = parse_manifest(SMALL + "[targets.x]\n" + check).checks
    assert (found.name, found.target, found.kind) == ("c", "x", "exact-match")
    assert found.table.keys() == ("min", "data")


@given(st.text())
def test_any_text_is_a_manifest_or_a_fault(text: str) -> None:
    with contextlib.suppress(BrickctlError):
        parse_manifest(text)


@given(st.integers(0, len(EXAMPLE)), st.integers(0, 20), st.text(alphabet="[]{}=\"'.,# \nab1-", max_size=5))
def test_a_damaged_example_is_a_manifest_or_a_fault(at: int, length: int, patch: str) -> None:
    with contextlib.suppress(BrickctlError):
        parse_manifest(EXAMPLE[:at] + patch + EXAMPLE[at + length :])

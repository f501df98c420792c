"""Signatures of folders, targets and bricks by name, and what happens where they cannot be made or checked."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.support import sandbox as bricks
from tests.support.keys import make_key, openssf
from tests.workflows.test_signatures import POLICY, sign, verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.sandbox import Outcome, Sandbox

KEY = ("--public-key", "keys/acme.pub")
IDENTITY = ("--identity", "ada@acme.example", "--identity-provider", "https://accounts.acme.example")


@pytest.fixture
def locked(project: Sandbox) -> Sandbox:
    """A project that is locked, with a pair of keys and a signed brick."""
    make_key(project.root / "keys")
    assert sign(project, "bricks/sql").code == 0
    assert project.run("lock").code == 0
    return project


@pytest.fixture
def built(locked: Sandbox) -> Sandbox:
    assert locked.run("build").code == 0
    return locked


def test_a_target_is_signed_and_verified_by_its_name(built: Sandbox) -> None:
    outcome = sign(built, "assistant")
    assert outcome.code == 0, outcome.err
    assert (built.root / "dist/assistant/model.sig").is_file()
    rows = built.run("verify", "assistant", *KEY, "--json").json["verified"]
    assert [row["signer"] for row in rows] == ["keys/acme.pub"]
    assert built.run("verify", "assistant").code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sign", "asistant", "--key", "keys/acme.pem"), "`asistant` is neither a folder nor a target"),
        (("sign", "assistant", "--key", "keys/acme.pem"), "`assistant` is not built"),
        (("verify", "asistant"), "did you mean `assistant`?"),
        (("verify", "assistant"), "`assistant` is not built"),
    ],
)
def test_what_is_not_there_is_told(arguments: tuple[str, ...], words: str, locked: Sandbox) -> None:
    outcome = locked.run(*arguments)
    assert outcome.code == 1
    assert words in outcome.err


def test_where_nothing_is_signed_a_key_proves_nothing(project: Sandbox) -> None:
    make_key(project.root / "keys")
    assert project.run("lock").code == 0
    outcome = project.run("verify", *KEY)
    assert (outcome.code, "no artifact, and no signed brick" in outcome.err) == (1, True)


def test_a_brick_is_verified_by_its_name_and_must_be_signed_then(built: Sandbox) -> None:
    assert built.run("verify", "sql", *KEY, "--json").json["verified"][0]["signer"] == "keys/acme.pub"
    unsigned = built.run("verify", "mail", *KEY)
    assert (unsigned.code, "`mail` is not signed" in unsigned.err) == (5, True)
    assert built.run("verify", "mail").code == 0
    make_key(built.root / "keys", "other")
    assert built.run("verify", "sql", "--public-key", "keys/other.pub").code == 4


def test_bricks_that_are_not_named_need_no_signature_where_artifacts_do(built: Sandbox) -> None:
    assert built.run("verify", *KEY).code == 5
    assert sign(built, "assistant").code == 0
    rows = {row["name"]: row["signer"] for row in built.run("verify", *KEY, "--json").json["verified"]}
    assert rows.pop(str(built.root / "dist/assistant")) == "keys/acme.pub"
    assert rows == {"base": None, "mail": None, "sql": "keys/acme.pub"}


def tamper(folder: Path) -> None:
    (folder / "adapter_config.json").write_bytes(b"{}")


def swap(folder: Path) -> None:
    one, other = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def add(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


def take_away(folder: Path) -> None:
    (folder / "adapter_config.json").unlink()


def strip(folder: Path) -> None:
    (folder / "model.sig").unlink()


def link(folder: Path) -> None:
    (folder / "model.sig").rename(folder.with_name("moved.sig"))
    (folder / "model.sig").symlink_to(folder.with_name("moved.sig"))


def replay(folder: Path) -> None:
    for name, content in bricks.adapter(fill=9, rank=4).items():
        (folder / name).write_bytes(content)


ATTACKS: dict[str, tuple[Callable[[Path], None], int, str]] = {
    "a tampered file": (tamper, 4, "is not what keys/acme.pub has signed"),
    "swapped names": (swap, 4, "names were swapped"),
    "an extra file": (add, 4, "holds tokenizer.json, which keys/acme.pub has not signed"),
    "a file taken away": (take_away, 4, "adapter_config.json of"),
    "a stripped signature": (strip, 5, "is not signed"),
    "a signature that is a link": (link, 4, "does not belong there"),
    "the signature of an older version": (replay, 4, "is not what keys/acme.pub has signed"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_the_folder_of_a_brick_is_exactly_what_was_signed(name: str, locked: Sandbox) -> None:
    assert locked.run("verify", "bricks/sql", *KEY).code == 0
    attack, code, words = ATTACKS[name]
    attack(locked.root / "bricks/sql")
    outcome = locked.run("verify", "bricks/sql", *KEY)
    assert outcome.code == code, outcome.err
    assert words in outcome.err
    assert "hint:" in outcome.err


@pytest.fixture
def cloned(locked: Sandbox) -> Sandbox:
    """The folder of the brick is a repository of git, as clones from the Hub are."""
    attributes = "*.safetensors filter=lfs\n"
    locked.write({".git/HEAD": "ref: refs/heads/main\n", ".gitattributes": attributes}, "bricks/sql")
    return locked


def test_a_repository_that_we_have_signed_is_verified_by_us_and_by_the_tool_of_openssf(cloned: Sandbox) -> None:
    assert sign(cloned, "bricks/sql").out.startswith("signed 2 files")
    assert cloned.run("verify", "bricks/sql", *KEY).code == 0
    assert openssf(cloned.root / "bricks/sql", "verify", cloned.root / "keys/acme.pub") == 0
    cloned.write({".git/HEAD": "ref: refs/heads/other\n"}, "bricks/sql")
    assert cloned.run("verify", "bricks/sql", *KEY).code == 0


def test_a_repository_that_the_tool_of_openssf_has_signed_is_verified_by_us(cloned: Sandbox) -> None:
    assert openssf(cloned.root / "bricks/sql", "sign", cloned.root / "keys/acme.pem") == 0
    outcome = cloned.run("verify", "bricks/sql", *KEY, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["verified"][0]["files"] == 2


def test_what_git_keeps_counts_where_the_signature_does_not_leave_it_out(cloned: Sandbox) -> None:
    folder = cloned.root / "bricks/sql"
    assert openssf(folder, "sign", cloned.root / "keys/acme.pem", "--no-ignore-git-paths") == 0
    assert cloned.run("verify", "bricks/sql", *KEY).code == 0
    (folder / ".gitattributes").write_text("")
    assert ".gitattributes of" in cloned.run("verify", "bricks/sql", *KEY).err
    (folder / ".gitattributes").unlink()
    outcome = cloned.run("verify", "bricks/sql", *KEY)
    assert (outcome.code, ".gitattributes of" in outcome.err) == (4, True)


def test_a_signature_leaves_out_nothing_but_what_git_keeps(cloned: Sandbox) -> None:
    folder = cloned.root / "bricks/sql"
    cloned.write({"README.md": "# SQL"}, "bricks/sql")
    left_out = ("--ignore-paths", str(folder / "README.md"))
    assert openssf(folder, "sign", cloned.root / "keys/acme.pem", *left_out) == 0
    outcome = cloned.run("verify", "bricks/sql", *KEY)
    assert (outcome.code, "holds README.md, which keys/acme.pub has not signed" in outcome.err) == (4, True)
    assert "left out when the folder was signed" in outcome.err
    (folder / "README.md").unlink()
    assert cloned.run("verify", "bricks/sql", *KEY).code == 0
    cloned.write({"more/.git/config.json": "{}"}, "bricks/sql")
    outcome = cloned.run("verify", "bricks/sql", *KEY)
    assert (outcome.code, "holds more/.git/config.json" in outcome.err) == (4, True)


@pytest.mark.parametrize("files", [{}, {".git/HEAD": "x"}, {"model.sig": "{}"}])
def test_nothing_is_not_signed(files: dict[str, str], locked: Sandbox) -> None:
    (locked.root / "empty").mkdir()
    locked.write(files, "empty")
    outcome = sign(locked, "empty")
    assert (outcome.code, "holds nothing that could be signed" in outcome.err) == (1, True)


def test_an_artifact_that_is_not_what_its_record_says_is_not_signed(built: Sandbox) -> None:
    assert sign(built).code == 0
    before = (built.root / "dist/assistant/model.sig").read_bytes()
    (built.root / "dist/assistant/config.json").write_text("{}")
    outcome = sign(built)
    assert outcome.code == 4
    assert "config.json is not what it should be" in outcome.err
    assert (built.root / "dist/assistant/model.sig").read_bytes() == before


def test_a_build_of_the_same_bytes_keeps_the_signature(built: Sandbox) -> None:
    assert sign(built).code == 0
    outcome = built.run("build", "--force")
    assert outcome.code == 0
    assert "signature" not in outcome.err
    assert verify(built).code == 0


def test_a_password_that_is_not_there_is_told(locked: Sandbox) -> None:
    outcome = sign(locked, "bricks/sql", "keys/acme.pem", "--password-env", "NO_SUCH_VARIABLE")
    assert outcome.code == 2
    assert "there is no variable NO_SUCH_VARIABLE" in outcome.err


def no_sigstore(monkeypatch: pytest.MonkeyPatch) -> None:
    """As without a network: the first thing that the library does is to fetch Sigstore's keys."""
    from sigstore.errors import TUFError
    from sigstore.models import ClientTrustConfig

    def unreachable(*_: object, **__: object) -> None:
        raise TUFError("Failed to refresh TUF metadata")

    monkeypatch.setattr(ClientTrustConfig, "production", unreachable)


def asked(sandbox: Sandbox, *more: str) -> tuple[Outcome, Outcome]:
    return (
        sandbox.run("sign", "bricks/sql", "--sigstore", *more),
        sandbox.run("verify", "bricks/sql", *IDENTITY, *more),
    )


def test_sigstore_that_does_not_answer_is_a_transport_fault(locked: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    no_sigstore(monkeypatch)
    for outcome in asked(locked):
        assert outcome.code == 6, outcome.err
        assert "Sigstore cannot be reached" in outcome.err
        assert "--public-key" in outcome.err


def test_sigstore_is_not_asked_offline(locked: Sandbox) -> None:
    for outcome in asked(locked, "--offline", "--json"):
        assert outcome.code == 6
        assert outcome.json["error"]["code"] == "offline"


def test_audit_tells_every_brick_that_is_not_signed_as_it_has_to_be(locked: Sandbox) -> None:
    make_key(locked.root / "keys", "other")
    locked.write({"brick.toml": locked.manifest + POLICY.replace("acme.pub", "other.pub")})
    outcome = locked.run("audit", "--offline", "--json")
    assert outcome.code == 5
    found = [one for one in outcome.json["findings"] if one["rule"] in {"unsigned", "policy"}]
    assert [(one["brick"], one["rule"], one["level"]) for one in found] == [
        ("base", "unsigned", "error"),
        ("mail", "unsigned", "error"),
        ("sql", "unsigned", "error"),
    ]
    assert "is not by anyone who is trusted" in found[2]["message"]


def test_verify_by_key_without_the_package_says_how_to_get_it(locked: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "model_signing", None)
    monkeypatch.setitem(sys.modules, "model_signing.verifying", None)
    outcome = locked.run("verify", "bricks/sql", *KEY)
    assert outcome.code == 1
    assert 'pip install "brickctl[sign]"' in outcome.err

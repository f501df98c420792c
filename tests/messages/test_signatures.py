"""What is said of signatures that do not hold, and of what cannot be signed: read the snapshot as a user."""

from __future__ import annotations

import base64
import json
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support import sandbox as bricks
from tests.support.keys import make_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from syrupy.assertion import SnapshotAssertion

    from tests.support.sandbox import Outcome, Sandbox

SIGN = ("sign", "bricks/sql", "--key", "keys/acme.pem")
KEY = ("--public-key", "keys/acme.pub")
VERIFY = ("verify", "bricks/sql", *KEY)
IDENTITY = ("--identity", "ada@acme.example", "--identity-provider", "https://accounts.acme.example")
POLICY = '\n[policy]\nsignatures = "required"\nsigners = { acme = "keys/acme.pub" }\n'


def nothing(_: Sandbox) -> None:
    """All is as it should be."""


def other_bytes(sandbox: Sandbox) -> None:
    sandbox.write({"adapter_config.json": "{}"}, "bricks/sql")


def swapped(sandbox: Sandbox) -> None:
    one, other = (sandbox.root / "bricks/sql" / name for name in ("adapter_config.json", "adapter_model.safetensors"))
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def more(sandbox: Sandbox) -> None:
    sandbox.write({f"extra-{number}.json": "{}" for number in range(5)}, "bricks/sql")


def fewer(sandbox: Sandbox) -> None:
    (sandbox.root / "bricks/sql/adapter_config.json").unlink()


def stripped(sandbox: Sandbox) -> None:
    signature(sandbox).unlink()


def linked(sandbox: Sandbox) -> None:
    signature(sandbox).rename(sandbox.root / "moved.sig")
    signature(sandbox).symlink_to(sandbox.root / "moved.sig")


def replayed(sandbox: Sandbox) -> None:
    sandbox.write(bricks.adapter(fill=9), "bricks/sql")


def by_somebody_else(sandbox: Sandbox) -> None:
    assert sandbox.run("sign", "bricks/sql", "--key", "keys/other.pem").code == 0


def signature(sandbox: Sandbox) -> Path:
    return sandbox.root / "bricks/sql/model.sig"


def written(text: str) -> Callable[[Sandbox], None]:
    def write(sandbox: Sandbox) -> None:
        sandbox.write({"model.sig": text}, "bricks/sql")

    return write


def edited(sandbox: Sandbox) -> None:
    bundle = json.loads(signature(sandbox).read_text())
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"])
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload.replace(b"adapter_c", b"adapter_k")).decode()
    signature(sandbox).write_text(json.dumps(bundle))


def without_key(sandbox: Sandbox) -> None:
    """As one that was made with a certificate."""
    bundle = json.loads(signature(sandbox).read_text())
    del bundle["verificationMaterial"]["publicKey"]
    bundle["verificationMaterial"]["x509CertificateChain"] = {"certificates": []}
    signature(sandbox).write_text(json.dumps(bundle))


def policy(sandbox: Sandbox) -> None:
    sandbox.write({"brick.toml": sandbox.manifest + POLICY})


def policy_and_another_key(sandbox: Sandbox) -> None:
    sandbox.write({"brick.toml": sandbox.manifest + POLICY.replace("acme.pub", "other.pub")})
    for folder in ("models/base", "bricks/mail"):
        assert sandbox.run("sign", folder, "--key", "keys/other.pem").code == 0


def changed_artifact(sandbox: Sandbox) -> None:
    assert sandbox.run("build").code == 0
    sandbox.write({"config.json": "{}"}, "dist/assistant")


def unsigned_artifact(sandbox: Sandbox) -> None:
    assert sandbox.run("build").code == 0


CASES: dict[str, tuple[tuple[str, ...], Callable[[Sandbox], None]]] = {
    "signed": (SIGN, nothing),
    "verified": (VERIFY, nothing),
    "another file": (VERIFY, other_bytes),
    "swapped names": (VERIFY, swapped),
    "more files": (VERIFY, more),
    "fewer files": (VERIFY, fewer),
    "stripped": (VERIFY, stripped),
    "a link": (VERIFY, linked),
    "of an older version": (VERIFY, replayed),
    "by somebody else": (VERIFY, by_somebody_else),
    "an edited signature": (VERIFY, edited),
    "no JSON": (VERIFY, written("signed by acme")),
    "other JSON": (VERIFY, written("{}")),
    "a list": (VERIFY, written("[]")),
    "half a bundle": (VERIFY, written('{"mediaType": "x", "verificationMaterial": {}}')),
    "a bundle of nothing": (VERIFY, written('{"mediaType": 7, "verificationMaterial": {}, "dsseEnvelope": {}}')),
    "a bundle without a key": (VERIFY, without_key),
    "a key that stands twice": (VERIFY, written('{"mediaType": 1, "mediaType": 2}')),
    "an artifact that is not signed": (("verify", "assistant", *KEY), unsigned_artifact),
    "a brick that is not signed": (("verify", "mail", *KEY), nothing),
    "no folder": (("sign", "bricks/sqll", "--key", "keys/acme.pem"), nothing),
    "an empty folder": (("sign", "empty", "--key", "keys/acme.pem"), nothing),
    "an artifact that changed": (("sign", "assistant", "--key", "keys/acme.pem"), changed_artifact),
    "neither key nor identity": (("sign", "bricks/sql"), nothing),
    "no key": (("sign", "bricks/sql", "--key", "keys/acne.pem"), nothing),
    "a public key to sign": (("sign", "bricks/sql", "--key", "keys/acme.pub"), nothing),
    "no password": (("sign", "bricks/sql", "--key", "keys/secret.pem"), nothing),
    "no public key": (("verify", "bricks/sql", "--public-key", "keys/acne.pub"), nothing),
    "a private key to verify": (("verify", "bricks/sql", "--public-key", "keys/acme.pem"), nothing),
    "an identity of nobody": (("verify", "bricks/sql", *IDENTITY[:2]), nothing),
    "Sigstore offline": (("verify", "bricks/sql", *IDENTITY, "--offline"), nothing),
    "signed as somebody offline": (("sign", "bricks/sql", "--sigstore", "--offline"), nothing),
    "required by the policy": (("lock",), policy),
    "required of somebody else": (("lock",), policy_and_another_key),
    "audited": (("audit", "--offline"), policy),
}
"""The arguments, and what was done before."""


@pytest.fixture
def signed(project: Sandbox) -> Sandbox:
    """A project that is locked, with a signed brick and three pairs of keys."""
    for name, password in (("acme", None), ("other", None), ("secret", b"mellon")):
        make_key(project.root / "keys", name, password=password)
    (project.root / "empty").mkdir()
    assert project.run(*SIGN).code == 0
    assert project.run("lock").code == 0
    return project


@pytest.mark.parametrize("name", CASES)
def test_signing_and_verifying(
    name: str, signed: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    arguments, prepare = CASES[name]
    prepare(signed)
    assert said(signed.run(*arguments)) == snapshot


@pytest.mark.parametrize("arguments", [SIGN, VERIFY], ids=["sign", "verify"])
def test_without_the_package(
    arguments: tuple[str, ...],
    signed: Sandbox,
    said: Callable[[Outcome], str],
    snapshot: SnapshotAssertion,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "model_signing.verifying", None)
    assert said(signed.run(*arguments)) == snapshot

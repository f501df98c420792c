"""Signatures in the format of OpenSSF model signing, by keys: ours, theirs, and what must not pass."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from brickctl.core.digests import Sha256
from brickctl.errors import IntegrityFault
from brickctl.workflows.signatures import KeySigner, check_digests, check_names, read_signature
from tests.support import sandbox as bricks
from tests.support.keys import CURVES, make_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.sandbox import Outcome, Sandbox

POLICY = '\n[policy]\nsignatures = "required"\nsigners = { acme = "keys/acme.pub" }\n'


@pytest.fixture
def built(project: Sandbox) -> Sandbox:
    """A project with an artifact and a pair of keys."""
    make_key(project.root / "keys")
    assert project.run("build").code == 0
    return project


def sign(sandbox: Sandbox, folder: str = "dist/assistant", key: str = "keys/acme.pem", *more: str) -> Outcome:
    return sandbox.run("sign", folder, "--key", key, *more)


def verify(sandbox: Sandbox, *more: str, key: str = "keys/acme.pub") -> Outcome:
    return sandbox.run("verify", "dist/assistant", "--public-key", key, *more)


@pytest.mark.parametrize("curve", CURVES)
def test_what_was_signed_is_verified_by_us_and_by_the_tool_of_openssf(curve: str, built: Sandbox) -> None:
    make_key(built.root / "keys", curve=curve)
    assert sign(built).code == 0
    outcome = verify(built, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["verified"][0]["signer"] == "keys/acme.pub"
    folder = built.root / "dist/assistant"
    theirs = [sys.executable, "-m", "model_signing", "verify", "key", str(folder)]
    options = ["--signature", str(folder / "model.sig"), "--public_key", str(built.root / "keys/acme.pub")]
    done = subprocess.run([*theirs, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_the_tool_of_openssf_has_signed_is_verified_by_us(built: Sandbox) -> None:
    folder = built.root / "dist/assistant"
    theirs = [sys.executable, "-m", "model_signing", "sign", "key", str(folder)]
    options = ["--signature", str(folder / "model.sig"), "--private_key", str(built.root / "keys/acme.pem")]
    subprocess.run([*theirs, *options], capture_output=True, check=True)
    assert verify(built).code == 0
    (folder / "config.json").write_bytes(b"{}")
    assert verify(built).code == 4


def test_a_signed_artifact_is_up_to_date_and_loses_its_signature_with_its_bytes(built: Sandbox) -> None:
    assert sign(built).code == 0
    assert built.run("build", "--json").json["targets"][0]["fresh"] is False
    assert built.run("verify").code == 0
    assert (built.root / "dist/assistant/model.sig").exists()
    built.write({"brick.toml": built.manifest.replace("sql = 0.5", "sql = 0.6")})
    outcome = built.run("build")
    assert "its signature went with what it was about" in outcome.err
    assert verify(built).code == 5


def swap(folder: Path) -> None:
    one, other = folder / "config.json", folder / "README.md"
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    reseal(folder)


def reseal(folder: Path) -> None:
    """Let the record say what lies there, as somebody would who has no key."""
    record = json.loads((folder / "brick.build.json").read_text())
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    names = [name for name in names if name not in {"brick.build.json", "model.sig"}]
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    record["subject"] = [{"name": name, "digest": {"sha256": digests[name]}} for name in names]
    text = json.dumps(record, sort_keys=True, indent=2) + "\n"
    (folder / "brick.build.json").write_text(text)


def tamper(folder: Path) -> None:
    (folder / "config.json").write_bytes((folder / "config.json").read_bytes().replace(b"llama", b"lxama"))
    reseal(folder)


def add(folder: Path) -> None:
    (folder / "extra.json").write_bytes(b"{}")
    reseal(folder)


def take_away(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    reseal(folder)


def strip(folder: Path) -> None:
    (folder / "model.sig").unlink()


def edit_payload(folder: Path) -> None:
    """A swapped name within the signature, whose root digest does not know names."""
    bundle = json.loads((folder / "model.sig").read_text())
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"])
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload.replace(b"config.json", b"konfig.json")).decode()
    (folder / "model.sig").write_text(json.dumps(bundle))


def garble(folder: Path) -> None:
    (folder / "model.sig").write_text('{"mediaType": 7}')


ATTACKS: dict[str, tuple[Callable[[Path], None], int, str]] = {
    "a tampered file": (tamper, 4, "is not what keys/acme.pub has signed"),
    "a swapped name": (swap, 4, "names were swapped"),
    "an extra file": (add, 4, "holds extra.json, which keys/acme.pub has not signed"),
    "a file taken away": (take_away, 4, "tokenizer.json of"),
    "a stripped signature": (strip, 5, "is not signed"),
    "an edited signature": (edit_payload, 4, "the signature of"),
    "no signature at all": (garble, 4, "the signature of"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_what_must_not_pass_is_refused_with_its_reason(name: str, built: Sandbox) -> None:
    attack, code, words = ATTACKS[name]
    assert sign(built).code == 0
    attack(built.root / "dist/assistant")
    outcome = verify(built)
    assert outcome.code == code, outcome.err
    assert words in outcome.err
    assert "hint:" in outcome.err


def test_an_old_signature_does_not_pass_for_a_new_artifact(built: Sandbox) -> None:
    assert sign(built).code == 0
    old = (built.root / "dist/assistant/model.sig").read_bytes()
    built.write({"brick.toml": built.manifest.replace("sql = 0.5", "sql = 0.6")})
    assert built.run("build").code == 0
    (built.root / "dist/assistant/model.sig").write_bytes(old)
    outcome = verify(built)
    assert outcome.code == 4
    assert "is not what keys/acme.pub has signed" in outcome.err


def test_an_old_artifact_with_its_signature_does_not_pass_for_what_the_lock_says(built: Sandbox) -> None:
    assert sign(built).code == 0
    built.write({"brick.toml": built.manifest.replace("sql = 0.5", "sql = 0.6")})
    outcome = built.run("verify", "--public-key", "keys/acme.pub")
    assert outcome.code == 4
    assert "was built from another lock or recipe" in outcome.err


def test_a_signature_by_somebody_else_is_told_by_whom_it_is_not(built: Sandbox) -> None:
    make_key(built.root / "keys", "other")
    assert sign(built, "dist/assistant", "keys/other.pem").code == 0
    outcome = verify(built)
    assert outcome.code == 4
    assert "is not by anyone who is trusted" in outcome.err
    assert "keys/acme.pub: it was made with another key" in outcome.err
    both = built.run("verify", "dist/assistant", "--public-key", "keys/acme.pub", "--public-key", "keys/other.pub")
    assert both.code == 0
    assert "signed by keys/other.pub" in both.out


def test_keys_that_cannot_be_used_are_told(built: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "there is no key keys/none.pem" in sign(built, "dist/assistant", "keys/none.pem").err
    built.write({"keys/garbage.pem": "x"})
    outcome = sign(built, "dist/assistant", "keys/garbage.pem")
    assert (outcome.code, "cannot be used to sign" in outcome.err) == (2, True)
    other = ed25519.Ed25519PrivateKey.generate()
    pem = other.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    built.write({"keys/ed.pem": pem})
    assert sign(built, "dist/assistant", "keys/ed.pem").code == 2
    make_key(built.root / "keys", "secret", password=b"mellon")
    assert sign(built, "dist/assistant", "keys/secret.pem").code == 2
    monkeypatch.setenv("SIGNING_PASSWORD", "mellon")
    assert sign(built, "dist/assistant", "keys/secret.pem", "--password-env", "SIGNING_PASSWORD").code == 0
    assert sign(built, "dist/assistant", "keys/acme.pem", "--sigstore").code == 2
    assert verify(built, key="keys/none.pub").code == 1
    assert verify(built, key="keys/garbage.pem").code == 2
    assert built.run("sign", "dist/assistant", "--sigstore", "--offline").code == 6
    assert verify(built, "--identity", "ada@acme.example").code == 2


def test_bricks_must_be_signed_where_the_policy_says_so(project: Sandbox) -> None:
    make_key(project.root / "keys")
    project.write({"brick.toml": project.manifest + POLICY})
    unsigned = project.run("lock")
    assert unsigned.code == 5
    assert "the base is not signed" in unsigned.err
    assert "`signatures` are required in [policy] (brick.toml line 19)" in unsigned.err
    for folder in ("models/base", "bricks/sql", "bricks/mail"):
        assert sign(project, folder).code == 0
    assert project.run("lock").code == 0
    assert '{ path = "model.sig"' in project.lock
    assert project.run("build").code == 0
    assert not (project.root / "dist/assistant/model.sig").exists(), "it is about the brick"
    old = (project.root / "bricks/sql/model.sig").read_bytes()
    project.write(bricks.adapter(fill=9), "bricks/sql")
    replayed = project.run("update", "sql")
    assert replayed.code == 4
    assert "adapter_model.safetensors of `sql` is not what acme has signed" in replayed.err
    assert "required by: brick.toml line 9" in replayed.err
    assert sign(project, "bricks/sql").code == 0
    assert (project.root / "bricks/sql/model.sig").read_bytes() != old
    assert project.run("update", "sql").code == 0


def test_bricks_that_have_a_signature_are_held_against_it(project: Sandbox) -> None:
    make_key(project.root / "keys")
    make_key(project.root / "keys", "other")
    assert sign(project, "bricks/sql").code == 0
    assert project.run("lock").code == 0
    verified = project.run("verify", "--public-key", "keys/acme.pub", "--json").json["verified"]
    assert {one["name"]: one["signer"] for one in verified} == {"base": None, "mail": None, "sql": "keys/acme.pub"}
    outcome = project.run("verify", "--public-key", "keys/other.pub")
    assert (outcome.code, "the signature of `sql` is not by anyone who is trusted" in outcome.err) == (4, True)


def test_one_brick_may_be_excepted_from_signatures(project: Sandbox) -> None:
    make_key(project.root / "keys")
    for folder in ("models/base", "bricks/sql"):
        assert sign(project, folder).code == 0
    project.write({"brick.toml": project.manifest + POLICY})
    outcome = project.run("lock")
    assert (outcome.code, "`mail` is not signed" in outcome.err) == (5, True)
    assert '[policy.exceptions.mail]` with `signatures = "optional"`' in outcome.err
    more = '\n[policy.exceptions.mail]\nsignatures = "optional"\n'
    project.write({"brick.toml": project.manifest + more})
    assert project.run("lock").code == 0


def test_signatures_without_signers_are_refused(project: Sandbox) -> None:
    project.write({"brick.toml": project.manifest + '\n[policy]\nsignatures = "required"\n'})
    outcome = project.run("lock")
    assert outcome.code == 2
    assert "names no `signers`" in outcome.err


def test_without_the_package_it_is_said_how_to_get_it(built: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "model_signing", None)
    monkeypatch.setitem(sys.modules, "model_signing.verifying", None)
    outcome = sign(built)
    assert outcome.code == 1
    assert 'pip install "brickctl[sign]"' in outcome.err


VECTORS = Path(__file__).parent / "signatures"
OPENSSF = KeySigner(name="openssf", key=VECTORS / "openssf.pub")


def test_the_vector_of_a_folder_is_read_and_compared() -> None:
    signed = read_signature(VECTORS / "v1.1.0.sig", [OPENSSF], where="the folder")
    first = Sha256(hashlib.sha256(b"signme-1\n").hexdigest())
    files = {"signme-1": first, "signme-2": Sha256("32dcb1f8e1ae52d5963e56a6ba06ab58b424c15ed2a6b70d2feca1d089370028")}
    assert (signed.signer, signed.files) == ("openssf", files)
    check_names(signed, files, where="the folder", hint="")
    for wrong in ({**files, "ignore-me": files["signme-1"]}, {"signme-1": files["signme-1"]}):
        with pytest.raises(IntegrityFault):
            check_names(signed, wrong, where="the folder", hint="")
    with pytest.raises(IntegrityFault, match="signme-1 of the folder"):
        check_digests(signed, {"signme-1": files["signme-2"]}, where="the folder", hint="")


def test_the_vector_of_one_file_is_good_and_is_no_folder() -> None:
    with pytest.raises(IntegrityFault, match=r"lists `\.`, which no folder can have so"):
        read_signature(VECTORS / "v1.0.0.sig", [OPENSSF], where="the folder")


@pytest.mark.parametrize("vector", ["v1.0.0.sig", "v1.1.0.sig"])
@pytest.mark.parametrize("part", ["payload", "sig"])
def test_a_vector_in_which_one_bit_differs_is_nobodys(vector: str, part: str, tmp_path: Path) -> None:
    bundle = json.loads((VECTORS / vector).read_text())
    envelope = bundle["dsseEnvelope"]
    place = envelope if part == "payload" else envelope["signatures"][0]
    raw = bytearray(base64.b64decode(place[part]))
    raw[-12] ^= 1
    place[part] = base64.b64encode(raw).decode()
    (tmp_path / "model.sig").write_text(json.dumps(bundle))
    with pytest.raises(IntegrityFault, match="is not by anyone who is trusted"):
        read_signature(tmp_path / "model.sig", [OPENSSF], where="the folder")


def test_a_signed_part_of_a_brick_that_was_taken_away_is_missed(project: Sandbox) -> None:
    make_key(project.root / "keys")
    project.write({"generation_config.json": "{}"}, "models/base")
    for folder in ("models/base", "bricks/sql", "bricks/mail"):
        assert sign(project, folder).code == 0
    (project.root / "models/base/generation_config.json").unlink()
    project.write({"brick.toml": project.manifest + POLICY})
    outcome = project.run("lock")
    assert outcome.code == 4
    assert "generation_config.json of the base is missing" in outcome.err


def test_names_that_no_signature_could_hold_are_not_signed(built: Sandbox) -> None:
    built.write({"a:b.json": "{}"}, "other")
    outcome = sign(built, "other")
    assert (outcome.code, "`a:b.json` cannot be signed" in outcome.err) == (2, True)
    (built.root / "nothing").mkdir()
    assert sign(built, "nothing").code == 1

"""Pairs of keys to sign with."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

if TYPE_CHECKING:
    from pathlib import Path

CURVES = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}


def make_key(folder: Path, name: str = "acme", curve: str = "P-256", password: bytes | None = None) -> Path:
    """A pair of keys as PEM, NAME.pem and NAME.pub."""
    key = ec.generate_private_key(CURVES[curve])
    pem, format_ = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.pem").write_bytes(key.private_bytes(pem, format_, how))
    (folder / f"{name}.pub").write_bytes(public)
    return folder / f"{name}.pem"


def openssf(folder: Path, action: str, key: Path, *more: str) -> int:
    """The exit code of the tool of OpenSSF that shall `sign` or `verify` a folder."""
    named = "--private_key" if action == "sign" else "--public_key"
    options = ["--signature", str(folder / "model.sig"), named, str(key), *more]
    command = [sys.executable, "-m", "model_signing", action, "key", str(folder), *options]
    return subprocess.run(command, capture_output=True, check=False).returncode

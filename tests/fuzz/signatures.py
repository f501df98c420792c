"""The reader of signatures, before and behind the cryptography, which lets no changed byte pass."""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from brickctl.core.names import is_safe_path
from brickctl.workflows.signatures import KeySigner, read_signature

_KEY = ec.derive_private_key(1, ec.SECP256R1())
_VECTORS = Path(__file__).parent.parent / "workflows" / "signatures"


def signature(data: bytes) -> None:
    """What lies in the place of a signature."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "model.sig"
        place.write_bytes(data)
        read_signature(place, [KeySigner(name="x", key=_VECTORS / "openssf.pub")], where="x")


def signed(data: bytes) -> None:
    """What somebody who is trusted has signed, whatever that may be: it names files of a folder, and digests."""
    kind = b"application/vnd.in-toto+json"
    seal = _KEY.sign(b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(data), data), ec.ECDSA(hashes.SHA256()))
    bundle = {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {}},
        "dsseEnvelope": {
            "payload": base64.b64encode(data).decode(),
            "payloadType": kind.decode(),
            "signatures": [{"sig": base64.b64encode(seal).decode(), "keyid": ""}],
        },
    }
    with tempfile.TemporaryDirectory() as folder:
        place, public = Path(folder) / "model.sig", Path(folder) / "x.pub"
        place.write_text(json.dumps(bundle))
        public.write_bytes(_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        found = read_signature(place, [KeySigner(name="x", key=public)], where="x")
    assert all(is_safe_path(name) for name in found.files)

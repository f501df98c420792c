"""Every way in which a mask is refused: read the snapshot as a user would."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from brickctl.core.dtypes import DType
from brickctl.core.regions import Spec
from brickctl.kinds.mask import FORMAT
from brickctl.tensors.header import write_header
from tests.support import sandbox as bricks
from tests.support.local_project import local_manifest

if TYPE_CHECKING:
    from collections.abc import Callable

    from syrupy.assertion import SnapshotAssertion

    from tests.messages.laying import Files
    from tests.support.sandbox import Outcome, Sandbox

NORM = "model.norm.weight"
APPLIED = '{ op = "mask", brick = "sql", unified = "mail" }'
MASKED = '{ op = "merge", method = "emr", masks = true, bricks = { sql = 1.0 } }'
MERGED = '{ op = "merge", method = "task_arithmetic", bricks = { mail = 0.5 } }'
SLICE = '{ method = "emr", masks = true, bricks = [{ brick = "sql", layers = [0, 2] }], layers = [0, 2] }'


def manifest(apply: str) -> str:
    return local_manifest(("sql", "mail"), apply)


def mask(specs: dict[str, Spec], **document: str) -> Files:
    tensors = write_header(specs) + bytes(sum(spec.bytes for spec in specs.values()))
    return {"mask_config.json": json.dumps({"format": FORMAT, **document}).encode(), "model.safetensors": tensors}


WRITTEN = {
    "no unified model": '{ op = "mask", brick = "sql" }',
    "the base as a mask": '{ op = "mask", brick = "base", unified = "mail" }',
    "no mask": APPLIED,
    "masks after another merge": f"{MERGED}, {MASKED}",
    "a merge after masks": f"{MASKED}, {MERGED}",
    "masks of nothing": '{ op = "merge", method = "emr", masks = true, bricks = { sql = 0.0 } }',
    "masks of a slice": f'{{ op = "stitch", slices = [{SLICE}] }}',
}
FACTOR = {"factor": Spec(DType.F64, (1,))}
MADE = {
    "another format": mask(FACTOR, format="brickctl-mask-2"),
    "another base": mask(FACTOR, base="0" * 64),
    "no factor": mask({f"{NORM}.mask": Spec(DType.U8, (1, 1))}),
    "too few bits": mask({**FACTOR, "lm_head.weight.mask": Spec(DType.U8, (8, 1))}),
    "bits of no tensor": mask({**FACTOR, "model.norms.weight.mask": Spec(DType.U8, (1, 1))}),
}


@pytest.fixture
def laid(empty: Sandbox) -> Sandbox:
    """A base and two experts, one of which is built into `dist/mail` with masks."""
    for name, fill in (("base", 7), ("sql", 8), ("mail", 9)):
        empty.write(bricks.model(fill=fill), name)
    return empty


@pytest.mark.parametrize("name", WRITTEN)
def test_a_step_that_is_refused(
    name: str, laid: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    laid.write({"brick.toml": manifest(WRITTEN[name])})
    outcome = laid.run("build", "--dry-run")
    assert outcome.code != 0, outcome
    assert said(outcome) == snapshot


@pytest.mark.parametrize("name", MADE)
def test_a_file_that_is_no_mask_of_the_base(
    name: str, laid: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    laid.write({"brick.toml": manifest(MASKED)})
    assert laid.run("build").code == 0
    written = json.loads((laid.root / "dist/assistant/masks/sql/mask_config.json").read_text())
    (laid.root / "sql/config.json").unlink()
    (laid.root / "brick.lock").unlink()
    document = json.loads(MADE[name]["mask_config.json"])
    laid.write({**MADE[name], "mask_config.json": json.dumps({**written, **document})}, "sql")
    laid.write({"brick.toml": manifest(APPLIED)})
    outcome = laid.run("build", "--dry-run")
    assert outcome.code != 0, outcome
    assert said(outcome) == snapshot


def test_a_mask_without_its_model(laid: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion) -> None:
    """Beside a model without masks, beside that of another merge, and in a merge."""
    laid.write({"brick.toml": manifest(MASKED)})
    assert laid.run("build").code == 0
    masks = "path:dist/assistant/masks/sql"
    refused = []
    for unified, apply in (
        ("path:mail", APPLIED),
        ("path:other", APPLIED),
        ("path:mail", MERGED.replace("mail", "sql")),
    ):
        laid.write({**bricks.model(fill=9), "unified_config.json": json.dumps({"unified": "0" * 64})}, "other")
        text = manifest(apply).replace("path:sql", masks).replace("path:mail", unified)
        laid.write({"brick.toml": text})
        refused.append(said(laid.run("build", "--dry-run")))
    assert refused == snapshot


def words(first: str) -> bytes:
    """A tokenizer of sixteen words that begin with a letter."""
    vocab = {f"{first}{number}": number for number in range(16)}
    return json.dumps({"added_tokens": [], "model": {"type": "WordLevel", "vocab": vocab}}).encode()


def test_masks_and_other_tokens(laid: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion) -> None:
    """A merge that takes up tokens has no masks, and on a model that has taken up some no mask fits."""
    union = '{ op = "merge", method = "task_arithmetic", tokenizer = "union", bricks = { chat = 1.0 } }'
    for name, fill, first in (("base", 7, "a"), ("sql", 8, "a"), ("mail", 9, "a"), ("chat", 8, "b")):
        laid.write({**bricks.model(fill=fill), "tokenizer.json": words(first)}, name)
    laid.write({"brick.toml": manifest(MASKED)})
    assert laid.run("build").code == 0
    chat = '[bricks]\nchat = { source = "path:chat" }\n'
    taken = manifest(MASKED.replace("bricks", 'tokenizer = "union", bricks').replace("sql", "chat"))
    late = manifest(f"{union}, {APPLIED}").replace("path:sql", "path:dist/assistant/masks/sql")
    refused = []
    for text in (taken, late.replace("path:mail", "path:dist/assistant")):
        laid.write({"brick.toml": text.replace("[bricks]\n", chat)})
        refused.append(said(laid.run("build", "--dry-run")))
    assert refused == snapshot

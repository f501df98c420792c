"""A Hub that means harm, such as a mirror under somebody else's control: what it says is checked before it is used."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from huggingface_hub import constants

from tests.support import sandbox as bricks
from tests.support import stages
from tests.support.hostility import Neighbourhood
from tests.support.hub import Elsewhere, Endless, Fault, Hub, LyingLength, Repository, Tamper
from tests.support.hub.contents import InMemory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.hub.messages import Response

LISTING = "/api/models/acme/sql*"
CONFIG = "/acme/sql/resolve/*/adapter_config.json"
WEIGHTS = "/acme/sql/resolve/*/adapter_model.safetensors"
OUT = "../../../../../../evil"


@dataclass(frozen=True, slots=True)
class World:
    """A Hub, another host, and somebody with a token who uses the Hub."""

    user: Neighbourhood
    hub: Hub
    repository: Repository
    stranger: Hub


@dataclass(frozen=True, slots=True)
class Says(Fault):
    """The Hub's JSON, changed."""

    change: Callable[[Any], object]

    def alter(self, response: Response, occurrence: int) -> Response:  # noqa: ARG002
        document = json.loads(b"".join(response.body.pieces(0, response.body.size)))
        if isinstance(document, list):
            return response
        self.change(document)
        return replace(response, body=InMemory(json.dumps(document).encode()))


@dataclass(frozen=True, slots=True)
class Heads(Fault):
    """Other headers, of those that the Hub gave."""

    headers: tuple[tuple[str, str], ...]

    def alter(self, response: Response, occurrence: int) -> Response:  # noqa: ARG002
        return replace(response, headers={**response.headers, **dict(self.headers)})


@dataclass(frozen=True, slots=True)
class Body(Fault):
    """Another body."""

    content: bytes

    def alter(self, response: Response, occurrence: int) -> Response:  # noqa: ARG002
        return replace(response, body=InMemory(self.content))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    stages.take_no_pauses(monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.5)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.5)
    with Hub() as hub, Hub() as stranger:
        stages.fill_hub(stranger)
        hub.repository("acme/base").commit(stages.BASE)
        repository = hub.repository("acme/sql", card={"license": "apache-2.0"})
        repository.commit(stages.SQL)
        user = Neighbourhood.new(tmp_path / "user", hub.token)
        stages.point_client_at(monkeypatch, hub, user.sandbox.home)
        user.sandbox.write({"brick.toml": stages.HUB_MANIFEST})
        yield World(user, hub, repository, stranger)
        assert all(record.authorization is None for record in stranger.requests), "a token went to another host"
        assert any(record.authorization is not None for record in hub.requests), "the Hub itself gets the token"


def sibling(name: str, **more: Any) -> Callable[[Any], object]:
    """Another file in the listing, of the size and digest of the weights."""

    def change(document: Any) -> None:
        weights = next(file for file in document["siblings"] if file["rfilename"].endswith(".safetensors"))
        document["siblings"].append({**weights, "rfilename": name, **more})

    return change


def sized(size: object) -> Callable[[Any], object]:
    """The weights, listed with another size."""

    def change(document: Any) -> None:
        listed = next(file for file in document["siblings"] if file["rfilename"].endswith(".safetensors"))
        listed["size"] = listed["lfs"]["size"] = size

    return change


def weights(**changes: Any) -> Callable[[Any], object]:
    """The weights, listed otherwise."""

    def change(document: Any) -> None:
        listed = next(file for file in document["siblings"] if file["rfilename"].endswith(".safetensors"))
        listed.update(changes)

    return change


LISTINGS: dict[str, tuple[Callable[[Any], object], int]] = {
    "a file above the folder": (sibling(f"{OUT}/tokenizer.json"), 0),
    "a file at the root": (sibling("/tmp/evil/tokenizer.json"), 0),  # noqa: S108 - what a server says
    "a file with backslashes": (sibling("..\\tokenizer.json"), 0),
    "a file that looks like one of ours and is not": (sibling("tokenizer\u202enosj.json"), 5),
    "a file twice": (sibling("adapter_model.safetensors"), 0),
    "a commit that is a path": (lambda document: document.update(sha=OUT), 6),
    "a commit that is none": (lambda document: document.update(sha=None), 6),
    "a name that is another": (lambda document: document.update(id="evil/sql"), 0),
    "a size below nothing": (sized(-1), 6),
    "a size of an exabyte": (sized(1 << 60), 4),
    "a size that is a word": (sized("many"), 6),
    "a digest that is a path": (weights(lfs={"sha256": OUT, "size": 10, "pointerSize": 1}), 6),
    "no files": (lambda document: document.update(siblings=[]), 1),
    "files that are none": (lambda document: document.update(siblings=[1, None]), 6),
    "nothing but pickles": (lambda document: document.update(siblings=[{"rfilename": "adapter_model.bin"}]), 5),
    "a licence that a terminal obeys": (
        lambda document: document.update(cardData={"license": "\x1b[2J\x1b[31mfree"}),
        0,
    ),
}
"""What the listing says, and the exit code; files that belong to no brick are passed over."""


@pytest.mark.parametrize("name", LISTINGS)
def test_a_listing_that_lies(name: str, world: World) -> None:
    change, code = LISTINGS[name]
    world.hub.fault(LISTING, Says(change))
    outcome = world.user.run("install")
    assert outcome.code == code, outcome.err
    world.hub.clear_faults()
    assert world.user.run("install").code == 0


HEADS: dict[str, tuple[str, tuple[tuple[str, str], ...], int]] = {
    "a tag that is a path": (CONFIG, (("ETag", f'"{OUT}"'),), 4),
    "a tag that is a path of the root": (CONFIG, (("ETag", '"/tmp/evil-tag"'),), 4),
    "a linked tag that is a path": (WEIGHTS, (("X-Linked-Etag", f'"{OUT}"'), ("ETag", f'"{OUT}"')), 4),
    "a commit that is a path": (CONFIG, (("X-Repo-Commit", OUT),), 4),
    "a commit that is another": (CONFIG, (("X-Repo-Commit", "f" * 40),), 0),
    "a size that is another": (WEIGHTS, (("X-Linked-Size", "7"),), 6),
    "a size that is none": (WEIGHTS, (("X-Linked-Size", "-7"),), 6),
}
"""What the head of a file says, and the exit code."""


@pytest.mark.parametrize("name", HEADS)
def test_a_head_that_lies(name: str, world: World) -> None:
    path, headers, code = HEADS[name]
    world.hub.fault(path, Heads(headers))
    outcome = world.user.run("install")
    assert outcome.code == code, outcome.err
    world.hub.clear_faults()
    assert world.user.run("install").code == 0


BODY = stages.SQL["adapter_model.safetensors"]


def header(document: object, rest: int = 4096) -> bytes:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return len(raw).to_bytes(8, "little") + raw + bytes(rest)


def tensor(begin: int, end: int, *, shape: tuple[int, ...] = (2,), dtype: str = "BF16") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


HEADERS: dict[str, bytes] = {
    "longer than the file": (1 << 40).to_bytes(8, "little") + BODY[8:],
    "no JSON": header(b"{" * 100),
    "brackets without end": header(b"[" * 100_000),
    "a tensor twice": header(b'{"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},' * 2),
    "tensors over one another": header({"a": tensor(0, 4), "b": tensor(2, 6)}, 6),
    "a hole": header({"a": tensor(0, 4), "b": tensor(8, 12)}, 12),
    "bytes behind": header({"a": tensor(0, 4)}, 100),
    "below nothing": header({"a": tensor(-4, 0)}, 4),
    "a shape that does not fit": header({"a": tensor(0, 4, shape=(1 << 62, 4))}, 4),
    "a type that is none": header({"a": tensor(0, 4, dtype="PICKLE")}, 4),
    "no tensors": header({}, 0),
}
UNKNOWN = {"a type that is none"}
"""Weights as the Hub honestly lists them, of somebody who means harm."""


@pytest.mark.parametrize("name", HEADERS)
def test_weights_with_a_header_that_lies(name: str, world: World) -> None:
    world.repository.commit({**stages.SQL, "adapter_model.safetensors": HEADERS[name]})
    outcome = world.user.run("install")
    assert outcome.code == (1 if name in UNKNOWN else 4), outcome.err


FILES: dict[str, tuple[dict[str, bytes], int]] = {
    "a program beside the weights": ({"modeling_evil.py": b"import os"}, 0),
    "a pickle beside the weights": ({"pytorch_model.bin": b"\x80\x04"}, 0),
    "a configuration that asks for code": (
        {"adapter_config.json": b'{"peft_type":"LORA","auto_map":{"AutoModel":"evil--model.Evil"}}'},
        5,
    ),
    "a configuration without end": ({"adapter_config.json": b"[" * 100_000}, 4),
    "a configuration with a key twice": ({"adapter_config.json": b'{"peft_type":"LORA","peft_type":"IA3"}'}, 4),
}
"""Files of the repository, and the exit code."""


@pytest.mark.parametrize("name", FILES)
def test_a_repository_that_means_harm(name: str, world: World) -> None:
    files, code = FILES[name]
    world.repository.commit({**stages.SQL, **files})
    outcome = world.user.run("install")
    assert outcome.code == code, outcome.err
    for suffix in ("*.py", "*.bin"):
        assert not list(world.user.sandbox.home.rglob(suffix)), "what is no part of a brick was fetched"


ANSWERS: dict[str, tuple[str, Callable[[World], Fault], int]] = {
    "weights with another byte": (WEIGHTS, lambda _: Tamper(len(BODY) - 1), 4),
    "weights that are longer than they say": (WEIGHTS, lambda _: LyingLength(-7), 6),
    "weights that are shorter than they say": (WEIGHTS, lambda _: LyingLength(7), 6),
    "weights without end": (WEIGHTS, lambda _: Endless(1 << 22), 4),
    "a configuration without end": (CONFIG, lambda _: Endless(1 << 22), 6),
    "a configuration that is another": (CONFIG, lambda _: Body(b"{}"), 4),
    "a listing without end": (LISTING, lambda _: Endless(1 << 22), 6),
    "weights of another host": (WEIGHTS, lambda world: Elsewhere(world.stranger.endpoint), 6),
    "a configuration of another host": (CONFIG, lambda world: Elsewhere(world.stranger.endpoint), 6),
    "a listing of another host": (LISTING, lambda world: Elsewhere(world.stranger.endpoint), 0),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_means_harm(name: str, world: World) -> None:
    path, fault, code = ANSWERS[name]
    world.hub.fault(path, fault(world))
    outcome = world.user.run("install")
    assert outcome.code == code, outcome.err
    world.hub.clear_faults()
    assert world.user.run("install").code == 0, "nothing bad was kept"


def test_a_name_that_was_registered_again_by_somebody_else(world: World) -> None:
    assert world.user.run("install").code == 0
    lock = world.user.sandbox.lock
    world.repository.commit({**stages.SQL, **bricks.adapter(fill=66)})
    assert world.user.run("install", "--locked").code == 0
    assert world.user.sandbox.lock == lock, "only an update takes what is new under a name"

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brickctl.core.brick import File, Pin
from brickctl.core.dependency import BrickDependency, HubDependency
from brickctl.core.digests import Sha256
from brickctl.core.lock import Lock, Locked
from brickctl.core.lock_format import decode, encode
from brickctl.core.names import BASE, Alias
from brickctl.errors import BrickctlError, EngineMissing, LockInvalid

EXAMPLE = (Path(__file__).parent / "brick.lock").read_text(encoding="utf-8")

digests = st.binary(min_size=32, max_size=32).map(lambda raw: Sha256(raw.hex()))
commits = st.binary(min_size=20, max_size=20).map(bytes.hex)
aliases = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True).filter(lambda name: name != "base").map(Alias)
names = st.sampled_from(
    [
        "config.json",
        "model.safetensors",
        "deep/er/model.safetensors",
        "ünïcode.model",
        'vocab"quote".json',
        "tokenizer a b.json",
        "vocab \u00e9\u4e2d.json",
    ]
)
files = st.builds(
    lambda name, size, digest: File(path=name, size=size, sha256=digest), names, st.integers(0, 2**40), digests
)
file_lists = st.lists(files, min_size=1, max_size=4, unique_by=lambda file: file.path).map(
    lambda some: tuple(sorted(some))
)


DEPENDENCIES = [
    (),
    (
        BrickDependency(brick="acme/expert", version=">=1, <2"),
        HubDependency(source="hf:acme/base", commit="0" * 40, is_base=True),
        HubDependency(source="hf:acme/expert", commit="1" * 40, subfolder="a/b"),
    ),
]


@st.composite
def pins(draw: st.DrawFn) -> Pin:
    license_name = draw(st.sampled_from([None, "Apache-2.0", "LicenseRef-llama3.1"]))
    subfolder = draw(st.sampled_from([None, "checkpoint-300", "a/b"]))
    scheme = draw(st.sampled_from(["hf", "path", "registry", "index"]))
    brick, version = "acme/sql", "1.2.3-beta.1"
    source = {"path": "path:bricks/date", "index": f"index:{brick}/{version}"}.get(scheme, "hf:acme/sql-lora")
    commit = draw(commits) if source.startswith("hf:") else None
    listed = draw(file_lists)
    if scheme in {"hf", "path"}:
        return Pin(source=source, files=listed, subfolder=subfolder, commit=commit, license=license_name)
    return Pin(
        source=source,
        files=listed,
        subfolder=subfolder,
        commit=commit,
        license=license_name,
        brick=brick,
        version=version,
        registry="corp",
    )


@st.composite
def entries(draw: st.DrawFn, alias: Alias = BASE) -> Locked:
    pin = draw(pins())
    return Locked(
        alias=alias,
        kind=draw(st.sampled_from(["base", "adapter", "expert"])),
        pin=pin,
        interface=draw(digests),
        license=pin.license or "unknown",
        declared_base=draw(st.sampled_from([None, "acme/base", 'odd "name" \\'])),
        dependencies=draw(st.sampled_from(DEPENDENCIES)) if pin.registry else (),
    )


@st.composite
def derived_entries(draw: st.DrawFn, alias: Alias) -> Locked:
    license_name = draw(st.sampled_from([None, "Apache-2.0"]))
    return Locked(
        alias=alias,
        kind=draw(st.sampled_from(["adapter", "statistics"])),
        pin=Pin(source=f"derived:{alias}", files=draw(file_lists), license=license_name),
        interface=draw(digests),
        license=license_name or "unknown",
        declared_base=draw(st.sampled_from([None, "acme/base"])),
        recipe=draw(digests),
    )


@st.composite
def locks(draw: st.DrawFn) -> Lock:
    chosen = sorted(draw(st.lists(aliases, unique=True, max_size=3)))
    table = {"source": "hf:acme/base", "revision": "main"}
    manifest = draw(
        st.sampled_from(
            [
                {},
                {"base": table},
                {"base": table, "bricks": {"sql": {"brick": "acme/sql", "version": ">=1, <2"}}},
                {"base": table, "registries": {"corp": 'https://c.example/"quoted"'}},
            ]
        )
    )
    paths = sorted(draw(st.lists(st.sampled_from(["a.jinja", "größe/x y", "z"]), unique=True)))
    inputs = {path: File(path=path, size=draw(st.integers(0, 1 << 20)), sha256=draw(digests)) for path in paths}
    bricks = {name: draw(entries(name)) for name in chosen}
    needed = sorted(draw(st.lists(st.sampled_from(["corp:acme/expert", "hf:acme/x@abc"]), unique=True)))
    dependencies = {Alias(name): draw(entries(Alias(name))) for name in needed}
    own = sorted(set(draw(st.lists(aliases, unique=True, max_size=2))) - {*chosen})
    return Lock(
        base=draw(entries()),
        bricks=bricks,
        dependencies=dependencies,
        derived={name: draw(derived_entries(name)) for name in own},
        inputs=inputs,
        manifest=manifest,
    )


@given(locks())
def test_a_lock_reads_back_as_it_was_written(lock: Lock) -> None:
    assert decode(encode(lock)) == lock


@given(locks())
def test_writing_again_gives_the_same_bytes(lock: Lock) -> None:
    assert encode(decode(encode(lock))) == encode(lock)


def test_the_example_of_the_format_is_written_byte_for_byte() -> None:
    assert encode(decode(EXAMPLE)) == EXAMPLE


def test_the_order_of_bricks_in_memory_does_not_matter() -> None:
    lock = decode(EXAMPLE)
    turned = Lock(base=lock.base, bricks=dict(reversed(lock.bricks.items())), manifest=lock.manifest)
    assert encode(turned) == EXAMPLE


def test_every_file_has_its_own_line() -> None:
    lines = EXAMPLE.splitlines()
    assert sum("sha256 = " in line for line in lines) == 16
    assert all(line.count("sha256 = ") <= 1 for line in lines)


def change(old: str, new: str) -> str:
    assert old in EXAMPLE
    return EXAMPLE.replace(old, new, 1)


def fault(text: str) -> BrickctlError:
    with pytest.raises(BrickctlError) as caught:
        decode(text)
    return caught.value


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('license = "unknown"', 'licence = "unknown"', "`license` in brick[2] is missing"),
        ('kind = "base"', 'kind = "base"\nextra = 1', "unknown key `extra` in [base]"),
        (
            'name = "coder"',
            'name = "zebra"',
            "`date` stands after `zebra`: entries are sorted by name and never repeated",
        ),
        (
            'name = "date"',
            'name = "coder"',
            "`coder` stands after `coder`: entries are sorted by name and never repeated",
        ),
        ('path = "config.json"', 'path = "../config.json"', "`../config.json` is no path inside a brick"),
        ('path = "config.json"', 'path = "/etc/passwd"', "`/etc/passwd` is no path inside a brick"),
        (
            'path = "config.json"',
            'path = "vocab.json"',
            "`generation_config.json` stands after `vocab.json`: files are sorted and never repeated",
        ),
        ("size = 861", "size = -1", "`config.json` cannot have -1 bytes"),
        ("size = 861", 'size = "861"', "`size` in [base] files[0] must be an integer, not a string"),
        ('digest = "sha256:5f', 'digest = "sha256:00', "`digest` in [base] is not that of its files"),
        ('digest = "sha256:5f', 'digest = "md5:5f', "`digest` in [base] is no digest"),
        ('commit = "1405', 'commit = "main', "`main" + "df66cbe219b0bf6355bc3d60361a8376b6b4` is no commit of "),
        ('version = "1.0.4"\n', "", "brick[3] must have all of `brick`, `version` and `registry`, or none"),
        ('source = "path:bricks/date"\ndecl', 'source = "ftp:x"\ndecl', "`ftp:x` is no source of files"),
        ("version = 1\n", "", "brick.lock does not say which `version` of the format it has"),
        ("engine = 1\n", "", "brick.lock does not say which `engine` it is for"),
        ("[base]", "[bose]", "brick.lock has no [base]"),
    ],
)
def test_a_damaged_lock_is_refused_in_plain_words(old: str, new: str, message: str) -> None:
    error = fault(change(old, new))
    assert isinstance(error, LockInvalid)
    assert error.exit_code == 3
    assert error.message.startswith(message)


def test_a_file_cannot_be_a_folder_too() -> None:
    listed = tuple(File(path=path, size=1, sha256=Sha256("0" * 64)) for path in ("vocab", "vocab/a.safetensors"))
    lock = decode(EXAMPLE)
    base = Locked(
        alias=BASE, kind="base", pin=Pin(source="path:x", files=listed), interface=lock.base.interface, license="MIT"
    )
    assert fault(encode(Lock(base=base))).message == "`vocab/a.safetensors` lies in something that is itself a file"


@pytest.mark.parametrize(
    "path",
    [
        ".git/hooks/x",
        "README.md",
        "brick.build.json",
        "modeling.py",
        "pytorch_model.bin",
        "tokenizer.py",
        "onnx/config.json",
    ],
)
def test_a_file_that_belongs_to_no_brick_is_refused(path: str) -> None:
    lock = decode(EXAMPLE)
    pin = Pin(source="path:x", files=(File(path=path, size=1, sha256=Sha256("0" * 64)),))
    base = Locked(alias=BASE, kind="base", pin=pin, interface=lock.base.interface, license="MIT")
    error = fault(encode(Lock(base=base)))
    assert isinstance(error, LockInvalid)
    assert error.message == f"`{path}` is no file that belongs to a brick"


def test_a_newer_format_is_refused_with_the_hint_to_upgrade() -> None:
    error = fault(change("version = 1\n", "version = 2\n") + "[new-thing]\n")
    assert isinstance(error, LockInvalid)
    assert error.message == "brick.lock was written by a newer brickctl"
    assert error.hint == "upgrade brickctl: `pip install -U brickctl`"


def test_an_engine_that_is_not_here_is_refused() -> None:
    error = fault(change("engine = 1\n", "engine = 2\n"))
    assert isinstance(error, EngineMissing)
    assert error.message == "brick.lock asks for engine 2; this brickctl has 1"
    assert str(error.place) == "brick.lock line 3"


def test_conflict_markers_are_named_for_what_they_are() -> None:
    error = fault(
        change('[[brick]]\nname = "coder"', '<<<<<<< HEAD\n[[brick]]\n=======\n>>>>>>> other\nname = "coder"')
    )
    assert isinstance(error, LockInvalid)
    assert error.message == "brick.lock has conflict markers of an unfinished merge"
    assert str(error.place) == "brick.lock line 34"


@given(st.text())
def test_any_text_is_a_lock_or_a_fault(text: str) -> None:
    with contextlib.suppress(BrickctlError):
        decode(text)


@given(st.integers(0, len(EXAMPLE)), st.integers(0, 20), st.text(alphabet="[]{}=\"'.,/ \nab1-", max_size=5))
def test_a_damaged_example_is_a_lock_or_a_fault(at: int, length: int, patch: str) -> None:
    with contextlib.suppress(BrickctlError):
        decode(EXAMPLE[:at] + patch + EXAMPLE[at + length :])


INPUT = f'\n[[input]]\npath = "b.jinja"\nsize = 3\nsha256 = "{"0" * 64}"\n'


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('path = "b.jinja"', 'path = "../b.jinja"', "`../b.jinja` is no path inside the project"),
        ("size = 3", "size = -1", "`b.jinja` cannot have -1 bytes"),
        ('sha256 = "0', 'sha256 = "z', "`z"),
        ("size = 3", "size = 3\nkind = 1", "unknown key `kind` in input[0]"),
        (INPUT, INPUT + INPUT.replace("b.", "a."), "`a.jinja` stands after `b.jinja`: inputs are sorted by path"),
        (INPUT, INPUT + INPUT, "`b.jinja` stands after `b.jinja`: inputs are sorted by path and never repeated"),
    ],
)
def test_a_damaged_input_is_refused_in_plain_words(old: str, new: str, message: str) -> None:
    assert decode(EXAMPLE + INPUT).inputs["b.jinja"].size == 3
    error = fault(EXAMPLE + INPUT.replace(old, new))
    assert isinstance(error, LockInvalid)
    assert error.message.startswith(message)


NORM = File(path="model.safetensors", size=3, sha256=Sha256("0" * 64))
DERIVED = encode(
    Lock(
        base=decode(EXAMPLE).base,
        derived={
            Alias("loud"): Locked(
                alias=Alias("loud"),
                kind="module",
                pin=Pin(source="derived:loud", files=(NORM,), license="MIT"),
                interface=Sha256("1" * 64),
                license="MIT",
                recipe=Sha256("2" * 64),
            )
        },
    )
).partition("[[derived]]")[2]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"derived:loud"', '"derived:date"', "`loud` is derived, and `derived:date` is no source of it"),
        ('"derived:loud"', '"path:/etc"', "`loud` is derived, and `path:/etc` is no source of it"),
        ("recipe", "receipt", "`recipe` in derived[0] is missing"),
        ("license", 'subfolder = "x"\nlicense', "unknown key `subfolder` in derived[0]"),
        ("license", 'registry = "corp"\nlicense', "unknown key `registry` in derived[0]"),
        ('loud"', 'date"', "`date` is in [[brick]] and in [[derived]]"),
    ],
)
def test_a_damaged_derived_brick_is_refused_in_plain_words(old: str, new: str, message: str) -> None:
    assert decode(f"{EXAMPLE}\n[[derived]]{DERIVED}").derived[Alias("loud")].recipe == "2" * 64
    error = fault(f"{EXAMPLE}\n[[derived]]{DERIVED.replace(old, new)}")
    assert isinstance(error, LockInvalid)
    assert error.message == message


def test_nothing_else_is_derived() -> None:
    error = fault(f"{EXAMPLE}\n[[brick]]{DERIVED}".replace("loud", "zoo"))
    assert isinstance(error, LockInvalid)
    assert error.message == "`derived:zoo` is no source of files"

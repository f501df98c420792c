"""What a lock pins, in forms that others read: the same steps, the same commits, and nothing said that is not so."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from brickctl.core.brick import File, Pin
from brickctl.core.dependency import BrickDependency
from brickctl.core.digests import Sha256
from brickctl.core.lock import Lock, Locked
from brickctl.core.manifest_format import parse_manifest
from brickctl.core.names import Alias
from brickctl.errors import Unsupported
from brickctl.operations.target import read_recipe
from brickctl.workflows.lock_export.cyclonedx import cyclonedx
from brickctl.workflows.lock_export.export import Subject
from brickctl.workflows.lock_export.mergekit import mergekit
from brickctl.workflows.lock_export.requirements import requirements
from brickctl.workflows.mergekit.import_recipe import import_mergekit
from tests.support.mergekit import needs_mergekit

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sandbox import Sandbox

COMMITS = {name: f"{at}" * 40 for at, name in enumerate(("base", "a", "b", "lora"), start=1)}
HEAD = """[project]
name = "support"
[base]
source = "hf:acme/base"
[bricks]
a = { source = "hf:acme/a" }
b = { source = "hf:acme/b" }
lora = { source = "hf:acme/lora" }
[targets.chat]
"""


def entry(name: str, **changes: Any) -> Locked:
    digest = Sha256(COMMITS[name][:1] * 64)
    file = File(path="model.safetensors", size=3, sha256=digest)
    pin = {"source": f"hf:acme/{name}", "files": (file,), "commit": COMMITS[name], **changes}
    kind = {"base": "base", "lora": "adapter"}.get(name, "expert")
    license_name = {"base": "Apache-2.0", "a": "LicenseRef-llama3", "b": "MIT OR Apache-2.0"}.get(name, "unknown")
    known = {"kind": pin.pop("kind", kind), "license": pin.pop("license_name", license_name)}
    return Locked(alias=Alias(name), pin=Pin(**pin), interface=digest, **known)


def subject(apply: str, *, head: str = HEAD, more: str = "", entries: dict[str, Locked] | None = None) -> Subject:
    manifest = parse_manifest(f"{head}{more}apply = [{apply}]\n")
    recipe = read_recipe(manifest, manifest.targets[Alias("chat")])
    known = {**{name: entry(name) for name in COMMITS}, **(entries or {})}
    lock = Lock(base=known["base"], bricks={Alias(name): known[name] for name in known if name != "base"})
    named = tuple(lock.entries[alias] for alias in ("base", *recipe.aliases))
    return Subject(project="support", lock=lock, recipe=recipe, entries=named)


def at(name: str) -> str:
    return f"acme/{name}@{COMMITS[name]}"


MERGE = '{ op = "merge", method = '
TWO = '[{ brick = "a", weight = 0.3 }, { brick = "b", weight = 0.7 }]'
WITH_BASE = '[{ brick = "base", weight = 0.3 }, { brick = "b", weight = 0.7 }]'

STEPS = {
    "task arithmetic": f'{MERGE}"task_arithmetic", bricks = {{ a = 0.5, lora = -1 }} }}',
    "task arithmetic, scaled": f'{MERGE}"task_arithmetic", scale = 0.4, bricks = {{ a = 0.5, b = 1 }} }}',
    "ties": f'{MERGE}"ties", density = 0.4, bricks = {{ a = 0.5, b = 0.25 }} }}',
    "ties, a density each": f'{MERGE}"ties", bricks = [{{ brick = "a", density = 0.2 }}, {{ brick = "b" }}] }}',
    "ties, not divided": f'{MERGE}"ties", divide = "none", bricks = {{ a = 0.5, b = 0.25 }} }}',
    "dare": f'{MERGE}"dare_ties", density = 0.4, bricks = {{ a = 0.5, b = 0.25 }} }}',
    "della": f'{MERGE}"della", density = 0.4, epsilon = 0.1, bricks = {{ a = 0.5, b = 0.25 }} }}',
    "breadcrumbs": f'{MERGE}"breadcrumbs", density = 0.9, gamma = 0.01, bricks = {{ a = 0.5, b = 0.25 }} }}',
    "linear": f'{MERGE}"linear", bricks = {WITH_BASE} }}',
    "linear, not divided": f'{MERGE}"linear", normalize = false, bricks = {WITH_BASE} }}',
    "slerp": f'{MERGE}"slerp", t = [0.5, 0.2, 0.5], bricks = ["base", "b"] }}',
    "nuslerp": f'{MERGE}"nuslerp", bricks = {WITH_BASE} }}',
    "nuslerp of deltas": f'{MERGE}"nuslerp", deltas = true, by = "row", bricks = {TWO} }}',
    "karcher": f'{MERGE}"karcher", bricks = ["base", "a", "b"] }}',
    "model stock": f'{MERGE}"model_stock", bricks = ["a", "b"] }}',
    "model stock by rows": f'{MERGE}"model_stock", by = "row", bricks = ["a", "b"] }}',
    "sce": f'{MERGE}"sce", select_topk = 0.3, bricks = ["a", "b"] }}',
    "arcee fusion": f'{MERGE}"arcee_fusion", bricks = ["a"] }}',
    "filters": (
        f'{MERGE}"task_arithmetic", bricks = [{{ brick = "a", '
        'weight = [{ filter = "*mlp*", value = [0.1, 0.9] }, { value = 0.5 }] }] }'
    ),
    "a gradient as the import writes it": (
        f'{MERGE}"task_arithmetic", bricks = [{{ brick = "a", '
        'weight = [{ filter = "*.[0-9]*.*", value = [0.1, 0.9] }, { value = 0.1 }] }] }'
    ),
    "a stitch": (
        '{ op = "stitch", slices = [{ brick = "base", layers = [0, 8] }, { brick = "a", layers = [4, 12] }], '
        'after = { brick = "a" } }'
    ),
    "a stitch of merges": (
        '{ op = "stitch", slices = [{ method = "slerp", layers = [0, 8], t = 0.25, bricks = ["base", "b"] }, '
        '{ method = "slerp", layers = [8, 16], t = 0.75, bricks = ["base", "b"] }], '
        'before = { method = "slerp", t = 0.25, bricks = ["base", "b"] }, '
        'after = { method = "slerp", t = 0.75, bricks = ["base", "b"] } }'
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_import_of_an_export_is_the_step_that_was_exported(name: str, tmp_path: Path) -> None:
    whole = subject(STEPS[name], more='dtype = "bfloat16"\n')
    recipe = tmp_path / "recipe.yml"
    recipe.write_text(mergekit(whole).text)
    import_mergekit(recipe, tmp_path / "brick.toml")

    again = parse_manifest((tmp_path / "brick.toml").read_text())
    found = read_recipe(again, next(iter(again.targets.values()))).document()
    assert whole.recipe is not None
    aliases = {str(one.reference).rpartition("/")[2]: str(alias) for alias, one in again.requirements.items()}
    assert aliases == {str(one): str(one) for one in ("base", *whole.recipe.aliases)}
    assert found["apply"] == whole.recipe.document()["apply"]
    assert found["dtype"] == "bfloat16"
    revisions = {str(alias): getattr(one.reference, "revision", None) for alias, one in again.requirements.items()}
    assert revisions == {alias: COMMITS[alias] for alias in aliases}


_READ = """
import json, sys, yaml
from mergekit.config import MergeConfiguration
told = []
for text in json.load(sys.stdin):
    models = MergeConfiguration.model_validate(yaml.safe_load(text)).referenced_models()
    places = [place for model in models for place in (model.model, model.lora) if place is not None]
    told.append(sorted([place.path, place.revision] for place in places))
json.dump(told, sys.stdout)
"""


@needs_mergekit
def test_mergekit_reads_what_is_exported_with_every_model_at_its_commit() -> None:
    subjects = [subject(step) for step in STEPS.values()]
    texts = json.dumps([mergekit(one).text for one in subjects])
    done = subprocess.run([sys.executable, "-c", _READ], input=texts, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for one, places in zip(subjects, json.loads(done.stdout), strict=True):
        found = dict(places)
        aliases = [str(entry.alias) for entry in one.entries]
        named = {f"acme/{alias}": COMMITS[alias] for alias in aliases}
        assert found == named


def test_a_recipe_says_all_that_its_method_reads() -> None:
    exported = mergekit(subject(STEPS["ties"]))
    assert yaml.safe_load(exported.text) == {
        "merge_method": "ties",
        "base_model": at("base"),
        "models": [
            {"model": at("a"), "parameters": {"weight": 0.5, "density": 0.4}},
            {"model": at("b"), "parameters": {"weight": 0.25, "density": 0.4}},
        ],
        "parameters": {"lambda": 1.0, "normalize": True, "rescale": False},
    }
    assert exported.notes == ()


def test_what_chance_decides_is_said() -> None:
    assert mergekit(subject(STEPS["dare"])).notes == (
        "dare_ties keeps entries by chance: mergekit keeps other ones than brickctl",
    )


REFUSED: dict[str, tuple[str, str, str]] = {
    "a method of our own": (
        f'{MERGE}"iso_c", bricks = {{ a = 1, b = 1 }} }}',
        "`merge` of `chat` cannot be said",
        "no method",
    ),
    "a stack": ('{ op = "stack", bricks = ["lora"] }', "mergekit has no step `stack`", "whole models"),
    "two steps": (f"{STEPS['ties']}, {STEPS['linear']}", "has not one step, but `merge`, `merge`", "one merge"),
    "no step": ("", "has not one step, but none", "one merge"),
    "a seed": (f'{MERGE}"dare_ties", seed = 7, bricks = {{ a = 1, b = 1 }} }}', "`merge` of `chat`", "`seed` would be"),
    "a gradient": (
        f'{MERGE}"task_arithmetic", bricks = [{{ brick = "a", weight = [0.1, 0.9] }}] }}',
        "`merge` of `chat`",
        "`weight` would be",
    ),
    "a glob": (
        (
            f'{MERGE}"task_arithmetic", bricks = [{{ brick = "a", '
            'weight = [{ filter = "model.*.mlp.*", value = 1 }, { value = 0.5 }] }] }'
        ),
        "`merge` of `chat`",
        "`weight` would be",
    ),
    "no base among the models": (
        f'{MERGE}"linear", bricks = {TWO} }}',
        "`merge` of `chat`",
        "another model for the base",
    ),
    "other tokens": (
        f'{MERGE}"linear", tokenizer = "union", bricks = {WITH_BASE} }}',
        "the `tokenizer` of `chat`",
        "tokens",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_mergekit_would_read_otherwise_is_refused_by_name(name: str) -> None:
    apply, message, cause = REFUSED[name]
    with pytest.raises(Unsupported) as found:
        mergekit(subject(apply))
    assert message in found.value.message
    assert cause in found.value.causes[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"subfolder": "checkpoint-3"}, "`a` lies in the folder checkpoint-3"),
        ({"source": "index:acme/a/1.0.0", "commit": None, "brick": "acme/a", "registry": "corp"}, "from a registry"),
        ({"kind": "module"}, "`a` is of the kind module"),
    ],
)
def test_a_brick_that_mergekit_cannot_name_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(Unsupported, match=words):
        mergekit(subject(STEPS["arcee fusion"], entries={"a": entry("a", **changes)}))


def test_folders_stay_folders_and_are_told() -> None:
    entries = {name: entry(name, source=f"path:models/{name}", commit=None) for name in ("base", "a")}
    exported = mergekit(subject(STEPS["arcee fusion"], entries=entries))
    assert yaml.safe_load(exported.text)["models"] == [{"model": "./models/a"}]
    assert exported.notes[0].startswith("base, a: folders, which no recipe pins")


def test_requirements_are_one_pinned_line_a_brick() -> None:
    registered = entry("b", brick="acme/b", version="1.2.0", registry="corp")
    entries = {"a": entry("a", subfolder="x"), "b": registered}
    lines = requirements(subject(STEPS["ties"], entries=entries)).text.splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        f"hf:acme/base@{COMMITS['base']} --hash=sha256:{entry('base').pin.digest}  # base: base, Apache-2.0",
        f"hf:acme/a/x@{COMMITS['a']} --hash=sha256:{entry('a').pin.digest}  # a: expert, LicenseRef-llama3",
        f"corp:acme/b@1.2.0 --hash=sha256:{registered.pin.digest}  # b: expert, MIT OR Apache-2.0",
    ]


def valid(text: str) -> None:
    """CycloneDX's own schema has nothing against it."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    assert error is None, error


def test_a_bill_of_materials_is_valid_and_says_what_is_locked() -> None:
    need = BrickDependency(brick="acme/a", version="^1")
    a = entry("a", brick="acme/a", version="1.0.0", registry="corp")
    lora = entry("lora", brick="acme/lora", version="2.0.0", registry="corp", subfolder="x")
    lora = Locked(**{**{name: getattr(lora, name) for name in lora.__slots__}, "dependencies": (need,)})
    entries = {"a": a, "lora": lora}
    text = cyclonedx(subject(STEPS["task arithmetic"], entries=entries)).text
    valid(text)

    bill = json.loads(text)
    parts = {part["bom-ref"]: part for part in bill["components"]}
    assert {part["type"] for part in parts.values()} == {"machine-learning-model"}
    assert parts["brick:base"]["purl"] == f"pkg:huggingface/acme/base@{COMMITS['base']}"
    assert parts["brick:lora"]["purl"] == f"pkg:huggingface/acme/lora@{COMMITS['lora']}#x"
    assert parts["brick:base"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert "licenses" not in parts["brick:lora"]
    hashes = {file["name"]: file["hashes"] for file in parts["brick:a"]["components"]}
    assert hashes == {"model.safetensors": [{"alg": "SHA-256", "content": "2" * 64}]}
    card = {one["name"]: one["value"] for one in parts["brick:lora"]["modelCard"]["properties"]}
    assert card["brickctl:kind"] == "adapter"
    needs = {one["ref"]: one.get("dependsOn") for one in bill["dependencies"]}
    assert needs["target:chat"] == ["brick:a", "brick:base", "brick:lora"]
    assert needs["brick:lora"] == ["brick:a", "brick:base"]
    assert needs["brick:base"] is None
    assert bill["metadata"]["component"]["type"] == "machine-learning-model"
    assert "timestamp" not in bill["metadata"]


@pytest.mark.parametrize("license_name", ["MIT OR Apache-2.0", "LicenseRef-llama3", "MIT AND LicenseRef-x", "unknown"])
def test_a_bill_is_valid_with_every_way_to_say_a_licence(license_name: str) -> None:
    text = cyclonedx(subject(STEPS["arcee fusion"], entries={"a": entry("a", license_name=license_name)})).text
    valid(text)
    found = next(part for part in json.loads(text)["components"] if part["bom-ref"] == "brick:a")
    assert license_name in json.dumps(found.get("licenses", "unknown"))


def test_equal_locks_give_equal_bills_and_others_another_serial_number() -> None:
    one, same = (cyclonedx(subject(STEPS["ties"])).text for _ in range(2))
    assert one == same
    other = cyclonedx(subject(STEPS["ties"], entries={"a": entry("a", files=())})).text
    assert json.loads(one)["serialNumber"] != json.loads(other)["serialNumber"]


FORMATS = ("requirements", "mergekit", "cyclonedx")


@pytest.mark.parametrize("form", FORMATS)
def test_the_command_writes_data_alone_to_stdout_or_into_a_file(form: str, project: Sandbox) -> None:
    assert project.run("lock").code == 0
    before = project.lock
    outcome = project.run("lock", "export", "--format", form)
    assert outcome.code == 0, outcome.err
    assert project.run("lock", "export", "--format", form, "-o", "out.txt").code == 0
    assert (project.root / "out.txt").read_text() == outcome.out
    answer = project.run("lock", "export", "assistant", "--format", form, "--json").json
    assert answer["format"] == form
    assert "sql" in answer["text"]
    if form != "mergekit":
        assert "mail" in outcome.out
        assert "mail" not in answer["text"]
    assert project.lock == before


def test_lock_stays_what_it_was(project: Sandbox) -> None:
    assert project.run("lock", "--check").code == 3
    assert project.run("lock").code == 0
    assert project.run("lock", "--check", "--json").json["changes"] == []
    assert project.run("lock", cwd=project.root.parent).code == 1
    assert project.run("lock", "--project", str(project.root), cwd=project.root.parent).code == 0


@pytest.mark.parametrize("before", [("--project", "."), ("--check",), ("--json",), ("--quiet",), ("--offline",)])
def test_options_that_stand_before_export_are_refused(before: tuple[str, ...], project: Sandbox) -> None:
    assert project.run("lock").code == 0
    outcome = project.run("lock", *before, "export", "--format", "requirements")
    assert outcome.code == 2
    said = outcome.json["error"]["message"] if before == ("--json",) else outcome.err
    assert f"`{before[0]}` stands before `export`" in said


def test_the_environment_is_no_option_that_stands_before_export(
    project: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert project.run("lock").code == 0
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert project.run("lock", "export", "--format", "requirements").code == 0


def test_a_lock_that_is_stale_or_missing_is_not_exported(project: Sandbox) -> None:
    arguments = ("lock", "export", "--format", "requirements")
    assert project.run(*arguments).code == 1
    assert project.run("lock").code == 0
    project.write({"brick.toml": project.manifest.replace("path:bricks/sql", "path:bricks/mail")})
    outcome = project.run(*arguments)
    assert outcome.code == 3
    assert "`sql`" in outcome.err


def test_a_target_that_does_not_exist_is_named(project: Sandbox) -> None:
    assert project.run("lock").code == 0
    outcome = project.run("lock", "export", "asistant", "--format", "cyclonedx")
    assert outcome.code == 1
    assert "did you mean `assistant`?" in outcome.err

"""Model cards, as the Hub reads their front matter."""

from pathlib import Path

import pytest
from huggingface_hub import ModelCard, ModelCardData

from brickctl.core.brick import Pin
from brickctl.core.digests import sha256_bytes
from brickctl.core.lock import Locked
from brickctl.core.manifest_format import parse_manifest
from brickctl.core.names import Alias
from brickctl.operations.target import read_recipe
from brickctl.workflows.build import make_plan, read_recipes
from brickctl.workflows.lock import LockMode, current_lock
from brickctl.workflows.model_card import FILE, model_card
from brickctl.workflows.provenance import uri
from tests.support.projects import opened, rewrite, starter_project


def card_of(project: Path, target: str) -> ModelCardData:
    session = opened(project)
    (recipe,) = read_recipes(session, [target])
    plan = make_plan(session, recipe, current_lock(session, LockMode.REFRESH))
    (content,) = [task.content for task in plan.tasks if task.path == FILE]
    data = ModelCard(content.decode()).data
    assert isinstance(data, ModelCardData)
    return data


@pytest.mark.parametrize(
    ("licenses", "hub", "name"),
    [
        (("MIT", "MIT"), "other", "Apache-2.0 AND MIT"),
        (("Apache-2.0", "Apache-2.0"), "apache-2.0", None),
        (("Apache-2.0 OR MIT", "Apache-2.0"), "other", "Apache-2.0 AND (Apache-2.0 OR MIT)"),
        (("AGPL-3.0-only", "unknown"), "unknown", None),
    ],
)
def test_the_licence_of_a_card_is_an_id_of_the_hub_or_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, licenses: tuple[str, str], hub: str, name: str | None
) -> None:
    project = starter_project(tmp_path, monkeypatch)
    for brick, license_name in zip(("upper", "next"), licenses, strict=True):
        entry = f'{{ brick = "starter/{brick}", version = "^1", license = "{license_name}" }}'
        rewrite(project, f'{brick} = "starter/{brick}@^1"', f"{brick} = {entry}")

    card = card_of(project, "assistant")

    assert (card.license, card.license_name) == (hub, name)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("path:bricks/sql", "path:bricks/sql"),
        ("path:/home/ada/bricks/sql", "path:sql"),
        ("path:../ada/sql", "path:sql"),
        ("path:..", "path:.."),
    ],
)
def test_of_a_folder_outside_the_project_only_its_name_is_told(source: str, told: str) -> None:
    pin = Pin(source=source, files=())
    brick = Locked(alias=Alias("sql"), kind="adapter", pin=pin, interface=sha256_bytes(b""), license="MIT")
    assert uri(brick) == told


@pytest.mark.parametrize(
    ("step", "relation"),
    [
        ('{ op = "merge", method = "linear", bricks = { sql = 1.0 } }', "merge"),
        ('{ op = "stitch", slices = [{ brick = "sql", layers = [0, 1] }] }', "merge"),
        ('{ op = "moe", experts = ["base", "sql"], active = 1, gates = "random" }', "merge"),
        ('{ op = "stack", bricks = ["sql"] }', "adapter"),
        ('{ op = "prune", brick = "sql", groups = [0] }', "finetune"),
        ('{ op = "split", brick = "sql", active = 2 }', "finetune"),
    ],
)
def test_a_card_tells_how_the_model_is_related_to_its_base(step: str, relation: str) -> None:
    pin = Pin(source="hf:acme/base", files=(), commit="0" * 40)
    base, sql = (
        Locked(alias=Alias(name), kind=kind, pin=pin, interface=sha256_bytes(b""), license="MIT")
        for name, kind in (("base", "base"), ("sql", "adapter"))
    )
    text = '[project]\nname = "x"\n[base]\nsource = "hf:acme/base"\n[bricks]\nsql = { source = "hf:acme/sql" }\n'
    manifest = parse_manifest(f"{text}[targets.t]\napply = [{step}]\n")
    card = model_card(read_recipe(manifest, manifest.targets[Alias("t")]), base, [sql])
    data = ModelCard(card.decode()).data
    assert (data.base_model, data.to_dict()["base_model_relation"]) == ("acme/base", relation)

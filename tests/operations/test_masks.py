"""EMR's masks: bricks beside the unified model, each of which makes the model of its task of it again."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support import sandbox as bricks
from tests.support.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

Tensors = dict[str, torch.Tensor]

SHAPES = {
    "model.embed_tokens.weight": (50, 16),
    "model.layers.0.mlp.up_proj.weight": (700, 401),
    "model.layers.0.conv.weight": (16, 6, 3, 3),
    "model.layers.1.long.weight": (2, 300_001),
    "model.norm.weight": (16,),
    "model.step": (),
    "lm_head.weight": (50, 16),
}
TASKS = ("code", "law", "date")
UNTOUCHED = "model.norm.weight"
"""What `date` leaves as it is."""

WEIGHTS = {"code": 1.0, "law": 0.5, "date": 2.0}


def random(seed: int, size: float) -> Tensors:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) * size for name, shape in SHAPES.items()}


def save(folder: Path, tensors: Mapping[str, Tensor]) -> Path:
    """A model with these tensors."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes(bricks.model()["config.json"])
    save_file(dict(tensors), folder / "model.safetensors", {"format": "pt"})
    return folder


def manifest(targets: str, **sources: str) -> str:
    lines = [f'{alias} = {{ source = "path:{folder}" }}' for alias, folder in sources.items()]
    return "\n".join(('[project]\nname = "emr"', '[base]\nsource = "path:models/base"', "[bricks]", *lines, targets))


def unified_target(name: str = "unified", more: str = "masks = true", settings: str = "") -> str:
    weights = ", ".join(f"{task} = {weight}" for task, weight in WEIGHTS.items())
    step = f'{{ op = "merge", method = "emr", scale = 0.8, {more}, bricks = {{ {weights} }} }}'
    return f"[targets.{name}]\n{settings}\napply = [{step}]\n"


def task_target(task: str) -> str:
    return f'[targets.{task}]\napply = [{{ op = "mask", brick = "{task}", unified = "unified" }}]\n'


@pytest.fixture(scope="module")
def models() -> Mapping[str, Tensors]:
    """The base, three fine-tunes that have something in common, and fp32 numbers everywhere."""
    base, shared = random(0, 1.0), random(1, 0.01)
    tuned = {task: random(seed, 0.01) for seed, task in enumerate(TASKS, start=2)}
    found = {task: {name: base[name] + shared[name] + noise[name] for name in SHAPES} for task, noise in tuned.items()}
    found["date"][UNTOUCHED] = base[UNTOUCHED].clone()
    return {"base": base, **found}


@pytest.fixture(scope="module")
def built(models: Mapping[str, Tensors], tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """A project in which the unified model, its masks, and the model of every task have been built."""
    folder = tmp_path_factory.mktemp("masks")
    for name, tensors in models.items():
        save(folder / f"project/models/{name}", tensors)
    project = Sandbox(folder / "project", folder / "home")
    sources = {task: f"models/{task}" for task in TASKS}
    project.write({"brick.toml": manifest(unified_target(), **sources)})
    assert project.run("build").code == 0
    masks = {task: f"dist/unified/masks/{task}" for task in TASKS}
    targets = "\n".join(map(task_target, TASKS))
    project.write({"brick.toml": manifest(targets, unified="dist/unified", **masks)})
    done = project.run("build")
    assert done.code == 0, done.err
    return project


def deltas(models: Mapping[str, Tensors]) -> dict[str, Tensors]:
    base = models["base"]
    return {task: {name: models[task][name].double() - base[name].double() for name in SHAPES} for task in TASKS}


def paper(models: Mapping[str, Tensors]) -> Tensors:
    """The unified delta of the paper, with weights and a scale."""
    found = {}
    for name in SHAPES:
        stacked = torch.stack([WEIGHTS[task] * delta[name] for task, delta in deltas(models).items()])
        sign = stacked.sum(dim=0).sign()
        found[name] = 0.8 * sign * torch.where(stacked.sign() == sign, stacked.abs(), 0.0).amax(dim=0)
    return found


def agreeing(models: Mapping[str, Tensors], task: str) -> Tensors:
    return {name: deltas(models)[task][name] * unified > 0 for name, unified in paper(models).items()}


def mask_file(project: Sandbox, task: str) -> Path:
    return project.root / f"dist/unified/masks/{task}/model.safetensors"


def test_the_unified_model_is_the_same_with_masks_and_without(built: Sandbox, models: Mapping[str, Tensors]) -> None:
    found = load_file(built.root / "dist/unified/model.safetensors")
    for name, delta in paper(models).items():
        assert torch.equal(found[name], (models["base"][name].double() + delta).float())


@pytest.mark.parametrize("task", TASKS)
def test_a_mask_has_a_bit_wherever_the_delta_of_its_task_agrees(
    task: str, built: Sandbox, models: Mapping[str, Tensors]
) -> None:
    found = load_file(mask_file(built, task))
    expected = agreeing(models, task)
    assert found.keys() == {"factor", *(f"{name}.mask" for name in SHAPES)}
    assert not expected[UNTOUCHED].any() or task != "date"
    for name in SHAPES:
        packed = found[f"{name}.mask"].numpy()
        bits = np.unpackbits(packed, axis=1, bitorder="little")
        columns = expected[name].numel() // packed.shape[0]
        assert np.array_equal(bits[:, :columns].reshape(-1), expected[name].reshape(-1).numpy())
        assert not bits[:, columns:].any()


@pytest.mark.parametrize("task", TASKS)
def test_the_factor_is_one_quotient_of_sums_over_the_whole_model(
    task: str, built: Sandbox, models: Mapping[str, Tensors]
) -> None:
    unified, kept = paper(models), agreeing(models, task)
    own = sum(float(delta.abs().sum()) for delta in deltas(models)[task].values())
    left = sum(float((unified[name].abs() * kept[name]).sum()) for name in SHAPES)
    assert load_file(mask_file(built, task))["factor"].item() == pytest.approx(own / left, rel=1e-12)


@pytest.mark.parametrize("task", TASKS)
def test_a_mask_makes_the_model_of_its_task(task: str, built: Sandbox, models: Mapping[str, Tensors]) -> None:
    """base + l m (unified - base) in fp64, rounded once; and the paper's, but for the rounding of the unified model."""
    found = load_file(built.root / f"dist/{task}/model.safetensors")
    unified = load_file(built.root / "dist/unified/model.safetensors")
    factor = load_file(mask_file(built, task))["factor"].item()
    for name, kept in agreeing(models, task).items():
        base = models["base"][name].double()
        assert torch.equal(found[name], (base + (unified[name].double() - base) * kept * factor).float())
        torch.testing.assert_close(found[name].double(), base + factor * kept * paper(models)[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_the_model_of_a_task_is_nearer_to_its_fine_tune_than_the_unified_one(
    task: str, built: Sandbox, models: Mapping[str, Tensors]
) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    unified, found = (load_file(built.root / f"dist/{at}/model.safetensors")[name] for at in ("unified", task))
    wanted = models[task][name]
    assert (found - wanted).norm() < (unified - wanted).norm()


def test_a_mask_takes_an_eighth_of_a_byte_for_each_weight(built: Sandbox, models: Mapping[str, Tensors]) -> None:
    elements = sum(tensor.numel() for tensor in models["base"].values())
    for task in TASKS:
        size = mask_file(built, task).stat().st_size
        assert elements / 8 <= size < 1.01 * elements / 8 + 1000


@pytest.mark.parametrize(
    "arguments", [["--threads", "1"], ["--threads", "4"], ["--memory", "40MiB"], ["--memory", "1GiB"]], ids=" ".join
)
def test_masks_have_the_same_bytes_however_they_are_built(arguments: list[str], built: Sandbox, tmp_path: Path) -> None:
    project = Sandbox(tmp_path / "other", tmp_path / "home")
    shutil.copytree(built.root / "models", project.root / "models")
    sources = {task: f"models/{task}" for task in reversed(TASKS)}
    project.write({"brick.toml": manifest(unified_target(), **sources)})
    done = project.run("build", *arguments)
    assert done.code == 0, done.err
    for file in (built.root / "dist/unified").rglob("*.*"):
        if file.name not in ("brick.build.json", "README.md"):
            assert (project.root / file.relative_to(built.root)).read_bytes() == file.read_bytes(), file


@pytest.fixture
def project(built: Sandbox, tmp_path: Path) -> Sandbox:
    """A copy of what was built."""
    shutil.copytree(built.root, tmp_path / "project")
    return Sandbox(tmp_path / "project", tmp_path / "home")


def refusal(project: Sandbox, text: str) -> str:
    project.write({"brick.toml": text})
    (project.root / "brick.lock").unlink()
    done = project.run("build")
    assert done.code != 0
    return done.err


def of_code(mask: str = "dist/unified/masks/code", unified: str = "dist/unified") -> str:
    return manifest(task_target("code"), unified=unified, code=mask)


def test_a_mask_that_another_merge_wrote_is_refused(project: Sandbox) -> None:
    text = manifest(unified_target("other", "masks = true", 'dtype = "float32"').replace("0.8", "0.7"))
    project.write({"brick.toml": text.replace("[bricks]", "[bricks]\n" + "\n".join(sources()))})
    done = project.run("build")
    assert done.code == 0, done.err
    assert "no mask of `unified`" in refusal(project, of_code("dist/other/masks/code"))


def sources() -> list[str]:
    return [f'{task} = {{ source = "path:models/{task}" }}' for task in TASKS]


def test_a_model_that_was_not_merged_with_masks_is_refused(project: Sandbox) -> None:
    assert "no unified_config.json" in refusal(project, of_code(unified="models/code"))


def test_a_mask_does_not_fit_another_base(project: Sandbox, models: Mapping[str, Tensors]) -> None:
    shutil.rmtree(project.root / "models/base")
    save(project.root / "models/base", {**models["base"], UNTOUCHED: torch.zeros(16)})
    assert "`code` does not fit the base" in refusal(project, of_code())


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"model.norm.weight.mask": torch.zeros(1, 3, dtype=torch.uint8)}, "U8 [1, 3]; the base has [16] there"),
        ({"model.norm.weight.mask": torch.zeros(1, 2, dtype=torch.int8)}, "I8 [1, 2]; the base has [16] there"),
        ({"model.norms.weight.mask": torch.zeros(1, 2, dtype=torch.uint8)}, "a mask of no tensor of the base"),
        ({"model.norm.weight": torch.zeros(1, 2, dtype=torch.uint8)}, "a mask of no tensor of the base"),
        ({"factor": torch.ones(2, dtype=torch.float64)}, "no `factor` of one F64"),
        ({"factor": torch.ones(1)}, "no `factor` of one F64"),
    ],
)
def test_bits_that_cannot_be_those_of_the_base_are_refused(change: Tensors, cause: str, project: Sandbox) -> None:
    file = mask_file(project, "code")
    save_file({**load_file(file), **change}, file)
    assert cause in refusal(project, of_code())


def test_a_format_of_tomorrow_is_refused(project: Sandbox) -> None:
    file = mask_file(project, "code").with_name("mask_config.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": "brickctl-mask-2"}))
    assert "`brickctl-mask-2`; this brickctl reads `brickctl-mask-1`" in refusal(project, of_code())


def test_a_mask_that_was_changed_behind_the_lock_is_not_used(project: Sandbox) -> None:
    file = mask_file(project, "code")
    save_file({**load_file(file), "factor": torch.tensor([2.0], dtype=torch.float64)}, file)
    done = project.run("build", "--locked", "--force", "code")
    assert done.code == 4, done.err
    assert "masks/code" in done.err


def test_what_is_no_number_gives_no_mask(project: Sandbox, models: Mapping[str, Tensors]) -> None:
    shutil.rmtree(project.root / "models/law")
    save(project.root / "models/law", {**models["law"], UNTOUCHED: torch.full((16,), torch.nan)})
    text = manifest(unified_target(), **{task: f"models/{task}" for task in TASKS})
    assert "models/law/model.safetensors holds NaN or infinity" in refusal(project, text)


def test_a_factor_that_is_no_number_gives_no_model(project: Sandbox) -> None:
    file = mask_file(project, "code")
    save_file({**load_file(file), "factor": torch.tensor([torch.inf], dtype=torch.float64)}, file)
    assert "masks/code/model.safetensors holds NaN or infinity" in refusal(project, of_code())


LINEAR = '{ op = "merge", method = "task_arithmetic", bricks = { law = 1.0 } }'
MERGE = '{ op = "merge", method = "emr", masks = true, bricks = { code = 1.0, law = 1.0 } }'
NOTHING = '{ op = "merge", method = "emr", masks = true, bricks = { code = 0.0, law = 0.0 } }'
SLICE = '{ method = "emr", masks = true, bricks = [{ brick = "code" }], layers = [0, 2] }'
STITCH = '{ op = "stitch", slices = [{ brick = "base", layers = [0, 2] }] }'


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (f"{LINEAR}, {MERGE}", "this merge can have no masks"),
        (NOTHING, "no brick changes any tensor"),
        (f"{MERGE}, {LINEAR}", "nothing can change a model after its masks"),
        (f"{MERGE}, {MERGE}", "nothing can change a model after its masks"),
        (f"{MERGE}, {STITCH}", "nothing can change a model after its masks"),
        (f'{{ op = "stitch", slices = [{SLICE}] }}', "a part of a stitch has no masks"),
        ('{ op = "mask", brick = "code", unified = "law" }', "`code` is of kind expert, and no mask"),
        ('{ op = "mask", brick = "base", unified = "law" }', "`brick` may not be the base"),
        ('{ op = "mask", brick = "code" }', "unified"),
    ],
)
def test_masks_where_they_mean_nothing_are_refused(steps: str, message: str, project: Sandbox) -> None:
    text = manifest(f"[targets.t]\napply = [{steps}]\n", code="models/code", law="models/law")
    assert message in refusal(project, text)


def test_a_model_made_of_the_unified_one_does_not_say_that_masks_belong_to_it(project: Sandbox) -> None:
    text = manifest('[targets.half]\ndtype = "bfloat16"\n').replace("path:models/base", "path:dist/unified")
    project.write({"brick.toml": text})
    done = project.run("build")
    assert done.code == 0, done.err
    assert (project.root / "dist/unified/unified_config.json").exists()
    assert not (project.root / "dist/half/unified_config.json").exists()


def test_masks_are_cut_into_shards_as_models_are(project: Sandbox) -> None:
    """Long matrices have masks of 35 and 75 kB: they do not fit into one file of 80 kB together."""
    sources = {task: f"models/{task}" for task in TASKS}
    project.write({"brick.toml": manifest(unified_target(settings='shard-size = "80KB"'), **sources)})
    done = project.run("build")
    assert done.code == 0, done.err
    folder = project.root / "dist/unified/masks/code"
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    assert {path.name for path in folder.glob("*.safetensors")} == set(index.values())
    assert len(set(index.values())) > 1
    whole = (project.root / "dist/code/model.safetensors").read_bytes()
    project.write({"brick.toml": of_code()})
    (project.root / "brick.lock").unlink()
    done = project.run("build", "--force")
    assert done.code == 0, done.err
    assert (project.root / "dist/code/model.safetensors").read_bytes() == whole


def test_a_tied_head_follows_the_embedding(tmp_path: Path, models: Mapping[str, Tensors]) -> None:
    project = Sandbox(tmp_path / "project", tmp_path / "home")
    for name, tensors in models.items():
        stored = {key: tensor for key, tensor in tensors.items() if key != "lm_head.weight"}
        config = save(project.root / f"models/{name}", stored) / "config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), "tie_word_embeddings": True}))
    project.write({"brick.toml": manifest(unified_target(), **{task: f"models/{task}" for task in TASKS})})
    assert project.run("build").code == 0
    assert "lm_head.weight.mask" not in load_file(mask_file(project, "code"))
    project.write({"brick.toml": of_code()})
    done = project.run("build")
    assert done.code == 0, done.err
    found = load_file(project.root / "dist/code/model.safetensors")
    assert "lm_head.weight" not in found
    assert json.loads((project.root / "dist/code/config.json").read_text())["tie_word_embeddings"] is True


def test_an_adapter_has_masks_where_it_changes_something(tmp_path: Path) -> None:
    """A DoRA, whose delta needs whole rows: its bits are the signs that builds in fp64 show."""
    project = Sandbox(tmp_path / "project", tmp_path / "home")
    module, generator = "model.layers.0.self_attn.q_proj", torch.Generator().manual_seed(0)
    shapes = bricks.model_shapes(600)
    base, noise = ({name: torch.randn(shape, generator=generator) for name, shape in shapes.items()} for _ in "12")
    save(project.root / "models/base", base)
    save(project.root / "models/code", {name: tensor + 0.01 * noise[name] for name, tensor in base.items()})
    factors = {"lora_A.weight": (2, 600), "lora_B.weight": (600, 2), "lora_magnitude_vector": (600,)}
    drawn = {key: torch.rand(shape, generator=generator) + 0.1 for key, shape in factors.items()}
    project.write(bricks.adapter(use_dora=True), "models/dora")
    trained = {f"base_model.model.{module}.{key}": tensor for key, tensor in drawn.items()}
    save_file(trained, project.root / "models/dora/adapter_model.safetensors")
    steps = {
        "alone": '{ op = "merge", method = "linear", bricks = { dora = 1.0 } }',
        "unified": '{ op = "merge", method = "emr", masks = true, bricks = { code = 1.0, dora = 1.0 } }',
    }
    targets = [f'[targets.{name}]\ndtype = "float64"\napply = [{step}]\n' for name, step in steps.items()]
    project.write({"brick.toml": manifest("\n".join(targets), code="models/code", dora="models/dora")})
    done = project.run("build")
    assert done.code == 0, done.err
    found, name = load_file(mask_file(project, "dora")), f"{module}.weight"
    assert found.keys() == {"factor", f"{name}.mask"}
    alone, unified = (load_file(project.root / f"dist/{at}/model.safetensors")[name] - base[name] for at in steps)
    bits = np.unpackbits(found[f"{name}.mask"].numpy(), axis=1, bitorder="little")
    assert np.array_equal(bits, (alone * unified > 0).numpy())


def test_a_mask_is_not_merged(project: Sandbox) -> None:
    step = '{ op = "merge", method = "linear", bricks = { code = 1.0 } }'
    text = manifest(f"[targets.t]\napply = [{step}]\n", code="dist/unified/masks/code")
    assert "`code` is a mask, which cannot be merged" in refusal(project, text)

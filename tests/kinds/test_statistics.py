"""Statistics are believed as little as any file: what is off is refused before a byte of weights is read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from brickctl.core.brick import Brick, Contents, Pin
from brickctl.core.digests import prefixed
from brickctl.core.manifest_format import parse_manifest
from brickctl.errors import BrickctlError, ManifestInvalid, Misfit, Unsupported
from brickctl.kinds.statistics import FILE, StatisticsKind
from tests.support.building import build, gather, manifest, prepare
from tests.support.models import edit_config, tiny_model, tuned

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

KIND = StatisticsKind()
HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
QUERY, NORM = "model.layers.0.self_attn.q_proj.weight", "model.norm.weight"


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    base = tiny_model(tmp_path / "base")
    return {"base": base, "code": tuned(base, tmp_path / "code"), "law": tuned(base, tmp_path / "law", seed=2)}


def step(statistic: str = "fisher", **known: str) -> str:
    """TOML of a merge of `code` and `law` with statistics, `code-fisher` and `law-fisher` unless named."""
    named = {name: f"{name}-{statistic}" for name in ("code", "law")} | known
    entries = ", ".join(f'{{ brick = "{name}", statistics = "{other}" }}' for name, other in named.items())
    method = "regmean" if statistic == "gram" else "fisher"
    return f'{{ op = "merge", method = "{method}", bricks = [{entries}] }}'


def text(folders: dict[str, Path], apply: str) -> str:
    return manifest(folders["base"], {name: folders[name] for name in ("code", "law")}, apply)


def refusal(folders: dict[str, Path], apply: str) -> BrickctlError:
    with pytest.raises(BrickctlError) as caught:
        prepare(text(folders, apply), folders["base"].parent)
    return caught.value


def tensors(*places: Path) -> list[dict[str, Tensor]]:
    return [load_file(folder / "model.safetensors") for folder in places]


def spoil(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    (found,) = tensors(folder)
    change(found)
    save_file(found, folder / "model.safetensors")


def test_a_merge_by_fisher_is_the_mean_by_information(folders: dict[str, Path], tmp_path: Path) -> None:
    built = build(text(folders, step()), tmp_path / "out")
    found, first, second = tensors(built, folders["code"], folders["law"])
    known = tensors(tmp_path / "code-fisher", tmp_path / "law-fisher")
    for name, tensor in found.items():
        one, other = (one[name].double() for one in known)
        least = 1e-6 * float((one + other).mean()) / 2
        shares = one.clamp(min=least), other.clamp(min=least)
        expected = (shares[0] * first[name] + shares[1] * second[name]) / (shares[0] + shares[1])
        torch.testing.assert_close(tensor, expected.float(), rtol=1e-6, atol=1e-8)


def test_a_merge_by_regression_is_the_mean_where_there_is_no_gram(folders: dict[str, Path], tmp_path: Path) -> None:
    built = build(text(folders, step("gram")), tmp_path / "out")
    found, first, second = tensors(built, folders["code"], folders["law"])
    torch.testing.assert_close(found[NORM], (first[NORM] + second[NORM]) / 2)
    known = [one[QUERY].double() for one in tensors(tmp_path / "code-gram", tmp_path / "law-gram")]
    grams = [0.9 * one + 0.1 * torch.diag(one.diagonal()) for one in known]
    products = first[QUERY].double() @ grams[0] + second[QUERY].double() @ grams[1]
    expected = torch.linalg.solve(grams[0] + grams[1], products, left=False)
    torch.testing.assert_close(found[QUERY].double(), expected, rtol=1e-5, atol=1e-6)


def test_the_base_takes_part_with_statistics_of_its_own(folders: dict[str, Path], tmp_path: Path) -> None:
    apply = step(base="law-fisher").replace('{ brick = "law", statistics = "law-fisher" }, ', "")
    built = build(text(folders, apply), tmp_path / "out")
    found, base, code = (one[NORM] for one in tensors(built, folders["base"], folders["code"]))
    assert bool(((found - base) * (found - code) <= 0).all()), "each entry lies between those of the two models"


def test_statistics_of_the_base_are_not_those_of_what_steps_have_made_of_it(folders: dict[str, Path]) -> None:
    apply = step(base="law-fisher").replace('{ brick = "law", statistics = "law-fisher" }, ', "")
    wanted, scratch = text(folders, apply), folders["base"].parent
    base = gather(parse_manifest(wanted), scratch)[0].base_brick
    edit_config(scratch / "law-fisher", FILE, of=prefixed(base.digest))
    prepare(wanted, scratch)
    before = '{ op = "merge", method = "task_arithmetic", bricks = { law = 0.5 } }'
    assert refusal(folders, f"{before}, {apply}").message == (
        "`law-fisher` holds no statistics of the model as it is by now"
    )


def test_a_tied_head_goes_by_the_information_of_its_embedding(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", tie_word_embeddings=True)
    folders = {"base": base, "code": tuned(base, tmp_path / "code"), "law": tuned(base, tmp_path / "law", seed=2)}
    built = build(text(folders, step()), tmp_path / "out")
    assert "lm_head.weight" not in tensors(built)[0]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("format", "brickctl-statistics-2", "this brickctl reads `brickctl-statistics-1`"),
        ("statistic", "hessian", "there is no statistic `hessian`"),
        ("statistic", ["fisher"], "there is no statistic"),
        ("model", "sha256:" + "0" * 64, "a base whose tensors have other names or shapes"),
        ("of", 7, "no digest"),
        ("of", "sha256:" + "0" * 64, "`code` has other files"),
        ("statistic", "gram", "where gram needs F32"),
    ],
)
def test_a_document_that_says_something_else_is_refused(
    key: str, value: Any, said: str, folders: dict[str, Path]
) -> None:
    text(folders, step())
    edit_config(folders["code"].with_name("code-fisher"), FILE, **{key: value})
    found = refusal(folders, step())
    assert isinstance(found, Misfit)
    assert said in "\n".join(found.causes)
    assert "code-fisher" in found.message


def test_a_document_that_does_not_say_of_what_it_is_is_refused(folders: dict[str, Path]) -> None:
    text(folders, step())
    place = folders["code"].with_name("code-fisher") / FILE
    document = json.loads(place.read_text())
    del document["of"]
    place.write_text(json.dumps(document))
    assert refusal(folders, step()).causes == (f"`of` in {FILE} is missing",)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.update({QUERY: torch.ones(3, 3)}), "is F32 [3, 3], where fisher needs F32 [32, 32]"),
        (lambda tensors: tensors.update({QUERY: tensors[QUERY].half()}), "is F16 [32, 32]"),
        (lambda tensors: tensors.update({"other.weight": torch.ones(2)}), "`other.weight` is no tensor of the base"),
    ],
)
def test_tensors_that_are_no_statistics_of_the_base_are_refused(
    change: Callable[[dict[str, Tensor]], object], said: str, folders: dict[str, Path]
) -> None:
    text(folders, step())
    spoil(folders["code"].with_name("code-fisher"), change)
    found = refusal(folders, step())
    assert isinstance(found, Misfit)
    assert said in "\n".join(found.causes)


def test_a_gram_matrix_of_no_matrix_is_refused(folders: dict[str, Path]) -> None:
    text(folders, step("gram"))
    spoil(folders["code"].with_name("code-gram"), lambda tensors: tensors.update({NORM: torch.ones(32, 32)}))
    assert "is no matrix in the base" in "\n".join(refusal(folders, step("gram")).causes)


def test_a_tensor_that_only_some_statistics_know_is_refused(folders: dict[str, Path]) -> None:
    text(folders, step())
    spoil(folders["code"].with_name("code-fisher"), lambda tensors: tensors.pop(NORM))
    found = refusal(folders, step())
    assert isinstance(found, ManifestInvalid)
    assert found.message == f"`code-fisher` says nothing of `{NORM}`, and `law-fisher` does"
    assert found.hint == "derive both statistics in the same way"


def test_a_head_that_one_model_ties_and_another_does_not_is_merged_as_the_hint_says(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", tie_word_embeddings=True)
    folders = {"base": base, "code": tuned(base, tmp_path / "code"), "law": tuned(base, tmp_path / "law", seed=2)}
    edit_config(folders["law"], "config.json", tie_word_embeddings=False)
    spoil(folders["law"], lambda tensors: tensors.update({HEAD: tensors[EMBEDDING] + 1}))
    text(folders, step("gram"))
    for name in ("code", "law"):
        spoil(tmp_path / f"{name}-gram", lambda tensors: tensors.pop(EMBEDDING))
    spoil(tmp_path / "law-gram", lambda tensors: tensors.update({HEAD: tensors[QUERY].clone()}))

    found = refusal(folders, step("gram"))
    assert found.message == f"`code-gram` says nothing of `{HEAD}`, and `law-gram` does"
    assert found.causes[0].startswith(f"`code` ties it to `{EMBEDDING}`")

    weight = (found.hint or "").rpartition(": ")[2]
    assert weight.startswith("weight = [")
    followed = step("gram").replace('brick = "code"', f'brick = "code", {weight}')
    merged, law = tensors(build(text(folders, followed), tmp_path / "out"), folders["law"])
    torch.testing.assert_close(merged[HEAD], law[HEAD])
    assert not torch.equal(merged[QUERY], law[QUERY])


@pytest.mark.parametrize("floor", ["1e-310", "0.0", "1e101"])
def test_a_floor_that_no_product_could_hold_is_refused(floor: str, folders: dict[str, Path]) -> None:
    found = refusal(folders, step().replace('"fisher",', f'"fisher", floor = {floor},', 1))
    assert isinstance(found, ManifestInvalid)
    assert "1e-100" in str(found)


def test_the_statistic_of_another_method_is_refused(folders: dict[str, Path]) -> None:
    text(folders, step("gram"))
    found = refusal(folders, step(code="code-gram", law="law-gram"))
    assert found.message == "`code-gram` holds the statistic `gram`, and the merge needs `fisher`"


def test_a_brick_that_holds_no_statistics_is_refused(folders: dict[str, Path]) -> None:
    found = refusal(folders, step(code="law"))
    assert found.message == "`law` holds no statistics"
    assert 'from = "code"' in (found.hint or "")


def test_statistics_are_neither_merged_nor_a_model(folders: dict[str, Path]) -> None:
    text(folders, step())
    merge = '{ op = "merge", method = "linear", bricks = { "code-fisher" = 1.0 } }, ' + step()
    found = refusal(folders, merge)
    assert isinstance(found, Unsupported)
    assert "cannot be merged" in found.message


@pytest.mark.parametrize(
    ("apply", "said"),
    [
        ('{ op = "merge", method = "fisher", bricks = { code = 1.0, law = 1.0 } }', "needs statistics of every brick"),
        ('{ op = "merge", method = "fisher", bricks = [{ brick = "code" }] }', "needs statistics of every brick"),
        ('{ op = "merge", method = "fisher", bricks = ["code"] }', "needs statistics of every brick"),
        (
            '{ op = "merge", method = "linear", bricks = [{ brick = "code", statistics = "law" }] }',
            "`linear` takes no statistics",
        ),
        ('{ op = "merge", method = "fisher", bricks = [{ brick = "code", statistics = "A" }] }', "no name of a brick"),
        ('{ op = "merge", method = "fisher", bricks = [{ brick = "code", statistics = "x" }] }', "no brick here"),
        (
            '{ op = "stitch", slices = [{ method = "fisher", layers = [0, 1], bricks = ["code", "law"] }] }',
            "cannot merge slices",
        ),
    ],
)
def test_what_a_step_says_of_statistics_is_held_against_its_method(
    apply: str, said: str, folders: dict[str, Path]
) -> None:
    found = refusal(folders, apply)
    assert isinstance(found, ManifestInvalid)
    assert said in found.message


def test_statistics_without_tensors_are_refused_and_facts_of_any_document_are_told(folders: dict[str, Path]) -> None:
    text(folders, step())
    document = json.loads((folders["code"].with_name("code-fisher") / FILE).read_text())
    pin = Pin(source="path:x", files=())
    brick = Brick(name="x", kind="statistics", pin=pin, contents=Contents(documents={FILE: document}, tensors={}))
    base = prepare(text(folders, step()), folders["base"].parent).artifact.root
    with pytest.raises(Misfit) as caught:
        KIND.check(brick, base)
    assert caught.value.causes == ("it has no tensor at all",)
    strange = Contents(documents={FILE: {"statistic": {"a": 1}}}, tensors={})
    assert KIND.facts(strange) == {"tensors": 0, "statistic": "{'a': 1}", "examples": "None", "tokens": "None"}

"""Exports of targets: built first, written once, never over what is not ours, refused by name."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from brickctl.errors import Unsupported, UsageFault
from brickctl.exports.export_format import Options
from brickctl.tensors.executor import Budget
from brickctl.workflows.build import read_recipes
from brickctl.workflows.exporting.export_target import Exported, Wish, export
from brickctl.workflows.exporting.record import FILE
from brickctl.workflows.lock import LockMode, current_lock
from tests.support.exporting import ROWS, byte_tokenizer, most_likely, speaking_model
from tests.support.llama_cpp import LlamaCpp
from tests.support.models import adapter, edit_config, load_with_adapter
from tests.support.projects import build_targets, opened, rewrite, starter_project, states

MANIFEST = """\
[project]
name = "tiny"

[base]
source = "path:base"

[bricks]
scaled = { source = "path:scaled" }
dora = { source = "path:dora" }

[targets.plain]
apply = [{ op = "stack", bricks = ["scaled"] }]

[targets.mixed]
apply = [{ op = "stack", bricks = ["scaled", "dora"] }]
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The starter project with two targets built; copied for each test."""
    with pytest.MonkeyPatch.context() as patch:
        project = starter_project(tmp_path_factory.mktemp("built"), patch)
        build_targets(opened(project), ("assistant", "bundle"), LockMode.REFRESH, Budget(threads=1))
    return project


@pytest.fixture
def starter(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BRICKCTL_CACHE", str(tmp_path / "cache"))
    return Path(shutil.copytree(built, tmp_path / "project"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that speaks, an rsLoRA with another rank and alpha for some modules, and a DoRA."""
    root = tmp_path_factory.mktemp("made") / "project"
    base = speaking_model(root / "base")
    patterns = {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"1.mlp.up_proj": 16}}
    adapter(base, root / "scaled", use_rslora=True, **patterns)
    adapter(base, root / "dora", use_dora=True, target_modules=["q_proj", "v_proj"])
    (root / "brick.toml").write_text(MANIFEST)
    return root


@pytest.fixture
def tiny(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BRICKCTL_CACHE", str(tmp_path / "cache"))
    return made


def exported(project: Path, target: str, form: str = "gguf", place: Path | None = None, **options: Any) -> Exported:
    session = opened(project)
    (recipe,) = read_recipes(session, (target,))
    wish = Wish(form=form, place=place, options=Options(**options))
    return export(session, current_lock(session, LockMode.REFRESH), recipe, wish, Budget(threads=1))


def test_a_merged_target_answers_in_llama_cpp_as_its_bricks_taught_it(starter: Path) -> None:
    result = exported(starter, "assistant")

    model = LlamaCpp(result.folder / "assistant.gguf")
    assert (model.answer("upper:fox="), model.answer("next:fox=")) == ("FOX", "gpy")


def test_stacked_adapters_become_files_that_llama_cpp_puts_on_the_model(starter: Path) -> None:
    result = exported(starter, "bundle")

    files = [file.path for file in result.record.files]
    assert files == ["bundle.gguf", "next.gguf", "odd.gguf", "reverse.gguf", "upper.gguf"]
    assert result.record.written.commands[1] == "llama-cli -m bundle.gguf --lora next.gguf"
    model = LlamaCpp(result.folder / "bundle.gguf", adapter=result.folder / "reverse.gguf")
    assert model.answer("reverse:fox=") == "xof"


def test_a_scale_that_llama_cpp_has_no_key_for_is_in_the_factors(tiny: Path, tmp_path: Path) -> None:
    place = exported(tiny, "plain", place=tmp_path / "out").folder

    model, tokenizer = load_with_adapter(tiny / "base", tiny / "scaled"), byte_tokenizer("gpt-2")
    prompts = [[step * number % ROWS for number in range(3, 40)] for step in (7, 11, 13, 17, 19)]
    said = [(prompt, most_likely(model, prompt)) for prompt in prompts]
    prompt, ours = next((prompt, ours) for prompt, ours in said if tokenizer.decode([next(iter(ours))]).isascii())
    theirs = LlamaCpp(place / "plain.gguf", adapter=place / "scaled.gguf").most_likely(prompt)

    assert theirs == pytest.approx(ours, abs=2e-3)


def test_a_dora_is_refused_by_name_and_a_rank_makes_it_a_lora_that_says_what_it_misses(
    tiny: Path, tmp_path: Path
) -> None:
    with pytest.raises(Unsupported, match="`dora` is a DoRA, and gguf knows plain LoRA only") as refused:
        exported(tiny, "mixed", place=tmp_path / "out")
    assert refused.value.hint is not None
    assert refused.value.hint.startswith("`--rank 16`")
    assert not (tmp_path / "out").exists()
    assert not (tiny / "dist" / "mixed").exists(), "it is refused before anything is built"

    result = exported(tiny, "mixed", place=tmp_path / "out", rank=32)

    (note,) = result.record.written.notes
    assert note.startswith("`dora`: its LoRA misses 0.00% of its change")


def test_an_export_that_is_up_to_date_is_left_alone(starter: Path) -> None:
    first = exported(starter, "assistant")
    before = states(first.folder)

    second = exported(starter, "assistant")

    assert (first.fresh, second.fresh) == (True, False)
    assert states(first.folder) == before
    assert second.record == first.record


def test_another_artifact_or_another_option_makes_another_export(starter: Path) -> None:
    first = exported(starter, "assistant")
    half = exported(starter, "assistant", quantize="q8_0")
    rewrite(starter, "next = 0.9", "next = 0.8")
    other = exported(starter, "assistant")

    assert half.fresh
    assert other.fresh
    assert len({first.digest, half.digest, other.digest}) == 3
    assert json.loads((other.folder / FILE).read_text())["artifact"] == f"sha256:{other.artifact.digest}"


def test_a_signature_goes_along_with_the_whole_and_with_nothing_less(starter: Path) -> None:
    unsigned = exported(starter, "assistant", "oci")
    (starter / "dist/assistant/model.sig").write_text("a signature")
    signed = exported(starter, "assistant", "oci")
    part = exported(starter, "assistant", "vllm")

    assert (signed.fresh, exported(starter, "assistant", "oci").fresh) == (True, False)
    assert len(signed.record.files) == len(unsigned.record.files) + 1
    assert not (part.folder / "model/model.sig").exists()


def test_the_same_artifact_gives_the_same_bytes(starter: Path, tmp_path: Path) -> None:
    one = exported(starter, "bundle")
    other = exported(starter, "bundle", place=tmp_path / "elsewhere")

    assert [path.name for path in sorted(one.folder.iterdir())] == [
        path.name for path in sorted(other.folder.iterdir())
    ]
    for path in one.folder.iterdir():
        assert path.read_bytes() == (other.folder / path.name).read_bytes()


def test_a_file_of_an_export_that_was_changed_is_written_anew(starter: Path) -> None:
    first = exported(starter, "assistant")
    (first.folder / "assistant.gguf").write_bytes(b"something else")

    second = exported(starter, "assistant")

    assert second.fresh
    assert second.digest == first.digest


@pytest.mark.parametrize("what", ["a folder of somebody's", "a file of somebody's", "one more file", "a file"])
def test_what_is_not_ours_is_never_replaced(what: str, starter: Path, tmp_path: Path) -> None:
    place = tmp_path / "out"
    if what == "a file":
        place.write_text("mine")
    elif what == "one more file":
        exported(starter, "assistant", place=place)
        (place / "mine").write_text("mine")
    else:
        place.mkdir()
        (place / ("mine" if what == "a file of somebody's" else FILE)).mkdir()
    before = sorted(tmp_path.rglob("*"))

    with pytest.raises(UsageFault):
        exported(starter, "assistant", place=place, quantize="f16")

    assert [path for path in sorted(tmp_path.rglob("*")) if path.is_relative_to(place)] == [
        path for path in before if path.is_relative_to(place)
    ]


def test_masks_and_routers_are_refused_by_name(starter: Path) -> None:
    routed = '[targets.bundle]\napply = [{ op = "route", method = "arrow", bricks = ["upper", "next"] }]\n[targets.b]'
    rewrite(starter, "[targets.bundle]", routed)
    rewrite(starter, 'target = "bundle"', 'target = "b"')

    with pytest.raises(
        Unsupported, match="`bundle` has routed adapters, among which a router chooses, and gguf has no"
    ):
        exported(starter, "bundle")


def test_a_file_that_no_build_made_is_not_handed_on(starter: Path) -> None:
    (starter / "dist/assistant/.env").write_text("PASSWORD=1")

    for form in ("oci", "gguf"):
        with pytest.raises(UsageFault, match="dist/assistant will not be exported") as refused:
            exported(starter, "assistant", form)
        assert refused.value.causes == (".env is not from brickctl, and would go along",)


@pytest.mark.parametrize("place", ["dist/assistant", "dist/assistant/llama", "dist/bundle/llama", "dist"])
def test_an_export_does_not_lie_where_the_target_is_built(place: str, starter: Path) -> None:
    with pytest.raises(UsageFault, match="is no place for an export"):
        exported(starter, "assistant", place=starter / place)


def test_a_link_is_called_one_wherever_it_leads(starter: Path) -> None:
    (starter / "dist/link").symlink_to(starter)

    with pytest.raises(UsageFault, match="dist/link will not be used"):
        exported(starter, "assistant", place=starter / "dist/link")


def test_an_export_that_fails_leaves_nothing_and_what_was_there_is_kept(
    starter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = exported(starter, "assistant")
    before, beside = states(first.folder), sorted((starter / "dist").iterdir())

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("brickctl.workflows.exporting.export_target._recorded", stopped)
    with pytest.raises(KeyboardInterrupt):
        exported(starter, "assistant", quantize="f16")

    assert states(first.folder) == before
    assert [path for path in sorted((starter / "dist").iterdir()) if path.suffix != ".lock"] == beside


@pytest.mark.parametrize("what", ["an architecture", "a tokenizer", "no package"])
def test_what_llama_cpp_has_no_words_for_is_refused_before_anything_is_built(
    what: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Path(shutil.copytree(tiny, tmp_path / "project", ignore=shutil.ignore_patterns("dist", "brick.lock")))
    if what == "an architecture":
        edit_config(project / "base", "config.json", architectures=["GPT2LMHeadModel"])
    elif what == "a tokenizer":
        edit_config(project / "base", "tokenizer.json", pre_tokenizer={"type": "Whitespace"})
    else:
        monkeypatch.setitem(sys.modules, "gguf", None)

    for form in ("gguf", "ollama"):
        with pytest.raises(Unsupported):
            exported(project, "plain", form)

    assert not (project / "dist/plain").exists()

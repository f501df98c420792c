"""What of a project is analysed, and what its bricks do to one another."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import peft
import pytest
import torch

from brickctl.analysis.labelled import Prompt
from brickctl.analysis.load import load
from brickctl.analysis.silence import silence
from brickctl.core.digests import sha256_bytes
from brickctl.core.names import Alias
from brickctl.errors import NotFound, Unsupported, UsageFault
from brickctl.tensors.executor import Budget
from brickctl.workflows.analyzing import bricks as analysis_bricks
from brickctl.workflows.analyzing import laboratory as analysis_laboratory
from brickctl.workflows.analyzing.analyze import analyze
from brickctl.workflows.analyzing.desk import Desk, open_desk
from brickctl.workflows.analyzing.laboratory import Laboratory
from brickctl.workflows.analyzing.subject import Place as AnalysedPlace
from brickctl.workflows.analyzing.subject import Subject
from brickctl.workflows.analyzing.wish import Wish, applicable
from brickctl.workflows.lock import LockMode
from tests.support.ffn_models import tiny
from tests.support.projects import Listener, rewrite, starter_project
from tests.support.successors import character_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

BUDGET = Budget(threads=1)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The starter project with the first four prompts of each label."""
    project = starter_project(tmp_path, monkeypatch)
    lines = (project / "prompts.jsonl").read_text().splitlines(keepends=True)
    (project / "prompts.jsonl").write_text("".join(line for at, line in enumerate(lines) if at % 40 < 4))
    return project


def desk(project: Path | None, model: str | None = None, events: Listener | None = None) -> Desk:
    return open_desk(project, model, BUDGET, events or Listener(), mode=LockMode.REFRESH, offline=True)


def bricks(project: Path, model: str | None = None) -> dict[str, object]:
    at = desk(project, model)
    wish = Wish(only=("bricks",))
    return dict(analyze(at.subject(), at.prompts(None), wish, at.pieces, Listener(), at.workplace)["bricks"])


def test_each_brick_of_the_assistant_carries_its_own_skill(project: Path) -> None:
    found = bricks(project)
    labels = found["labels"]
    assert labels == ["upper", "next", "reverse", "odd", "sort", "copy", "text"]
    assert found["bricks"] == ["upper", "next"]
    assert found["base"][0] > 3  # type: ignore[index]
    assert found["all"][0] < 0.1  # type: ignore[index]
    assert [row[0] < 0.1 for row in found["alone"]] == [True, False]  # type: ignore[attr-defined]
    assert found["without"] == found["alone"][::-1]  # type: ignore[index]
    assert [[cell > 1000 for cell in row[:2]] for row in found["coupling"]] == [[True, False], [False, True]]  # type: ignore[attr-defined]
    assert {label: found["fewest"][label] for label in ("upper", "next", "copy")} == {  # type: ignore[index]
        "upper": ["upper"],
        "next": ["next"],
        "copy": [],
    }


def test_models_of_bricks_are_removed_and_measured_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = bricks(project)
    monkeypatch.setattr(analysis_bricks, "mean_losses", lambda *_, **__: pytest.fail("a model is run"))
    assert bricks(project) == first
    assert not [path for path in (project / ".brickctl" / "analyses").iterdir() if path.is_dir()]


def test_another_weight_is_another_model(project: Path) -> None:
    first = bricks(project)
    rewrite(project, "{ upper = 0.9, next = 0.9 }", "{ upper = 0.1, next = 0.9 }")
    second = bricks(project)
    assert second["base"] == pytest.approx(
        first["base"], rel=5e-3, abs=1e-3
    )  # a busy machine may choose another type for it
    assert second["all"] != pytest.approx(first["all"], rel=5e-3, abs=1e-3)


def test_the_bricks_of_a_stack_are_not_measured_and_it_is_told_why(project: Path) -> None:
    events = Listener()
    at = desk(project, "bundle")
    assert "bricks" not in applicable(Wish(), at.subject(), at.prompts(None), events)
    assert "(no brick can be left out of `bundle`: its bricks take part in a step `stack`)" in events.notes[0]


def test_a_stack_is_its_active_adapter(project: Path) -> None:
    active, base = desk(project, "bundle"), desk(project, "base")
    with Laboratory(active.subject(), threads=1) as one, Laboratory(base.subject(), threads=1) as other:
        weights = [each.loaded.model.model.layers[0].mlp.down_proj.weight for each in (one, other)]
        assert isinstance(weights[0], torch.nn.Parameter)
        assert not torch.equal(*weights)


def test_the_folder_of_a_stack_is_its_base_and_that_is_told(project: Path) -> None:
    with desk(project, "bundle").subject().opened() as place:
        events = Listener()
        desk(None, f"{place.folder}/", events).subject()
    assert "has adapters, and is analysed without them" in events.notes[0]


def test_a_stack_whose_active_brick_changes_no_weights_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    tiny("Llama").save_pretrained(folder)
    character_tokenizer().save_pretrained(folder)
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    with silence():
        peft.get_peft_model(tiny("Llama"), config).save_pretrained(folder / "adapters" / "polite")
    subject = Subject(name="x", digest=sha256_bytes(b""), opened=lambda: nullcontext(AnalysedPlace(folder, "polite")))
    with Laboratory(subject, threads=1) as laboratory, pytest.raises(Unsupported) as raised:
        laboratory.describe()
    assert raised.value.causes == ("`polite` is a PROMPT_TUNING brick, which changes no weights",)


def test_prompts_are_made_tokens_once_and_a_long_one_is_no_news(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    at = desk(project, "base")
    prompts = (Prompt("long " * 2000, "text"), Prompt("short", "text"))
    with Laboratory(at.subject(), threads=1) as laboratory:
        laboratory.loaded.tokenizer.model_max_length = 32
        rows = laboratory.rows(prompts)
        assert laboratory.rows(prompts) is rows
        assert laboratory.rows(prompts[1:]) == rows[1:]
    assert "longer than" not in capfd.readouterr().err


def test_the_first_target_is_analysed_where_none_is_named(project: Path) -> None:
    assert desk(project).model == "assistant"
    (project / "brick.toml").write_text((project / "brick.toml").read_text().partition("# One model")[0])
    assert desk(project).model == "base"


def test_a_brick_is_analysed_in_the_base_at_weight_one(project: Path) -> None:
    with Laboratory(desk(project, "sort").subject(), threads=1) as laboratory:
        assert laboratory.describe().neurons == 384
    assert not [path for path in (project / ".brickctl" / "analyses").iterdir() if path.is_dir()]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("asistant", "did you mean `assistant`?"),
        ("zzz", "a folder is written `./zzz`"),
    ],
)
def test_a_name_that_is_nothing_gets_a_hint(project: Path, name: str, hint: str) -> None:
    with pytest.raises(NotFound) as raised:
        desk(project, name).subject()
    assert hint in str(raised.value.hint)


def test_a_name_needs_a_project_and_a_folder_none(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFound, match="there is no project here to find `assistant` in"):
        desk(None, "assistant")
    built = desk(project, "assistant").subject()
    with built.opened() as place:
        alone = desk(None, f"{place.folder}/").subject()
    assert alone.name == "assistant"
    assert alone.recipe is None


@pytest.mark.parametrize("kind", ["link", "file"])
def test_pieces_go_through_no_link(project: Path, tmp_path: Path, kind: str) -> None:
    (project / ".brickctl").mkdir()
    place = project / ".brickctl" / "analyses"
    (tmp_path / "mine").mkdir()
    if kind == "link":
        place.symlink_to(tmp_path / "mine")
    else:
        place.write_text("a list")
    with pytest.raises(UsageFault, match="will not be used"):
        desk(project)
    assert not list((tmp_path / "mine").iterdir())


def test_a_model_runs_again_in_the_type_in_which_it_ran_before(project: Path) -> None:
    subject = desk(project, "base").subject()
    for name in ("float32", "bfloat16"):
        with Laboratory(subject, threads=1, dtype=name) as laboratory:
            assert laboratory.describe().dtype == name


def test_a_change_of_type_leaves_alone_what_a_model_keeps_in_fp32(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speeds = iter([2.0, 1.0])  # tried in fp32 and taken back, as it is slower
    monkeypatch.setattr(analysis_laboratory, "_speed", lambda *_: next(speeds))
    subject = desk(project, "base").subject()
    for dtype in (None, "bfloat16", "float32"):
        with Laboratory(subject, threads=1, dtype=dtype) as laboratory, subject.opened() as place:
            model, stored = laboratory.loaded.model, load(place.folder).model
            assert model.dtype == (torch.float32 if dtype == "float32" else torch.bfloat16)
            assert torch.equal(model.model.rotary_emb.inv_freq, stored.model.rotary_emb.inv_freq)


@pytest.mark.parametrize(("faster", "dtype"), [("wide", "float32"), ("narrow", "bfloat16")])
def test_a_model_runs_in_the_type_that_is_faster_here(
    project: Path, monkeypatch: pytest.MonkeyPatch, faster: str, dtype: str
) -> None:
    def speed(model: torch.nn.Module, _: int) -> float:
        is_wide = next(model.parameters()).dtype == torch.float32
        return 2.0 if is_wide == (faster == "wide") else 1.0

    monkeypatch.setattr(analysis_laboratory, "_speed", speed)
    with Laboratory(desk(project, "base").subject(), threads=1) as laboratory:
        assert laboratory.describe().dtype == dtype


def test_a_large_model_is_not_widened_to_see_how_fast_it_would_be(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analysis_laboratory, "WIDENED", 1_000_000)
    monkeypatch.setattr(analysis_laboratory, "_speed", lambda *_: pytest.fail("it is tried"))
    with Laboratory(desk(project, "base").subject(), threads=1) as laboratory:
        assert laboratory.describe().dtype == "bfloat16"


def test_targets_and_bricks_of_one_name_are_the_target(project: Path) -> None:
    rewrite(project, "[targets.sorter]", "[targets.sort]")
    rewrite(project, 'target = "sorter"', 'target = "sort"')
    found = desk(project, "sort").subject()
    assert found.recipe is not None
    assert found.recipe.name == Alias("sort")

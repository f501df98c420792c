"""The right brick for a task comes first, and it is shown why."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from brickctl.errors import HeaderInvalid, UsageFault
from brickctl.sources.open import builtin_registry
from brickctl.tensors.executor import Budget
from brickctl.workflows.suggesting import candidates as suggest_candidates
from brickctl.workflows.suggesting import embed as suggest_embed
from brickctl.workflows.suggesting import measure as suggest_measure
from brickctl.workflows.suggesting.candidates import Where
from brickctl.workflows.suggesting.suggest import read_task, suggest
from brickctl.workflows.suggesting.suggestion import MOST_EXAMPLES, Suggested, Wish
from tests.support.projects import Listener, rewrite, starter_project, states

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.core.lock import Lock
    from brickctl.workflows.session import Session

SKILLS = ("upper", "next", "reverse", "odd", "sort")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The starter project, with six labelled prompts of each skill."""
    project = starter_project(tmp_path, monkeypatch)
    lines = (project / "prompts.jsonl").read_text().splitlines(keepends=True)
    (project / "prompts.jsonl").write_text("".join(line for at, line in enumerate(lines) if at % 40 < 6))
    return project


@pytest.fixture
def small(project: Path) -> Path:
    """A project with two bricks, so that little is measured."""
    text = (project / "brick.toml").read_text()
    head = text[: text.index("[bricks]")]
    (project / "brick.toml").write_text(f'{head}[bricks]\nupper = "starter/upper@^1"\nshift = "starter/next@^1"\n')
    return project


def held_out(project: Path, skill: str, count: int = 4) -> Path:
    """Examples of a skill that nothing else in the project has."""
    path = project / "examples.jsonl"
    lines = (project / "checks" / f"{skill}.jsonl").read_text().splitlines(keepends=True)
    path.write_text("".join(lines[-count:]))
    return path


def asked(
    project: Path | None, *words: str, examples: Path | None = None, events: Listener | None = None, **wish: object
) -> Suggested:
    where = Where(root=project, offline=True)
    return suggest(
        where,
        read_task(words, examples),
        Wish(**wish),  # type: ignore[arg-type]
        events or Listener(),
        Budget(threads=1),
    )


def names(found: Suggested) -> list[str]:
    return [one.candidate.name for one in found.suggestions]


@pytest.mark.parametrize(
    ("skill", "task"),
    [
        ("upper", "write a word in CAPITAL letters"),
        ("next", "shift each letter to the next one"),
        ("reverse", "reversing words"),
        ("odd", "keep every other letter, from the first"),
        ("sort", "sort letters by the alphabet"),
    ],
)
def test_a_task_in_words_finds_its_brick(project: Path, skill: str, task: str) -> None:
    found = asked(project, *task.split())
    assert names(found)[0] == skill
    assert found.stages == ("text",)
    assert found.suggestions[0].words


@pytest.mark.parametrize("skill", SKILLS)
def test_the_words_that_most_examples_have_find_it_too(project: Path, skill: str) -> None:
    (only,) = asked(project, examples=held_out(project, skill)).suggestions
    assert (only.candidate.name, only.words) == (skill, (skill,))


def test_a_brick_of_the_project_is_not_suggested_again_from_its_registry(small: Path) -> None:
    found = {one.candidate.name: one.candidate for one in asked(small, "letter", "letters").suggestions}
    assert sorted(found) == ["shift", "starter/odd", "starter/sort", "upper"]
    assert (found["shift"].brick, found["shift"].version, found["shift"].registry) == (
        "starter/next",
        "1.0.0",
        "builtin",
    )
    assert found["starter/odd"].alias is None


def test_a_registry_with_more_bricks_than_there_is_room_for_hides_none_of_the_next(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = small / "team"
    (team / "index/acme").mkdir(parents=True)
    (team / "config.json").write_text('{"v":1}')
    line = (builtin_registry() / "index/starter/odd").read_text()
    (team / "index/acme/skip").write_text(line.replace("starter/odd", "acme/skip"))
    rewrite(small, 'name = "starter"', 'name = "starter"\ndefault-registry = ["builtin", "team"]')
    with (small / "brick.toml").open("a") as manifest:
        manifest.write(f'[registries]\nteam = "file://{team}"\n')
    monkeypatch.setattr(suggest_candidates, "_MOST", 1)
    found = {one.candidate.name: one.candidate.registry for one in asked(small, "letters").suggestions}
    assert found["acme/skip"] == "team"


def test_without_a_project_the_builtin_registry_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRICKCTL_CACHE", str(tmp_path))
    assert names(asked(None, "capital", "letters"))[0] == "starter/upper"
    assert "starter/base" not in names(asked(None, "starter"))


def test_a_model_card_beside_a_brick_speaks_for_it(small: Path) -> None:
    shutil.copytree(builtin_registry() / "files/starter/odd/1.0.0", small / "mine")
    (small / "mine" / "README.md").write_text("# Mine\n\nSkips characters.\n")
    with (small / "brick.toml").open("a") as manifest:
        manifest.write('mine = { source = "path:mine" }\n')
    assert names(asked(small, "skip")) == ["mine"]


def test_words_that_nothing_has_find_nothing(project: Path) -> None:
    found = asked(project, "translate", "Latin")
    assert (found.suggestions, found.words) == ((), ("translate", "latin"))


def test_no_more_are_shown_than_asked_for(project: Path) -> None:
    found = asked(project, "letters", limit=2)
    assert (len(found.suggestions), found.more) == (2, True)
    assert not asked(project, "letters", limit=4).more


@pytest.mark.parametrize("skill", ["odd", "sort"])
def test_examples_are_most_like_those_of_their_brick(project: Path, skill: str) -> None:
    found = asked(project, examples=held_out(project, skill), embed=True)
    best, second = found.suggestions[:2]
    assert (best.candidate.name, best.examples) == (skill, 32 if skill == "sort" else 6)
    assert best.similarity is not None
    assert second.similarity is not None
    assert best.similarity > 0.8 > second.similarity
    assert len(found.suggestions) == len(SKILLS)


def test_a_brick_of_which_no_examples_are_known_is_neither_like_nor_unlike(project: Path) -> None:
    lines = (project / "prompts.jsonl").read_text().splitlines(keepends=True)
    (project / "prompts.jsonl").write_text("".join(line for line in lines if '"odd"' not in line))
    examples = held_out(project, "next")
    first, second = (asked(project, examples=examples, embed=True) for _ in range(2))
    assert first == second
    near = {one.candidate.name: one.similarity for one in first.suggestions}
    assert (near["odd"], [one.examples for one in first.suggestions if one.candidate.name == "odd"]) == (None, [0])
    ordered = [0.0 if value is None else value for value in near.values()]
    assert ordered == sorted(ordered, reverse=True)
    assert ordered[0] > 0 > ordered[-1]
    assert names(first)[0] == "next"


def test_where_no_brick_has_examples_words_decide(small: Path) -> None:
    (small / "prompts.jsonl").unlink()
    events = Listener()
    found = asked(small, examples=held_out(small, "odd"), embed=True, events=events)
    assert names(found)[0] == "starter/odd"
    assert events.notes == ["no brick of the project has examples that could be compared with the task"]


def test_one_brick_with_examples_is_like_nothing_and_no_model_is_run(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suggest_embed, "similarity_to", lambda *_: pytest.fail("a model is run"))
    events = Listener()
    found = asked(small, examples=held_out(small, "odd"), embed=True, events=events)
    assert events.notes == ["there is only `upper` to compare, and nothing to tell it from"]
    assert names(found) == ["starter/odd", "shift", "upper"]  # none of the registry of which nothing is known


def test_the_brick_of_a_skill_has_the_lowest_loss_of_it(small: Path) -> None:
    before = states(small)
    found = asked(small, examples=held_out(small, "next"), measure=True, limit=1)
    (best,) = found.suggestions
    assert best.candidate.name == "shift"
    assert found.base_loss is not None
    assert best.loss is not None
    assert best.loss < 0.1
    assert found.base_loss > 3
    kept = {name: state for name, state in states(small).items() if not name.startswith((".brickctl", "examples"))}
    assert kept == before


def test_a_brick_of_a_registry_is_measured_like_one_of_the_project(small: Path) -> None:
    found = asked(small, examples=held_out(small, "odd"), measure=True, limit=1)
    (best,) = found.suggestions
    assert (best.candidate.name, best.words) == ("starter/odd", ("odd",))
    assert best.loss is not None
    assert best.loss < 0.1


def test_who_gives_examples_that_are_too_long_is_told_that_they_count_for_nothing(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suggest_measure.Measuring, "_if_possible", lambda *_: None)
    events, examples = Listener(), held_out(small, "odd", count=2)
    short = asked(small, examples=examples, measure=True)
    with examples.open("a") as more:
        more.write(json.dumps({"prompt": "odd:" + "a" * 300, "completion": "b"}) + "\n")
    long = asked(small, examples=examples, measure=True, events=events)
    assert long.base_loss == pytest.approx(short.base_loss, abs=1e-4)
    (warning,) = events.warnings
    assert warning.startswith("1 of 3 examples count for nothing: no token of their completion is read")


def test_of_registries_no_more_bricks_are_measured_than_are_shown(small: Path) -> None:
    events = Listener()
    asked(small, examples=held_out(small, "odd"), measure=True, limit=1, events=events)
    assert [label for label, _ in events.work if label.startswith("loss")] == [
        "loss with base",
        "loss with odd",
        "loss with shift",
        "loss with upper",
    ]


def test_losses_are_measured_once_and_models_are_removed(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = held_out(small, "upper")
    first = asked(small, examples=examples, measure=True, limit=1)
    monkeypatch.setattr(suggest_measure, "mean_losses", lambda *_, **__: pytest.fail("a model is run"))
    assert asked(small, examples=examples, measure=True, limit=1) == first
    assert not [path for path in (small / ".brickctl" / "analyses").iterdir() if path.is_dir()]


def test_who_is_interrupted_leaves_no_model_and_loses_no_loss(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples, measured = held_out(small, "upper"), suggest_measure.mean_losses

    def once(*arguments: object, **others: object) -> object:
        monkeypatch.setattr(suggest_measure, "mean_losses", _interrupt)
        return measured(*arguments, **others)  # type: ignore[arg-type]

    monkeypatch.setattr(suggest_measure, "mean_losses", once)
    with pytest.raises(KeyboardInterrupt):
        asked(small, examples=examples, measure=True, limit=1)
    assert not [path for path in (small / ".brickctl" / "analyses").iterdir() if path.is_dir()]
    monkeypatch.setattr(suggest_measure, "mean_losses", measured)
    events = Listener()
    asked(small, examples=examples, measure=True, limit=1, events=events)
    assert "loss with base" not in [label for label, _ in events.work]


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_brick_that_cannot_be_measured_is_told_of_and_comes_last(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suggest_measure, "resolve", _refuse)
    events = Listener()
    found = asked(small, examples=held_out(small, "odd"), measure=True, limit=5, events=events)
    assert names(found)[2:] == ["starter/odd", "starter/reverse", "starter/sort"]
    assert [one.loss for one in found.suggestions[2:]] == [None] * 3
    assert events.warnings[0] == "`starter/odd` is not measured: its file holds no tensor"


def test_a_brick_that_would_change_the_base_is_not_measured(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = suggest_measure.resolve

    def elsewhere(session: Session, lock: Lock) -> Lock:
        found = resolved(session, lock)
        return replace(found, base=replace(found.base, pin=replace(found.base.pin, files=found.base.pin.files[1:])))

    monkeypatch.setattr(suggest_measure, "resolve", elsewhere)
    events = Listener()
    found = asked(small, examples=held_out(small, "odd"), measure=True, limit=1, events=events)
    assert "starter/odd" not in names(found)
    assert events.warnings == [
        "`starter/odd` is not measured: it needs another version of the base than the project has"
    ]


def _refuse(*_: object) -> None:
    raise HeaderInvalid("its file holds no tensor")


def test_no_more_words_are_asked_for_than_a_search_takes() -> None:
    task = read_task([f"word{number}" for number in range(100)], None)
    assert task.words == tuple(f"word{number}" for number in range(64))


def test_models_read_no_more_of_a_long_file_than_some_of_every_part(project: Path) -> None:
    lines = [json.dumps({"text": f"line {at}"}) for at in range(2 * MOST_EXAMPLES)]
    path = project / "long.jsonl"
    path.write_text("\n".join(lines))
    task = read_task((), path)
    assert task.texts == tuple(f"line {at}" for at in range(0, 2 * MOST_EXAMPLES, 2))


def test_texts_are_compared_by_an_embedder_of_ones_own(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lengths:
        def __init__(self, folder: Path) -> None:
            assert folder == project / "embedder"

        def vectors(self, texts: list[str], watch: object) -> object:
            import torch

            del watch
            return torch.tensor([[float(len(text)), 1.0] for text in texts])

    monkeypatch.setattr(suggest_embed, "Sentences", Lengths)
    found = asked(project, "a text that is longer than any other " * 9, embedder=project / "embedder")
    assert found.stages == ("text", "embedding")
    assert found.suggestions[0].similarity == 1.0


def test_what_cannot_be_is_refused(project: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match="there is no task"):
        read_task((" ",), None)
    with pytest.raises(UsageFault, match="losses are those of examples"):
        asked(project, "letters", measure=True)
    with pytest.raises(UsageFault, match="compares examples, and no words"):
        asked(project, "letters", embed=True)
    with pytest.raises(UsageFault, match="on the base of a project"):
        asked(None, "letters", embed=True)
    (tmp_path / "long.jsonl").write_text(json.dumps({"prompt": "a" * 300, "completion": "b"}))
    with pytest.raises(UsageFault, match="no loss on the base"):
        asked(project, examples=tmp_path / "long.jsonl", measure=True)

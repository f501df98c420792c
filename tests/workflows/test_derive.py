"""Bricks that are made from models are made once, locked, and then used like any other."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from brickctl.core.lock import same_entry
from brickctl.core.lock_format import decode, encode
from brickctl.core.names import Alias
from brickctl.errors import IntegrityFault, LockStale, ManifestInvalid, NotFound, UsageFault
from brickctl.workflows import lock as locking
from brickctl.workflows.derive import derive
from brickctl.workflows.lock import LockMode
from brickctl.workflows.verify import verify_project
from brickctl.workflows.why import why
from tests.support.loud_projects import append, built, loud_project, made, opened_lock, work
from tests.support.projects import Listener, opened


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return loud_project(tmp_path, monkeypatch)


def test_a_brick_is_made_locked_and_merged(project: Path) -> None:
    loud = made(project)["loud"]

    assert (loud.fresh, loud.entry.kind, loud.entry.pin.source) == (True, "module", "derived:loud")
    assert loud.findings.rows == ({"tensor": "model.norm.weight", "lines": 2},)
    assert loud.findings.notes == ("read model.safetensors",)
    lock = opened(project).read_lock()
    assert lock is not None
    assert same_entry(lock.derived[Alias("loud")], loud.entry)
    assert decode(encode(lock)) == lock
    assert set(lock.inputs) == {"data/lines.txt"}
    norm = built(project)["model.norm.weight"].float()
    made_norm = load_file(loud.folder / "model.safetensors")["model.norm.weight"] if loud.folder else None
    assert made_norm is not None
    assert (norm - made_norm).abs().max() < 0.01 * made_norm.abs().max()


def test_nobody_who_derives_is_told_to_derive(project: Path) -> None:
    events = Listener()
    made(project, events=events)
    assert events.notes == []


def test_bricks_are_made_after_those_that_they_are_made_of(project: Path) -> None:
    append(
        project,
        '[derived.again]\nop = "scale"\nfrom = "loud"\nlines = "data/lines.txt"\n'
        '[derived.target]\nop = "scale"\nfrom = { target = "louder" }\nlines = "data/lines.txt"\n',
    )
    session = opened(project)

    everything = list(derive(session, ["target", "again"], work()))

    assert [one.entry.alias for one in everything] == ["loud", "again", "target"]
    folders = [one.folder for one in everything if one.folder is not None]
    norms = [load_file(folder / "model.safetensors")["model.norm.weight"] for folder in folders]
    assert (norms[1] / norms[0]).mean() == pytest.approx(2.0, rel=0.01)
    (project / "data/lines.txt").write_text("one\n")
    with pytest.raises(LockStale, match="does not say what") as stale:
        opened_lock(project, LockMode.LOCKED)
    assert "data/lines.txt" in stale.value.causes[0]


def test_bricks_of_one_another_are_refused(project: Path) -> None:
    append(project, '[derived.again]\nop = "scale"\nfrom = "loud"\nlines = "data/lines.txt"\nbrick = "third"\n')
    append(project, '[derived.third]\nop = "scale"\nfrom = "again"\nlines = "data/lines.txt"\n')
    with pytest.raises(ManifestInvalid, match="derived bricks are made of one another") as circle:
        made(project)
    assert circle.value.causes == ("again -> third -> again",)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('op = "scal"', "there is no derivation `scal`"),
        ('op = "scale"\nlines = "data/lines.txt"\nfrom = "lou"', "`odd2` is made from `lou`, which is no brick here"),
        ('op = "scale"\nlines = "x"\nfrom = { target = "lou" }', "`odd2` is made from `lou`, which is no target here"),
        ('op = "scale"\nlines = "x"\nbrick = "lou"', "`odd2` uses `lou`, which is no brick here"),
        ('op = "scale"\nlines = "x"\nlinse = "x"', "unknown key `linse` in \\[derived.odd2\\]"),
        ('lines = "x"', "`op` in \\[derived.odd2\\] is missing"),
    ],
)
def test_what_cannot_be_derived_is_refused_by_name(project: Path, entry: str, message: str) -> None:
    append(project, f"[derived.odd2]\n{entry}\n")
    with pytest.raises(ManifestInvalid, match=message):
        locking.refresh(opened(project))


def test_a_name_belongs_to_one_brick(project: Path) -> None:
    append(project, '[derived.upper]\nop = "scale"\nlines = "data/lines.txt"\n')
    with pytest.raises(ManifestInvalid, match="`upper` is a brick of \\[bricks\\] and of \\[derived\\]"):
        opened(project)


def test_a_name_that_is_not_derived_gets_a_hint(project: Path) -> None:
    with pytest.raises(NotFound, match="`lod` is no derived brick") as absent:
        made(project, "lod")
    assert absent.value.hint == "did you mean `loud`?"
    with pytest.raises(UsageFault, match="`loud` is derived, and not fetched"):
        locking.update(opened(project), ["loud"])


def test_the_record_says_what_the_brick_was_made_of(project: Path) -> None:
    loud = made(project)["loud"]
    assert loud.folder is not None
    record = json.loads((loud.folder / "derivation.json").read_text())
    assert record["recipe"] == f"sha256:{loud.entry.recipe}"
    assert record["parameters"] == {"factor": 1.0, "lines": "data/lines.txt"}
    assert list(record["bricks"]) == ["base"]


def test_what_is_made_of_a_brick_has_its_licence(project: Path) -> None:
    append(project, '[derived.mine]\nop = "scale"\nfrom = "upper"\nlines = "data/lines.txt"\n')
    assert made(project, "mine")["mine"].entry.license == "Apache-2.0"


def test_hints_about_derived_bricks_say_to_derive(project: Path) -> None:
    locking.refresh(opened(project))
    with pytest.raises(NotFound, match="`loud` was never made") as never:
        why(opened(project), "loud")
    assert never.value.hint == "run `brickctl derive loud`"

    loud = made(project)["loud"]
    path = project / "brick.lock"
    text = path.read_text()
    path.write_text(text.replace(f'interface = "sha256:{loud.entry.interface}"', f'interface = "sha256:{"0" * 64}"'))
    with pytest.raises(IntegrityFault, match="`loud` is not what was locked") as edited:
        built(project)
    assert edited.value.hint == "if the lock was edited by hand, run `brickctl derive --force loud`"

    path.write_text(text)
    assert loud.folder is not None
    shutil.rmtree(loud.folder)
    with pytest.raises(NotFound, match="`loud` is not installed") as gone:
        verify_project(opened(project), name="loud")
    assert gone.value.hint == "run `brickctl derive loud`"

"""Where everything comes from, and how it can be checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.sizes import format_size
from brickctl.pages.figure import Numbers
from brickctl.pages.numerals import UNKNOWN, listed, several
from brickctl.pages.target.contents import BUILT, NOT_BUILT
from brickctl.pages.target.parts import Part

if TYPE_CHECKING:
    from brickctl.pages.target.contents import Brick, Report

_LEAD = (
    "The lock pins every file of every brick by its sha256. A signature is named where there is one, and not verified"
    " by this page: `brickctl verify` does that."
)


def provenance(report: Report) -> Part:
    """The artifact, the lock, and each brick with its commit and digest."""
    everyone = (report.base, *report.bricks)
    rows = tuple((brick.name, brick.source, brick.revision, "yes" if brick.signed else "no") for brick in everyone)
    digests = tuple((brick.name, brick.commit or UNKNOWN, brick.digest or UNKNOWN) for brick in everyone)
    return Part(
        name="provenance",
        title="Provenance",
        lead=_LEAD,
        says=_says(report),
        warnings=tuple(f"{brick.name}: {words}" for brick in everyone for words in brick.advisories),
        facts=(("Artifact", _artifact(report)), ("Lock", _lock(report))),
        tables=(
            Numbers(
                caption="Bricks",
                columns=("brick", "source", "locked", "signed"),
                rows=rows,
                words=("source", "locked", "signed"),
            ),
        ),
        more=(
            Numbers(
                caption="Commits and digests",
                columns=("brick", "commit", "tree digest"),
                rows=digests,
                words=("commit", "tree digest"),
            ),
        ),
    )


def _says(report: Report) -> str:
    bad: list[Brick] = [brick for brick in (report.base, *report.bricks) if brick.advisories]
    asked = f" {listed(report.unasked)} could not be asked without a network." if report.unasked else ""
    if bad:
        return f"Registries warn of {several(len(bad), 'brick')}; see below.{asked}"
    return f"No registry that was asked warns of any of these bricks.{asked}"


def _artifact(report: Report) -> tuple[tuple[str, str], ...]:
    artifact = report.artifact
    state = {BUILT: "built of this lock", NOT_BUILT: "not built yet"}.get(
        artifact.state, "built of another lock or recipe"
    )
    facts = [("Folder", artifact.folder), ("State", state)]
    if artifact.digest is not None:
        facts += [("Files", f"{len(artifact.files)}, {format_size(artifact.bytes)}")]
        facts += [("Reproducible", artifact.reproducible or UNKNOWN), ("Signed", "yes" if artifact.signed else "no")]
        facts += [("Digest", artifact.digest)]
    return tuple(facts)


def _lock(report: Report) -> tuple[tuple[str, str], ...]:
    if report.engine is None:
        return (("State", "there is none"),)
    pinned = sum(brick.digest is not None for brick in (report.base, *report.bricks))
    return (("Engine", str(report.engine)), ("Pinned", f"{pinned} of {1 + len(report.bricks)} bricks"))

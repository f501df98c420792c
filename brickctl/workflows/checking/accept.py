"""The results that somebody has accepted: held against new ones, and written down beside brick.lock."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from brickctl.analysis.checks.measured import Bar
from brickctl.core.accepted import FILE, Accepted, decode, encode
from brickctl.errors import LockInvalid, UsageFault
from brickctl.workflows.files import write_texts_of_user

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from brickctl.analysis.checks.check import Gate
    from brickctl.analysis.checks.regression import Regression
    from brickctl.workflows.checking.score import Origin, Score
    from brickctl.workflows.session import Session

_DECIMALS = 12
"""So that 0.8 less 0.1 is 0.7, which floats are not sure of; but a bar is never stricter for being rounded."""


def read_accepted(session: Session) -> Mapping[str, Accepted]:
    """The results that were accepted, by their check; none where there is no such file.

    Raises:
        LockInvalid: it cannot be read.
    """
    try:
        return decode((session.root / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (IsADirectoryError, UnicodeDecodeError):
        raise LockInvalid(f"{FILE} is not text", hint="restore it from git") from None


def held_against(check: Gate, origin: Origin, accepted: Mapping[str, Accepted]) -> tuple[Bar | None, str | None]:
    """The bar of a regression check, or why it has none.

    It is the accepted value, less the tolerance where more is better, and more it where less is. There is none where
    nothing was accepted, or where it was the answer to another question.
    """
    regression: Regression = check.kind  # type: ignore[assignment]
    measured = check.measured
    before = accepted.get(measured.name)
    if before is None or before.target != check.target:
        return None, f"no result of `{measured.name}` was accepted yet"
    if before.data != origin.data:
        return None, f"the data of `{measured.name}` is not what it was when its result was accepted"
    if before.asked != origin.asked:
        return None, f"`{measured.name}` asks otherwise than when its result was accepted"
    good = "min" if measured.bar is None else measured.bar.good
    bar = before.value + (-regression.tolerance if good == "min" else regression.tolerance)
    return Bar(good, (min if good == "min" else max)(bar, round(bar, _DECIMALS))), None


def accept(session: Session, scores: Iterable[Score]) -> bool:
    """Write down what targets reached; whether the file had to be written.

    Results of checks that were not measured stay, and those of checks that are no more go.

    Raises:
        UsageFault: a figure is no number.
        LockInvalid: the file that is there cannot be read.
    """
    mine = {score.check.name: _accepted(score) for score in scores if score.gates and score.check.followed is None}
    names = {check.name: check.target for check in session.manifest.checks}
    kept = {name: one for name, one in read_accepted(session).items() if names.get(name) == one.target}
    path, content = session.root / FILE, encode({**kept, **mine}.values()).encode()
    if path.is_file() and path.read_bytes() == content:
        return False
    write_texts_of_user({path: content})
    return True


def _accepted(score: Score) -> Accepted:
    if not math.isfinite(score.value) or score.origin is None:
        hint = "nothing can be held against it later"
        raise UsageFault(f"the result of `{score.check.name}` is no number, and cannot be accepted", hint=hint)
    return Accepted(
        check=score.check.name,
        target=score.model,
        value=score.value,
        count=score.count,
        asked=score.origin.asked,
        artifact=score.origin.artifact,
        data=score.origin.data,
    )

"""Steps of an analysis that somebody has removed while it was at work, as `cache prune` may."""

from pathlib import Path

from brickctl.workflows.analyzing.pieces import Pieces
from brickctl.workflows.analyzing.steps import Step, result, run
from tests.support.projects import Listener


def test_what_was_removed_meanwhile_is_done_again(tmp_path: Path) -> None:
    times, pieces = list[int](), Pieces(tmp_path)
    step = Step(measurement="split", key={"share": 0.5}, tokens=1, make=lambda _: times.append(1) or len(times))
    run((step,), pieces, Listener())
    assert result(step, pieces).value == 1

    (piece,) = tmp_path.iterdir()
    piece.unlink()

    assert result(step, pieces).value == 2
    assert result(step, pieces).value == 2

"""What people read of an analysis, also of a model that is broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.cli.analysis_tables import show_analysis
from brickctl.cli.console import Console
from tests.support.analyses import analysis

if TYPE_CHECKING:
    import pytest


def test_a_loss_that_is_no_number_is_said_to_be_none(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"split": {**analysis()["split"], "dense": None}}
    for curve in document["split"]["curves"]:
        curve |= {"groups": 16, "perplexity": None}
    show_analysis(Console(), document)
    assert "the loss of the whole model is no number;" in capsys.readouterr().out

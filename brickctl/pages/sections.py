"""The questions of an analysis, in the order of the page, and the figures that answer them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.document import Table
from brickctl.pages import reading
from brickctl.pages.coupling import coupling
from brickctl.pages.energy import energy
from brickctl.pages.figure import Figure, Section
from brickctl.pages.functionality import functionality
from brickctl.pages.histograms import histograms
from brickctl.pages.masked_loss import masked_loss
from brickctl.pages.overlap import overlap
from brickctl.pages.perturbation import perturbation
from brickctl.pages.skills import skills
from brickctl.pages.split_curves import split_curves

if TYPE_CHECKING:
    from collections.abc import Mapping

Make = Callable[[Table], Figure | None]
"""Makes a figure of a section of the document; None where the section has not what it needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """A section: its key in the document, its title, a sentence that explains its terms, and its figures."""

    name: str
    title: str
    lead: str
    figures: tuple[Make, ...]

    def answer(self, document: Table) -> Section | None:
        """The figures that can be made; None where there are none."""
        section = document.table_or_none(self.name)
        made = [] if section is None else [figure for make in self.figures if (figure := make(section)) is not None]
        return Section(name=self.name, title=self.title, lead=self.lead, figures=tuple(made)) if made else None


_QUESTIONS = (
    _Question(
        name="sparsity",
        title="Sparsity",
        lead=(
            "The activation of a neuron is what its gate lets through; its output magnitude is the length of the vector"
            " that it adds to the residual stream. Both are taken relative to the largest of their token and layer."
        ),
        figures=(energy, histograms, masked_loss),
    ),
    _Question(
        name="specialisation",
        title="Specialisation",
        lead=(
            "A neuron is scored for a label by average precision: how well its mean activation over a text ranks the"
            " texts of that label above all others. 1 is a perfect ranking."
        ),
        figures=(functionality,),
    ),
    _Question(
        name="partition",
        title="Partition",
        lead=(
            "The neurons with the highest scores for a label are its set. If functions live in places of their own, the"
            " sets of two labels share no more than chance gives them."
        ),
        figures=(overlap,),
    ),
    _Question(
        name="perturbation",
        title="Perturbation",
        lead=(
            "The set of one label is set to zero, and the perplexity of every label is measured again. A function that"
            " lives in its set loses most on the diagonal."
        ),
        figures=(perturbation,),
    ),
    _Question(
        name="bricks",
        title="Bricks",
        lead=(
            "Each brick is applied alone, and removed from the whole set. Sparsity asks how few are needed for a skill;"
            " coupling asks what else goes with one of them."
        ),
        figures=(skills, coupling),
    ),
    _Question(
        name="split",
        title="Split into groups",
        lead=(
            "The neurons of every layer are divided into groups, and a router picks some of them for each token. The"
            " oracle picks by the activations themselves."
        ),
        figures=(split_curves,),
    ),
)


def sections(document: Mapping[str, Any]) -> tuple[Section, ...]:
    """The figures that can be made of a document.

    Raises:
        UsageFault: the document is no analysis, or one of another schema.
    """
    table = reading.opened(document)
    return tuple(section for question in _QUESTIONS if (section := question.answer(table)) is not None)

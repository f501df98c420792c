"""The measured tables of the registry's README."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

from evaluate import CHECKS, Scores
from make_registry import KINDS, SOURCES, brick_folder

COLUMNS = (*CHECKS, "perplexity")


def write_readme(registry: Path, scores: Mapping[str, Scores], weights: Mapping[str, float]) -> None:
    """Fill the README's template with sizes, scores on the test split, and the chosen weights."""
    template = Template((SOURCES / "README.md").read_text())
    filled = template.substitute(weights, sizes=size_table(registry), scores=score_table(scores))
    (registry / "README.md").write_text(filled)


def size_table(registry: Path) -> str:
    """Kind and bytes of every brick."""
    rows = [(f"starter/{name}", kind, f"{folder_size(brick_folder(registry, name)):,}") for name, kind in KINDS.items()]
    return table(("brick", "kind", "bytes"), rows)


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def score_table(scores: Mapping[str, Scores]) -> str:
    """Per cent of exact answers in each check, and the perplexity of the text."""
    rows = [
        (model, *(f"{100 * values[name]:.1f}" for name in CHECKS), f"{values['perplexity']:.2f}")
        for model, values in scores.items()
    ]
    return table(("model", *COLUMNS), rows)


def table(heading: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table; all columns but the first stand on the right."""
    rule = ("---", *["---:"] * (len(heading) - 1))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heading, rule, *rows))

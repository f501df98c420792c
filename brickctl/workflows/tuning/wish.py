"""What is asked of a search, and the examples that it goes by, which no check may have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from brickctl.analysis.checks.check import read_gates
from brickctl.analysis.examples import bytes_of, decoded, parse_examples
from brickctl.core.document import shown
from brickctl.errors import NotFound, Place, UsageFault
from brickctl.workflows.checking.data import read_data
from brickctl.workflows.suggesting.texts import whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from brickctl.analysis.checks.check import Gate
    from brickctl.analysis.examples import Example
    from brickctl.core.names import Alias
    from brickctl.workflows.session import Session

Sampler = Literal["gp", "cmaes", "tpe"]
"""`gp`: Bayesian search by a Gaussian process, which needs the fewest trials where numbers are few. `cmaes`: the
covariance matrix adaptation evolution strategy (Hansen, arXiv 1604.00772). `tpe`: Bayesian search by tree-structured
Parzen estimators (Watanabe, arXiv 2304.11127)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a search is to do.

    Attributes:
        target: whose steps are tuned.
        data: files of examples, one for each skill.
        trials: how many candidates are tried, beside what stands in brick.toml.
        sampler: which candidate is next.
        seed: of the sampler.
        alpha: what a sum of weights of 1 costs, in nats a token.
        points: how many numbers over depth a weight becomes.
        methods: merge methods to try; what stands in brick.toml, where none is named.
        only: the kinds of numbers that may change (`weight`, `density`, ...); all, where none is named.
        force: write what was found also where held-out data is against it.
        dry_run: write nothing.
    """

    target: Alias
    data: tuple[Path, ...]
    trials: int = 40
    sampler: Sampler = "gp"
    seed: int = 0
    alpha: float = 0.0
    points: int = 1
    methods: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    force: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Examples of one skill to tune by, and what their file is called."""

    name: str
    examples: tuple[Example, ...]


def read_material(files: Sequence[Path]) -> tuple[Material, ...]:
    """The examples of each file, in their order.

    Raises:
        NotFound, UsageFault: there is none, or it has a line that is no example; its place is named.
    """
    if not files:
        hint = "give it a file of examples for each skill: --data sql.jsonl --data mail.jsonl"
        raise UsageFault("tuning needs examples that no check decides by", hint=hint)
    there = [file.resolve() for file in files]
    twice = next((file for at, file in enumerate(files) if there[at] in there[:at]), None)
    if twice is not None:
        raise UsageFault(f"`{shown(str(twice))}` is given twice", hint="name each file of examples once")
    return tuple(
        Material(name=str(file), examples=parse_examples(decoded(bytes_of(file, str(file)), str(file)), name=str(file)))
        for file in files
    )


def checks_of(session: Session, target: Alias) -> tuple[Gate, ...]:
    """The checks whose data decides; those that only hold another one against an earlier result are left out.

    Raises:
        NotFound: the target has none.
        ManifestInvalid: one cannot be read.
    """
    gates = read_gates(session.manifest.checks)
    checks = tuple(gate for gate in gates if gate.target == target and gate.followed is None)
    if not checks:
        hint = f'add [[checks]] with target = "{target}": their data decides, and is never tuned by'
        raise NotFound(f"`{target}` has no check", causes=("nothing would tell whether it is better",), hint=hint)
    return checks


def refuse_held_out(session: Session, materials: Sequence[Material], checks: Sequence[Gate]) -> None:
    """Make sure that no example stands in the data of a check too: what was tuned by can decide nothing.

    Neither its prompt nor its whole text may, however they are spaced.

    Raises:
        UsageFault: one does, with both of its places.
        NotFound: the data of a check is not there.
    """
    held = _held_out(session, checks)
    for material in materials:
        for line, example in enumerate(material.examples, start=1):
            texts = [text for text in (example.prompt, whole(example)) if text]
            asked = next((text for text in texts if _spaced(text) in held), None)
            if asked is not None:
                cause = f"`{shown(asked)}` stands in {held[_spaced(asked)]} too"
                hint = "what was tuned by can decide nothing: take it out of one of the two files"
                place = Place(file=material.name, line=line)
                raise UsageFault("an example to tune by is held out", causes=(cause,), place=place, hint=hint)


def _held_out(session: Session, checks: Sequence[Gate]) -> Mapping[str, Place]:
    """What checks ask, and where: the prompt of an example, and the whole of it; a harness's task has neither."""
    found: dict[str, Place] = {}
    for check in checks:
        data = read_data(session, check)
        prompts = [getattr(one, "prompt", "") for one in data]
        for texts in (prompts, check.kind.texts(data)):
            for line, text in enumerate(texts, start=1):
                if text:
                    found.setdefault(_spaced(text), Place(file=str(check.data), line=line))
    return found


def _spaced(text: str) -> str:
    """The text with one space for each stretch of white space."""
    return " ".join(text.split())

"""What a kind of check is, how kinds are found, and a check as its kind has read it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from brickctl.analysis.checks.measured import Bar
from brickctl.analysis.examples import read_lines
from brickctl.core.document import shown
from brickctl.core.names import did_you_mean, is_safe_path
from brickctl.core.plugins import Plugins
from brickctl.errors import ManifestInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

    from brickctl.analysis.checks.measured import Good, Measured, Wrong
    from brickctl.core.document import Table
    from brickctl.core.manifest import Check
    from brickctl.core.names import Alias
    from brickctl.errors import Place

Unit = Literal["share", "perplexity", "figure"]

_LONGEST = 160


class CheckKind:
    """What a kind of check says of itself, and what it may leave as it stands here.

    A subclass is a frozen dataclass, whose fields are the keys that the kind has of its own; with lines of JSON as its
    data it defines `parse` and `measure`. A check without data, or with another form of it, overrides `read_path` and
    `read_data`; one with another bar `read_bar`.
    """

    version: ClassVar[int] = 1
    """To be raised when the same model, data and settings give another result: stored ones are then made anew."""

    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers", "tokenizers", "peft")
    """Distributions whose version a result depends on."""

    unit: ClassVar[Unit] = "share"
    good: ClassVar[Good | None] = "min"
    """The key of the bar; None where a check says itself which way is good."""

    line: ClassVar[str] = ""
    """A line of the data, as the reference shows it."""

    @classmethod
    def read(cls, table: Table) -> Self:
        """Read the keys of its own, without finishing the table.

        Raises:
            ManifestInvalid: a value that cannot be.
        """
        del table
        return cls()

    def read_path(self, table: Table) -> str | None:
        """Read `data`: a file of the project."""
        return safe_path(table, "data", table.string("data"))

    def read_bar(self, table: Table) -> Bar | None:
        """Read the bar; None where it is known only when other results are."""
        return share_at_least(table)

    def follows(self) -> str | None:
        """The name of another check that is measured in the place of this one; None for all kinds but `regression`."""
        return None

    def fetches(self) -> bool:
        """Whether it asks the network for questions where it has no `data`."""
        return False

    def read_data(self, path: Path, file: str) -> Sequence[Any]:
        """The examples in the file at `path`, which errors call `file`.

        Raises:
            NotFound: there is no such file.
            UsageFault: a line is no example; its place is named.
        """
        return read_lines(path, file, self.parse)

    def parse(self, line: Table) -> Any:
        """One line of the data, which is finished by the caller."""
        raise NotImplementedError(line)

    def texts(self, data: Sequence[Any]) -> tuple[str, ...]:
        """The examples as texts, each with what is wanted of it; none where they are no texts."""
        del data
        return ()

    def measure(self, model: Any, tokenizer: PreTrainedTokenizerBase, data: Sequence[Any]) -> Measured:
        """Run the model on the data, which is not empty.

        Raises:
            UsageFault, Unsupported: data and model do not go together.
        """
        raise NotImplementedError(model, tokenizer, data)

    def settings(self) -> dict[str, Any]:
        """The keys of its own as JSON, with every default written out: what a result depends on, beside the data."""
        return {one.name.replace("_", "-"): getattr(self, one.name) for one in dataclasses.fields(self)}  # type: ignore[arg-type]

    def figure(self, value: float, *, more: int = 0) -> str:
        """A result as people read it, with so many `more` digits than it usually has."""
        digits = {"share": 1, "perplexity": 2, "figure": 4}[self.unit] + more
        return f"{value:.{digits}%}" if self.unit == "share" else f"{value:.{digits}f}"

    def told(self, wrong: Wrong) -> str:
        """An example that speaks against a model, in one sentence."""
        return f"after {quoted(wrong.prompt)} came {quoted(wrong.got)}, not {quoted(wrong.wanted)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A check as its kind has read it.

    Attributes:
        data: the file or folder of its examples, relative to brick.toml; None where it has none of its own.
        bar: what the target must reach; None where that depends on other results.
        followed: the check that is measured in the place of this one, if it has no figure of its own.
    """

    name: str
    target: Alias
    kind: CheckKind
    kind_name: str
    data: str | None = None
    bar: Bar | None = None
    followed: Gate | None = None
    place: Place | None = field(default=None, compare=False)

    @property
    def measured(self) -> Gate:
        """The check whose data and settings decide the figure."""
        return self if self.followed is None else self.followed


_KINDS: Plugins[type[CheckKind]] = Plugins("brickctl.analysis.checks")


def register(name: str, kind: type[CheckKind]) -> None:
    """Make a kind known; called by its module."""
    _KINDS.declare(name, kind)


def check_kinds() -> Mapping[str, type[CheckKind]]:
    """Every kind, by name."""
    return _KINDS.all()


def read_gate(check: Check) -> Gate:
    """Read one check of the manifest.

    Raises:
        ManifestInvalid: a kind that does not exist, an unknown key, or a value that cannot be.
    """
    declared = _KINDS.named(check.kind)
    if declared is None:
        known = check_kinds()
        hint = did_you_mean(check.kind, known) or f"known: {', '.join(known)}"
        raise ManifestInvalid(f"`{shown(check.kind)}` is no kind of check", place=check.place, hint=hint)
    table = check.table.fresh()
    kind = declared.read(table)
    data, bar = kind.read_path(table), kind.read_bar(table)
    table.finish()
    return Gate(
        name=check.name, target=check.target, kind=kind, kind_name=check.kind, data=data, bar=bar, place=check.place
    )


def read_gates(checks: Sequence[Check]) -> tuple[Gate, ...]:
    """Read all checks of a manifest, and make sure that those that go by another one find it.

    Raises:
        ManifestInvalid: as `read_gate`; or a check that is not there, or is about something else.
    """
    gates = {check.name: read_gate(check) for check in checks}
    return tuple(
        gate if (name := gate.kind.follows()) is None else replace(gate, followed=_followed(gate, name, gates))
        for gate in gates.values()
    )


def _followed(gate: Gate, name: str, gates: Mapping[str, Gate]) -> Gate:
    """The check that one goes by: it has a figure of its own, and the same target."""
    found = gates.get(name)
    others = [each for each in gates if each != gate.name]
    if found is None or found is gate:
        hint = did_you_mean(name, others) or f"there are {', '.join(others) or 'no others'}"
        raise ManifestInvalid(f"check `{gate.name}`: `{shown(name)}` is no other check", place=gate.place, hint=hint)
    if found.kind.follows() is not None:
        hint = f"name the check that it is about: `{found.kind.follows()}`"
        raise ManifestInvalid(f"check `{gate.name}`: `{name}` has no figure of its own", place=gate.place, hint=hint)
    if found.target != gate.target:
        message = f"check `{gate.name}` is about `{gate.target}`, and `{name}` about `{found.target}`"
        raise ManifestInvalid(message, place=gate.place, hint="one target can only be held against itself")
    return found


def safe_path(table: Table, key: str, path: str) -> str:
    """A path below the folder of brick.toml.

    Raises:
        ManifestInvalid: it could lead anywhere else.
    """
    if not is_safe_path(path):
        hint = "a path relative to brick.toml, with `/`, without `..`"
        raise table.error(f"`{shown(path)}` is no file of this project", key=key, hint=hint)
    return path


def share_at_least(table: Table) -> Bar:
    """Read `min`, a share."""
    bar = bar_of(table, "min")
    if not 0 <= bar.value <= 1:
        raise table.error(f"{table.named('min')} is a share, from 0 to 1", key="min")
    return bar


def bar_of(table: Table, good: Good) -> Bar:
    """Read the bar that stands under the key `min` or `max`.

    Raises:
        ManifestInvalid: it is not there, or no number.
    """
    value = table.number_or_none(good)
    if value is None:
        raise table.missing(f"`{good}` is missing in {table.where}", good, hint=f"`{good}` is the bar: see its kind")
    return Bar(good, value)


def quoted(text: str) -> str:
    """A text of an example as a message shows it, on one line."""
    cut = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
    return repr(cut)

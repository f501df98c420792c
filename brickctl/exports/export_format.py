"""What an export format is, how formats are found, and what they are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from brickctl.core.licenses import UNKNOWN
from brickctl.core.names import did_you_mean
from brickctl.core.plugins import Plugins
from brickctl.errors import UsageFault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from brickctl.core.digests import Sha256
    from brickctl.core.model import LazyModel
    from brickctl.core.names import Alias
    from brickctl.core.ports import Progress
    from brickctl.vocabulary.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A brick that an artifact is made of: how the project calls it, its kind, and where anybody can get it.

    `source` is as provenance has it: a package URL for the Hub, never a path of this machine. `license` is SPDX.
    """

    name: str
    kind: str
    source: str
    license: str = UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is exported: an artifact, checked against its own record.

    Attributes:
        name: the target.
        folder: the artifact: a model, perhaps with adapters and more beside it.
        digest: tree digest of the artifact.
        license: SPDX, of the whole chain; `unknown` where a part of it is.
        origins: what it is made of, the base first.
        adapters: stacked adapters in canonical form, as PEFT folders outside of the artifact: plain LoRA in fp32, the
            scale folded into B, alpha = r.
        progress: hears how many bytes are done.
    """

    name: Alias
    folder: Path
    digest: Sha256
    license: str
    origins: tuple[Origin, ...]
    adapters: Mapping[Alias, Path]
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asks for; None is the format's own choice.

    Attributes:
        quantize: element type of the weights.
        rank: rank of the LoRA that takes the place of an adapter that is none; None refuses such an adapter.
        converter: path of llama.cpp's own converter, which is to write GGUF instead of brickctl.
        to: where it is sent, if it is.
        private: whether a place that is made there is for nobody else.
    """

    quantize: str | None = None
    rank: int | None = None
    converter: str | None = None
    to: str | None = None
    private: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What there is to say of an export: commands that use it, and what the reader should know."""

    commands: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class ExportFormat(Protocol):
    """One way to write an artifact for another program."""

    @property
    def version(self) -> int:
        """Raised whenever the same artifact gets other bytes, so that older exports are written anew."""

    @property
    def options(self) -> tuple[str, ...]:
        """The fields of `Options` that it obeys."""

    @property
    def whole(self) -> bool:
        """Whether it carries an artifact as it is, whatever is in it; else it takes a model and adapters, no more."""

    @property
    def alike(self) -> bool:
        """Whether stacked adapters are to have the same modules and one rank, with zeros where they have none."""

    def check(self, model: LazyModel, tokenizer: Callable[[], Tokenizer | None], options: Options) -> None:
        """Refuse what can be told of a model before it is built; asked only where `whole` is False.

        Raises:
            Unsupported, UsageFault, Misfit, NotFound: as for `write`.
        """

    def write(self, subject: Subject, folder: Path, options: Options) -> Written:
        """Write the files of the export into an empty folder; the same subject gives the same bytes.

        Raises:
            Unsupported: something of the artifact that the format has no words for, by its name.
            UsageFault: a value of an option that it does not know.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What became of an export that lies elsewhere: where, in which version, and what there is to say of it."""

    place: str
    commit: str
    notes: tuple[str, ...] = ()


class Sender(Protocol):
    """One way to send an artifact, as it is, to where others get it."""

    @property
    def options(self) -> tuple[str, ...]:
        """The fields of `Options` that it obeys."""

    def check(self, options: Options, *, offline: bool) -> None:
        """Refuse what can be refused before anything is built.

        Raises:
            UsageFault, Gated, OfflineMiss.
        """

    def permit(self, name: str, origins: Sequence[Origin]) -> None:
        """Refuse a target of this name that nobody may hand on, by the licences of what it is made of.

        Raises:
            PolicyViolation: its licences let nobody share it.
        """

    def send(self, subject: Subject, options: Options, *, offline: bool) -> Sent:
        """Send the files, all or none; nothing where they are there already.

        Raises:
            PolicyViolation: as for `permit`.
            Gated, Busy, IntegrityFault, TransportFault, OfflineMiss.
        """


_SENDERS: Plugins[Sender] = Plugins("brickctl.exports")
_FORMATS: Plugins[ExportFormat] = Plugins("brickctl.exports")


def register(name: str, export_format: ExportFormat) -> None:
    """Make a format known; called by its module."""
    _FORMATS.declare(name, export_format)


def register_sender(name: str, sender: Sender) -> None:
    """Make a sender known; called by its module."""
    _SENDERS.declare(name, sender)


def sender_named(name: str) -> Sender | None:
    """The sender of that name; None where there is none, and it may be a format that is written here."""
    return _SENDERS.named(name)


def format_named(name: str) -> ExportFormat:
    """The format of that name.

    Raises:
        UsageFault: there is none.
    """
    found = _FORMATS.named(name)
    if found is None:
        known = format_names()
        hint = did_you_mean(name, known) or f"this brickctl has {', '.join(known)}"
        raise UsageFault(f"there is no export format `{name}`", hint=hint)
    return found


def format_names() -> tuple[str, ...]:
    """Every format and sender, sorted."""
    return tuple(sorted((*_FORMATS.all(), *_SENDERS.all())))

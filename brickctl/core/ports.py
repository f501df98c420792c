"""What the inside of brickctl asks of the outside: Protocols, so that nothing below knows a client or a console."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from brickctl.core.advisories import Advisory
    from brickctl.core.brick import Contents, File, Pin
    from brickctl.core.reference import Reference, RegistryReference
    from brickctl.core.registry_line import RegistryEntry


BYTES = "bytes"
"""The unit of work that moves or reads files."""


class Progress(Protocol):
    """Someone who watches work whose amount is known: so many bytes, or so many of another unit, in the plural."""

    def start(self, label: str, total: int, unit: str = BYTES) -> None:
        """Begin a piece of work of `total` units; a label that is known already begins anew."""

    def advance(self, label: str, amount: int) -> None:
        """Some units of a piece of work are done."""

    def finish(self, label: str) -> None:
        """A piece of work is done."""


class Events(Progress, Protocol):
    """Someone who also hears what the user should know."""

    def note(self, message: str) -> None:
        """Say something that did not stop the work."""

    def warn(self, message: str) -> None:
        """Say something that the user should look at."""


class Source(Protocol):
    """Where bricks of one scheme come from."""

    def pin(self, reference: Reference, old: Pin | None = None) -> Pin:
        """Find exactly which files a reference means now; moves small files only.

        `old`, the pin of the last lock, saves work and keeps a version that is still in its range; it never overrides
        what the reference says.

        Raises:
            NotFound, Gated, TransportFault, OfflineMiss, PolicyViolation.
        """

    def inspect(self, pin: Pin) -> Contents:
        """Read small documents and safetensors headers, wherever they are; no weights.

        A header of a file that is not on this machine is the server's word: look again after `fetch`.

        Raises:
            HeaderInvalid, IntegrityFault, TransportFault, OfflineMiss.
        """

    def locate(self, pin: Pin) -> Mapping[str, Path] | None:
        """Paths of all files, verified against the pin, if they are on this machine; None when one is missing.

        Never uses the network.

        Raises:
            IntegrityFault: a file is there and its content is not what the pin says.
        """

    def places(self, pin: Pin) -> Mapping[str, Path] | None:
        """As `locate`, and nothing is verified: for those who are about to read every byte themselves."""

    def storage(self, pin: Pin) -> Path | None:
        """The folder, which need not exist yet, that `fetch` puts files into; None where they are used in place."""

    def fetch(self, pin: Pin, file: File, progress: Progress) -> Path:
        """Bring one file to this machine, verified.

        Raises:
            NotFound, Gated, IntegrityFault, TransportFault, OfflineMiss.
        """


class Bricks(Source, Protocol):
    """Where all bricks come from, whatever their scheme."""

    def published(self, pin: Pin) -> datetime | None:
        """When a commit of the Hub was made, as the Hub says; None for what has no commit.

        Raises:
            NotFound, Gated, TransportFault, OfflineMiss.
        """

    def unsafe_files(self, pin: Pin) -> tuple[str, ...]:
        """Files that lie beside those of a brick and run code when they are loaded: pickles, Python; sorted.

        Raises:
            NotFound, Gated, TransportFault, OfflineMiss.
        """

    def advisories(self, registry: str) -> tuple[Advisory, ...]:
        """What a registry knows to be bad.

        Raises:
            NotFound, IntegrityFault, Unsupported, TransportFault, OfflineMiss.
        """

    def placed(self, reference: RegistryReference, old: Pin | None = None) -> RegistryReference:
        """The reference with the one registry that it means: that of `old`, else the first that has the name.

        Raises:
            NotFound: none of several has it.
            Gated, IntegrityFault, Unsupported, TransportFault, OfflineMiss: one of them does not say whether it does.
        """

    def versions(self, reference: RegistryReference) -> tuple[RegistryEntry, ...]:
        """Every version that a registry has of a brick, in range or not, yanked or not.

        Raises:
            NotFound, IntegrityFault, Unsupported, TransportFault, OfflineMiss.
        """

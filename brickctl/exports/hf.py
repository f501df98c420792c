"""`hf`: an artifact as it is, with its card, to a repository of the Hugging Face Hub, in one commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.brick import File
from brickctl.core.document import shown
from brickctl.core.license_chain import clashes
from brickctl.core.licenses import UNKNOWN
from brickctl.core.names import is_hub_id
from brickctl.errors import PolicyViolation, UsageFault
from brickctl.exports.artifact_files import artifact_files
from brickctl.exports.export_format import Sent, register_sender
from brickctl.sources.ledger import hash_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from brickctl.exports.export_format import Options, Origin, Subject
    from brickctl.sources.hub.publisher import Publisher

_HUB = "hf:"
_MOST_SHOWN = 3


class Hf:
    """The files of the artifact, its card and its record among them."""

    options: tuple[str, ...] = ("to", "private")

    def check(self, options: Options, *, offline: bool) -> None:
        """Make sure that there is a repository to write to, and a token."""
        _publisher(offline=offline).check(_repository(options))

    def permit(self, name: str, origins: Sequence[Origin]) -> None:
        """Refuse what is of an unknown licence, or of two that do not go together."""
        _check_licenses(name, origins)

    def send(self, subject: Subject, options: Options, *, offline: bool) -> Sent:
        """Send them; the card in them names the base, the relation to it, and the licence of the whole chain."""
        self.permit(subject.name, subject.origins)
        repository, publisher = _repository(options), _publisher(offline=offline)
        files = _files(subject)
        message = f"{subject.name} sha256:{subject.digest}"
        commit = publisher.put(repository, files, message=message, private=bool(options.private))
        others = publisher.others(repository, commit, files)
        more = " and more" if len(others) > _MOST_SHOWN else ""
        notes = (
            f"the repository has files of its own, which stay: {', '.join(map(shown, others[:_MOST_SHOWN]))}{more}",
        )
        return Sent(place=f"{_HUB}{repository}", commit=commit, notes=notes if others else ())


def _publisher(*, offline: bool) -> Publisher:
    from brickctl.sources.hub.publisher import Publisher, Purpose

    return Publisher(offline=offline, purpose=Purpose(again="export again", unharmed=""))


def _repository(options: Options) -> str:
    told = options.to or ""
    name = told.removeprefix(_HUB)
    if not is_hub_id(name) or "/" not in name:
        message = f"`{shown(told)}` is no repository of the Hub" if told else "nobody says to which repository"
        raise UsageFault(message, hint="write `--to OWNER/NAME`")
    return name


def _check_licenses(name: str, origins: Sequence[Origin]) -> None:
    """Refuse to hand on what nobody may.

    Raises:
        PolicyViolation: a licence is not known, or two do not go together.
    """
    unknown = [origin.name for origin in origins if origin.license == UNKNOWN]
    if unknown:
        cause = f"nobody says under which licence `{unknown[0]}` is"
        hint = f"say it in brick.toml, `license = ...` beside `{unknown[0]}`, if you know; or ask who made it"
        raise PolicyViolation(f"`{name}` will not be handed on", causes=(cause,), hint=hint)
    for clash in clashes({origin.name: origin.license for origin in origins}):
        cause = f"`{clash.first}` and `{clash.second}`: {clash.reason}"
        hint = "leave one of them out; `brickctl licenses` shows the licences of every target"
        raise PolicyViolation(f"`{name}` will not be handed on", causes=(cause,), hint=hint)


def _files(subject: Subject) -> Mapping[File, Path]:
    found = artifact_files(subject.folder)
    return {
        File(path=name, size=path.stat().st_size, sha256=hash_file(path, subject.progress)): path
        for name, path in found.items()
    }


register_sender("hf", Hf())

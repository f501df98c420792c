"""The line of a brick that is to be published: what its folder, its base and its publisher say of it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from brickctl.core.dependency import BrickDependency, Dependency, HubDependency
from brickctl.core.document import shown
from brickctl.core.licenses import UNKNOWN, parse_license
from brickctl.core.names import is_brick_name
from brickctl.core.reference import HubReference, RegistryReference
from brickctl.core.reference_format import parse_reference
from brickctl.core.registry_line import RegistryEntry, encode_line, parse_line
from brickctl.core.versions import VersionRange, parse_version
from brickctl.errors import IntegrityFault, NotFound, UsageFault
from brickctl.workflows.model_facts import read_card

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from brickctl.core.brick import Brick
    from brickctl.core.made_for import MadeFor
    from brickctl.sources.checkout import Checkout

FOLDER = "path:"
HUB = "hf:"
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What somebody wants to publish.

    Attributes:
        folder: the brick, as it is.
        name: `namespace/name`.
        version: a full version.
        repository: where the files go on the Hub, `owner/name`; None for the registry itself.
        kind: the kind, where the files do not say it.
        license: SPDX; None for what the folder's model card says.
        summary: one sentence for people.
        tags: words for people.
        needs: dependencies, `namespace/name@range` or `hf:owner/name@commit`.
        needs_base: whether the brick is good for the very bytes of its base only.
        private: whether a repository that is made is private.
    """

    folder: Path
    name: str
    version: str
    repository: str | None = None
    kind: str | None = None
    license: str | None = None
    summary: str = ""
    tags: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    needs_base: bool = False
    private: bool = False


def parse_release(text: str) -> tuple[str, str]:
    """Read `namespace/name@version`.

    Raises:
        UsageFault: it is something else.
    """
    name, at, version = text.partition("@")
    if not is_brick_name(name):
        raise UsageFault(f"`{shown(name)}` is no name of a brick", hint="a name is `namespace/name`, in lower case")
    if not at or parse_version(version) is None:
        raise UsageFault(f"`{shown(text)}` has no full version", hint=f"write three numbers: `{name}@1.0.0`")
    return name, version


def release_line(
    publication: Publication, brick: Brick, base: Brick | None, made_for: MadeFor | None, checkout: Checkout
) -> RegistryEntry:
    """The line; read back as if its files lay in the registry, so that nobody gets a line that cannot be read.

    Files that go to the Hub get no commit yet.

    Raises:
        UsageFault: a summary, tag, licence or dependency that cannot be.
        NotFound: a dependency that the registry does not have.
    """
    dependencies = _dependencies(publication, base, checkout)
    name, version = publication.name, publication.version
    entry = RegistryEntry(
        name=name,
        version=version,
        kind=brick.kind,
        source=f"index:{name}/{version}",
        files=brick.pin.files,
        interface=brick.contents.interface,
        license=_license(publication),
        base=made_for,
        summary=publication.summary,
        tags=tuple(sorted(dict.fromkeys(publication.tags))),
        published=_now(),
        dependencies=tuple(sorted(dependencies, key=lambda one: one.name(""))),
    )
    try:
        sound = parse_line(encode_line(entry), file="the line")
    except IntegrityFault as fault:
        raise UsageFault(
            fault.message, causes=fault.causes, hint=fault.hint or "change it, then publish again"
        ) from None
    return sound if publication.repository is None else replace(sound, source=f"{HUB}{publication.repository}")


def _license(publication: Publication) -> str:
    told = publication.license or read_card(publication.folder).license
    found = None if told is None else parse_license(told)
    if told is not None and found is None:
        hint = "write an SPDX expression such as `Apache-2.0`, or `LicenseRef-NAME`"
        raise UsageFault(f"`{shown(told)}` is no licence that SPDX knows", hint=hint)
    if found in {None, UNKNOWN}:
        hint = "give `--license Apache-2.0` or another SPDX expression, or say it in the front matter of README.md"
        raise UsageFault(f"nobody says under which licence {publication.name} is", hint=hint)
    return str(found)


def _dependencies(publication: Publication, base: Brick | None, checkout: Checkout) -> Iterator[Dependency]:
    if publication.needs_base:
        yield _base_dependency(base)
    for text in publication.needs:
        dependency = _dependency(text)
        if isinstance(dependency, BrickDependency):
            wanted = VersionRange.parse(dependency.version)
            versions = [entry.semver for entry in checkout.entries(dependency.brick)]
            if not any(map(wanted.contains, versions)):
                there = ", ".join(map(str, sorted(versions))) or "no version"
                message = f"the registry has no {dependency} for {publication.name} to need"
                raise NotFound(
                    message, causes=(f"it has {there}",), hint="publish that first, or ask for another range"
                )
        yield dependency


def _base_dependency(base: Brick | None) -> Dependency:
    pin = None if base is None else base.pin
    if pin is None or pin.source.startswith(FOLDER):
        hint = "name one with `--base hf:owner/name@COMMIT`, or publish from a project whose base is no folder"
        raise UsageFault("there is no base that others could have", hint=hint)
    if pin.brick is not None:
        return BrickDependency(brick=pin.brick, version=f"={pin.version}", is_base=True)
    return HubDependency(source=pin.source, commit=pin.commit or "", subfolder=pin.subfolder, is_base=True)


def _dependency(text: str) -> Dependency:
    reference = parse_reference(text, registries=("",))
    if isinstance(reference, RegistryReference):
        return BrickDependency(brick=reference.name, version=reference.version)
    if isinstance(reference, HubReference) and _COMMIT.fullmatch(reference.revision):
        return HubDependency(source=str(reference), commit=reference.revision)
    hint = "write `namespace/name@range`, or `hf:owner/name@` and the 40 digits of a commit"
    raise UsageFault(f"`{shown(text)}` is nothing that a published brick can need", hint=hint)


def _now() -> str:
    """The time in UTC, or what SOURCE_DATE_EPOCH says it is.

    Raises:
        UsageFault: it says no time.
    """
    told = os.environ.get("SOURCE_DATE_EPOCH", "")
    try:
        moment = datetime.fromtimestamp(int(told), UTC) if told else datetime.now(UTC)
    except (ValueError, OverflowError, OSError):
        hint = "write seconds since 1970, such as 1767225600, or leave it out"
        raise UsageFault(f"SOURCE_DATE_EPOCH is `{shown(told)}`, which is no time", hint=hint) from None
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

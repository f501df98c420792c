"""References, pins and dependencies in the words of the search: what is asked for, and what a candidate is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.dependency import BrickDependency
from brickctl.core.reference import HubReference, RegistryReference
from brickctl.core.versions import VersionRange, parse_version
from brickctl.resolve.problem import Candidate, Need

if TYPE_CHECKING:
    from brickctl.core.brick import Pin
    from brickctl.core.dependency import Dependency
    from brickctl.core.names import Alias
    from brickctl.core.reference import Reference

_SHORT = 12


def need_of_project(name: Alias, reference: Reference) -> Need:
    """What a line of brick.toml asks for."""
    if isinstance(reference, RegistryReference):
        versions = VersionRange.parse(reference.version)
        return Need(brick=name, words=f"{reference.name} {reference.version}", versions=versions)
    if isinstance(reference, HubReference):
        return Need(brick=name, words=f"{origin_of(reference)} at {reference.revision}")
    return Need(brick=name, words=origin_of(reference))


def need_of_brick(name: str, dependency: Dependency, registry: str | None) -> Need:
    """What a dependency asks for, where `name` is what would fulfil it."""
    origin, words = dependency.origin(registry), str(dependency)
    if isinstance(dependency, BrickDependency):
        versions = VersionRange.parse(dependency.version)
        return Need(brick=name, words=words, origin=origin, versions=versions)
    return Need(brick=name, words=words, origin=origin, commit=dependency.commit)


def reference_of(dependency: Dependency, registry: str | None) -> Reference:
    """Where a dependency that brick.toml does not name is looked for."""
    if isinstance(dependency, BrickDependency):
        return RegistryReference(name=dependency.brick, registry=registry or "")
    repository = dependency.source.removeprefix("hf:")
    return HubReference(repository=repository, revision=dependency.commit, subfolder=dependency.subfolder)


def candidate_of(name: Alias, pin: Pin, needs: tuple[Need, ...] = ()) -> Candidate:
    """A pin as a candidate."""
    version = None if pin.version is None else parse_version(pin.version)
    return Candidate(
        brick=name, label=label_of(pin), origin=pin.origin, version=version, commit=pin.commit, needs=needs
    )


def origin_of(reference: Reference) -> str:
    """Where a reference leads to, whatever the version: `corp:acme/sql`, `hf:acme/legal-lora/checkpoint-300`."""
    if isinstance(reference, RegistryReference):
        return f"{reference.registry}:{reference.name}"
    return str(reference) if reference.subfolder is None else f"{reference}/{reference.subfolder}"


def label_of(pin: Pin) -> str:
    """What sentences call it: `acme/sql 1.2.0`, `hf:acme/legal-lora at 1405df66cbe2`, `path:bricks/date`."""
    if pin.brick is not None:
        return f"{pin.brick} {pin.version}"
    return pin.origin if pin.commit is None else f"{pin.origin} at {pin.commit[:_SHORT]}"

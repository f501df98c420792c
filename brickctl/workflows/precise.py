"""One version or revision and no other, as `update --precise` asks for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from brickctl.core.reference import HubReference
from brickctl.core.reference_format import hub_reference
from brickctl.core.versions import VersionRange, parse_version
from brickctl.errors import NotFound, UsageFault

if TYPE_CHECKING:
    from brickctl.core.reference import Reference, RegistryReference
    from brickctl.resolve.problem import Offers


def only(offers: Offers, reference: RegistryReference, wanted: str) -> Offers:
    """What a registry offers, cut down to one version.

    Raises:
        UsageFault: it is no version, or not in the range that is asked for.
        NotFound: there is no such version, or it may not be chosen.
    """
    version = parse_version(wanted)
    if version is None:
        raise UsageFault(f"`{wanted}` is no version", hint="a version is three numbers: `1.2.3`")
    if not VersionRange.parse(reference.version).contains(version):
        hint = f"write a range that it is in, such as `^{wanted}`"
        raise UsageFault(f"{wanted} is not in `{reference.version}`, the range that is asked for", hint=hint)
    chosen = tuple(one for one in offers.candidates if one.version == version)
    if not chosen:
        reasons = [one.reason for one in offers.withheld if one.version == version]
        causes = (f"{reference.name} {wanted} is {reasons[0]}" if reasons else f"{offers.source} does not have it",)
        hint = "`brickctl update` without --precise takes the newest that may be chosen"
        raise NotFound(f"{reference.name} {wanted} cannot be had", causes=causes, hint=hint)
    return replace(offers, candidates=chosen)


def at_revision(reference: Reference, wanted: str) -> Reference:
    """A repository of the Hub at another revision.

    Raises:
        UsageFault: it is a folder, which has no versions, or the Hub has no such revisions.
    """
    if not isinstance(reference, HubReference):
        hint = "leave out --precise"
        raise UsageFault(f"`{reference}` is a folder, and has no versions to choose from", hint=hint)
    return hub_reference(reference.repository, wanted, reference.subfolder)

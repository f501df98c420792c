"""Policy: whether the bricks of a lock keep the rules of brick.toml."""

from __future__ import annotations

import posixpath
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from brickctl.core.belonging import SIGNATURE
from brickctl.core.document import shown
from brickctl.core.names import BASE
from brickctl.core.versions import VersionRange
from brickctl.errors import PolicyViolation, asked_for

if TYPE_CHECKING:
    from collections.abc import Collection

    from brickctl.core.brick import Pin
    from brickctl.core.lock import Lock, Locked
    from brickctl.core.names import Alias
    from brickctl.core.reference import RegistryReference
    from brickctl.errors import BrickctlError, Place
    from brickctl.resolve.problem import Offers
    from brickctl.workflows.session import Session

YANKED = "yanked"
"""Why a version that was taken back may not be chosen."""

_HUB, _FOLDER = "hf:", "path:"
_MOST_SHOWN = 5


def check_policy(session: Session, lock: Lock, news: Collection[Alias]) -> None:
    """Hold every entry of a lock against the rules; what is new and only doubtful is warned of.

    Raises:
        PolicyViolation: about the first that breaks one, in the order of the lock; names the rule, and its line.
        IntegrityFault: a signature that is required is by somebody else, or about other files.
    """
    check_rules(session, lock, news)
    for entry in lock.entries.values():
        check_signature(session, entry)


def check_rules(session: Session, lock: Lock, news: Collection[Alias]) -> None:
    """As `check_policy`, but for signatures."""
    for entry in lock.entries.values():
        _check_source(session, entry)
        _check_license(session, entry)
    _check_declared_bases(session, lock, news)


def check_signature(session: Session, entry: Locked) -> None:
    """Hold one brick against `signatures`, where the policy requires them.

    Raises:
        PolicyViolation: it has no signature.
        IntegrityFault: it has one that is by nobody of the signers, or about other files.
    """
    policy = session.manifest.policy
    if policy.signatures != "required" or policy.for_brick(entry.alias).unsigned or entry.pin.is_derived:
        return  # what the project makes itself comes from nobody
    from brickctl.workflows.signatures import KeySigner
    from brickctl.workflows.signed import signer_of_brick

    signature = entry.pin.file(SIGNATURE)
    if signature is None:
        message = f"{_named(entry)} is not signed"
        raise _violation(session, entry, "signatures", message, "`signatures` are required", '"optional"')
    signers = [KeySigner(name=name, key=session.root / path) for name, path in policy.signers.items()]
    place = session.sources.fetch(entry.pin, signature, session.events)
    digests = {file.path: file.sha256 for file in entry.pin.files}
    with asked_for(place_of_entry(session, entry)):
        signer_of_brick(digests, place, signers, where=_named(entry))


def _check_source(session: Session, entry: Locked) -> None:
    policy = session.manifest.policy
    origin = entry.pin.origin
    if entry.pin.is_derived:  # it comes from what it was made of, each of which is held against the rule
        return
    if origin.startswith(_FOLDER):
        origin = _FOLDER + posixpath.normpath(origin.removeprefix(_FOLDER))
    if not policy.allows_source(entry.alias, origin):
        allowed = policy.for_brick(entry.alias).sources or policy.sources or ()
        message = f"{_named(entry)} comes from {shown(entry.pin.origin)}, which is no allowed source"
        raise _violation(session, entry, "sources", message, f"`sources` allows {_listed(allowed)}")


def _check_license(session: Session, entry: Locked) -> None:
    policy = session.manifest.policy
    if policy.allows_license(entry.alias, entry.license):
        return
    allowed = policy.for_brick(entry.alias).licenses or policy.licenses or ()
    message = f"{_named(entry)} is under the licence {entry.license}, which is not allowed"
    if entry.license == "unknown":
        message = f"nobody says under which licence {_named(entry)} is"
    raise _violation(session, entry, "licenses", message, f"`licenses` allows {_listed(allowed)}")


def _violation(
    session: Session, entry: Locked, rule: str, message: str, says: str, exception: str = "[...]"
) -> PolicyViolation:
    """The error about one brick and one rule, to be raised by the caller."""
    place = session.manifest.policy.place(rule)
    where = "[policy]" if place is None else f"[policy] ({place})"
    words = f"{rule} = {exception}"
    hint = f"do without it, or except it: `[policy.exceptions.{_key(entry.alias)}]` with `{words}`"
    return PolicyViolation(
        message, causes=(f"{says} in {where}",), place=place_of_entry(session, entry) or place, hint=hint
    )


def too_new(session: Session, name: str, published: datetime | None) -> str | None:
    """Why a version that was published then may not be chosen anew: `published ..., after exclude-newer`."""
    newest = session.manifest.policy.newest(name, datetime.now(UTC))
    if newest is None:
        return None
    if published is None:
        return "it does not say when it was published"
    if published <= newest:
        return None
    return f"published {published:%Y-%m-%d %H:%M} UTC, after `exclude-newer`"


def check_age(session: Session, name: str, pin: Pin) -> None:
    """Make sure that a new pin is old enough; only where that matters is its source asked when it was published.

    Raises:
        PolicyViolation: it is not.
    """
    if session.manifest.policy.newest(name, datetime.now(UTC)) is None:
        return
    reason = too_new(session, name, session.sources.published(pin))
    if reason is not None:
        message = f"{pin.origin} may not be pinned at {(pin.commit or pin.digest)[:12]}: {reason}"
        raise _age_violation(session, name, message, "name an older `revision`")


def none_in_range(session: Session, name: str, reference: RegistryReference, offers: Offers) -> BrickctlError:
    """The error about a range of which nothing may be chosen, to be raised by the caller."""
    from brickctl.sources.registry import no_version  # seldom needed: most locks that are looked at are good

    wanted = VersionRange.parse(reference.version)
    withheld = [(one.version, one) for one in offers.withheld if one.version is not None]
    young = [one for version, one in withheld if one.reason != YANKED and wanted.contains(version)]
    if young:
        causes = tuple(f"{one.label}: {one.reason}" for one in young[:_MOST_SHOWN])
        message = f"no version of `{reference.name}` in `{reference.version}` may be chosen"
        return _age_violation(session, name, message, "ask for an older version", causes)
    there = [(one.version, None) for one in offers.candidates if one.version is not None]
    return no_version(reference, (*there, *((version, one.reason) for version, one in withheld)))


def _age_violation(
    session: Session, name: str, message: str, remedy: str, causes: tuple[str, ...] = ()
) -> PolicyViolation:
    policy = session.manifest.policy
    cutoff = "" if policy.exclude_newer is None else policy.exclude_newer.text
    rule = (f'`exclude-newer = "{cutoff}"` in [policy] ({policy.place("exclude-newer")})',)
    hint = f"{remedy}, wait, or except it: `[policy.exceptions.{_key(name)}]` with `exclude-newer = false`"
    return PolicyViolation(message, causes=(*causes, *rule), hint=hint)


def place_of_entry(session: Session, entry: Locked) -> Place | None:
    """The line that asks for an entry, if brick.toml names it."""
    return session.manifest.place_of(entry.alias)


def _named(entry: Locked) -> str:
    return "the base" if entry.alias == BASE else f"`{entry.alias}`"


def _key(name: str) -> str:
    return f'"{name}"' if ":" in name else name


def _listed(words: Collection[str]) -> str:
    return ", ".join(words) or "none"


def _check_declared_bases(session: Session, lock: Lock, news: Collection[Alias]) -> None:
    """A brick that names another base may fit all the same: a warning while it is news, or an error by policy.

    Bricks name bases by their repositories on the Hub, so only there a difference is news; the policy minds everywhere.

    Raises:
        PolicyViolation: `[policy] base = "declared"`, and a brick of the lock names another base.
    """
    policy = session.manifest.policy
    base = _name(lock.base.pin)
    for alias, entry in {**lock.bricks, **lock.dependencies}.items():
        if entry.declared_base is None or entry.declared_base == base:
            continue
        message = f"`{alias}` was trained on {shown(entry.declared_base)}; the base is {base or lock.base.pin.source}"
        if policy.base == "declared":
            rule = '[policy] base = "declared" allows only bricks that name the base itself, or none'
            hint = f'replace `{alias}`, or write `base = "fits"` to let names and shapes decide'
            raise PolicyViolation(message, causes=(rule,), place=policy.place("base"), hint=hint)
        if lock.base.pin.source.startswith(_HUB) and (alias in news or BASE in news):
            session.events.warn(f"{message}. Its tensors fit, so it is used; check that it still does what it should.")


def _name(pin: Pin) -> str | None:
    """The name under which bricks know a base: that of its repository, else its name in a registry."""
    return pin.source.removeprefix(_HUB) if pin.source.startswith(_HUB) else pin.brick

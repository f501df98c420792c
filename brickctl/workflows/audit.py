"""Audit: what is known, by now, to be wrong with the bricks of a lock."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from brickctl.core.manifest import BUILTIN
from brickctl.core.names import BASE
from brickctl.core.reference import RegistryReference
from brickctl.errors import BrickctlError, Gated, IntegrityFault, NotFound, PolicyViolation, Unsupported
from brickctl.workflows.licenses import chains, needed_lock
from brickctl.workflows.parallel import in_parallel
from brickctl.workflows.policy import check_rules, check_signature

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from brickctl.core.advisories import Advisory
    from brickctl.core.lock import Lock, Locked
    from brickctl.core.registry_line import RegistryEntry
    from brickctl.workflows.session import Session

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something wrong with one brick: an `error` must not be used, a `warning` should be looked at.

    `rule` is `advisory`, `base-drift`, `license-conflict`, `license-unknown`, `policy`, `registry`, `unsafe`,
    `unsigned` or `yanked`.
    """

    level: str
    rule: str
    brick: str
    message: str
    hint: str

    def document(self) -> dict[str, Any]:
        """The finding as JSON."""
        return {
            "level": self.level,
            "rule": self.rule,
            "brick": self.brick,
            "message": self.message,
            "hint": self.hint,
        }


def audit(session: Session) -> tuple[Finding, ...]:
    """Everything that is wrong: errors first, then by brick.

    Raises:
        NotFound: there is no lock.
        TransportFault, OfflineMiss: a registry cannot be asked, and an audit without it would mean nothing.
    """
    lock = needed_lock(session)
    findings = [
        *_advisories(session, lock),
        *_registry_findings(session, lock),
        *_licenses(session, lock),
        *_unsafe(session, lock),
        *_policy(session, lock),
        *_unsigned(session, lock),
    ]
    return tuple(sorted(findings, key=lambda one: (one.level, one.brick, one.rule, one.message)))


def _advisories(session: Session, lock: Lock) -> Iterator[Finding]:
    registries = (BUILTIN, *session.manifest.registries)
    known: Mapping[str, tuple[Advisory, ...]] = dict(
        zip(registries, in_parallel(session.sources.advisories, registries), strict=True)
    )
    for entry in lock.entries.values():
        for registry, advisories in known.items():
            for advisory in advisories:
                if advisory.is_about(entry.pin, registry):
                    more = "" if advisory.url is None else f"; see {advisory.url}"
                    message = f"{advisory.id} of registry `{registry}`: {advisory.summary}"
                    hint = f"replace it, and build again what was made of it{more}"
                    yield Finding(level=ERROR, rule="advisory", brick=entry.alias, message=message, hint=hint)


def _registry_findings(session: Session, lock: Lock) -> Iterator[Finding]:
    """What registries say of the locked versions now."""
    entries = [entry for entry in lock.entries.values() if entry.pin.brick is not None]
    lines = in_parallel(lambda entry: _line(session, entry), entries)
    for entry, line in zip(entries, lines, strict=True):
        if isinstance(line, Finding):
            yield line
        elif line.digest != entry.pin.digest:
            message = f"registry `{entry.pin.registry}` has other files for {line.name} {line.version} than brick.lock"
            hint = "a published version never changes: ask whoever runs the registry"
            yield Finding(level=ERROR, rule="registry", brick=entry.alias, message=message, hint=hint)
        else:
            yield from _about_line(lock, entry, line)


def _about_line(lock: Lock, entry: Locked, line: RegistryEntry) -> Iterator[Finding]:
    if line.yanked:
        message = f"{line.name} {line.version} was yanked: its publisher took it back"
        hint = f"`brickctl update {entry.alias}` takes a version that was not"
        yield Finding(level=WARNING, rule="yanked", brick=entry.alias, message=message, hint=hint)
    made_for = line.base
    pin = lock.base.pin
    if made_for is not None and entry.alias != BASE and made_for.source == pin.source and made_for.commit != pin.commit:
        message = f"it was made for {made_for.source} at {made_for.commit}, and the base is at {pin.commit}"
        hint = "its tensors fit; test that it still does what it should, or pin the base to that commit"
        yield Finding(level=WARNING, rule="base-drift", brick=entry.alias, message=message, hint=hint)


def _line(session: Session, entry: Locked) -> RegistryEntry | Finding:
    """What the registry says of a locked version, or that it says nothing."""
    pin = entry.pin
    reference = RegistryReference(name=pin.brick or "", registry=pin.registry or "")
    try:
        entries = session.sources.versions(reference)
    except NotFound as error:
        hint = "it can be used as long as it is on this machine; `brickctl vendor` keeps it"
        return Finding(level=WARNING, rule="registry", brick=entry.alias, message=error.message, hint=hint)
    except (IntegrityFault, Unsupported) as fault:
        hint = fault.hint or "ask whoever runs the registry why"
        return Finding(level=ERROR, rule="registry", brick=entry.alias, message=fault.message, hint=hint)
    line = next((line for line in entries if line.version == pin.version), None)
    if line is None:
        message = f"registry `{pin.registry}` has no {pin.brick} {pin.version} any more"
        hint = "it can be used as long as it is on this machine; ask whoever runs the registry why"
        return Finding(level=WARNING, rule="registry", brick=entry.alias, message=message, hint=hint)
    return line


def _licenses(session: Session, lock: Lock) -> Iterator[Finding]:
    for entry in lock.entries.values():
        if entry.license == "unknown":
            message = "nobody says under which licence it is"
            hint = "ask its author, then write `license = ...` beside it in brick.toml"
            yield Finding(level=WARNING, rule="license-unknown", brick=entry.alias, message=message, hint=hint)
    for chain in chains(session, lock):
        for clash in chain.clashes:
            message = f"[targets.{chain.target}] puts it together with `{clash.second}`: {clash.reason}"
            hint = "take one of them out of the target, or ask its author for another licence"
            yield Finding(level=ERROR, rule="license-conflict", brick=clash.first, message=message, hint=hint)


def _unsafe(session: Session, lock: Lock) -> Iterator[Finding]:
    """What is wrong with the files by nature, and files beside them that run code when other programs load them."""
    entries = list(lock.entries.values())
    for entry, fault in zip(entries, in_parallel(partial(_fault, session), entries), strict=True):
        if fault is not None:
            message = "; ".join((fault.message, *fault.causes))
            hint = fault.hint or "replace it"
            yield Finding(level=ERROR, rule="unsafe", brick=entry.alias, message=message, hint=hint)
    beside = in_parallel(partial(_beside, session), entries)
    for entry, files in zip(entries, beside, strict=True):
        if files:
            message = f"beside it lies {files[0]}{_more(files)}, which runs code when it is loaded"
            hint = "brickctl neither fetches nor reads it; do not let other programs load the repository"
            yield Finding(level=WARNING, rule="unsafe", brick=entry.alias, message=message, hint=hint)


def _beside(session: Session, entry: Locked) -> tuple[str, ...]:
    """Nothing where nobody can look any more: a repository that is gone is told elsewhere."""
    try:
        return session.sources.unsafe_files(entry.pin)
    except (NotFound, Gated):
        return ()


def _fault(session: Session, entry: Locked) -> BrickctlError | None:
    try:
        session.sources.inspect(entry.pin)
    except (PolicyViolation, IntegrityFault) as error:
        return error
    return None


def _more(files: tuple[str, ...]) -> str:
    return "" if len(files) == 1 else f" and {len(files) - 1} more"


def _policy(session: Session, lock: Lock) -> Iterator[Finding]:
    try:
        check_rules(session, lock, ())
    except PolicyViolation as violation:
        yield _as_finding(violation, "policy")


def _unsigned(session: Session, lock: Lock) -> Iterator[Finding]:
    """Bricks without a signature that counts, where the policy requires one."""
    for entry in lock.entries.values():
        try:
            check_signature(session, entry)
        except (PolicyViolation, IntegrityFault) as error:
            yield _as_finding(error, "unsigned", entry.alias)


def _as_finding(error: BrickctlError, rule: str, brick: str = "") -> Finding:
    causes = "; ".join((error.message, *error.causes))
    return Finding(level=ERROR, rule=rule, brick=brick, message=causes, hint=error.hint or "")

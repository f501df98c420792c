"""A bill of materials of machine learning, in CycloneDX 1.6: models, their files, licences, and what is made of what.

The library makes all but the model cards, which it does not know yet. No time stands in it, and its serial number
follows from the lock: equal locks, equal bytes.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

from brickctl import __version__
from brickctl.core.digests import canonical_json, json_digest, readable_json, sha256_bytes
from brickctl.core.document import shown
from brickctl.core.licenses import UNKNOWN
from brickctl.core.names import BASE
from brickctl.errors import Unsupported
from brickctl.workflows.lock_export.export import Exported
from brickctl.workflows.lock_export.requirements import where

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component
    from packageurl import PackageURL

    from brickctl.core.lock import Locked
    from brickctl.workflows.lock_export.export import Subject

_HUB = "hf:"
_NAMESPACE = uuid.UUID("0d8bb2a2-2d6f-5c0e-9d59-6a4ddc4d3f0b")  # any fixed one; serial numbers are drawn from it


def cyclonedx(subject: Subject) -> Exported:
    """The bill, as JSON.

    Raises:
        Unsupported: the library is not installed.
    """
    try:
        from cyclonedx.output.json import JsonV1Dot6
    except ImportError as error:
        cause = f"the package {shown(error.name or str(error))} is missing"
        hint = '`pip install "brickctl[bom]"`'
        raise Unsupported("a bill of materials needs more packages", causes=(cause,), hint=hint) from None
    document: dict[str, Any] = json.loads(JsonV1Dot6(_bill(subject)).output_as_string())
    document["metadata"].pop("timestamp", None)
    cards = {_reference(entry): _card(entry) for entry in subject.entries}
    for component in document.get("components", ()):
        component["modelCard"] = cards[component["bom-ref"]]
    return Exported(text=readable_json(document).decode())


def _bill(subject: Subject) -> Bom:
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.tool import ToolRepository

    whole = _whole(subject)
    tool = Component(name="brickctl", version=__version__, type=ComponentType.APPLICATION, bom_ref="brickctl")
    metadata = BomMetaData(component=whole, tools=ToolRepository(components=[tool]))
    bill = Bom(serial_number=_serial(subject), metadata=metadata)
    components = {str(entry.alias): _component(entry) for entry in subject.entries}
    bill.components.update(components.values())
    bill.register_dependency(whole, components.values())
    for entry in subject.entries:
        needs = dict.fromkeys(_needs(entry, subject))
        bill.register_dependency(components[str(entry.alias)], [components[name] for name in needs])
    return bill


def _whole(subject: Subject) -> Component:
    """What the bill is of: the model of a target, or the project."""
    from cyclonedx.model.component import Component, ComponentType

    if subject.recipe is None:
        return Component(name=subject.project, type=ComponentType.APPLICATION, bom_ref=f"project:{subject.project}")
    name, kind = str(subject.recipe.name), ComponentType.MACHINE_LEARNING_MODEL
    version = json_digest({"recipe": subject.recipe.document(), "bricks": _digests(subject)})[:12]
    return Component(name=name, version=version, type=kind, bom_ref=f"target:{name}")


def _component(entry: Locked) -> Component:
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType

    pin = entry.pin
    files = [
        Component(
            name=file.path,
            type=ComponentType.FILE,
            bom_ref=f"{_reference(entry)}#{file.path}",
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=file.sha256)],
        )
        for file in pin.files
    ]
    return Component(
        name=pin.origin.partition(":")[2],
        version=pin.version or pin.commit or pin.digest,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=_reference(entry),
        purl=_purl(entry),
        licenses=[] if entry.license == UNKNOWN else [LicenseFactory().make_from_string(entry.license)],
        components=files,
        properties=_properties(entry),
    )


def _purl(entry: Locked) -> PackageURL | None:
    """The package URL of what lies on the Hub; for nothing else is there a type."""
    from packageurl import PackageURL

    pin = entry.pin
    if not pin.source.startswith(_HUB):
        return None
    owner, _, name = pin.source.removeprefix(_HUB).rpartition("/")
    return PackageURL("huggingface", owner or None, name, pin.commit, subpath=pin.subfolder)


def _properties(entry: Locked) -> list[Any]:
    from cyclonedx.model import Property

    told = {
        "brickctl:name": str(entry.alias),
        "brickctl:kind": entry.kind,
        "brickctl:source": where(entry.pin),
        "brickctl:tree-digest": f"sha256:{entry.pin.digest}",
        "brickctl:interface": f"sha256:{entry.interface}",
    }
    return [Property(name=name, value=value) for name, value in told.items()]


def _card(entry: Locked) -> dict[str, Any]:
    """What a model card can say of a brick without opening it."""
    told = {"brickctl:kind": entry.kind, "brickctl:interface": f"sha256:{entry.interface}"}
    if entry.declared_base is not None:
        told["brickctl:declared-base"] = entry.declared_base
    return {"properties": [{"name": name, "value": value} for name, value in told.items()]}


def _needs(entry: Locked, subject: Subject) -> Iterator[str]:
    """What a brick cannot be used without, by name: the base that it changes, and what its registry says."""
    if entry.alias != BASE:
        yield str(BASE)
    origins = {other.pin.origin: str(other.alias) for other in subject.entries}
    for need in entry.dependencies:
        name = None if need.is_base else origins.get(need.origin(entry.pin.registry))
        if name is not None:
            yield name


def _reference(entry: Locked) -> str:
    return f"brick:{entry.alias}"


def _serial(subject: Subject) -> uuid.UUID:
    """A number that belongs to what the bill says, and to nothing else."""
    recipe = None if subject.recipe is None else subject.recipe.document()
    told = {"project": subject.project, "recipe": recipe, "bricks": _digests(subject)}
    return uuid.uuid5(_NAMESPACE, sha256_bytes(canonical_json(told)))


def _digests(subject: Subject) -> dict[str, str]:
    return {str(entry.alias): entry.pin.digest for entry in subject.entries}

"""Licences: SPDX expressions, `LicenseRef-...` for what SPDX does not list, and `unknown`."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

UNKNOWN = "unknown"
"""What stands where nobody has said under which licence a brick is."""

_LONGEST = 256
_MOST_WAYS = 64
_LONGEST_REFERENCE = 96
_NOT_IN_A_REFERENCE = re.compile(r"[^A-Za-z0-9.]+")
_HUB_NAMES = {
    "agpl-3.0": "AGPL-3.0-only",
    "gpl-2.0": "GPL-2.0-only",
    "gpl-3.0": "GPL-3.0-only",
    "lgpl-2.1": "LGPL-2.1-only",
    "lgpl-3.0": "LGPL-3.0-only",
    "odbl": "ODbL-1.0",
    "odc-by": "ODC-By-1.0",
    "openrail++": "LicenseRef-openrail-plus-plus",
    "pddl": "PDDL-1.0",
    UNKNOWN: UNKNOWN,
}
_HUB_SPELLINGS = {name: hub for hub, name in _HUB_NAMES.items()}
_LISTED_BY_THE_HUB = """
    afl-3.0 agpl-3.0 apache-2.0 apple-amlr apple-ascl artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0
    bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
    cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 cdla-sharing-1.0 creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0 etalab-2.0
    eupl-1.1 eupl-1.2 gemma gfdl gpl gpl-2.0 gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 llama3 llama3.1 llama3.2
    llama3.3 llama4 lppl-1.3c mit mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 openrail openrail++ osl-3.0 pddl postgresql
    unknown unlicense wtfpl zlib
"""  # https://huggingface.co/docs/hub/repositories-licenses, without `other`, which is the name of no licence
_HUB_IDS = frozenset(_LISTED_BY_THE_HUB.split())


def parse_license(text: str) -> str | None:
    """The canonical form of an SPDX expression or `LicenseRef-...`, or `unknown`; None when it is something else."""
    if text == UNKNOWN:
        return UNKNOWN
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression  # 40 ms, seldom needed

    try:
        return str(canonicalize_license_expression(text)) if len(text) <= _LONGEST and text.isascii() else None
    except InvalidLicenseExpression:
        return None


def choices(license_name: str) -> tuple[tuple[str, ...], ...]:
    """The ways to keep an expression: of each OR one side, of each AND all; the licences of each way.

    `choices("(MIT OR GPL-3.0-only) AND ISC")` is `(("MIT", "ISC"), ("GPL-3.0-only", "ISC"))`. `unknown` is a licence of
    its own, and so is one `WITH` an exception. Of an expression with ever more ways, the first 64 are given.
    """
    from license_expression import ExpressionError, Licensing  # 25 ms, seldom needed

    def ways(part: Any) -> list[tuple[str, ...]]:
        parts = getattr(part, "args", ())
        operator = part.operator.strip() if parts else ""
        if operator == "OR":
            return [way for each in parts for way in ways(each)][:_MOST_WAYS]
        if operator == "AND":
            together = itertools.islice(itertools.product(*map(ways, parts)), _MOST_WAYS)
            return [tuple(itertools.chain(*way)) for way in together]
        return [(str(part),)]

    try:
        return tuple(ways(Licensing().parse(license_name)))
    except ExpressionError:
        return ((license_name,),)


def satisfies(license_name: str, allowed: Collection[str]) -> bool:
    """Whether an expression can be kept with `allowed` licences alone."""
    return any(all(name in allowed for name in way) for way in choices(license_name))


def from_hub(license_id: str | None) -> str:
    """The licence that the Hub calls `license_id`: SPDX where SPDX lists it, else `LicenseRef-ID`.

    The Hub's ids are SPDX ids in lower case, or names of its own (`llama3.1`, `gemma`, `openrail`, `other`). Ids of the
    GNU family do not say whether later versions will do; the narrower reading is taken.
    """
    if not license_id:
        return UNKNOWN
    name = license_id.strip().lower()
    known = _HUB_NAMES.get(name) or parse_license(name)
    if known is not None:
        return known
    reference = _NOT_IN_A_REFERENCE.sub("-", name)[:_LONGEST_REFERENCE].strip("-.")
    return f"LicenseRef-{reference}" if reference else UNKNOWN


def to_hub(license_name: str) -> str | None:
    """The id under which the Hub knows one licence; None for an expression, and for what is not on its list."""
    hub_id = _HUB_SPELLINGS.get(license_name, license_name.removeprefix("LicenseRef-").lower())
    return hub_id if hub_id in _HUB_IDS and from_hub(hub_id) == license_name else None

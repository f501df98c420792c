"""Licences: SPDX expressions, `LicenseRef-...` for what SPDX does not list, and `unknown`."""

from __future__ import annotations

import re

UNKNOWN = "unknown"
"""What stands where nobody has said under which licence a brick is."""

_LONGEST = 256
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


def parse_license(text: str) -> str | None:
    """The canonical form of an SPDX expression or `LicenseRef-...`, or `unknown`; None when it is something else."""
    if text == UNKNOWN:
        return UNKNOWN
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression  # 40 ms, seldom needed

    try:
        return str(canonicalize_license_expression(text)) if len(text) <= _LONGEST and text.isascii() else None
    except InvalidLicenseExpression:
        return None


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

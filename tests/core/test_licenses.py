from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brickctl.core.licenses import from_hub, parse_license, to_hub


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("Apache-2.0", "Apache-2.0"),
        ("apache-2.0", "Apache-2.0"),
        ("mit or apache-2.0", "MIT OR Apache-2.0"),
        ("LicenseRef-llama3.1", "LicenseRef-llama3.1"),
        ("unknown", "unknown"),
    ],
)
def test_licences_get_their_canonical_form(text: str, canonical: str) -> None:
    assert parse_license(text) == canonical


@pytest.mark.parametrize(
    "text", ["", "Apache", "MIT OR", "LicenseRef-", "LicenseRef-a b", "llama3.1", "(" * 5000, "MIT\u2028"]
)
def test_what_spdx_does_not_know_is_none(text: str) -> None:
    assert parse_license(text) is None


@pytest.mark.parametrize(
    ("hub", "license_name"),
    [
        ("apache-2.0", "Apache-2.0"),
        ("mit", "MIT"),
        ("cc-by-4.0", "CC-BY-4.0"),
        ("cc-by-nc-sa-4.0", "CC-BY-NC-SA-4.0"),
        ("gpl-3.0", "GPL-3.0-only"),
        ("odbl", "ODbL-1.0"),
        ("llama3.1", "LicenseRef-llama3.1"),
        ("gemma", "LicenseRef-gemma"),
        ("openrail", "LicenseRef-openrail"),
        ("openrail++", "LicenseRef-openrail-plus-plus"),
        ("creativeml-openrail-m", "LicenseRef-creativeml-openrail-m"),
        ("other", "LicenseRef-other"),
        ("unknown", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_licence_ids_of_the_hub_are_mapped(hub: str | None, license_name: str) -> None:
    assert from_hub(hub) == license_name


@given(st.text(max_size=300))
def test_whatever_the_hub_says_becomes_a_licence_that_a_lock_may_hold(text: str) -> None:
    license_name = from_hub(text)
    assert parse_license(license_name) == license_name


@pytest.mark.parametrize(
    ("license_name", "hub"),
    [
        ("Apache-2.0", "apache-2.0"),
        ("AGPL-3.0-only", "agpl-3.0"),
        ("LicenseRef-llama3.1", "llama3.1"),
        ("LicenseRef-openrail-plus-plus", "openrail++"),
        ("unknown", "unknown"),
        ("GPL-3.0-or-later", None),
        ("Apache-2.0 AND MIT", None),
        ("LicenseRef-house-rules", None),
        ("LicenseRef-mit", None),
        ("0BSD", None),
    ],
)
def test_only_what_the_hub_lists_has_a_name_there(license_name: str, hub: str | None) -> None:
    assert to_hub(license_name) == hub

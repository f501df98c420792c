"""The guide to troubleshooting knows every error, and nothing else."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from brickctl.errors import BrickctlError
from tests.docs.pages import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

GUIDE = (ROOT / "docs/how-to/troubleshoot.md").read_text(encoding="utf-8")


def below(error: type[BrickctlError]) -> Iterator[type[BrickctlError]]:
    for case in error.__subclasses__():
        if case.__module__ == BrickctlError.__module__:
            yield case
            yield from below(case)


def test_every_code_has_a_section_with_its_exit_code_in_the_order_of_the_reference() -> None:
    told = re.findall(r"^## ([\w-]+)\n\nExit code (\d+)\.", GUIDE, re.MULTILINE)
    assert told == [(error.code, str(error.exit_code)) for error in below(BrickctlError)]


def test_every_section_says_more_than_what_the_code_means() -> None:
    sections = re.split(r"^## .+\n", GUIDE, flags=re.MULTILINE)[1:]
    assert [section for section in sections if len(section.split()) < 20] == []

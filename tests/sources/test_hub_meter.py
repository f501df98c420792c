"""A download that does not end is ended, by the number of its bytes and of its beginnings."""

from __future__ import annotations

import pytest

from brickctl.errors import TransportFault
from brickctl.sources.hub.meter import metered


def test_what_comes_is_passed_on() -> None:
    heard: list[int] = []
    meter = metered("a file", 10, heard.append)()
    for amount in (4, 6.0, None, 0):
        meter.update(amount)
    assert heard == [4, 6]


def test_more_bytes_than_the_file_has() -> None:
    meter = metered("a file", 10, None)(initial=4, total=None)
    meter.update(6)
    with pytest.raises(TransportFault, match="could not be fetched") as caught:
        meter.update(1)
    assert "more than its 10 bytes" in caught.value.causes[0]


def test_a_server_that_begins_anew_for_ever() -> None:
    meter = metered("a file", 10, None)()
    for _ in range(5):
        meter.update(4)
        meter.update(-4)
    with pytest.raises(TransportFault, match="could not be fetched") as caught:
        meter.update(-4)
    assert "begins the file anew every time" in caught.value.causes[0]

"""What the tests in a browser rest on: they find what nobody could read or reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.browser import NARROW, hard_to_read, needs_browser, out_of_reach

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = needs_browser

BAD = """<!DOCTYPE html><html lang="en"><title>bad</title><body style="background: #fff">
<p style="color: #999">pale</p><p style="font-size: 9px">small</p><div style="width: 500px">wide</div>
<a href="#x" tabindex="-1">missed</a><button style="outline: none">bare</button><button>good</button>"""


def test_what_is_pale_small_wide_missed_or_without_a_frame_is_found(visit: Callable[..., Any]) -> None:
    tab = visit(BAD, width=NARROW)
    wide, pale, small = hard_to_read(tab)
    assert wide.endswith("pixels too wide")
    assert pale == "'pale' is rgb(153, 153, 153) on rgb(255, 255, 255)"
    assert small == "'small' has 9 pixels"
    missed, bare = out_of_reach(tab)
    assert missed.startswith('<a href="#x"')
    assert bare.startswith('<button style="outline: none"')

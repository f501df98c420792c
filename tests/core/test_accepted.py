"""brick.results.toml as a value and as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brickctl.core.accepted import Accepted, decode, encode
from brickctl.core.digests import Sha256
from brickctl.core.names import Alias
from brickctl.errors import LockInvalid

DIGEST = Sha256("ab" * 32)
names = st.from_regex(r"[a-z][a-z0-9_-]{0,9}", fullmatch=True)
digests = st.binary(min_size=32, max_size=32).map(lambda raw: Sha256(raw.hex()))
results = st.builds(
    Accepted,
    check=names,
    target=names.map(Alias),
    value=st.floats(allow_nan=False, allow_infinity=False),
    count=st.integers(0, 2**40),
    asked=digests,
    artifact=digests,
    data=st.none() | digests,
)


@given(st.lists(results, unique_by=lambda one: one.check))
def test_what_is_written_is_read_again(several: list[Accepted]) -> None:
    assert decode(encode(several)) == {one.check: one for one in several}
    assert encode(reversed(several)) == encode(several)


def result(check: str) -> Accepted:
    return Accepted(check=check, target=Alias("chat"), value=0.5, count=2, asked=DIGEST, artifact=DIGEST, data=DIGEST)


def test_a_check_has_a_line() -> None:
    text = encode([result("sql"), result("mail")])
    lines = [line for line in text.splitlines() if "check =" in line]
    assert [line.split('"')[1] for line in lines] == ["mail", "sql"]
    assert "value = 0.5, count = 2" in lines[0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version = 1", "version = 2", "this brickctl reads version 1 of brick.results.toml"),
        ("value = 0.5", "value = inf", "must be a finite number"),
        ("value = 0.5", 'value = "0.5"', "must be a number"),
        ("count = 2", "count = -2", "a `count` that cannot be"),
        ("sha256:ab", "md5:ab", "is no digest"),
        ("results = [", "<<<<<<< ours\nresults = [", "conflict markers"),
        ("count = 2", "cuont = 2", "`count` in results[0] is missing"),
        ('check = "mail"', 'check = "zebra"', "out of order, or stands twice"),
        ('check = "sql"', 'check = "mail"', "out of order, or stands twice"),
        ("]", "", "is not TOML"),
    ],
)
def test_what_somebody_broke_is_refused(old: str, new: str, message: str) -> None:
    text = encode([result("mail"), result("sql")])
    with pytest.raises(LockInvalid) as raised:
        decode(text.replace(old, new))
    assert message in raised.value.message
    assert raised.value.hint is not None or "TOML" in message or "number" in message or "missing" in message

"""What is said of keys of brick.toml, said of options to whoever has written a command line."""

import pytest

from brickctl.errors import ManifestInvalid, Misfit, UsageFault
from brickctl.workflows.command_line import in_options, options_spoken_of

KEYS = ("layers", "rank", "save-others", "from")


@pytest.mark.parametrize(
    ("said", "becomes"),
    [
        ("`rank = 16` is too much", "`--rank 16` is too much"),
        ("write layers = [4, 8]: not [8, 4]", "write --layers 4 8: not [8, 4]"),
        ('with `save-others = true`, or from = "NAME"', "with `--save-others`, or --from NAME"),
        ("`rank` in [derived.extracted] must be 1", "`--rank` must be 1"),
        ("set [base] to what it was tuned from", "set --base to what it was tuned from"),
        ("it fits `[base]`.", "it fits `--base`."),
    ],
)
def test_keys_become_options(said: str, becomes: str) -> None:
    assert in_options(said, KEYS) == becomes


@pytest.mark.parametrize(
    "said",
    [
        "/models/[base]/a is not there",
        "[base]/a is not there",
        "models/x[base] is not there",
        "`max_rank = 4` in config.json",
        "`lora-rank = 4` in config.json",
        "/models/rank = 4 is not there",
    ],
)
def test_parts_of_paths_and_of_longer_words_stay(said: str) -> None:
    assert in_options(said, KEYS) == said


def test_what_would_be_wrong_with_a_manifest_is_wrong_with_the_command_line() -> None:
    with pytest.raises(UsageFault) as raised, options_spoken_of(KEYS):
        raise ManifestInvalid("no `rank = 0`", causes=("layers = [1, 2]",), hint="look at [base]")
    error = raised.value
    assert (error.message, error.causes, error.hint) == ("no `--rank 0`", ("--layers 1 2",), "look at --base")
    with pytest.raises(Misfit, match="--rank 9"), options_spoken_of(KEYS):
        raise Misfit("rank = 9")

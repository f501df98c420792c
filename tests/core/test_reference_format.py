from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brickctl.core.reference import HubReference, PathReference, Reference, RegistryReference
from brickctl.core.reference_format import parse_reference
from brickctl.errors import BrickctlError, UsageFault


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("hf:acme/sql", HubReference(repository="acme/sql", revision="main")),
        ("hf:acme/sql@v2", HubReference(repository="acme/sql", revision="v2")),
        ("hf:acme/sql@refs/pr/1", HubReference(repository="acme/sql", revision="refs/pr/1")),
        ("hf:gpt2", HubReference(repository="gpt2")),
        ("path:bricks/date", PathReference(path="bricks/date")),
        ("path:./bricks//date/", PathReference(path="bricks/date")),
        ("./bricks/date", PathReference(path="bricks/date")),
        ("../date", PathReference(path="../date")),
        ("/srv/bricks/date", PathReference(path="/srv/bricks/date")),
        (".", PathReference(path=".")),
    ],
)
def test_references_of_the_command_line(text: str, reference: Reference) -> None:
    assert parse_reference(text) == reference
    assert parse_reference(text, registries=("corp",)) == reference


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("acme/sql", RegistryReference(name="acme/sql", version="*", registry="corp")),
        ("acme/sql@1", RegistryReference(name="acme/sql", version="^1", registry="corp")),
        ("acme/sql@>=1,<3", RegistryReference(name="acme/sql", version=">=1, <3", registry="corp")),
    ],
)
def test_in_a_project_a_bare_name_means_its_default_registry(text: str, reference: Reference) -> None:
    assert parse_reference(text, registries=("corp",)) == reference


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("acme/sql", "did you mean `hf:acme/sql` (the Hub) or `./acme/sql` (a folder)?"),
        ("https://huggingface.co/acme/sql/tree/main", "did you mean `hf:acme/sql`?"),
        ("hf:acme/sql/checkpoint", "write `hf:owner/name`"),
        ("hf:", "write `hf:owner/name`"),
        ("hf:acme/sql@", "a revision is a branch, a tag or a commit"),
        ("hf:acme/sql@../x", "a revision is a branch, a tag or a commit"),
        ("path:", "write `path:folder`, relative to brick.toml"),
        ("path:bricks\\date", "write `/` between folders, on every system"),
        (
            "C:\\bricks",
            "write `hf:owner/name[@revision]` for the Hub, `path:folder` (also `./folder`, `/folder`) for a folder",
        ),
    ],
)
def test_what_is_no_reference_is_refused_with_what_was_probably_meant(text: str, hint: str) -> None:
    with pytest.raises(UsageFault) as caught:
        parse_reference(text)
    assert caught.value.hint == hint


@given(st.text(max_size=30) | st.builds("{}{}".format, st.sampled_from(["hf:", "path:", "./", "a/b@"]), st.text()))
def test_any_text_is_a_reference_or_a_usage_fault(text: str) -> None:
    with contextlib.suppress(BrickctlError):
        parse_reference(text, registries=("builtin",))

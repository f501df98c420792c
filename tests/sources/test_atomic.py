"""Files that take each other's places, all or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from brickctl.sources.atomic import Draft, write_together


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("moved", [False, True])
def test_an_interrupt_at_any_file_leaves_all_as_they_were(
    step: int,
    moved: bool,  # noqa: FBT001 - a case
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ctrl-C may come before a rename, and just after it."""
    old, new = tmp_path / "brick.toml", tmp_path / "brick.lock"
    old.write_bytes(b"before")
    steps, replace = iter((1, 2)), Path.replace

    def interrupted(one: Path, other: Path) -> Path:
        if next(steps, 0) != step:
            return replace(one, other)
        if moved:
            replace(one, other)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_together([Draft(old, b"after"), Draft(new, b"after")])

    assert old.read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["brick.toml"]

"""What the verbs have in common that make a brick without a manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.cli.findings import findings_document, show_findings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from brickctl.cli.console import Console
    from brickctl.tensors.device import Device
    from brickctl.workflows.extract import Extraction


def toml_keys(values: Mapping[str, object]) -> dict[str, str]:
    """What was given, in TOML; a flag that was not is left out."""
    return {key: _toml(value) for key, value in values.items() if value is not None and value is not False}


def _toml(value: object) -> str:
    from brickctl.workflows.command_line import quoted

    return "true" if value is True else quoted(value) if isinstance(value, str) else repr(value)


def make_brick(
    console: Console,
    extraction: Extraction,
    output: Path,
    *,
    offline: bool,
    memory: int | None,
    threads: int,
    device: Device | None,
) -> None:
    """Make the brick, and say what it is and what was found."""
    from brickctl.core.sizes import format_size
    from brickctl.tensors.executor import Budget
    from brickctl.workflows.bench import Means
    from brickctl.workflows.extract import run

    means = Means(budget=Budget(threads=threads, memory=memory), device="cpu" if device is None else device.name)
    made = run(extraction, output, console, means, offline=offline)
    digest = f"sha256:{made.brick.digest}"
    findings = made.findings
    console.answer(
        {
            "folder": str(made.folder),
            "kind": made.brick.kind,
            "digest": digest,
            "size": made.size,
            **findings_document(findings),
        }
    )
    show_findings(console, made.folder.name, findings)
    console.show(f"{made.folder}: {made.brick.kind}  {format_size(made.size)}  {digest[:23]}")

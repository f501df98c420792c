"""The folder that a training leaves: an adapter for PEFT, a card for the Hub, and the record of how it came about."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from brickctl import __version__
from brickctl.analysis.training.lora import document, tensors
from brickctl.analysis.training.training import windows
from brickctl.core.brick import Brick
from brickctl.core.digests import readable_json
from brickctl.core.names import Alias
from brickctl.core.reference import PathReference
from brickctl.kinds.kind import kind_named
from brickctl.workflows.files import write_new
from brickctl.workflows.model_card import base_lines, license_lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import torch

    from brickctl.workflows.session import Session
    from brickctl.workflows.training.model import Ground
    from brickctl.workflows.training.wish import Wish

KIND = "adapter"
RECORD = "training.json"
CARD = "README.md"

_FORMAT = "brickctl-training-1"
_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PACKAGES = ("peft", "safetensors", "torch", "transformers")
_POINTS = 50
"""Of a curve of losses, at most."""

_HUB = "hf:"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """The mean loss of what was held out, in nats a token: without the brick, and with it as it is stored."""

    lines: int
    tokens: int
    before: float
    after: float

    def document(self) -> dict[str, Any]:
        """For the record."""
        return {"lines": self.lines, "tokens": self.tokens, "before": self.before, "after": self.after}


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """How a training went: its steps, what it read of which how many tokens were predicted, and the losses.

    `length` is how many tokens a row could have.
    """

    length: int
    steps: int
    read: int
    predicted: int
    losses: Sequence[float]
    held_out: HeldOut | None

    @property
    def each(self) -> int:
        """How many steps a point of the curve stands for."""
        return max(1, -(-self.steps // _POINTS))

    def document(self) -> dict[str, Any]:
        """For the record."""
        return {
            "steps": self.steps,
            "tokens": {"read": self.read, "predicted": self.predicted},
            "loss": {"steps-a-point": self.each, "points": windows(self.losses, self.each)},
            "held-out": None if self.held_out is None else self.held_out.document(),
        }


def write_adapter(folder: Path, model: Any, wish: Wish, ground: Ground) -> dict[str, torch.Tensor]:
    """Write what PEFT reads; gives the numbers as they are stored, rounded."""
    from safetensors.torch import save

    rounded = tensors(model, wish.dtype)
    pin = ground.locked.pin
    is_hub = ground.is_base and pin.source.startswith(_HUB) and pin.subfolder is None
    base = pin.source.removeprefix(_HUB) if is_hub else None
    said = document(model, wish.shape, base=base, revision=pin.commit if is_hub else None)
    write_new(folder / _CONFIG, readable_json(said))
    write_new(folder / _WEIGHTS, save(rounded, {"format": "pt"}))
    return rounded


def write_story(folder: Path, wish: Wish, ground: Ground, about: Mapping[str, Any], learnt: Learnt) -> None:
    """Write the record and the card; no date is in them, so the same training leaves the same bytes."""
    versions = {"brickctl": __version__, **{name: version(name) for name in _PACKAGES}}
    record = {"format": _FORMAT, **about, **learnt.document(), "versions": versions}
    record["data"] = {"file": os.fsencode(wish.file.name).decode("utf-8", "replace"), **about["data"]}
    record["settings"] = {**about["settings"], "length": learnt.length}
    write_new(folder / RECORD, readable_json(record))
    write_new(folder / CARD, card(wish, ground, about, learnt).encode())


def card(wish: Wish, ground: Ground, about: Mapping[str, Any], learnt: Learnt) -> str:
    """The card in Markdown, with the Hub's front matter."""
    base = about["base"]
    named = base["source"] or base["digest"]
    target = about.get("target")
    on = f"`{named}`" if target is None else f"a model that was built of `{named}` and other bricks, {target['digest']}"
    lines = [
        "---",
        *base_lines(ground.locked, "adapter"),
        *license_lines(license_of(wish, ground)),
        "library_name: peft",
        "tags: [brickctl, lora]",
        "---",
        "",
        f"# {wish.name}",
        "",
        f"A LoRA of rank {wish.shape.rank} for {on}, trained by brickctl.",
        f"`{RECORD}` beside this file has every setting, the digests of base and data, the versions, and the losses.",
        "",
        *_held_out_lines(learnt.held_out),
        "```python",
        "from peft import PeftModel",
        "",
        "model = PeftModel.from_pretrained(base, FOLDER)  # base: that model, by transformers",
        "```",
        "",
    ]
    return "\n".join(lines)


def _held_out_lines(held_out: HeldOut | None) -> list[str]:
    if held_out is None:
        return []
    said = f"{held_out.before:.3f} without it, {held_out.after:.3f} with it"
    return [f"Mean loss of {held_out.lines} examples that it has not read, in nats a token: {said}.", ""]


def license_of(wish: Wish, ground: Ground) -> str:
    """What the user says, or else what that has of which the brick is made."""
    return wish.license or ground.license


def check_fit(session: Session, folder: Path, ground: Ground, name: str) -> Brick:
    """Read the brick as any other would be, and hold it against the base of the project.

    Raises:
        Misfit, Unsupported: no target could merge it, such as factors for a head that is tied.
    """
    pin = session.sources.pin(PathReference(path=folder.as_posix()))
    brick = Brick(name=Alias(name), kind=KIND, pin=pin, contents=session.sources.inspect(pin))
    kind_named(KIND).check(brick, ground.base)
    return brick

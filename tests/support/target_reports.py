"""Reports of targets that nobody has: plausible values, always the same."""

from __future__ import annotations

from brickctl.pages.target.contents import (
    BUILT,
    Amount,
    Artifact,
    Brick,
    Change,
    Clash,
    Curve,
    Report,
    Spot,
    Step,
    Use,
    Weights,
)

LAYERS = 30
_MODULES = ("input_layernorm", "mlp.down_proj", "mlp.up_proj", "self_attn.q_proj")
_GRADIENT = tuple(layer / (LAYERS - 1) for layer in range(LAYERS))


def brick(name: str, **more: object) -> Brick:
    """A brick from the Hub that says nothing else."""
    known = {"kind": "adapter", "source": f"hf:acme/{name}", "revision": "77df854a93b9", "license": "MIT"}
    return Brick(name=name, **{**known, **more})  # type: ignore[arg-type]


def report(bricks: int = 3) -> Report:
    """A target of two steps on another one, with everything that a report can tell."""
    names = [f"skill-{at}" for at in range(bricks)]
    curves = tuple(Curve(brick=name, values=_GRADIENT) for name in names)
    uses = tuple(Use(brick=name, words=("weight [0, 1]",)) for name in names)
    whole, part = (
        Amount(tensors=272, parameters=134_515_008, bytes=269_030_016),
        Amount(tensors=60, parameters=9, bytes=18),
    )
    spots = [
        Spot(module=name, layer=at, became="changed" if "mlp" in name else "unchanged")
        for name in _MODULES
        for at in range(LAYERS)
    ]
    return Report(
        project="support",
        target="assistant",
        base=brick(
            "base",
            kind="base",
            size=269_060_552,
            parameters=134_515_008,
            digest=f"sha256:{'5f' * 32}",
            commit="1405df66" * 5,
        ),
        bricks=tuple(brick(name, size=4_939_072, digest=f"sha256:{'ab' * 32}", signed=True) for name in names),
        steps=(
            Step(target="skills", title="merge task_arithmetic", words=("scale 1",), uses=uses),
            Step(target="assistant", title="stack", words=("active skill-0",), uses=(Use(brick=names[0]),)),
        ),
        license="Apache-2.0 AND MIT",
        clashes=(Clash(first="base", second=names[0], reason="each wants the whole under itself"),),
        artifact=Artifact(
            state=BUILT,
            folder="dist/assistant",
            digest=f"sha256:{'cd' * 32}",
            files=(("config.json", 861), ("model.safetensors", 269_060_552)),
            reproducible="bitwise",
        ),
        engine=1,
        layers=LAYERS,
        weights=(Weights(step=1, title="merge task_arithmetic", parameter="weight", curves=curves),),
        change=Change(
            before=whole,
            after=whole,
            beside=0,
            changed=part,
            added=part,
            gone=part,
            spots=tuple(spots),
            outside=("lm_head.weight",),
        ),
        notes=("run `brickctl lock`.",),
        unasked=("corp",),
    )

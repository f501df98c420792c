"""Reports of targets that nobody has: plausible values, always the same."""

from __future__ import annotations

import dataclasses
from itertools import combinations

from brickctl.pages.target.contents import (
    BUILT,
    Amount,
    Artifact,
    Brick,
    Change,
    Check,
    Clash,
    Curve,
    Pair,
    Report,
    Score,
    Skills,
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


def with_skills_and_pairs(made: Report) -> Report:
    """The same report, with checks that were measured of everything, and each brick beside each other."""
    names = [one.name for one in made.bricks]
    checks = tuple(
        Check(name=f"check-{at}", kind="exact-match", target=made.target, bar=">= 90.0%") for at in range(len(names))
    )
    models = (made.target, "base", *names)
    scores = tuple(
        Score(
            check=check.name,
            model=model,
            value=(row * column % 10) / 10,
            words=f"{(row * column % 10) * 10:.1f}%",
            count=24,
            passed=bool(column % 3) if model == made.target else None,
            worst=("after 'sql: all users' came 'SELECT', not 'SELECT * FROM users'",),
        )
        for row, model in enumerate(models)
        for column, check in enumerate(checks)
    )
    pairs = tuple(
        Pair(
            one=one,
            other=other,
            cosine=(at % 21) / 10 - 1,
            reads=(at % 11) / 10,
            writes=0.1,
            conflicts=0.5,
            norms=(1.0, 2.5),
            together=1.0 + at % 7,
            advice="stack" if at % 2 else "merge",
            reasons=("neither is much louder (x2.5), signs are no trouble",),
        )
        for at, (one, other) in enumerate(combinations(names, 2))
    )
    return dataclasses.replace(made, skills=Skills(checks=checks, models=models, scores=scores), pairs=pairs)

"""What derivations of statistics have in common: the text that a model reads, and the files of the brick."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import readable_json
from brickctl.core.document import shown
from brickctl.core.manifest import Input
from brickctl.core.names import is_safe_path
from brickctl.errors import Misfit
from brickctl.kinds.statistics import FILE, config

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.analysis.load import Loaded
    from brickctl.analysis.rows import Row
    from brickctl.core.document import Table
    from brickctl.core.manifest import Derived
    from brickctl.core.names import Alias
    from brickctl.derivations.derivation import Bench
    from brickctl.errors import Place

_LARGEST = 64_000_000
_WEIGHTS = "model.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Text that a model reads: `tokens` of the `calibration` file, in rows of at most `window`, chosen by the `seed`.

    `of` is the brick whose model reads it; None for what a target builds.
    """

    calibration: str
    tokens: int
    window: int
    seed: int
    of: Alias | None
    place: Place | None = field(default=None, compare=False)

    @property
    def input(self) -> Input:
        """The file of the project."""
        return Input(path=self.calibration, largest=_LARGEST, place=self.place)

    def document(self) -> Mapping[str, Any]:
        """The keys of the entry that are about it."""
        return {"calibration": self.calibration, "tokens": self.tokens, "window": self.window, "seed": self.seed}

    def load(self, bench: Bench) -> tuple[Loaded, Sequence[Row]]:
        """The model of a bench in fp32, as gradients in bf16 lose what they are about; and the rows that it is to read.

        Raises:
            UsageFault: a line is no example, or the model cannot read one.
            Unsupported: transformers cannot load the model.
        """
        from brickctl.analysis.examples import parse_examples
        from brickctl.analysis.load import load
        from brickctl.analysis.rows import rows_of

        examples = parse_examples(bench.text(self.input), name=self.calibration)
        loaded = load(bench.model_folder(), dtype="float32", threads=bench.threads)
        loaded.model.to(bench.device)
        rows = rows_of(loaded.model, loaded.tokenizer, examples, window=self.window, tokens=self.tokens, seed=self.seed)
        return loaded, rows

    def write(self, bench: Bench, statistic: str, tensors: Mapping[str, Tensor], rows: Sequence[Row]) -> None:
        """Write the files of the brick.

        Raises:
            Misfit: a statistic is not finite.
        """
        from safetensors.torch import save_file

        for name, tensor in tensors.items():
            if not bool(tensor.isfinite().all()):
                cause = f"the statistic of `{name}` holds NaN or infinity"
                hint = "look at what the model answers: its weights, or what they make of this text, overflow"
                raise Misfit(f"there is no `{statistic}` of this model", causes=(cause,), place=self.place, hint=hint)
        save_file({name: tensor.cpu() for name, tensor in tensors.items()}, bench.folder / _WEIGHTS)
        document = config(
            statistic=statistic,
            base=bench.ingredients.base,
            of=None if self.of is None else bench.ingredients.brick(self.of).digest,
            examples=len(rows),
            tokens=sum(len(row.tokens) for row in rows),
        )
        (bench.folder / FILE).write_bytes(readable_json(document))


def read_text(table: Table, derived: Derived, *, tokens: int = 20_000) -> Text:
    """Read `calibration`, `tokens`, `window` and `seed`; does not finish the table.

    `tokens` is how many are read where the entry does not say.

    Raises:
        ManifestInvalid: a key is missing, or cannot be.
    """
    if not table.has("calibration"):
        hint = 'write calibration = "PATH": lines of {"text": ...} or of {"prompt": ..., "completion": ...}'
        raise table.missing(f"{table.where} needs text that the model reads", "calibration", hint=hint)
    path = table.string("calibration")
    if not is_safe_path(path):
        hint = "a path relative to brick.toml, with `/`, without `..`"
        raise table.error(f"`{shown(path)}` is no file of this project", key="calibration", hint=hint)
    return Text(
        calibration=path,
        tokens=_at_least(table, "tokens", 1, tokens),
        window=_at_least(table, "window", 2, 256),
        seed=_at_least(table, "seed", 0, 0),
        of=derived.start if derived.target is None else None,
        place=derived.place,
    )


def _at_least(table: Table, key: str, least: int, default: int) -> int:
    found = table.integer_or_none(key)
    if found is not None and not least <= found < 1 << 63:
        raise table.error(f"{table.named(key)} must be at least {least}, not {found}", key=key)
    return default if found is None else found

"""`op = "extract-lora"`: the difference between a model and the base as a LoRA, by truncated singular values.

    tuned - base = U S V^T,  B = U_r sqrt(S_r),  A = sqrt(S_r) V_r^T,  alpha = r, so that PEFT scales B A by 1

for each linear layer that changed, with the same rank r for all, or with the smallest that holds a share of the energy
of each. What no LoRA holds, such as norms and embeddings, is named, and saved whole where that is asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import readable_json
from brickctl.core.document import shown
from brickctl.core.dtypes import DType
from brickctl.core.experts import are_fused
from brickctl.derivations.adapter_document import adapter_document, tied_to
from brickctl.derivations.derivation import Findings, Tolerance, register
from brickctl.derivations.differences import Difference, differences, no_difference
from brickctl.derivations.linear_modules import Module, modules_of
from brickctl.derivations.storing import as_built, each, figure, read_dtype
from brickctl.errors import Misfit, Unsupported
from brickctl.tensors.tensor_file import new_tensor_file
from brickctl.tensors.truncation import of_energy, of_rank, residual

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

    from brickctl.core.manifest import Derived
    from brickctl.derivations.derivation import Bench
    from brickctl.errors import Place
    from brickctl.tensors.tensor_file import TensorFile

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_MOST_RANK = 1 << 16
_EXAMPLE = "write rank = 16, or energy = 0.9"
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractLora:
    """Exactly one of `rank` and `energy` (a share of the squared Frobenius norm) says how much is kept."""

    rank: int | None = None
    energy: float | None = None
    dtype: DType = DType.F32
    save_others: bool = False
    place: Place | None = field(default=None, compare=False)

    kind = "adapter"
    version = 1
    aliases = ()
    inputs = ()
    tolerance = Tolerance(floats=1e-3)

    def document(self) -> Mapping[str, Any]:
        """The entry with every default written out."""
        kept = {"rank": self.rank} if self.rank is not None else {"energy": self.energy}
        more = {"dtype": self.dtype.torch_name, "save-others": self.save_others}
        return {"op": "extract-lora", **kept, **more}

    def make(self, bench: Bench) -> Findings:
        """Write the adapter, one matrix in memory at a time."""
        found = differences(bench, self.place)
        with new_tensor_file(bench.folder / _WEIGHTS) as file:
            work = _Extraction(self, bench, modules_of(bench.ingredients.base, self.place), file)
            for one in each(found, bench):
                work.take(one)
            work.finish()
        document = adapter_document(bench, work.modules, work.ranks, tuple(work.saved))
        (bench.folder / _CONFIG).write_bytes(readable_json(document))
        return Findings(rows=tuple(work.rows), notes=tuple(work.notes()))


class _Extraction:
    """An adapter while it is written.

    Attributes:
        modules: those of the running model.
        ranks: of the modules that have factors so far, by their paths.
        saved: modules that are saved whole, by their paths.
        rows: the table.
    """

    def __init__(self, lora: ExtractLora, bench: Bench, modules: Mapping[str, Module], file: TensorFile) -> None:
        self._lora = lora
        self._bench = bench
        self._file = file
        self._squares = [0.0, 0.0]  # of what changed in linear layers, and of what the factors miss of it
        self.modules = modules
        self.ranks: dict[str, int] = {}
        self.saved: dict[str, None] = {}
        self._whole: dict[str, None] = {}  # the tensors of theirs that are in the file
        self.rows: list[Mapping[str, Any]] = []

    def take(self, one: Difference) -> None:
        """Store one difference; nothing where all of it is 0.

        Raises:
            Unsupported: it lies where no LoRA reaches.
        """
        delta = one.read(self._bench)
        norm = float(delta.norm())
        if norm == 0.0:
            return
        path, _, leaf = one.name.rpartition(".")
        module = self.modules.get(path)
        if module is None or are_fused(one.name, one.base.spec.shape):
            raise _out_of_reach(one.name, self._lora.place)
        if module is Module.OTHER or leaf != "weight":
            self._take_other(one, path)
            return
        matrix = delta.T if module is Module.TRANSPOSED else delta
        missed = self._take_matrix(path, matrix.to(self._bench.device))
        self._squares[0] += norm * norm
        self._squares[1] += missed * missed
        self._tell(one.name, self.ranks[path], "factors", missed / norm)

    def _take_matrix(self, path: str, matrix: Tensor) -> float:
        """Store the factors of a matrix (out, in), and give the norm of what they miss as they are stored."""
        import torch

        torch.set_num_threads(self._bench.threads)  # reading took one
        lora = self._lora
        found = of_rank(matrix, lora.rank) if lora.rank is not None else of_energy(matrix, lora.energy or 1.0)
        dtype = getattr(torch, str(lora.dtype.torch_name))
        left, right = found.left.to(dtype), found.right.to(dtype)
        self._file.add(f"{_PREFIX}{path}.lora_A.weight", right)
        self._file.add(f"{_PREFIX}{path}.lora_B.weight", left)
        self.ranks[path] = found.rank
        return residual(matrix, left, right)

    def _take_other(self, one: Difference, path: str) -> None:
        """Store a tensor whole, if that is asked for and PEFT can: of a module that is no linear layer, and holds none.

        A bias of a linear layer cannot be saved beside factors of the layer, but would be in their place.
        """
        holds_modules = any(other.startswith(f"{path}.") for other in self.modules)
        is_saved = self._lora.save_others and self.modules[path] is Module.OTHER and not holds_modules
        if is_saved:
            self._save(one.name)
            self.saved[path] = None
        self._tell(one.name, None, "whole" if is_saved else "left out", 0.0 if is_saved else 1.0)

    def _save(self, name: str) -> None:
        """Store a tensor of the model under its own name."""
        node = as_built(name, self._bench.start, self._bench.ingredients.base)
        self._file.add(_PREFIX + name, self._bench.tensor(node))
        self._whole[name] = None

    def finish(self) -> None:
        """Store what PEFT looks for beside what changed: other tensors of modules that are saved, and tied heads.

        Raises:
            Misfit: no linear layer changed.
        """
        if not self.rows:
            raise no_difference(self._lora.place)
        if not self.ranks:
            causes = tuple(f"`{row['tensor']}` changed" for row in self.rows[:3])
            hint = "no linear layer did, so that a LoRA would be empty: extract a delta instead"
            raise Misfit("there is nothing that a LoRA holds", causes=causes, place=self._lora.place, hint=hint)
        beside = (name for name in self._bench.start.tensors if name.rpartition(".")[0] in self.saved)
        for name in (*beside, *tied_to(self._bench, tuple(self.saved))):
            if name not in self._whole:
                self._save(name)

    def notes(self) -> Iterator[str]:
        """What the user should know of the whole."""
        ranks = sorted(self.ranks.values())
        rank = f"rank {ranks[0]}" if ranks[0] == ranks[-1] else f"ranks from {ranks[0]} to {ranks[-1]}"
        error = figure(math.sqrt(self._squares[1] / self._squares[0]))
        yield f"{len(ranks)} linear layers with {rank}; of what changed in them, {error:g} of the norm is missed"
        lost = [row["tensor"] for row in self.rows if row["stored"] == "left out"]
        if lost:
            names = ", ".join(f"`{name}`" for name in lost[:_MOST_NAMED])
            more = f" and {len(lost) - _MOST_NAMED} more" if len(lost) > _MOST_NAMED else ""
            hint = "" if self._lora.save_others else "; `save-others = true` saves whole what PEFT can save"
            yield f"changed as well, and left out, as no LoRA holds it: {names}{more}{hint}"

    def _tell(self, name: str, rank: int | None, stored: str, error: float) -> None:
        self.rows.append({"tensor": name, "stored": stored, "rank": rank, "error": figure(error)})


def _out_of_reach(name: str, place: Place | None) -> Unsupported:
    cause = "transformers runs it with others, as experts of a mixture, or by another name, or counts fewer layers"
    hint = "extract a delta instead, which stores any tensor"
    message = f"`{shown(name)}` changed, and no LoRA that PEFT puts on a module reaches it"
    return Unsupported(message, causes=(cause,), place=place, hint=hint)


def read_extract_lora(derived: Derived) -> ExtractLora:
    """Read `{ op = "extract-lora", from = NAME, rank = 16 }`, or instead of `rank` the `energy`, a share in (0, 1].

    With `energy` each layer gets the smallest rank that holds this share of its squared norm. `dtype` is what the
    factors are stored in (`float32`); `save-others = true` saves embeddings and norms that changed as a whole.

    Raises:
        ManifestInvalid: not exactly one of `rank` and `energy`, or a number that cannot be.
    """
    table = derived.table.fresh()
    rank, energy = table.integer_or_none("rank"), table.number_or_none("energy")
    if (rank is None) is (energy is None):
        said = "has neither `rank` nor `energy`" if rank is None else "has both `rank` and `energy`"
        raise table.missing(f"{table.where} {said}", "rank", "energy", hint=_EXAMPLE)
    if rank is not None and not 0 < rank <= _MOST_RANK:
        raise table.error(f"{table.named('rank')} must be from 1 to {_MOST_RANK}", key="rank", hint=_EXAMPLE)
    if energy is not None and not 0.0 < energy <= 1.0:
        hint = "it is the share of the squared norm that is kept, such as 0.9"
        raise table.error(f"{table.named('energy')} must be above 0 and at most 1", key="energy", hint=hint)
    dtype, others = read_dtype(table, DType.F32), table.boolean_or_none("save-others") or False
    table.finish()
    return ExtractLora(rank=rank, energy=energy, dtype=dtype, save_others=others, place=derived.place)


register("extract-lora", read_extract_lora)

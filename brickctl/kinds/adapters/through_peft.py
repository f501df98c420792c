"""Types that PEFT's own layer merges, on one module at a time: in fp32, and so `numeric`. No whole model is loaded.

A module of the base is put, alone, under its own name into an otherwise empty model; PEFT makes its layer around it,
loads the adapter's tensors of this module, and merges. The delta is what came out minus what went in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.core.dtypes import DType
from brickctl.core.nodes import Bundle, Node, Op, Output
from brickctl.core.regions import Spec
from brickctl.kinds.adapters import peft_layer as peft_layer  # noqa: PLC0414 - registers its kernel
from brickctl.kinds.adapters.adapter_type import AdapterType, register
from brickctl.kinds.adapters.config import ignore, unsupported
from brickctl.kinds.adapters.module import Layout
from brickctl.kinds.adapters.vera import refuse_projections_that_are_drawn_anew

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.document import Table
    from brickctl.core.nodes import Stored
    from brickctl.kinds.adapters.module import Module

_LAYOUTS = (Layout.LINEAR, Layout.TRANSPOSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Described:
    """One type: its tensors, and the fields that PEFT 0.21 gives it; those of `only` with one of these values."""

    title: str
    parameters: tuple[str, ...]
    fields: tuple[str, ...]
    shared: tuple[str, ...] = ()
    only: tuple[tuple[str, Any], ...] = ()


class ThroughPeft(AdapterType):
    """A type that is described by its tensors and fields alone."""

    reproducible = "numeric"

    def __init__(self, name: str, described: _Described) -> None:
        self.name = name
        self.title = described.title
        self.parameters = described.parameters
        self.shared = described.shared
        self._described = described

    def read(self, table: Table) -> Mapping[str, Any]:
        """Take the type's fields; gives them as they are, for PEFT to read."""
        if "save_projection" in self._described.fields:
            refuse_projections_that_are_drawn_anew(table)
        for field, value in self._described.only:
            if table.take(field) not in (None, value):
                raise unsupported(table, f"`{field} = {shown(table.take(field))}`")
        ignore(table, *self._described.fields)
        return {field: table.take(field) for field in self._described.fields if table.has(field)}

    def deltas(self, module: Module, settings: Mapping[str, Any]) -> Mapping[str, Node]:
        """The outputs of one bundle: the weight's delta, and the bias's where the base has one."""
        shape = module.stored.spec.shape
        if module.layout not in _LAYOUTS or len(shape) != 2:  # noqa: PLR2004 - a matrix
            raise module.misfit(f"`{module.name}` has shape {list(shape)}; {self.title} is merged into matrices only")
        tensors = {**{name: module.tensor(name) for name in module.tensors}, **self._shared(module)}
        parts = {"weight": module.stored} if module.bias is None else {"weight": module.stored, "bias": module.bias}
        op = Op.make(
            "peft-layer",
            1,
            type=self.name,
            settings=dict(settings),
            module=module.name,
            transposed=module.layout is Layout.TRANSPOSED,
            tensors=[[name, list(tensor.spec.shape)] for name, tensor in tensors.items()],
            parts=list(parts),
        )
        specs = tuple(Spec(DType.F64, node.spec.shape) for node in parts.values())
        bundle = Bundle(op, (*parts.values(), *tensors.values()), specs)
        return {part: Output(bundle, index) for index, part in enumerate(parts)}

    def _shared(self, module: Module) -> Mapping[str, Stored]:
        return {name: module.common(name) for name in self.shared}


_ANY_LAYER = ("exclude_modules", "fan_in_fan_out", "init_weights")
_TYPES = {
    "BOFT": _Described(
        title="BOFT",
        parameters=("boft_R", "boft_s"),
        fields=("boft_block_num", "boft_block_size", "boft_dropout", "boft_n_butterfly_factor", *_ANY_LAYER),
    ),
    "C3A": _Described(
        title="C3A",
        parameters=("c3a_kernel",),
        fields=("block_size", "block_size_pattern", "init_weights"),
    ),
    "DEFT": _Described(
        title="DEFT",
        parameters=("deft_P", "deft_R"),
        fields=("alpha", "decomposition_method", "deft_dropout", "init_scale", "para", "r", *_ANY_LAYER),
    ),
    "FOURIERFT": _Described(
        title="FourierFT",
        parameters=("fourierft_spectrum",),
        fields=("n_frequency", "n_frequency_pattern", "random_loc_seed", "scaling", *_ANY_LAYER),
    ),
    "GLORA": _Described(
        title="GLoRA",
        parameters=tuple(f"glora_{part}.{one}" for part in "ABCDE" for one in ("Xd", "Xu", "X", "zeros")),
        fields=("config_A_B", "config_C", "config_D_E", "init_weights", "r"),
    ),
    "GRALORA": _Described(
        title="GraLoRA",
        parameters=("gralora_A", "gralora_B", "gralora_A_general.weight", "gralora_B_general.weight"),
        fields=("alpha", "fan_in_fan_out", "gralora_dropout", "gralora_k", "hybrid_r", "init_weights", "r"),
    ),
    "OFT": _Described(
        title="OFT",
        parameters=("oft_R.weight",),
        fields=(
            "block_share", "coft", "eps", "module_dropout", "num_cayley_neumann_terms", "oft_block_size", "r",
            "use_cayley_neumann", *_ANY_LAYER,
        ),
    ),
    "OSF": _Described(
        title="OSF",
        parameters=tuple(f"osf_svd_params.{one}_low" for one in "SUV"),
        fields=("effective_rank", "init_weights", "rank_pattern", "target_svd_config"),
    ),
    "PEANUT": _Described(
        title="PEANuT",
        parameters=(
            "peanut_A.weight", "peanut_B.weight",
            *(f"peanut_{side}.{depth}.weight" for side in ("encoders", "decoders") for depth in range(16)),
        ),
        fields=("act_fn", "depth", "exclude_modules", "init_weights", "r", "scaling"),
    ),
    "PVERA": _Described(
        title="PVeRA",
        parameters=("pvera_lambda_b", "pvera_lambda_d"),
        shared=("pvera_A", "pvera_B"),
        fields=(
            "d_initial", "fan_in_fan_out", "generator_seed", "init_weights", "projection_prng_key", "pvera_dropout",
            "r", "sample_at_inference", "save_projection",
        ),
        only=(("sample_at_inference", False),),
    ),
    "RANDLORA": _Described(
        title="RandLoRA",
        parameters=("randlora_lambda", "randlora_gamma", "randlora_A", "randlora_B"),
        shared=("randlora_A", "randlora_B"),
        fields=(
            "fan_in_fan_out", "init_weights", "projection_prng_key", "r", "randlora_alpha", "randlora_dropout",
            "save_projection", "sparse", "very_sparse",
        ),
    ),
    "ROAD": _Described(
        title="RoAd",
        parameters=("road_alpha", "road_theta"),
        fields=("group_size", "init_weights", "variant"),
    ),
    "VBLORA": _Described(
        title="VB-LoRA",
        parameters=("vblora_logits_A", "vblora_logits_B"),
        shared=("vblora_vector_bank",),
        fields=(
            "exclude_modules", "fan_in_fan_out", "init_logits_std", "init_vector_bank_bound", "num_vectors", "r",
            "save_only_topk_weights", "topk", "vblora_dropout", "vector_length",
        ),
        only=(("save_only_topk_weights", False),),
    ),
    "WAVEFT": _Described(
        title="WaveFT",
        parameters=("waveft_spectrum",),
        fields=(
            "n_frequency", "n_frequency_pattern", "proportional_parameters", "random_loc_seed", "scaling", "use_idwt",
            "wavelet_family", *_ANY_LAYER,
        ),
    ),
}  # fmt: skip

for _name, _described in _TYPES.items():
    register(ThroughPeft(_name, _described))

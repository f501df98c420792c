"""Types of PEFT adapters that have no merged weights, each with its reason."""

from __future__ import annotations

from brickctl.kinds.adapters.adapter_type import Unmergeable, register_unmergeable

_AT_RUN_TIME = "what it adds depends on the input, so no fixed weights have the same effect"
_BESIDE = "it puts tokens or activations before the input and changes no weight"

_REASONS = {
    "ADAPTION_PROMPT": _BESIDE,
    "CARTRIDGE": _BESIDE,
    "CPT": _BESIDE,
    "LILY": _AT_RUN_TIME,
    "MULTITASK_PROMPT_TUNING": _BESIDE,
    "POLY": _AT_RUN_TIME,
    "PREFIX_TUNING": _BESIDE,
    "PROMPT_TUNING": _BESIDE,
    "P_TUNING": _BESIDE,
    "SHADOW": _AT_RUN_TIME,
    "XLORA": _AT_RUN_TIME,
}
_DRAWN_ANEW = {
    "ADAMSS": "the subspaces that it trains in are clustered anew at every load, and are not in the file",
    "FROD": "its frames decompose all modules of the base that share a name together, anew at every load, and are in"
    " the file only in part",
    "PSOFT": "its frame is a singular value decomposition of the base, made anew at every load: another LAPACK may give"
    " other signs, and the file does not say which it was trained with",
    "TINYLORA": "which of its vectors belongs to which module follows from the order of modules in the running program,"
    " and is not in the file",
    "UNILORA": "the places of its one vector in the modules are drawn anew at every load, in the order of modules in"
    " the running program",
}

for _name, _reason in {**_REASONS, **_DRAWN_ANEW}.items():
    register_unmergeable(Unmergeable(name=_name, reason=_reason, stacks=_name not in {"SHADOW", "XLORA"}))

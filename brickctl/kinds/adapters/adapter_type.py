"""What brickctl knows of one type of PEFT adapter, and how types are found."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.plugins import Plugins

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.document import Table
    from brickctl.core.model import LazyModel
    from brickctl.core.nodes import Node, Stored
    from brickctl.kinds.adapters.module import Module


class AdapterType(ABC):
    """A type of adapter that can be merged.

    Attributes:
        name: as `peft_type` in `adapter_config.json` has it.
        title: as people call it.
        reproducible: `bitwise`, or `numeric` where the arithmetic is PEFT's own.
        parameters: names of the tensors of one module, as they end in the keys of the file.
        shared: names of tensors that all modules share.
    """

    name: str
    title: str
    reproducible: str = "bitwise"
    parameters: tuple[str, ...]
    shared: tuple[str, ...] = ()

    @abstractmethod
    def read(self, table: Table) -> Any:
        """Take the fields of this type from the configuration, and give what the formula needs of them.

        Raises:
            Misfit: a field has the wrong type.
            Unsupported: a field has a value that this brickctl does not compute.
        """

    @abstractmethod
    def deltas(self, module: Module, settings: Any) -> Mapping[str, Node]:
        """Tuned minus base in fp64 for `weight` and, where it changes, `bias` of one module, in the base's own shapes.

        Raises:
            Misfit: the tensors of the module do not fit together, or not the base.
            Unsupported: a variant that this brickctl does not compute.
        """

    def of_parameters(
        self, owner: str, module: str, tensors: Mapping[str, Stored], settings: Any, base: LazyModel
    ) -> Mapping[str, Node]:
        """Deltas by the base's tensor names where the tensors belong to no `weight`; empty where they do.

        Raises:
            Misfit: they do not fit the base.
        """
        del owner, module, tensors, settings, base
        return {}

    def facts(self, settings: Any, modules: Mapping[str, Mapping[str, Stored]]) -> Mapping[str, Any]:
        """What `brickctl info` shows of the type itself: `type` and, where it has them, rank and alpha."""
        del modules
        rank = settings.get("r") if isinstance(settings, dict) else getattr(settings, "rank", None)
        return {"type": self.title, "rank": rank} if rank else {"type": self.title}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmergeable:
    """A type that has no merged weights, and why; `stacks` where PEFT loads it beside its base."""

    name: str
    reason: str
    stacks: bool = True

    def facts(self) -> Mapping[str, Any]:
        """What `brickctl info` shows of it: that it is not merged, why, and what can be done with it."""
        return {"merges": False, "because": self.reason, "stacks": self.stacks}


_TYPES: Plugins[AdapterType | Unmergeable] = Plugins("brickctl.kinds.adapters")


def register(adapter_type: AdapterType) -> None:
    """Make a type known; called by its module."""
    _TYPES.declare(adapter_type.name, adapter_type)


def register_unmergeable(adapter_type: Unmergeable) -> None:
    """Make a type known that cannot be merged."""
    _TYPES.declare(adapter_type.name, adapter_type)


def type_named(name: str) -> AdapterType | Unmergeable | None:
    """The type that PEFT calls so, if it is known; one in a file of its own name imports no other."""
    return _TYPES.named(name)


def adapter_types() -> Mapping[str, AdapterType]:
    """Every type that can be merged, by PEFT's name."""
    return {name: found for name, found in _TYPES.all().items() if isinstance(found, AdapterType)}


def unmergeable_types() -> Mapping[str, Unmergeable]:
    """Every type that cannot, by PEFT's name."""
    return {name: found for name, found in _TYPES.all().items() if isinstance(found, Unmergeable)}

"""Neurons: the neurons of every FFN of a base in groups, with a router and what each group is for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import interface_digest, parse_prefixed
from brickctl.core.document import shown
from brickctl.core.dtypes import DType
from brickctl.core.regions import Spec
from brickctl.errors import Misfit, Unsupported
from brickctl.kinds.kind import Changes, is_described_by, register, tuned_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from brickctl.core.brick import Brick, Contents
    from brickctl.core.digests import Sha256
    from brickctl.core.model import LazyModel

FILE = "neurons_config.json"
FORMAT = "brickctl-neurons-1"
METHODS = ("coactivation", "contiguous", "kmeans", "random", "shared")
ROUTERS = ("linear", "mlp", "similarity")
_HINT = "the file is damaged, or was written by something else; derive the brick again"
_ELSEWHERE = "set [base] to the model that it was derived from, or derive it again"
_MOST_LABELS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """What `neurons_config.json` says, checked.

    Attributes:
        method: how the groups were found.
        groups: how many there are, in every FFN.
        shared: neurons of every FFN that are in no group and always on.
        router: what chooses groups for a token; None where nothing does.
        labels: what `mass` and `scores` have a row for.
        bricks: what `mass` has a row for behind those of labels: the base with each of these bricks on it.
    """

    method: str
    groups: int
    shared: int
    router: str | None
    labels: tuple[str, ...]
    bricks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ffn:
    """An FFN with a gate: the path of its module, its width (neurons), and that of the model (hidden)."""

    path: str
    neurons: int
    hidden: int


class NeuronsKind:
    """A permutation of the neurons of each FFN by the path of its module, and measurements of the groups."""

    name = "neurons"
    is_asked_for = False

    def detect(self, contents: Contents) -> bool:
        """`neurons_config.json` is there, and no model's and no adapter's configuration."""
        return is_described_by(FILE, contents)

    def declared_base(self, contents: Contents) -> str | None:  # noqa: ARG002 - it names its base by a digest
        """The base that the brick itself names."""
        return None

    def facts(self, contents: Contents) -> Mapping[str, Any]:
        """How many groups there are, how they were found and what chooses among them."""
        document = contents.documents[FILE]
        return {
            "method": shown(document.get("method")),
            "router": None if document.get("router") is None else shown(document["router"]),
            **{key: document[key] for key in ("groups", "shared") if type(document.get(key)) is int},
            **{key: _shown_names(document.get(key)) for key in ("labels", "bricks")},
        }

    def check(self, brick: Brick, base: LazyModel) -> None:
        """Its format must be known, its base this one, and its tensors those of every FFN of the base."""
        found = grouping(brick)
        _check_interface(brick, base)
        modules = ffns(base)
        if not modules:
            cause = "no FFN of the base has `gate_proj`, `up_proj` and `down_proj`"
            raise Misfit(f"`{brick.name}` does not fit the base", causes=(cause,), place=brick.required_by)
        _check_tensors(brick, found, modules)

    def changes(self, brick: Brick, base: LazyModel) -> Changes:  # noqa: ARG002 - it changes none by itself
        """Unsupported: a partition changes no weights."""
        cause = "it says which neurons belong together, and has no weights"
        hint = f'write {{ op = "split", brick = "{brick.name}", active = 2 }}, or the same with `prune`'
        message = f"`{brick.name}` is a partition of neurons, which cannot be merged"
        raise Unsupported(message, causes=(cause,), place=brick.required_by, hint=hint)

    def model(self, brick: Brick, base: LazyModel) -> LazyModel:
        """Unsupported: a partition is no model."""
        return tuned_model(base, self.changes(brick, base))


def ffns(model: LazyModel) -> tuple[Ffn, ...]:
    """The FFNs with a gate of a model, in the order of its tensors."""
    return tuple(_ffns(model))


def _ffns(model: LazyModel) -> Iterator[Ffn]:
    for name, node in model.tensors.items():
        path = name.removesuffix(".gate_proj.weight")
        if path == name or len(node.spec.shape) != 2:  # noqa: PLR2004 - a matrix
            continue
        up, down = (model.tensors.get(f"{path}.{part}_proj.weight") for part in ("up", "down"))
        shape = node.spec.shape
        if up is not None and down is not None and up.spec.shape == shape and down.spec.shape == shape[::-1]:
            yield Ffn(path, *shape)


def interfaces(base: LazyModel) -> tuple[Sha256, ...]:
    """The digests that tell a base by its names and shapes: a tied head may stand in its files, or not."""
    stored = {name: node.spec.shape for name, node in base.tensors.items()}
    tied = {name: base.node(name).spec.shape for name in base.ties}
    return interface_digest(stored), interface_digest({**stored, **tied})


def grouping(brick: Brick) -> Grouping:
    """What the configuration of the brick says.

    Raises:
        Misfit: it says something else than this brickctl knows.
    """
    document = brick.contents.documents[FILE]
    if document.get("format") != FORMAT:
        cause = f"{FILE} has the format `{shown(document.get('format'))}`; this brickctl reads `{FORMAT}`"
        raise unreadable(brick, cause)
    method, router = document.get("method"), document.get("router")
    if method not in METHODS or router not in (None, *ROUTERS):
        key = "method" if method not in METHODS else "router"
        raise unreadable(brick, f"`{key}` in {FILE} is `{shown(document.get(key))}`, which is not known here")
    labels, bricks = (_names(brick, key) for key in ("labels", "bricks"))
    groups, shared = (_count(brick, key, least) for key, least in (("groups", 1), ("shared", 0)))
    return Grouping(method=method, groups=groups, shared=shared, router=router, labels=labels, bricks=bricks)


def _names(brick: Brick, key: str) -> tuple[str, ...]:
    """A list of names in the configuration, which may be left out."""
    names = brick.contents.documents[FILE].get(key, [])
    if not isinstance(names, list) or len(names) > _MOST_LABELS or not all(map(_is_label, names)):
        raise unreadable(brick, f"`{key}` in {FILE} is no list of up to {_MOST_LABELS} names")
    if len(dict.fromkeys(names)) != len(names):
        raise unreadable(brick, f"`{key}` in {FILE} has a name twice")
    return tuple(names)


def _shown_names(names: Any) -> list[str]:
    return [shown(name) for name in names[:_MOST_LABELS]] if isinstance(names, list) else []


def unreadable(brick: Brick, cause: str) -> Misfit:
    """An error about what no brick of this kind has, to be raised by the caller."""
    message = f"`{brick.name}` is no partition of neurons that brickctl reads"
    return Misfit(message, causes=(cause,), place=brick.required_by, hint=_HINT)


def _is_label(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable() and value != ""


def _count(brick: Brick, key: str, least: int) -> int:
    value = brick.contents.documents[FILE].get(key)
    if type(value) is not int or not least <= value < 1 << 31:
        raise unreadable(brick, f"`{key}` in {FILE} must be a number from {least} on, not `{shown(value)}`")
    return value


def _check_interface(brick: Brick, base: LazyModel) -> None:
    said = brick.contents.documents[FILE].get("interface")
    digest = parse_prefixed(said) if isinstance(said, str) else None
    if digest is None:
        raise unreadable(brick, f"`interface` in {FILE} is no `sha256:` and 64 digits")
    if digest not in interfaces(base):
        cause = "it was derived from a model whose tensors have other names or shapes"
        message = f"`{brick.name}` does not fit the base"
        raise Misfit(message, causes=(cause,), place=brick.required_by, hint=_ELSEWHERE)


def _check_tensors(brick: Brick, found: Grouping, modules: tuple[Ffn, ...]) -> None:
    needed, allowed = dict[str, Spec](), dict[str, Spec]()
    for ffn in modules:
        _check_size(brick, found, ffn)
        needed |= {f"{ffn.path}.{key}": spec for key, spec in _needed(found, ffn).items()}
        allowed |= {f"{ffn.path}.{key}": spec for key, spec in _allowed(found, ffn).items()}
    tensors = brick.contents.tensors
    for name in needed:
        if name not in tensors:
            raise unreadable(brick, f"it has no `{shown(name)}`")
    for name, stored in tensors.items():
        wanted = needed.get(name) or allowed.get(name) or _hidden_layer(found, name, stored.spec, modules)
        if wanted is None:
            raise unreadable(brick, f"`{shown(name)}` is nothing that it has of an FFN of the base")
        if stored.spec != wanted:
            raise unreadable(brick, f"`{shown(name)}` is {_words(stored.spec)} and should be {_words(wanted)}")


def _check_size(brick: Brick, found: Grouping, ffn: Ffn) -> None:
    grouped = ffn.neurons - found.shared
    if grouped < found.groups or grouped % found.groups:
        cause = f"{FILE} has {found.groups} groups and {found.shared} shared; `{ffn.path}` has {ffn.neurons} neurons"
        raise unreadable(brick, cause)


def _needed(found: Grouping, ffn: Ffn) -> dict[str, Spec]:
    """What must be there of each FFN."""
    mass = Spec(DType.F32, (max(len(found.labels), 1) + len(found.bricks), found.groups))
    linear = {} if found.router in (None, "mlp") else {"router.weight": Spec(DType.F32, (found.groups, ffn.hidden))}
    return {"order": Spec(DType.I32, (ffn.neurons,)), "mass": mass, **linear}


def _allowed(found: Grouping, ffn: Ffn) -> dict[str, Spec]:
    """What may be there of each FFN."""
    scores = {"scores": Spec(DType.F32, (len(found.labels), ffn.neurons))} if found.labels else {}
    return {"logits": Spec(DType.F64, (2,)), **scores}


def _hidden_layer(found: Grouping, name: str, spec: Spec, modules: tuple[Ffn, ...]) -> Spec | None:
    """What a tensor of a router with a hidden layer must be, whose width is up to the brick; builds do not use it."""
    ffn = next((ffn for ffn in modules if name.startswith(f"{ffn.path}.router.")), None)
    if found.router != "mlp" or ffn is None:
        return None
    width = (*spec.shape, 1, 1)
    shapes = {
        "0.weight": (width[0], ffn.hidden),
        "0.bias": (width[0],),
        "2.weight": (found.groups, width[1]),
        "2.bias": (found.groups,),
    }
    shape = shapes.get(name.removeprefix(f"{ffn.path}.router."))
    return None if shape is None else Spec(DType.F32, shape)


def _words(spec: Spec) -> str:
    return f"{spec.dtype.code} {list(spec.shape)}"


register(NeuronsKind())

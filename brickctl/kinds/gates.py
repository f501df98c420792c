"""Gates: for each FFN of a base a row for each of several bricks, which says for which tokens that brick is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.core.digests import parse_prefixed
from brickctl.core.document import shown
from brickctl.core.dtypes import DType
from brickctl.core.names import is_alias
from brickctl.core.regions import Spec
from brickctl.errors import Misfit, Unsupported
from brickctl.kinds.kind import Changes, is_described_by, register, tuned_model
from brickctl.kinds.neurons import ffns, interfaces

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.brick import Brick, Contents
    from brickctl.core.model import LazyModel

FILE = "gates_config.json"
FORMAT = "brickctl-gates-1"
METHODS = ("centroids", "cheap-embed", "hidden")
MOST_LABELS = 1024
"""As many as a mixture has experts."""

_HINT = "the file is damaged, or was written by something else; derive the gates again"
_ELSEWHERE = "set [base] to the model that they were derived from, or derive them again"


class GatesKind:
    """A matrix (labels, hidden) of each FFN, in F32, by the path of its module: `model.layers.3.mlp.weight`.

    Its product with what goes into the FFN is the logit of each label, which is the alias of a brick.
    """

    name = "gates"
    is_asked_for = False

    def detect(self, contents: Contents) -> bool:
        """`gates_config.json` is there, and no model's and no adapter's configuration."""
        return is_described_by(FILE, contents)

    def declared_base(self, contents: Contents) -> str | None:  # noqa: ARG002 - it names its base by a digest
        """The base that the brick itself names."""
        return None

    def facts(self, contents: Contents) -> Mapping[str, Any]:
        """How the gates were made, and for which bricks."""
        document = contents.documents[FILE]
        labels = document.get("labels")
        named = [shown(label) for label in labels[:MOST_LABELS]] if isinstance(labels, list) else []
        return {"method": shown(document.get("method")), "labels": named}

    def check(self, brick: Brick, base: LazyModel) -> None:
        """Its format must be known, its base this one, and its tensors those of every FFN of the base."""
        labels = labels_of(brick)
        _check_interface(brick, base)
        wanted = {f"{ffn.path}.weight": Spec(DType.F32, (len(labels), ffn.hidden)) for ffn in ffns(base)}
        tensors = brick.contents.tensors
        lacking = next((name for name in wanted if name not in tensors), None)
        if lacking is not None:
            raise _unreadable(brick, f"it has no `{shown(lacking)}`")
        for name, stored in tensors.items():
            if name not in wanted:
                raise _unreadable(brick, f"`{shown(name)}` is no gate of an FFN of the base")
            if stored.spec != wanted[name]:
                cause = f"`{shown(name)}` is {_words(stored.spec)} and should be {_words(wanted[name])}"
                raise _unreadable(brick, cause)

    def changes(self, brick: Brick, base: LazyModel) -> Changes:  # noqa: ARG002 - it changes none by itself
        """Unsupported: gates choose among experts, and change no weights."""
        cause = "they say which expert of a mixture a token is for, and are no weights of the base"
        hint = f'write {{ op = "moe", experts = [NAMES], active = 2, gates = "{brick.name}" }}'
        message = f"`{brick.name}` holds gates, which cannot be merged"
        raise Unsupported(message, causes=(cause,), place=brick.required_by, hint=hint)

    def model(self, brick: Brick, base: LazyModel) -> LazyModel:
        """Unsupported: gates are no model."""
        return tuned_model(base, self.changes(brick, base))


def labels_of(brick: Brick) -> tuple[str, ...]:
    """What the gates have a row for, in their order: aliases of bricks.

    Raises:
        Misfit: the configuration says something else than this brickctl knows.
    """
    document = brick.contents.documents.get(FILE, {})
    if document.get("format") != FORMAT:
        cause = f"{FILE} has the format `{shown(document.get('format'))}`; this brickctl reads `{FORMAT}`"
        raise _unreadable(brick, cause)
    if document.get("method") not in METHODS:
        raise _unreadable(brick, f"`method` in {FILE} is `{shown(document.get('method'))}`, which is not known here")
    labels = document.get("labels")
    if not isinstance(labels, list) or not 0 < len(labels) <= MOST_LABELS or not all(map(_is_label, labels)):
        raise _unreadable(brick, f"`labels` in {FILE} is no list of 1 to {MOST_LABELS} names")
    if len(dict.fromkeys(labels)) != len(labels):
        raise _unreadable(brick, f"`labels` in {FILE} has a name twice")
    return tuple(labels)


def _is_label(value: Any) -> bool:
    return isinstance(value, str) and is_alias(value)


def _check_interface(brick: Brick, base: LazyModel) -> None:
    said = brick.contents.documents[FILE].get("interface")
    digest = parse_prefixed(said) if isinstance(said, str) else None
    if digest is None:
        raise _unreadable(brick, f"`interface` in {FILE} is no `sha256:` and 64 digits")
    if digest not in interfaces(base):
        cause = f"{FILE} names a base whose tensors have other names or shapes"
        message = f"`{brick.name}` does not fit the base"
        raise Misfit(message, causes=(cause,), place=brick.required_by, hint=_ELSEWHERE)


def _words(spec: Spec) -> str:
    return f"{spec.dtype.code} {list(spec.shape)}"


def _unreadable(brick: Brick, cause: str) -> Misfit:
    message = f"`{brick.name}` holds no gates that brickctl reads"
    return Misfit(message, causes=(cause,), place=brick.required_by, hint=_HINT)


register(GatesKind())

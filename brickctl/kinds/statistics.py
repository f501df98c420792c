"""Statistics: what a merge wants to know of a model beside its weights, from text that the model has read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.core.digests import prefixed
from brickctl.core.document import shown
from brickctl.core.dtypes import DType
from brickctl.errors import Misfit, Unsupported
from brickctl.kinds.base import interface
from brickctl.kinds.kind import Changes, is_described_by, register, tuned_model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.brick import Brick, Contents
    from brickctl.core.digests import Sha256
    from brickctl.core.model import LazyModel
    from brickctl.core.nodes import Stored

FILE = "statistics_config.json"
FORMAT = "brickctl-statistics-1"
STATISTICS = ("fisher", "gram")
"""`fisher`: of every weight the diagonal Fisher information. `gram`: of every linear layer, under the name of its
weight, the Gram matrix of its inputs, X^T X / tokens."""

_DERIVE = "statistics are for models with the tensors of one base: derive them in this project"
_MATRIX = 2


class StatisticsKind:
    """Numbers beside the tensors of a model, in F32, by their names."""

    name = "statistics"
    is_asked_for = False

    def detect(self, contents: Contents) -> bool:
        """`statistics_config.json` is there, and no model's and no adapter's configuration."""
        return is_described_by(FILE, contents)

    def declared_base(self, contents: Contents) -> str | None:  # noqa: ARG002 - it names its base by a digest
        """The base that the brick itself names."""
        return None

    def facts(self, contents: Contents) -> Mapping[str, Any]:
        """Which statistic it is, of how many tensors, and how much text it is from."""
        document = contents.documents[FILE]
        said = {key: shown(str(document.get(key))) for key in ("statistic", "examples", "tokens")}
        return {"tensors": len(contents.tensors), **said}

    def check(self, brick: Brick, base: LazyModel) -> None:
        """Its format must be known, its base one of these tensors, and every statistic have the shape that it needs."""
        statistic = _check_document(brick, base)
        if not brick.contents.tensors:
            raise _misfit(brick, "it has no tensor at all")
        for name, stored in brick.contents.tensors.items():
            _check_tensor(brick, statistic, name, stored, base)

    def changes(self, brick: Brick, base: LazyModel) -> Changes:  # noqa: ARG002 - it changes none
        """Unsupported: statistics are about a brick that is merged, and have no weights."""
        cause = "they say of another brick how it is merged, and have no weights"
        hint = f'name them beside that brick: {{ brick = NAME, weight = 1.0, statistics = "{brick.name}" }}'
        message = f"`{brick.name}` holds statistics, which cannot be merged"
        raise Unsupported(message, causes=(cause,), place=brick.required_by, hint=hint)

    def model(self, brick: Brick, base: LazyModel) -> LazyModel:
        """Unsupported: statistics are no model."""
        return tuned_model(base, self.changes(brick, base))


def config(
    *, statistic: str, base: LazyModel, of: Sha256 | None, examples: int, tokens: int
) -> Mapping[str, str | int | None]:
    """`statistics_config.json`: which statistic, from how many examples with how many tokens.

    `of` is the digest of the brick whose statistics they are; None where they are of what a target built.
    """
    return {
        "format": FORMAT,
        "statistic": statistic,
        "model": interface(base),
        "of": None if of is None else prefixed(of),
        "examples": examples,
        "tokens": tokens,
    }


def check_statistics(brick: Brick, statistic: str, about: Brick, base: LazyModel, *, changed: bool) -> None:
    """Make sure that a brick holds the statistic that a merge asks for, and that it is about the brick that is merged.

    `changed` says that what is merged is not the model of `about` any more, as that of the base after other steps.

    Raises:
        Misfit: it holds none, or another one, or that of another brick or model.
    """
    if brick.kind != StatisticsKind.name:
        hint = f'make some: [derived.NAME] with op = "{statistic}" and from = "{about.name}"'
        cause = f"it is of kind {brick.kind}"
        raise Misfit(f"`{brick.name}` holds no statistics", causes=(cause,), place=brick.required_by, hint=hint)
    StatisticsKind().check(brick, base)
    document = brick.contents.documents[FILE]
    if document["statistic"] != statistic:
        message = f"`{brick.name}` holds the statistic `{document['statistic']}`, and the merge needs `{statistic}`"
        raise Misfit(message, place=brick.required_by, hint=f'derive it with op = "{statistic}"')
    if document["of"] not in {None, prefixed(about.digest)}:
        cause = f"{FILE} names by its digest the brick that they are of, and `{about.name}` has other files"
        hint = f'derive them anew: from = "{about.name}"'
        message = f"`{brick.name}` holds no statistics of `{about.name}`"
        raise Misfit(message, causes=(cause,), place=brick.required_by, hint=hint)
    if document["of"] is not None and changed:
        cause = f"they are of `{about.name}` as it is, and steps before have made another model of it"
        hint = "let these steps be a target of its own, and derive the statistics from = { target = NAME }"
        message = f"`{brick.name}` holds no statistics of the model as it is by now"
        raise Misfit(message, causes=(cause,), place=brick.required_by, hint=hint)


def _check_document(brick: Brick, base: LazyModel) -> str:
    document = brick.contents.documents.get(FILE, {})
    if document.get("format") != FORMAT:
        found = shown(str(document.get("format")))
        raise _misfit(brick, f"{FILE} has the format `{found}`; this brickctl reads `{FORMAT}`")
    statistic, of = document.get("statistic"), document.get("of", ...)
    if statistic not in STATISTICS:
        raise _misfit(brick, f"there is no statistic `{shown(str(statistic))}`; there are {', '.join(STATISTICS)}")
    if of is not None and not isinstance(of, str):
        raise _misfit(brick, f"`of` in {FILE} is {'no digest' if 'of' in document else 'missing'}")
    if document.get("model") != interface(base):
        cause = f"{FILE} names a base whose tensors have other names or shapes"
        raise Misfit(f"`{brick.name}` does not fit the base", causes=(cause,), place=brick.required_by, hint=_DERIVE)
    return str(statistic)


def _check_tensor(brick: Brick, statistic: str, name: str, stored: Stored, base: LazyModel) -> None:
    if name not in base.tensors and name not in base.ties:
        raise _misfit(brick, f"`{shown(name)}` is no tensor of the base")
    shape = base.node(name).spec.shape
    if statistic == "gram" and len(shape) != _MATRIX:
        raise _misfit(brick, f"`{shown(name)}` is no matrix in the base, but has shape {list(shape)}")
    wanted = shape if statistic == "fisher" else (shape[1], shape[1])
    if stored.spec.dtype is not DType.F32 or stored.spec.shape != wanted:
        found = f"{stored.spec.dtype.code} {list(stored.spec.shape)}"
        raise _misfit(brick, f"`{shown(name)}` is {found}, where {statistic} needs F32 {list(wanted)}")


def _misfit(brick: Brick, cause: str) -> Misfit:
    hint = "the file is damaged, or was written by something else; derive the statistics again"
    message = f"`{brick.name}` holds no statistics that brickctl reads"
    return Misfit(message, causes=(cause,), place=brick.required_by, hint=hint)


register(StatisticsKind())

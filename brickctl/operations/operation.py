"""What an operation is, and how operations are found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from brickctl.core.names import BASE, Alias, did_you_mean
from brickctl.core.plugins import Plugins
from brickctl.errors import IntegrityFault, ManifestInvalid, Misfit, NotFound, asked_for
from brickctl.kinds.base import whole_model
from brickctl.kinds.kind import Changes, kind_named
from brickctl.sources.naming import file_label
from brickctl.sources.selection import DAMAGED, read_json
from brickctl.vocabulary.tokenizer import FILE as TOKENIZER
from brickctl.vocabulary.tokenizer import LARGEST, Tokenizer, read_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from brickctl.core.brick import Brick, File, WeightFile
    from brickctl.core.digests import Sha256
    from brickctl.core.manifest import Input, Step
    from brickctl.core.model import Artifact, LazyModel
    from brickctl.errors import Place


class Sources(Protocol):
    """What a merge is made of: bricks, and what they do to a base."""

    @property
    def base(self) -> LazyModel:
        """What deltas are relative to."""

    def brick(self, alias: Alias) -> Brick:
        """The brick of that alias, or the base."""

    def changes(self, alias: Alias) -> Changes:
        """What the brick does to the base.

        Raises:
            Misfit: it does not fit.
        """


class Ingredients:
    """The base and the bricks that the steps of a target may use; what bricks change is found out once.

    `fit` is looked at when a brick is asked for: a brick that no step uses may fit or not. `read` gives the verified
    bytes of a small file of a brick, such as a tokenizer, wherever it is; `read_input` the text of a file of the
    project.
    """

    def __init__(
        self,
        base: Brick,
        bricks: Mapping[Alias, Brick],
        read: Callable[[Brick, File], bytes] | None = None,
        read_input: Callable[[Input], str] | None = None,
    ) -> None:
        self.base_brick = base
        self.base: LazyModel = whole_model(base)
        self.bricks = bricks
        self.read = read or _nothing_to_read
        self.read_input = read_input or _no_input_to_read
        self._changes: dict[Alias, Changes] = {}
        self._tokenizers: dict[Sha256 | bytes | None, Tokenizer | None] = {}
        self._models: dict[Alias, LazyModel] = {BASE: self.base}

    def plain_files(self) -> tuple[WeightFile, ...]:
        """The weight files of the base and the bricks that a model may take over as they are."""
        return tuple(one for brick in (self.base_brick, *self.bricks.values()) for one in brick.plain_files())

    def brick(self, alias: Alias) -> Brick:
        """The brick of that alias, or the base."""
        return self.base_brick if alias == BASE else self.bricks[alias]

    def changes(self, alias: Alias) -> Changes:
        """What the brick does to the base.

        Raises:
            Misfit: it does not fit.
        """
        if alias not in self._changes:
            brick = self.bricks[alias]
            self._changes[alias] = kind_named(brick.kind).changes(brick, self.base)
        return self._changes[alias]

    def model(self, alias: Alias) -> LazyModel:
        """The whole model that a brick stands for; an expert may have other layers than the base.

        Raises:
            Misfit, Unsupported: it stands for none.
        """
        if alias not in self._models:
            brick = self.bricks[alias]
            self._models[alias] = kind_named(brick.kind).model(brick, self.base)
        return self._models[alias]

    def tokenizer(self, model: LazyModel) -> Tokenizer | None:
        """The tokenizer of a model that is made of these; None where it has no `tokenizer.json`.

        Raises:
            IntegrityFault: it cannot be read.
        """
        file = model.files.get(TOKENIZER)
        key = file if file is None or isinstance(file, bytes) else file.sha256
        if key not in self._tokenizers:
            holder = None if file is None or isinstance(file, bytes) else self._holder(file)
            with asked_for(None if holder is None else holder.required_by):
                found = self.text_of_tokenizer(model)
                self._tokenizers[key] = None if found is None else read_tokenizer(found[0], where=found[1])
        return self._tokenizers[key]

    def text_of_tokenizer(self, model: LazyModel) -> tuple[bytes, str] | None:
        """The bytes of the `tokenizer.json` of a model that is made of these, and how messages name it."""
        return self._text(model, TOKENIZER)

    def document(self, model: LazyModel, path: str) -> Mapping[str, Any] | None:
        """A small JSON file beside a model that is made of these; None where it has none."""
        file = model.files.get(path)
        known = None if file is None or isinstance(file, bytes) else self._holder(file).contents.documents.get(path)
        if known is not None:
            return known
        found = self._text(model, path)
        return None if found is None else read_json(found[0], where=found[1])

    def _text(self, model: LazyModel, path: str) -> tuple[bytes, str] | None:
        """The bytes of a file beside a model, and how messages name it; None where there is none."""
        file = model.files.get(path)
        if file is None or isinstance(file, bytes):
            return None if file is None else (file, path)
        brick = self._holder(file)
        where = file_label(brick.pin.source, file.path)
        if file.size > LARGEST:
            cause = f"it has {file.size:,} bytes; brickctl reads up to {LARGEST:,}"
            raise IntegrityFault(f"{where} is too large to be read", causes=(cause,), hint=DAMAGED)
        return self.read(brick, file), where

    def _holder(self, file: File) -> Brick:
        """The base or a brick that has this file."""
        everyone = (self.base_brick, *self.bricks.values())
        return next(brick for brick in everyone if brick.pin.file(file.path) == file)


def _nothing_to_read(brick: Brick, file: File) -> bytes:
    raise NotFound(f"`{file.path}` of `{brick.name}` cannot be read here: only headers are known")


def _no_input_to_read(one: Input) -> str:
    raise NotFound(f"`{one.path}` cannot be read here: there is no project", place=one.place)


class Operation(Protocol):
    """One step of a target, read and checked: a frozen value."""

    @property
    def reproducible(self) -> str:
        """`bitwise`: the same bytes everywhere. `numeric`: within a bound."""

    @property
    def computes(self) -> bool:
        """Whether it does arithmetic on tensors, or only carries files."""

    @property
    def takes_layers(self) -> bool:
        """Whether whole models may have other layers than the base, because it takes layers and not models."""

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The files of the project that it reads."""

    @property
    def aliases(self) -> tuple[Alias, ...]:
        """The bricks that it uses, in the order of the manifest; `base` among them where it is named."""

    def document(self) -> Mapping[str, Any]:
        """The step with every default written out: what provenance records."""

    def apply(self, artifact: Artifact, ingredients: Ingredients) -> Artifact:
        """The next artifact; reads no weights.

        Raises:
            Misfit, Unsupported, ManifestInvalid.
        """


def refuse_restacked(artifact: Artifact, aliases: Iterable[Alias], place: Place | None) -> None:
    """Refuse to put bricks that were made for the layers of the base upon a model whose layers are others.

    Raises:
        Misfit: a step has come before that gave it other layers or neurons.
    """
    alias = next((alias for alias in aliases if alias != BASE), None)
    if artifact.regrouped and alias is not None:
        cause = "it was made for the FFNs of the base, and a step before has given them other neurons"
        hint = f"let the step with `{alias}` come before the one that does so"
        raise Misfit(f"`{alias}` does not fit the model as it is by now", causes=(cause,), place=place, hint=hint)
    if artifact.restacked and alias is not None:
        cause = "it was made for the layers of the base, and a step before has given layers other numbers"
        hint = f"merge `{alias}` before that step, or in one of the slices of a stitch"
        raise Misfit(f"`{alias}` does not fit a model with other layers", causes=(cause,), place=place, hint=hint)


def refuse_masked(artifact: Artifact, place: Place | None) -> None:
    """Refuse to change a model beside which masks or a router stand already.

    Raises:
        ManifestInvalid: an earlier step wrote masks, or routed adapters.
    """
    refuse_routed(artifact, place)
    if artifact.weights:
        cause = "an earlier step wrote masks, which are for the model as it was"
        hint = 'leave out `masks`, or go on from the model of a task: { op = "mask", ... }'
        raise ManifestInvalid("nothing can change a model after its masks", causes=(cause,), place=place, hint=hint)


def refuse_routed(artifact: Artifact, place: Place | None) -> None:
    """Refuse to change a model beside which a router stands already.

    Raises:
        ManifestInvalid: an earlier step routed adapters.
    """
    if any(path.endswith(".safetensors") for path in artifact.weights):
        cause = "an earlier step routed adapters, which are for the model as it was"
        hint = "let the route be the last step of its target"
        raise ManifestInvalid("nothing can change a model after its router", causes=(cause,), place=place, hint=hint)


def refuse_stacked(artifact: Artifact, step: str, place: Place | None) -> None:
    """Refuse a step that changes the model below adapters that stand beside it already.

    Raises:
        ManifestInvalid: an earlier step stacked adapters.
    """
    if artifact.parts:
        cause = "an earlier step stacked adapters, which are for the layers as they were"
        hint = f"merge these adapters into the model, or {step} without them"
        raise ManifestInvalid(f"a {step} cannot follow a stack", causes=(cause,), place=place, hint=hint)


class Reader(Protocol):
    """Reads one step from its table, and checks all that can be checked without bricks."""

    def __call__(self, step: Step) -> Operation:
        """Raise ManifestInvalid where the table is off."""


_READERS: Plugins[Reader] = Plugins("brickctl.operations")


def register(name: str, reader: Reader) -> None:
    """Make an operation known; called by its module."""
    _READERS.declare(name, reader)


def readers() -> Mapping[str, Reader]:
    """Every operation, by name."""
    return _READERS.all()


def read_step(step: Step) -> Operation:
    """Read one step of a target.

    Raises:
        ManifestInvalid: an operation that does not exist, or a table that is off.
    """
    reader = _READERS.named(step.op)
    if reader is None:
        hint = did_you_mean(step.op, readers()) or f"this brickctl has {', '.join(readers())}"
        raise ManifestInvalid(f"there is no operation `{step.op}`", place=step.place, hint=hint)
    return reader(step)


def check_aliases(step: Step, operation: Operation, known: Mapping[Alias, object]) -> None:
    """Make sure that a step names only bricks that exist.

    Raises:
        ManifestInvalid: with the name that was probably meant.
    """
    for alias in operation.aliases:
        if alias != BASE and alias not in known:
            hint = did_you_mean(alias, known) or "add it under [bricks], or with `brickctl add`"
            raise ManifestInvalid(f"`{step.op}` uses `{alias}`, which is no brick here", place=step.place, hint=hint)

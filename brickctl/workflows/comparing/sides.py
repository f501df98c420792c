"""What is compared: a target, the base or a brick of a project, or anything that a reference names."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from brickctl.core.brick import Brick
from brickctl.core.manifest import BUILTIN
from brickctl.core.names import BASE, Alias, did_you_mean, is_alias
from brickctl.core.reference import PathReference
from brickctl.core.reference_format import parse_reference
from brickctl.errors import NotFound, UsageFault
from brickctl.kinds.adapters.config import FILE as ADAPTER
from brickctl.kinds.base import whole_model
from brickctl.kinds.kind import detect_kind, kind_named
from brickctl.operations.stack import FOLDER
from brickctl.operations.target import read_recipe
from brickctl.sources.ledger import Ledger
from brickctl.sources.open import open_sources
from brickctl.workflows.analyzing.subject import Workplace
from brickctl.workflows.artifact import hash_files, names_in
from brickctl.workflows.assemble import locked_brick
from brickctl.workflows.build import build
from brickctl.workflows.derived import require_derived
from brickctl.workflows.install import bring
from brickctl.workflows.lock import LockMode, current_lock
from brickctl.workflows.opening import BASE_KIND
from brickctl.workflows.session import cache_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.brick import Contents
    from brickctl.core.digests import Sha256
    from brickctl.core.model import LazyModel
    from brickctl.core.ports import Bricks, Events
    from brickctl.core.reference import Reference
    from brickctl.tensors.executor import Budget
    from brickctl.workflows.session import Session

_MODEL = "config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two things that are compared, with its files on this machine.

    Attributes:
        name: what the user calls it.
        files: its files by digest, verified.
        is_brick: whether it is a brick of a project, or an adapter: something that changes a base.
        beside: of a stack, the files of the adapters beside its model, by their path.
    """

    name: str
    brick: Brick
    files: Mapping[Sha256, Path]
    is_brick: bool
    beside: Mapping[str, Sha256] = field(default_factory=dict)

    @property
    def is_model(self) -> bool:
        """Whether it has all tensors of a model, and needs no base."""
        return self.brick.kind == BASE_KIND or _has_model(self.brick.contents)

    def model(self, base: Side | None) -> LazyModel:
        """The whole model that it stands for.

        Raises:
            Misfit, Unsupported: it does not fit the base, or stands for none.
        """
        if base is None or self.is_model:
            return whole_model(self.brick)
        return kind_named(self.brick.kind).model(self.brick, whole_model(base.brick))


@dataclass(frozen=True)  # without slots, for the base is opened once
class Desk:
    """Opens what is named.

    Attributes:
        session: the project, if there is one; it is locked only where something of it is named.
        mode: what may be done about its lock.
        budget: for what has to be built.
        base: a name or a reference of the model that adapters are for; None is that of the project.
        events: who hears of progress and notes.
        offline: whether the network is not to be used, outside of a project.
    """

    session: Session | None
    mode: LockMode
    budget: Budget
    base: str | None
    events: Events
    offline: bool = False

    @cached_property
    def workplace(self) -> Workplace:
        """The project with its lock.

        Raises:
            NotFound: there is none.
            LockStale: it may not be changed, and says something else than brick.toml.
        """
        if self.session is None:
            raise NotFound("there is no project here", hint="go into a folder with brick.toml, or name two folders")
        return Workplace(session=self.session, lock=current_lock(self.session, self.mode), budget=self.budget)

    def side(self, text: str) -> Side:
        """What a name or a reference means; a target is built first.

        Raises:
            NotFound: there is nothing of that name.
            UsageFault: it is neither a name nor a reference.
            BrickctlError: as building, fetching and reading headers raise.
        """
        if not is_alias(text):
            return self._by_reference(text)
        if self.session is None:
            hint = f"a folder is written `./{text}`"
            raise NotFound(f"there is no project here that could have `{text}`", hint=hint)
        manifest = self.session.manifest
        if text in manifest.targets:
            return self._target(Alias(text))
        if text in (*manifest.requirements, *manifest.derived):
            return self._locked(Alias(text))
        known = (*manifest.targets, *manifest.requirements, *manifest.derived)
        hint = did_you_mean(text, known) or f"there are {', '.join(known)}; a folder is written `./{text}`"
        raise NotFound(f"`{text}` is no target and no brick of this project", hint=hint)

    @cached_property
    def base_side(self) -> Side:
        """The model that adapters are for.

        Raises:
            UsageFault: none is named, and there is no project.
        """
        if self.base is not None:
            return self.side(self.base)
        if self.session is not None:
            return self._locked(BASE)
        hint = "name it: `--base ./model`, or `--base hf:owner/name`"
        raise UsageFault("what an adapter does depends on its base, and there is no project that has one", hint=hint)

    def _target(self, name: Alias) -> Side:
        session = self.workplace.session
        recipe = read_recipe(session.manifest, session.manifest.targets[name])
        require_derived(session.manifest, self.workplace.lock, recipe.aliases, compare=self.mode is not LockMode.FROZEN)
        built = build(session, recipe, session.artifact_folder(name), self.workplace.lock, self.budget)
        return self._folder(name, PathReference(path=built.folder.as_posix()), session.sources)

    def _locked(self, alias: Alias) -> Side:
        session, lock = self.workplace.session, self.workplace.lock
        if alias not in lock.entries:
            raise NotFound(f"`{alias}` was never made", hint=f"run `brickctl derive {alias}`")
        installed = bring(session, lock, (alias,))
        brick = locked_brick(session, lock.entries[alias])
        return Side(name=alias, brick=brick, files=installed.files, is_brick=alias != BASE)

    def _by_reference(self, text: str) -> Side:
        registries = (BUILTIN,) if self.session is None else self.session.manifest.project.default_registries
        reference = parse_reference(text, registries=registries)
        if isinstance(reference, PathReference):
            reference = replace(reference, path=Path(reference.path).absolute().as_posix())
        return self._folder(text, reference, self._sources if self.session is None else self.session.sources)

    def _folder(self, name: str, reference: Reference, sources: Bricks) -> Side:
        pin = sources.pin(reference)
        places = sources.locate(pin)
        if places is None:
            places = {file.path: sources.fetch(pin, file, self.events) for file in pin.files}
        contents = sources.inspect(pin)
        kind = detect_kind(name, contents).name
        beside = self._beside(name, Path(reference.path)) if isinstance(reference, PathReference) else {}
        brick = Brick(name=name, kind=kind, pin=pin, contents=contents)
        files = {file.sha256: places[file.path] for file in pin.files}
        return Side(name=name, brick=brick, files=files, is_brick=not _has_model(contents), beside=beside)

    def _beside(self, name: str, folder: Path) -> Mapping[str, Sha256]:
        """The files of the adapters beside a model.

        Raises:
            IntegrityFault: something among them is neither a file nor a folder.
        """
        adapters = folder / FOLDER
        if not adapters.is_dir():
            return {}
        self.events.note(f"`{name}` has adapters beside its model, compared as files: name their folders to see more")
        paths = {f"{FOLDER}/{path}": adapters / path for path in sorted(names_in(adapters))}
        return hash_files(paths, self.events)

    @cached_property
    def _sources(self) -> Bricks:
        cache = cache_folder()
        return open_sources(Path.cwd(), {}, offline=self.offline, cache=cache, ledger=Ledger(cache / "ledger"))


def _has_model(contents: Contents) -> bool:
    """Whether a folder is a whole model; an adapter may have the configuration of its base beside its own."""
    return _MODEL in contents.documents and ADAPTER not in contents.documents

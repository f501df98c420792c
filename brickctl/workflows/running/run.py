"""Run: a quick look at a target, the base, a brick, or any folder with a model, by one prompt."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.core.names import BASE, Alias, did_you_mean
from brickctl.errors import NotFound, UsageFault
from brickctl.operations.stack import FOLDER
from brickctl.operations.target import read_recipe
from brickctl.workflows.analyzing.subject import Workplace, is_folder
from brickctl.workflows.build import build
from brickctl.workflows.load_built import active_adapter, load_built, routed
from brickctl.workflows.lock import lock_for
from brickctl.workflows.measure import alone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from brickctl.analysis.load import Loaded
    from brickctl.analysis.streaming import Manner
    from brickctl.operations.target import Recipe
    from brickctl.tensors.executor import Budget
    from brickctl.workflows.lock import LockMode
    from brickctl.workflows.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked of which model.

    Attributes:
        name: a target, `base`, a brick, or a folder.
        adapter: of a stack, which one answers: `base` for none; None is the one that the stack activates.
        raw: whether the prompt goes in as it is; else as the turn of a user, if the model has a chat template.
    """

    name: str
    prompt: str
    manner: Manner
    adapter: str | None = None
    raw: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """An answer, and how it came about."""

    request: Request
    chat_template: bool
    adapter: str | None
    text: str
    tokens: int
    ended: bool

    def document(self) -> dict[str, Any]:
        """For JSON."""
        manner = self.request.manner
        return {
            "name": self.request.name,
            "adapter": self.adapter,
            "chat-template": self.chat_template,
            "prompt": self.request.prompt,
            "answer": self.text,
            "tokens": self.tokens,
            "stopped": "end" if self.ended else "length",
            "temperature": manner.temperature,
            "seed": manner.seed if manner.temperature else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where models are found and built; `session` is the project, if there is one."""

    session: Session | None
    mode: LockMode
    budget: Budget


@dataclass(frozen=True, slots=True)
class _Opened:
    """A model that runs, and which of its adapters answers, if one does; a router chooses one for each request.

    `idle` are the adapters beside a model of which nobody has chosen one.
    """

    loaded: Loaded
    adapter: str | None = None
    is_routed: bool = False
    idle: tuple[str, ...] = ()


def run(stage: Stage, request: Request, tell: Callable[[str], None], write: Callable[[str], None]) -> Ran:
    """Build and load a model where that is needed, and stream its answer to `write`; `tell` hears how it is asked.

    Raises:
        NotFound: there is no such model, or no such adapter.
        UsageFault: an adapter is named where there is none to choose, or the prompt is empty or too long.
        BrickctlError: as locking, building and loading raise.
    """
    from brickctl.analysis.chat import encode_prompt
    from brickctl.analysis.silence import silence
    from brickctl.analysis.streaming import stream_answer

    if not request.prompt:
        raise UsageFault("the prompt is empty", hint="say something, or pipe a text in with `-`")
    with _opened(stage, request) as opened:
        tokenizer = opened.loaded.tokenizer
        has_template = bool(getattr(tokenizer, "chat_template", None))
        in_chat = has_template and not request.raw
        tell(_said(opened, in_chat=in_chat, has_template=has_template))
        with silence():  # what is too long is told below
            ids = encode_prompt(tokenizer, request.prompt, chat_template=in_chat)
        answer = stream_answer(opened.loaded.model, tokenizer, ids, request.manner, write)
    return Ran(
        request=request,
        chat_template=in_chat,
        adapter=opened.adapter,
        text=answer.text,
        tokens=answer.tokens,
        ended=answer.ended,
    )


def _said(opened: _Opened, *, in_chat: bool, has_template: bool) -> str:
    how = "the prompt goes in raw" + ("" if has_template else ": the model has no chat template")
    if in_chat:
        how = "the prompt goes through the model's chat template; `--raw` leaves it out"
    if opened.is_routed:
        return f"the router chooses who answers; {how}"
    if opened.idle:
        return f"the model answers without its adapters ({', '.join(opened.idle)}: `--adapter NAME`); {how}"
    return how if opened.adapter is None else f"`{opened.adapter}` answers; {how}"


@contextmanager
def _opened(stage: Stage, request: Request) -> Iterator[_Opened]:
    """The model that is asked for."""
    if is_folder(request.name):
        _require_folder(request.name)
        yield _from_folder(Path(request.name), request.adapter, stage.budget.threads)
        return
    session = _needed(stage, request.name)
    manifest = session.manifest
    if request.name in manifest.targets:
        recipe = read_recipe(manifest, manifest.targets[Alias(request.name)])
        _check_adapter(recipe, request.adapter)
        lock = lock_for(session, stage.mode, (recipe,))
        built = build(session, recipe, session.artifact_folder(recipe.name), lock, stage.budget)
        yield _from_target(recipe, built.folder, request.adapter, stage.budget.threads)
        return
    recipe = alone(_brick(session, request.name))
    _refuse_adapter(request.adapter, request.name)
    place = Workplace(session=session, lock=lock_for(session, stage.mode, (recipe,)), budget=stage.budget)
    with place.built(recipe) as made:
        yield _Opened(load_built(recipe, made.folder, stage.budget.threads))


def _require_folder(name: str) -> None:
    if not Path(name).is_dir():
        hint = "name a target or a brick of the project, or a folder with a model, such as `./model`"
        raise NotFound(f"there is no folder {shown(name)}", hint=hint)


def _check_adapter(recipe: Recipe, adapter: str | None) -> None:
    """Refuse the name of an adapter where there is none to choose, before anything is built."""
    if adapter is not None and routed(recipe) is not None:
        hint = "leave out `--adapter`, or stack the adapters in another target"
        raise UsageFault(f"`{recipe.name}` has a router, which chooses the adapter", hint=hint)
    if active_adapter(recipe) is None:
        _refuse_adapter(adapter, recipe.name)


def _from_target(recipe: Recipe, folder: Path, adapter: str | None, threads: int) -> _Opened:
    if routed(recipe) is not None:
        return _Opened(load_built(recipe, folder, threads), is_routed=True)
    return _from_folder(folder, adapter or active_adapter(recipe), threads)


def _from_folder(folder: Path, adapter: str | None, threads: int) -> _Opened:
    from brickctl.analysis.load import load

    known = sorted(path.name for path in (folder / FOLDER).iterdir()) if (folder / FOLDER).is_dir() else []
    if adapter in {None, BASE}:
        idle = map(shown, known) if adapter is None else ()
        return _Opened(load(folder, threads=threads), idle=tuple(idle))
    if not known:
        _refuse_adapter(adapter, str(folder))
    if adapter not in known:
        hint = did_you_mean(str(adapter), known) or f"there are {', '.join(known)}, and `{BASE}` for none"
        raise NotFound(f"there is no adapter `{shown(adapter)}` in {folder}", hint=hint)
    return _Opened(load(folder, active=adapter, threads=threads), adapter)


def _refuse_adapter(adapter: str | None, name: str) -> None:
    if adapter is not None:
        hint = "leave out `--adapter`: only stacks have adapters beside their model"
        raise UsageFault(f"`{name}` has no adapters to choose from", hint=hint)


def _needed(stage: Stage, name: str) -> Session:
    if stage.session is None:
        hint = f"go into a folder with brick.toml, or name a folder: `./{shown(name)}`"
        raise NotFound(f"there is no project here that could have `{shown(name)}`", hint=hint)
    return stage.session


def _brick(session: Session, name: str) -> Alias:
    manifest = session.manifest
    known = (*manifest.targets, *manifest.requirements, *manifest.derived)
    if name not in known:
        hint = did_you_mean(name, known) or f"there are {', '.join(known)}; a folder is written `./{shown(name)}`"
        raise NotFound(f"`{shown(name)}` is no target and no brick of this project", hint=hint)
    return Alias(name)

"""A project made of a command line: `brickctl merge`, `moe`, `stack` and `grow` without a manifest.

The command line is turned into the text of a brick.toml, and from there on everything is as with any project.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from brickctl.core.document import shown
from brickctl.core.lock_format import encode
from brickctl.core.names import BASE, Alias, alias_from, did_you_mean
from brickctl.core.reference_format import parse_reference
from brickctl.errors import ManifestInvalid, UsageFault
from brickctl.merging.method import method_named
from brickctl.operations.new_tokens import read_lines
from brickctl.operations.target import read_recipe
from brickctl.sources.atomic import Draft, write_together
from brickctl.vocabulary.rules import UNION
from brickctl.workflows.build import Built, Outline, build, outline
from brickctl.workflows.command_line import inline, quoted, read_spoken, source_keys
from brickctl.workflows.files import new_folder
from brickctl.workflows.replace import check_replaceable
from brickctl.workflows.resolution import resolve
from brickctl.workflows.session import LOCK, MANIFEST, session_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from brickctl.core.ports import Events
    from brickctl.tensors.executor import Budget

TOKENIZERS = (BASE, UNION)
"""What `--tokenizer` may be besides a brick; no brick has such a name where it may be given."""

_TARGET = "model"
_LARGEST = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """What a command line asks for: references in its order, the step that uses them, and how to write the result."""

    base: str
    bricks: Mapping[Alias, str]
    step: str
    dtype: str | None = None
    shard_size: str | None = None

    def manifest(self, root: Path | None = None) -> str:
        """The text of the brick.toml that means the same: in the folder `root`, or anywhere on this machine."""
        options = [("dtype", self.dtype), ("shard-size", self.shard_size)]
        lines = [
            "[project]",
            f"name = {quoted(_TARGET)}",
            "",
            "[base]",
            *(f"{key} = {value}" for key, value in source_keys(self.base, root).items()),
            "",
            "[bricks]",
            *(f"{alias} = {inline(source_keys(text, root))}" for alias, text in self.bricks.items()),
            "",
            f"[targets.{_TARGET}]",
            *(f"{key} = {quoted(value)}" for key, value in options if value is not None),
            f"apply = [{self.step}]",
        ]
        return "\n".join(lines) + "\n"


def name_bricks(references: Sequence[str], reserved: Sequence[str] = ()) -> dict[Alias, str]:
    """An alias for each brick of a command line, none of them `reserved`.

    Raises:
        UsageFault: no brick at all, or a reference that cannot be read.
    """
    if not references:
        raise UsageFault("no brick was given", hint="name at least one after the base")
    named: dict[Alias, str] = {}
    for text in references:
        parse_reference(text)
        named[alias_from(text, (*named, *reserved))] = text
    return named


def name_tokenizer(text: str, base: str, named: Mapping[Alias, str]) -> tuple[Alias, dict[Alias, str]]:
    """What `tokenizer` of the merge says, and the bricks of the project, with one more if only its tokens are taken.

    Args:
        text: one of TOKENIZERS, the alias of a brick, or a reference to the base or to any brick.
        base: the reference of the base.
        named: the bricks that are merged.

    Raises:
        UsageFault: it is none of these.
    """
    if text in TOKENIZERS or text in named:
        return Alias(text), dict(named)
    try:
        source = source_keys(text, None)
    except UsageFault as fault:
        known = (*TOKENIZERS, *named)
        causes = (fault.message, f"names here: {', '.join(f'`{name}`' for name in known)}; references name others")
        hint = did_you_mean(text, known) or fault.hint
        raise UsageFault(f"`{shown(text)}` names no tokenizer", causes=causes, hint=hint) from None
    for alias, reference in ((BASE, base), *named.items()):
        if source_keys(reference, None) == source:
            return alias, dict(named)
    alias = alias_from(text, (*named, *TOKENIZERS))
    return alias, {**named, alias: text}


def merge_step(
    method: str,
    bricks: Sequence[Alias],
    weights: Sequence[float],
    parameters: Sequence[str],
    tokenizer: Alias | None = None,
) -> str:
    """A merge as the manifest writes it; weights come 0, 1 or as many times as there are bricks.

    A method that gives bricks no weights gets their names, where no weights are given.

    Raises:
        UsageFault: another number of weights, a parameter that is not NAME=VALUE, or one that says `tokenizer` again.
    """
    if len(weights) not in {0, 1, len(bricks)}:
        hint = f"give --weight once for all, or {len(bricks)} times, in the order of the bricks"
        raise UsageFault(f"{len(weights)} weights for {len(bricks)} bricks", hint=hint)
    each = [*(weights or [1.0])] * (len(bricks) if len(weights) < len(bricks) else 1)
    found = method_named(method)
    if found is None or found.weighted or weights:
        pairs = zip(bricks, each, strict=True)
        entries = [f"{{ brick = {quoted(alias)}, weight = {weight!r} }}" for alias, weight in pairs]
    else:
        entries = [quoted(alias) for alias in bricks]
    keys = [_parameter(text) for text in parameters]
    if tokenizer is not None:
        if any(key.startswith("tokenizer =") for key in keys):
            hint = "leave --tokenizer out where --set says more of tokens than whose they are"
            raise UsageFault("`tokenizer` is given twice, by --tokenizer and by --set", hint=hint)
        keys.append(f"tokenizer = {quoted(tokenizer)}")
    more = "".join(f", {key}" for key in keys)
    return f'{{ op = "merge", method = {quoted(method)}{more}, bricks = [{", ".join(entries)}] }}'


def stack_step(bricks: Sequence[Alias], active: str | None) -> str:
    """A stack as the manifest writes it."""
    more = "" if active is None else f", active = {quoted(active)}"
    return f'{{ op = "stack", bricks = {json.dumps(list(bricks))}{more} }}'


def moe_step(experts: Sequence[Alias], active: int, gates: str, seed: int | None) -> str:
    """A mixture of experts as the manifest writes it."""
    more = "" if seed is None else f", seed = {seed}"
    names = json.dumps(list(experts))
    return f'{{ op = "moe", experts = {names}, active = {active}, gates = {quoted(gates)}{more} }}'


def plain_step(op: str, keys: Mapping[str, str | float | Sequence[str] | None]) -> str:
    """A step without bricks as the manifest writes it; what is None is left out."""
    given = {"op": op, **{key: value for key, value in keys.items() if value is not None}}
    return inline({key: _in_toml(value) for key, value in given.items()})


def _in_toml(value: str | float | Sequence[str]) -> str:
    """A value as TOML writes it."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, int | float):  # truth values too, which JSON writes as TOML does
        return json.dumps(value)
    return f"[{', '.join(map(quoted, value))}]"


def listed_tokens(path: Path) -> tuple[str, ...]:
    """The tokens of a file anywhere, one a line.

    Raises:
        UsageFault: it is no such file.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise UsageFault(f"{path} has more than {_LARGEST:,} bytes", hint="add tokens in several steps")
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageFault(f"{path} cannot be read", causes=(str(error),), hint="name a file of UTF-8 text") from None
    try:
        return read_lines(text, str(path))
    except ManifestInvalid as invalid:
        cause = f"{invalid.message}: {invalid.place}"
        raise UsageFault(f"{path} is no list of tokens", causes=(cause,), hint=invalid.hint) from None


def run(
    composition: Composition, output: Path, events: Events, budget: Budget, *, offline: bool, save: Path | None
) -> Built:
    """Lock, fetch and build into `output`; `save` is a folder that gets the brick.toml and brick.lock of it.

    Raises:
        UsageFault: `output` holds something that brickctl did not make, or `save` a project, or lies in `output`.
    """
    if save is not None and (save / MANIFEST).exists():
        raise UsageFault(f"{save / MANIFEST} exists already", hint="choose another folder for --save")
    if save is not None and output.absolute() in save.absolute().parents:
        causes = ("an artifact is replaced whole, with everything in it",)
        raise UsageFault(f"{save} lies in {output}", causes=causes, hint="choose a folder for --save beside it")
    with _project(save) as root:
        text = composition.manifest(None if save is None else root)
        manifest = read_spoken(text)
        session = session_for(root, manifest, events, offline=offline)
        recipe = read_recipe(manifest, manifest.targets[Alias(_TARGET)])
        lock = resolve(session)
        built = build(session, recipe, output.absolute(), lock, budget)
        if save is not None:
            write_together([Draft(root / MANIFEST, text.encode()), Draft(root / LOCK, encode(lock).encode())])
    return built


@contextmanager
def _project(save: Path | None) -> Iterator[Path]:
    """The folder that references are relative to: the current one, or `save` with all links followed.

    `save` has to be there before `..` leads out of it; what was made for it goes again if nothing is built.
    """
    if save is None:
        yield Path.cwd()
        return
    with new_folder(save):
        yield save.resolve()


def preview(composition: Composition, output: Path, events: Events, budget: Budget, *, offline: bool) -> Outline:
    """What `run` would do.

    Raises:
        UsageFault: `run` would write nothing into `output`.
    """
    check_replaceable(output.absolute())
    manifest = read_spoken(composition.manifest())
    session = session_for(Path.cwd(), manifest, events, offline=offline)
    recipe = read_recipe(manifest, manifest.targets[Alias(_TARGET)])
    return outline(session, recipe, output.absolute(), resolve(session), budget)


def _parameter(text: str) -> str:
    name, equals, value = text.partition("=")
    if not equals or not name.replace("_", "").isalnum():
        raise UsageFault(f"`{text}` is no parameter", hint="write NAME=VALUE, such as scale=0.5")
    return f"{name} = {value}"

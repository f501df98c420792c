"""Models with tokenizers of their own on their way into one merge: all of them with the tokens of the result."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.names import BASE, Alias
from brickctl.errors import ManifestInvalid
from brickctl.kinds.base import whole_model
from brickctl.kinds.expert import ExpertKind
from brickctl.kinds.kind import Change, Changes, kind_named
from brickctl.operations.combine import untie
from brickctl.operations.members import Members, Merging, gather_members
from brickctl.operations.operation import Ingredients
from brickctl.operations.same_tokens import listed, same_tokens
from brickctl.operations.tokenizer_files import with_tokenizer
from brickctl.vocabulary.alignment import Alignment, Wanted
from brickctl.vocabulary.axis import rows_of
from brickctl.vocabulary.files import taken_from
from brickctl.vocabulary.rules import TokenizerChoice
from brickctl.vocabulary.tokenizer import FILE

if TYPE_CHECKING:
    from brickctl.core.model import LazyModel
    from brickctl.errors import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class OneVocabulary:
    """What a merge works with: the running model and the ingredients, their rows in one order, and what to tell."""

    model: LazyModel
    ingredients: Ingredients
    notes: tuple[str, ...] = ()


def in_one_vocabulary(merging: Merging, model: LazyModel, ingredients: Ingredients) -> OneVocabulary:
    """The models of a merge with the tokens that it asks for; without a word, they must have the same ones.

    Raises:
        Misfit, Unsupported, ManifestInvalid, IntegrityFault.
    """
    choice = merging.choice
    if choice is None and _is_as_the_base(model, ingredients.base):
        notes = same_tokens(model, ingredients, merging.aliases)
        return OneVocabulary(model=model, ingredients=ingredients, notes=notes)
    choice = choice or TokenizerChoice(source=BASE)  # an earlier step has chosen; its tokens stay
    if choice.match == "id":
        return _as_they_stand(choice, model, ingredients, merging.place)
    members = gather_members(merging, choice, model, ingredients)
    return _Unification(members, choice, ingredients).result()


def _is_as_the_base(model: LazyModel, base: LazyModel) -> bool:
    return model.files.get(FILE) == base.files.get(FILE) and rows_of(model) == rows_of(base)


def _as_they_stand(
    choice: TokenizerChoice, model: LazyModel, ingredients: Ingredients, place: Place | None
) -> OneVocabulary:
    """Rows by their number, and the files of the tokenizer that was chosen."""
    if choice.source == BASE:
        return OneVocabulary(model=model, ingredients=ingredients)
    brick = ingredients.brick(choice.source)
    theirs = rows_of(whole_model(brick)) if isinstance(kind_named(brick.kind), ExpertKind) else None
    if theirs is None or theirs != rows_of(model):
        cause = (
            f"`{choice.source}` has {theirs or 'no'} rows of tokens, the running model has {rows_of(model) or 'none'}"
        )
        hint = 'leave `match = "id"` out: rows go together by their tokens then'
        raise ManifestInvalid("these rows cannot go together by number", causes=(cause,), place=place, hint=hint)
    files = taken_from(model.files, brick.pin.files)
    return OneVocabulary(model=dataclasses.replace(model, files=files), ingredients=ingredients)


class _Unification:
    """The models of one merge, whose rows get one order."""

    def __init__(self, members: Members, choice: TokenizerChoice, ingredients: Ingredients) -> None:
        self._members = members
        self._ingredients = ingredients
        wanted = Wanted(
            tokens=members.tokens, source=members.source, base=members.home, rules=choice.tokens, missing=choice.missing
        )
        self._alignment = Alignment(members.all, wanted)

    def result(self) -> OneVocabulary:
        """The running model, the base and the bricks, in the vocabulary of the result."""
        aligned, notes = self._aligned(0)
        running, told = with_tokenizer(aligned, self._members, self._ingredients)
        base = aligned if self._members.base == 0 else self._aligned(self._members.base)[0]
        homeless = self._alignment.homeless
        zeros = (f"{listed(homeless)}: no model has a row for it, and zeros take its place",) if homeless else ()
        return OneVocabulary(
            model=running, ingredients=_Aligned(self._ingredients, base, self), notes=(*notes, *told, *zeros)
        )

    def changes(self, alias: Alias, base: LazyModel) -> Changes:
        """What a brick does to the base, both in the vocabulary of the result."""
        brick = self._ingredients.brick(alias)
        kind = kind_named(brick.kind)
        if isinstance(kind, ExpertKind):
            expert, _ = self._aligned(self._members.numbers[alias])
            return kind.changes_of(brick, expert, base)
        return {name: self._moved(name, change) for name, change in self._ingredients.changes(alias).items()}

    def _moved(self, name: str, change: Change) -> Change:
        if name not in self._members.names or change.delta is None:
            return change
        delta = self._alignment.change(change.delta, self._members.base)
        return change if delta is change.delta else Change(delta)

    def _aligned(self, number: int) -> tuple[LazyModel, tuple[str, ...]]:
        """A model with its new rows; a head that gets other ones than its embedding is tied no more."""
        model = self._members.all[number].model
        everything = {name: model.node(name) for name in (*model.tensors, *model.ties)}
        return untie(model, {**everything, **self._alignment.tensors(number, self._members.names)})


class _Aligned(Ingredients):
    """Ingredients whose rows have the order of one merge."""

    def __init__(self, ingredients: Ingredients, base: LazyModel, unification: _Unification) -> None:
        super().__init__(ingredients.base_brick, ingredients.bricks, ingredients.read, ingredients.read_input)
        self.base = base
        self._unification = unification

    def changes(self, alias: Alias) -> Changes:
        """What the brick does to the base."""
        if alias not in self._changes:
            self._changes[alias] = self._unification.changes(alias, self.base)
        return self._changes[alias]

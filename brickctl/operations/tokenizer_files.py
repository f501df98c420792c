"""The tokenizer beside a model whose vocabulary changed, and the numbers of tokens in its configuration files."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import readable_json
from brickctl.vocabulary.axis import with_rows
from brickctl.vocabulary.files import CONFIG, renumbered, rewritten, taken_from

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.model import LazyModel
    from brickctl.operations.members import Members
    from brickctl.operations.operation import Ingredients
    from brickctl.vocabulary.alignment import Member

_GENERATION = "generation_config.json"
_Told = tuple["LazyModel", tuple[str, ...]]


def with_tokenizer(model: LazyModel, members: Members, ingredients: Ingredients) -> _Told:
    """The model with the tokenizer of the result and a configuration that fits it, and what to tell of them."""
    model = _with_config(model, with_rows(model.config, members.all[0].rows, len(members.tokens)))
    notes: tuple[str, ...] = ()
    if members.source != 0:
        brick = ingredients.brick(members.all[members.source].alias)
        donor = members.all[members.source]
        before = {number: token for token, number in members.all[0].ids.items()}
        model, notes = with_numbers_of(donor, model, before, ingredients)
        model = dataclasses.replace(model, files=taken_from(model.files, brick.pin.files))
    if members.tokenizer is None:
        return model, notes
    files, stale = rewritten(model.files, members.tokenizer, ingredients.document(model, CONFIG))
    if stale:
        notes = (*notes, f"{', '.join(stale)} left out: only tokenizer.json has the tokens of the result")
    return dataclasses.replace(model, files=files), notes


def _with_config(model: LazyModel, config: Mapping[str, Any]) -> LazyModel:
    if config == model.config:
        return model
    return dataclasses.replace(model, config=config, source_config=None)


def with_numbers_of(donor: Member, model: LazyModel, before: Mapping[int, str], ingredients: Ingredients) -> _Told:
    """The model whose configuration files name its tokens by the numbers of another tokenizer, and what is lost.

    `before` are the tokens that these numbers have meant.
    """
    config, lost = _of_config(model.config, before, donor.ids, donor.model.config)
    notes = [f"`{key}` of config.json has no number in the tokenizer of `{donor.alias}`" for key in lost]
    model = _with_config(model, config)
    generation = ingredients.document(model, _GENERATION)
    if generation is not None:
        theirs = ingredients.document(donor.model, _GENERATION) or {}
        changed, lost = renumbered(generation, before, donor.ids, theirs)
        notes += [f"`{key}` of {_GENERATION} has no number in the tokenizer of `{donor.alias}`" for key in lost]
        if changed != generation:
            files = {**model.files, _GENERATION: readable_json(changed)}
            model = dataclasses.replace(model, files=files)
    return model, tuple(notes)


def _of_config(
    config: Mapping[str, Any], before: Mapping[int, str], ids: Mapping[str, int], theirs: Mapping[str, Any]
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """The same of `config.json`, and of the part of it that is about text."""
    changed, lost = renumbered(config, before, ids, theirs)
    nested = config.get("text_config")
    if isinstance(nested, dict):
        of_theirs = theirs.get("text_config")
        inner, more = renumbered(nested, before, ids, of_theirs if isinstance(of_theirs, dict) else {})
        return {**changed, "text_config": inner}, (*lost, *more)
    return changed, lost

"""Examples as rows of tokens: a prompt, what completes it, and the token that ends an answer.

A prompt is encoded as `brickctl test` encodes it, raw and without a chat template, and what follows are tokens that
decode to the completion behind it. So a model is tested on what it was trained on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.analysis.perplexity import windows
from brickctl.analysis.rows import Row
from brickctl.analysis.tokens import decode, encode
from brickctl.errors import Place, UsageFault, asked_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from transformers import PreTrainedTokenizerBase

    from brickctl.analysis.examples import Example

LONGER = "make it shorter, or give a larger --length, as far as the model reads"
"""What helps whoever trains against an example that is too long."""

_BEHIND = "\n"
"""What a completion is encoded behind, where a tokenizer puts a space before each text that it is given."""


def rows_of(
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    longest: int,
    end: int | None,
    file: str,
    hint: str = LONGER,
) -> tuple[tuple[Row, ...], ...]:
    """The rows of each example, which stands on a line of its own in `file`.

    A prompt with its completion is one row, of which the completion and the end are predicted. A text is cut into
    windows, of which all but the first token is; it has no row where it is a single token.

    Args:
        tokenizer: that of the model.
        examples: in the order of their lines.
        longest: tokens of a row, at most.
        end: the token that ends an answer; None where the model has none.
        file: how errors call the file.
        hint: what helps against an example that is too long.

    Raises:
        UsageFault: a prompt with its completion is longer than `longest`, or has no token; its line is named.
    """
    found: list[tuple[Row, ...]] = []
    for line, example in enumerate(examples, start=1):
        with asked_for(Place(file=file, line=line)):
            found.append(tuple(_rows(tokenizer, example, longest, () if end is None else (end,), hint)))
    return tuple(found)


def _rows(
    tokenizer: PreTrainedTokenizerBase, example: Example, longest: int, end: tuple[int, ...], hint: str
) -> Iterator[Row]:
    if not example.prompt:
        tokens = [*encode(tokenizer, example.completion), *end]
        yield from (Row(tokens=tuple(row), first=1) for row in windows(tokens, longest))
        return
    prompt, completion = joined(tokenizer, example)
    row = Row(tokens=(*prompt, *completion, *end), first=len(prompt))
    if len(row.tokens) > longest:
        message = f"this example takes {len(row.tokens)} tokens, and {longest} are read at once"
        raise UsageFault(message, hint=hint)
    if not row.first:
        raise UsageFault("the tokenizer makes no token of this prompt")
    if not completion:
        raise UsageFault("the tokenizer makes no token of this completion")
    yield row


def joined(tokenizer: PreTrainedTokenizerBase, example: Example) -> tuple[list[int], list[int]]:
    """The tokens of a prompt as they are when it stands alone, and those that complete it.

    Where both are one text to the tokenizer, and the prompt's tokens are the same in it, they are cut there. Else the
    first of these is taken that decodes to the completion: it alone, or cut off from behind a line break, since some
    tokenizers begin each text with a space. Where none does, since letters are changed, it alone is.
    """
    prompt = encode(tokenizer, example.prompt)
    whole = encode(tokenizer, example.prompt + example.completion)
    if whole[: len(prompt)] == prompt and len(whole) > len(prompt):
        return prompt, whole[len(prompt) :]
    alone = _encoded(tokenizer, example.completion)
    before, behind = _encoded(tokenizer, _BEHIND), _encoded(tokenizer, _BEHIND + example.completion)
    ways = [alone, *([behind[len(before) :]] if behind[: len(before)] == before else [])]
    said = decode(tokenizer, prompt) + example.completion
    return prompt, next((way for way in ways if decode(tokenizer, [*prompt, *way]) == said), alone)


def _encoded(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    tokens: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return tokens

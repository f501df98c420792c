"""Prompts as a model reads them: raw, or as the turn of a user in its own chat template."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.analysis.tokens import encode
from brickctl.errors import Unsupported

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str, *, chat_template: bool) -> list[int]:
    """Token ids of a prompt to go on from.

    Raises:
        Unsupported: as `in_chat`.
    """
    if not chat_template:
        return encode(tokenizer, prompt)
    # the template writes the special tokens: those that the tokenizer would add stood there twice
    tokens: list[int] = tokenizer(in_chat(tokenizer, prompt), add_special_tokens=False)["input_ids"]
    return tokens


def require_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Make sure that there is a chat template.

    Raises:
        Unsupported: there is none.
    """
    if not getattr(tokenizer, "chat_template", None):
        hint = 'leave out `chat-template = true`, or give the target one: a step { op = "chat-template", ... }'
        raise Unsupported("the model's tokenizer has no chat template", hint=hint)


def in_chat(tokenizer: PreTrainedTokenizerBase, prompt: str) -> str:
    """The text of a conversation in which a user has said `prompt`, and the model is to answer.

    Templates come with models: transformers runs them in a sandbox of jinja.

    Raises:
        Unsupported: the tokenizer has no chat template, or it refuses the prompt.
    """
    require_template(tokenizer)
    turn = [{"role": "user", "content": prompt}]
    try:
        text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # whatever a template raises: it is a program, and not ours
        cause = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise Unsupported("the model's chat template fails", causes=(cause,)) from error
    return str(text)

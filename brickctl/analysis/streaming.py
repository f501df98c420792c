"""One answer of a model, piece by piece as its tokens come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.analysis.answers import own_ways_set_aside
from brickctl.analysis.silence import silence
from brickctl.analysis.tokens import context_length, decode, padded
from brickctl.errors import UsageFault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from transformers import PreTrainedTokenizerBase

_BEFORE = 5
"""Tokens before a piece that are decoded with it: what a token looks like may depend on those before."""

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"
"""What the first bytes of a character decode to, before the token with the others comes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How an answer is found: token by token the likeliest, or drawn at a temperature above 0, from a seed."""

    max_tokens: int
    temperature: float = 0.0
    seed: int = 0

    def settings(self) -> dict[str, Any]:
        """As transformers takes it; whatever it would add by itself is off."""
        if not self.temperature:
            return {"do_sample": False}
        return {"do_sample": True, "temperature": self.temperature, "top_k": 0, "top_p": 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A text, of how many tokens it is made, and whether the model has ended it; else there was no room for more."""

    text: str
    tokens: int
    ended: bool


def stream_answer(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompt: Sequence[int],
    manner: Manner,
    write: Callable[[str], None],
) -> Answer:
    """Let a model go on after a prompt, and hand each piece of the text to `write` as soon as it is known.

    Nothing runs in another thread: what is raised in `write`, or by Ctrl-C, ends the answer at once.

    Raises:
        UsageFault: the prompt has no token, or leaves no room for an answer.
    """
    import torch

    limit = _room(model, prompt, manner.max_tokens)
    ids, mask = padded([prompt], side="left")
    with (
        torch.random.fork_rng(devices=[]),
        torch.inference_mode(),
        silence(),
        own_ways_set_aside(model, tokenizer, **manner.settings()) as ends,
    ):
        torch.manual_seed(manner.seed)
        pieces = _Pieces(Detokenizer(tokenizer, prompt), ends, write)
        model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=limit, streamer=pieces)
    return Answer(text="".join(pieces.texts), tokens=pieces.count, ended=pieces.ended)


class Detokenizer:
    """Text from tokens that come one by one.

    Tokens are decoded together with some before them, in which a first space or half a character shows, and held back
    while they end in the middle of a character (as vLLM and TGI do).
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._tokens = list(prompt)
        self._begin = max(0, len(self._tokens) - _BEFORE)
        self._told = len(self._tokens)

    def push(self, token: int) -> str:
        """The text that is known now and was not before; empty in the middle of a character."""
        self._tokens.append(token)
        return self._piece(finished=False)

    def finish(self) -> str:
        """What was held back."""
        return self._piece(finished=True)

    def _piece(self, *, finished: bool) -> str:
        before = decode(self._tokenizer, self._tokens[self._begin : self._told])
        now = decode(self._tokenizer, self._tokens[self._begin :])
        if len(now) <= len(before) or (now.endswith(_UNFINISHED) and not finished):
            return ""
        self._begin, self._told = self._told, len(self._tokens)
        return now[len(before) :]


class _Pieces:
    """What `generate` calls with the prompt, then with each token, and at the end."""

    def __init__(self, detokenizer: Detokenizer, ends: frozenset[int], write: Callable[[str], None]) -> None:
        self.texts: list[str] = []
        self.count = 0
        self.ended = False
        self._detokenizer = detokenizer
        self._ends = ends
        self._write = write
        self._is_prompt = True

    def put(self, value: Any) -> None:
        """The prompt at first, then one token at a time."""
        if self._is_prompt:
            self._is_prompt = False
            return
        for token in value.reshape(-1).tolist():
            if token in self._ends:
                self.ended = True
                return
            self.count += 1
            self._tell(self._detokenizer.push(token))

    def end(self) -> None:
        """Nothing more comes."""
        self._tell(self._detokenizer.finish())

    def _tell(self, text: str) -> None:
        if text:
            self.texts.append(text)
            self._write(text)


def _room(model: Any, prompt: Sequence[int], wanted: int) -> int:
    """How many tokens the answer may have."""
    if not prompt:
        raise UsageFault("the prompt has no token", hint="say something")
    longest = context_length(model)
    if longest is not None and len(prompt) >= longest:
        cause = f"it has {len(prompt):,} tokens; the model reads at most {longest:,}"
        raise UsageFault("the prompt leaves no room for an answer", causes=(cause,), hint="shorten it")
    return wanted if longest is None else min(wanted, longest - len(prompt))

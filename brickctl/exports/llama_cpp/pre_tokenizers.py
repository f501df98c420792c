"""How a byte-level tokenizer cuts text before it merges, by llama.cpp's name for it.

llama.cpp knows no regular expressions but its own, by name (`tokenizer.ggml.pre`). Its converter finds the name by a
digest of the numbers of tokens of one text, which says nothing any more as soon as one token is another; here the rule
itself is compared, since a union of vocabularies keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.vocabulary.tokenizer import Tokenizer

WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
"""The rule of Llama 3 and of Qwen 2, which differ in how many digits stay together."""

_HINT = "give llama.cpp's own converter with --converter; it knows more tokenizers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What stands in `pre_tokenizer`, step by step, without what has no effect on cutting.

    Attributes:
        steps: each step as (type, what decides).
        takes_whole_words: whether a word that is a token is never cut (`ignore_merges`), as llama.cpp has it.
    """

    steps: tuple[tuple[str, Any], ...]
    takes_whole_words: bool = False


_RULES = {
    "gpt-2": Rule(steps=(("ByteLevel", True),)),
    "smollm": Rule(steps=(("Digits", True), ("ByteLevel", True))),
    "llama-bpe": Rule(steps=(("Split", WORDS % r"\p{N}{1,3}"), ("ByteLevel", False)), takes_whole_words=True),
    "qwen2": Rule(steps=(("Split", WORDS % r"\p{N}"), ("ByteLevel", False))),
}
"""By llama.cpp's name; each is held against llama.cpp in the tests."""


def pre_tokenizer_of(tokenizer: Tokenizer) -> str:
    """llama.cpp's name for how a byte-level BPE tokenizer cuts text.

    Raises:
        Unsupported: it cuts in a way that has not been tried in llama.cpp.
    """
    whole_words = bool(tokenizer.model.get("ignore_merges"))
    steps = tuple(map(_step, _steps_of(tokenizer.document.get("pre_tokenizer"))))
    for name, rule in _RULES.items():
        if rule == Rule(steps=steps, takes_whole_words=whole_words):
            return name
    told = ", ".join(f"{kind} {shown(decides)}" for kind, decides in steps) or "nothing"
    cause = f"`tokenizer.json` cuts text by {told}{', and takes whole words first' if whole_words else ''}"
    tried = f"tried are the rules of {', '.join(_RULES)}"
    raise Unsupported("this tokenizer is not exported to GGUF", causes=(cause, tried), hint=_HINT)


def _steps_of(document: Any) -> list[Any]:
    if isinstance(document, dict) and document.get("type") == "Sequence":
        steps = document.get("pretokenizers")
        return steps if isinstance(steps, list) else []
    return [] if document is None else [document]


def _step(document: Any) -> tuple[str, Any]:
    """A step and what decides how it cuts; the step itself where it is none of those that the rules have."""
    if not isinstance(document, dict):
        return "unknown", document
    kind = document.get("type")
    if kind == "ByteLevel" and not document.get("add_prefix_space"):
        return kind, document.get("use_regex", True)
    if kind == "Digits":
        return kind, document.get("individual_digits", False)
    if kind == "Split" and document.get("behavior") == "Isolated" and not document.get("invert"):
        return kind, _pattern(document)
    return str(kind), document


def _pattern(document: Mapping[str, Any]) -> Any:
    pattern = document.get("pattern")
    return pattern.get("Regex") if isinstance(pattern, dict) else pattern

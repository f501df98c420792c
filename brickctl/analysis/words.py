"""Words of texts: those that say what a task is about."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_WORD = re.compile(r"[^\W_]+")

_FUNCTION_WORD = re.compile(
    "an|and|are|as|at|be|been|but|by|can|do|does|each|for|from|give|given|gives|had|has|have|how|if|in|into|is|it|its"
    "|like|me|my|no|not|of|on|one|or|our|out|so|some|such|than|that|the|their|them|then|there|these|they|this|those|to"
    "|use|used|uses|using|was|we|were|what|when|where|which|who|will|with|would|you|your"
)
"""Words of English that stand in texts about anything: in a small registry, one brick that has `the` is a rare one."""

MOST_WORDS = 64
"""Words that a search asks for; more of them say nothing more."""


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text in small letters, each once, in their order; not those that stand in any English text.

    A single letter or digit is no word, but a single character of another script may be.
    """
    words = dict.fromkeys(word.lower() for word in _WORD.findall(text))
    return tuple(word for word in words if not _FUNCTION_WORD.fullmatch(word) and (len(word) > 1 or not word.isascii()))


def common_words(texts: Iterable[str]) -> tuple[str, ...]:
    """The words that stand in more than half of the texts, those of most texts first, then as they first stand there.

    What all texts have says what they are about; what one of them has says what that one is about. At most 64.
    """
    counts, number = Counter[str](), 0
    for text in texts:
        counts.update(words_of(text))
        number += 1
    return tuple(word for word, count in counts.most_common(MOST_WORDS) if 2 * count > number)

"""What the starter models learn: string skills, the simpler material of the base model, and which strings are held out.

Every item is a prompt and a completion. The model sees `<bos>` + prompt + completion + `<eos>` and greedy decoding must
give exactly the completion, then `<eos>`.
"""

import random
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from string import ascii_lowercase
from types import MappingProxyType

SHORTEST_WORD, LONGEST_WORD = 3, 6
LONGEST_PREFIX = 7
TEXT_SHARE, COPY_SHARE = 0.06, 0.40


class Split(StrEnum):
    """Train on one, choose on another, report on the third."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


def split_of(text: str) -> Split:
    """Held out where crc32 mod 10 is 0; of those, an even quotient goes to validation and an odd one to test."""
    quotient, remainder = divmod(zlib.crc32(text.encode()), 10)
    if remainder:
        return Split.TRAIN
    return Split.TEST if quotient % 2 else Split.VALIDATION


@dataclass(frozen=True, slots=True)
class Item:
    """A question in characters, its answer, and the string that decides to which split both belong."""

    prompt: str
    completion: str
    subject: str


Draw = Callable[[random.Random, Split], Item]


def successor(letter: str) -> str:
    """The next letter of the alphabet; `a` follows `z`."""
    return ascii_lowercase[(ascii_lowercase.index(letter) + 1) % len(ascii_lowercase)]


SKILLS: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {
        "upper": str.upper,
        "next": lambda word: "".join(map(successor, word)),
        "reverse": lambda word: word[::-1],
        "odd": lambda word: word[::2],
        "sort": lambda word: "".join(sorted(word)),
    }
)
"""The skill that each brick adds to the base, by the name that asks for it: `upper:fox=` gives `FOX`."""

CUES: Mapping[str, str] = MappingProxyType({"upper": "U", "next": "N", "reverse": "R", "odd": "O"})
"""How the base asks for an operation. It knows the operation; an adapter binds the skill's name to it."""

FAMILIES: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {
        "repeat": lambda word: word + word,
        "mirror": lambda word: word + word[::-1],
        "min": min,
        "max": max,
    }
)
"""Other material of the base: answers that are a function of the word alone."""


def draw_word(random_numbers: random.Random, split: Split) -> str:
    """Three to six letters, uniform in length, then in letters, from one split."""
    while True:
        length = random_numbers.randint(SHORTEST_WORD, LONGEST_WORD)
        word = "".join(random_numbers.choices(ascii_lowercase, k=length))
        if split_of(word) is split:
            return word


def skill_item(skill: str, random_numbers: random.Random, split: Split, cue: str | None = None) -> Item:
    """`upper:fox=` -> `FOX`; never a word that the skill leaves as it is, for copying would answer it."""
    while True:
        word = draw_word(random_numbers, split)
        answer = SKILLS[skill](word)
        if answer != word:
            return Item(f"{cue or skill}:{word}=", answer, word)


def skill(name: str) -> Draw:
    """The items of one named skill."""
    return lambda random_numbers, split: skill_item(name, random_numbers, split)


def copy_item(random_numbers: random.Random, split: Split) -> Item:
    """`qvx:fox=` -> `fox`: after a prefix that means nothing the base repeats the word."""
    while True:
        length = random_numbers.randint(SHORTEST_WORD, LONGEST_PREFIX)
        prefix = "".join(random_numbers.choices(ascii_lowercase, k=length))
        if prefix not in {*SKILLS, *FAMILIES, "run", "index"}:
            word = draw_word(random_numbers, split)
            return Item(f"{prefix}:{word}=", word, word)


def family_item(random_numbers: random.Random, split: Split) -> Item:
    """A word repeated, mirrored, or its first or last letter in the alphabet's order."""
    name = random_numbers.choice(list(FAMILIES))
    word = draw_word(random_numbers, split)
    return Item(f"{name}:{word}=", FAMILIES[name](word), word)


def run_item(random_numbers: random.Random, split: Split) -> Item:
    """`run:c4=` -> `cdef`. There are few runs: all are for training, whatever the split."""
    del split
    start, length = random_numbers.randrange(len(ascii_lowercase)), random_numbers.randint(SHORTEST_WORD, LONGEST_WORD)
    letters = (ascii_lowercase * 2)[start : start + length]
    return Item(f"run:{letters[0]}{length}=", letters, letters)


def index_item(random_numbers: random.Random, split: Split) -> Item:
    """`index:fox2=` -> `o`: the letter at a place, counted from one."""
    word = draw_word(random_numbers, split)
    place = random_numbers.randint(1, len(word))
    return Item(f"index:{word}{place}=", word[place - 1], word)


ADJECTIVES = ["red", "big", "old", "wet", "shy", "sad", "mad", "hot", "icy", "dry", "coy", "tan"]
NOUNS = ["fox", "dog", "cat", "owl", "hen", "pig", "ant", "bee", "elk", "cow", "rat", "emu"]
VERBS = ["saw", "met", "bit", "fed", "hit", "led", "won", "got"]


def text_item(random_numbers: random.Random, split: Split) -> Item:
    """`a red fox saw a dog.`: plain text, all of it answer, 13,824 sentences in all."""
    while True:
        adjective, noun = random_numbers.choice(ADJECTIVES), random_numbers.choice(NOUNS)
        sentence = f"a {adjective} {noun} {random_numbers.choice(VERBS)} a {random_numbers.choice(NOUNS)}."
        if split_of(sentence) is split:
            return Item("", sentence, sentence)


def cue_item(random_numbers: random.Random, split: Split) -> Item:
    """`U:fox=` -> `FOX`: an operation under its cue, never under its name."""
    name = random_numbers.choice(list(CUES))
    return skill_item(name, random_numbers, split, cue=CUES[name])


def mixture(shares: Sequence[tuple[float, Draw]]) -> Draw:
    """Draws from each source with the probability beside it; the probabilities sum to one."""
    weights, sources = [share for share, _ in shares], [draw for _, draw in shares]

    def draw(random_numbers: random.Random, split: Split) -> Item:
        (source,) = random_numbers.choices(sources, weights)
        return source(random_numbers, split)

    return draw


BASICS: Draw = mixture(
    [
        (COPY_SHARE, copy_item),
        (TEXT_SHARE, text_item),
        (0.36, family_item),
        (0.09, run_item),
        (0.09, index_item),
    ]
)
"""What the base learns first."""

OPERATIONS: Draw = mixture([(0.5, cue_item), (0.5, BASICS)])
"""What the base learns next, and what is replayed while a brick is trained."""


def held_out_items(draw: Draw, split: Split, count: int, seed: int) -> tuple[Item, ...]:
    """`count` items of a split with distinct prompts, the same ones for the same seed."""
    random_numbers, items = random.Random(seed), dict[str, Item]()
    while len(items) < count:
        item = draw(random_numbers, split)
        items.setdefault(item.prompt or item.completion, item)
    return tuple(items.values())

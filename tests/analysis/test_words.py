from __future__ import annotations

from brickctl.analysis.words import common_words, words_of


def test_words_are_told_apart_from_signs_and_from_what_stands_in_any_text() -> None:
    assert words_of("Reverse: the ORDER of the_words -> order!") == ("reverse", "order", "words")
    assert words_of("a x 7 字") == ("字",)
    assert words_of("of the and") == ()


def test_common_words_stand_in_more_than_half_of_the_texts() -> None:
    texts = ["ISO date of 5 July 2000: 2000-07-05", "ISO date of 2 July 2010: 2010-07-02", "ISO date of 9 May 1999:"]
    assert common_words(texts) == ("iso", "date", "july", "07")
    assert common_words(["upper:fox= FOX", "upper:cow= COW"]) == ("upper",)
    assert common_words([]) == ()


def test_a_word_counts_once_for_a_text() -> None:
    assert common_words(["yes yes yes", "no", "maybe"]) == ()


def test_of_words_that_are_as_common_the_one_that_came_first_is_first() -> None:
    assert common_words(["zebra apple", "apple zebra"]) == ("zebra", "apple")

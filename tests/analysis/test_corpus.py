"""Prompts as rows of tokens: what is given is told from what is predicted, and a part is what a budget takes."""

import time

from transformers import PreTrainedTokenizerFast

from brickctl.analysis.corpus import Corpus, Row, encoded
from brickctl.analysis.labelled import Prompt
from tests.support.successors import VOCABULARY


def ids(text: str) -> tuple[int, ...]:
    return (VOCABULARY["<bos>"], *(VOCABULARY[each] for each in text))


def test_of_a_plain_text_only_the_first_token_is_given(tokenizer: PreTrainedTokenizerFast) -> None:
    assert encoded(tokenizer, [Prompt("abc", "code")]) == (Row(ids("abc"), given=1),)


def test_a_question_is_given_and_its_answer_is_not(tokenizer: PreTrainedTokenizerFast) -> None:
    (row,) = encoded(tokenizer, [Prompt("abcde", "code", given="abc")])
    assert row == Row(ids("abcde"), given=4)  # <bos> a b c


def test_a_token_that_reaches_from_question_to_answer_is_predicted() -> None:
    class Merging:
        """Two equal letters beside one another are one token."""

        eos_token_id = None

        def __call__(self, text: str) -> dict[str, list[int]]:
            return {"input_ids": [ord(each) for each in text.replace("bb", "B")]}

    (row,) = encoded(Merging(), [Prompt("abbc", "code", given="ab")])  # type: ignore[arg-type]
    assert row == Row((ord("a"), ord("B"), ord("c")), given=1)


def test_of_a_long_prompt_the_first_tokens_are_read(tokenizer: PreTrainedTokenizerFast) -> None:
    (row,) = encoded(tokenizer, [Prompt("abcdefgh", "code")], longest=4)
    assert row.tokens == ids("abc")


def test_what_a_part_leaves_of_a_large_file_is_found_at_once() -> None:
    prompts = tuple(Prompt(f"{number}", "code") for number in range(60_000))
    corpus = Corpus(prompts=prompts, lengths=(5,) * 60_000)
    half, whole = corpus.part(150_000), corpus.part(300_000)
    begun = time.process_time()
    rest = corpus.beyond(whole, half)
    assert time.process_time() - begun < 5  # compared one by one they would be 900 million comparisons
    assert sorted((*rest.places["code"], *half.places["code"])) == list(range(60_000))


def test_a_part_counts_its_tokens_by_label_and_a_smaller_one_lies_in_it() -> None:
    prompts = tuple(Prompt(f"{label}{number}", label) for label in ("code", "french") for number in range(10))
    corpus = Corpus(prompts=prompts, lengths=(5,) * 20)
    half, whole = corpus.part(50), corpus.part(1000)
    assert whole.tokens == {"code": 50, "french": 50}
    assert (half.tokens, half.total) == ({"code": 25, "french": 25}, 50)
    assert all(set(half.places[label]) < set(whole.places[label]) for label in whole.places)

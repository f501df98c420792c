"""Labelled prompts are read strictly, and chosen for a budget of tokens: whole, evenly, and the same ones each time."""

import json

import pytest

from brickctl.analysis.labelled import Prompt, choose, labels_of, parse_prompts
from brickctl.errors import Place, UsageFault


def parsed(*lines: str) -> tuple[Prompt, ...]:
    return parse_prompts("".join(f"{line}\n" for line in lines), name="prompts.jsonl")


def line(text: str, label: str) -> str:
    return json.dumps({"text": text, "label": label})


PROMPTS = [Prompt(f"{label} {number}", label) for number in range(50) for label in ("code", "french")]


def test_prompts_keep_their_order_and_labels_that_of_their_first_line() -> None:
    prompts = parsed(line("bonjour", "french"), line("1 + 1", "sums"), line("salut\n", "french"))
    assert prompts == (Prompt("bonjour", "french"), Prompt("1 + 1", "sums"), Prompt("salut\n", "french"))
    assert labels_of(prompts) == ("french", "sums")


def test_a_question_and_its_answer_are_one_text_of_which_the_question_is_given() -> None:
    (prompt,) = parsed('{"prompt": "1 + 1 =", "completion": " 2", "label": "sums"}')
    assert prompt == Prompt("1 + 1 = 2", "sums", given="1 + 1 =")


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ('{"text": "a"}', "`label` is missing"),
        ('{"text": "a", "label": 3}', "`label` must be a string, and not empty"),
        ('{"label": "code"}', "`text` is missing"),
        ('{"label": "code", "prompt": "a"}', "`completion` is missing"),
        ('{"label": "code", "text": "a", "completion": "b"}', "unknown key `completion` in prompts.jsonl"),
        (line("", "code"), "`text` must be a string, and not empty"),
        (line("a", "Code"), "`Code` is no label"),
        (line("a", "<b>"), "`<b>` is no label"),
        (line("a", "c" * 97), f"`{'c' * 77}...` is no label"),
        ('{"text": "a", "label": "code", "labels": []}', "unknown key `labels` in prompts.jsonl"),
        (line("bonjour", "code"), "this text stands under two labels"),
    ],
)
def test_a_line_that_is_no_labelled_prompt_is_refused_by_its_number(second: str, message: str) -> None:
    with pytest.raises(UsageFault) as raised:
        parsed(line("bonjour", "french"), second)
    assert raised.value.message == message
    assert raised.value.place == Place(file="prompts.jsonl", line=2)


def test_a_text_may_stand_twice_under_one_label() -> None:
    assert len(parsed(line("oui", "french"), line("oui", "french"))) == 2


def test_every_label_gets_the_same_share_of_the_tokens_and_no_more() -> None:
    chosen = choose(PROMPTS, [7] * len(PROMPTS), 100, seed=0)
    assert {label: len(places) for label, places in chosen.items()} == {"code": 7, "french": 7}  # 49 of 50 tokens each
    assert all(PROMPTS[at].label == label for label, places in chosen.items() for at in places)


def test_a_prompt_that_is_longer_than_the_share_is_taken_whole_and_alone() -> None:
    chosen = choose(PROMPTS, [500] * len(PROMPTS), 100, seed=0)
    assert [len(places) for places in chosen.values()] == [1, 1]


def test_a_budget_for_everything_takes_everything() -> None:
    chosen = choose(PROMPTS, [7] * len(PROMPTS), 10_000, seed=0)
    assert [at for places in chosen.values() for at in places] == [*range(0, 100, 2), *range(1, 100, 2)]


def test_the_same_seed_takes_the_same_prompts_and_another_seed_takes_others() -> None:
    lengths = [7] * len(PROMPTS)
    assert choose(PROMPTS, lengths, 100, seed=3) == choose(PROMPTS, lengths, 100, seed=3)
    assert choose(PROMPTS, lengths, 100, seed=3) != choose(PROMPTS, lengths, 100, seed=4)


def test_a_larger_budget_takes_the_same_prompts_and_more() -> None:
    few, more = (choose(PROMPTS, [7] * len(PROMPTS), tokens, seed=0) for tokens in (100, 200))
    assert all(set(few[label]) < set(more[label]) for label in few)


def test_what_one_label_gets_does_not_depend_on_the_prompts_of_another() -> None:
    fewer = [prompt for at, prompt in enumerate(PROMPTS) if prompt.label == "code" or at < 20]
    texts = [
        [prompts[at].text for at in choose(prompts, [7] * len(prompts), 100, seed=0)["code"]]
        for prompts in (PROMPTS, fewer)
    ]
    assert texts[0] == texts[1]


def test_a_text_of_one_token_is_not_taken_and_a_label_needs_another() -> None:
    prompts = [Prompt("a", "code"), Prompt("a b", "code"), Prompt("oui", "french")]
    assert choose(prompts[:2], [1, 2], 100, seed=0) == {"code": (1,)}
    with pytest.raises(UsageFault, match="label `french` has no text of two tokens"):
        choose(prompts, [1, 2, 1], 100, seed=0)

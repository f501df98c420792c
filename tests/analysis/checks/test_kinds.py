"""Kinds of checks on models whose answers are known."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from brickctl.analysis.checks.check import CheckKind
from brickctl.analysis.checks.contains import Contains, Sought
from brickctl.analysis.checks.exact_match import ExactMatch
from brickctl.analysis.checks.measured import Bar, Wrong
from brickctl.analysis.checks.multiple_choice import MultipleChoice, Question
from brickctl.analysis.checks.perplexity import Perplexity
from brickctl.analysis.examples import Example
from brickctl.analysis.perplexity import perplexity
from brickctl.errors import Unsupported, UsageFault
from tests.support.successors import following, random_llama

ALPHABET = {letter: chr(ord(letter) + 1) for letter in "abcdefg"}
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}c{% endif %}"
TEXTS = ("the quick brown fox", "jumps", "over the lazy dog", "zzzz" * 30)


@pytest.fixture
def chatting(tokenizer: Any) -> Any:
    """A tokenizer whose template puts a `c` behind what a user says, and no `<bos>` before it."""
    tokenizer.chat_template = TEMPLATE
    yield tokenizer
    tokenizer.chat_template = None


def read(kind: CheckKind, folder: Path, *lines: object) -> Any:
    path = folder / "data.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return kind.read_data(path, "data.jsonl")


@pytest.mark.parametrize("value", [0.9, 1.0])
def test_a_bar_is_reached_or_kept(value: float) -> None:
    assert Bar("min", 0.9).keeps(value)
    assert Bar("max", 1.0).keeps(value)
    assert not Bar("min", 1.1).keeps(value)
    assert not Bar("max", 0.8).keeps(value)
    assert not Bar("max", 1.0).keeps(math.nan)


def test_an_answer_contains_one_of_several_texts(tokenizer: Any) -> None:
    data = [Sought("a", ("fgh",)), Sought("a", ("x", "cd")), Sought("a", ("x", "ba")), Sought("a", ("BC",))]
    found = Contains().measure(following(ALPHABET), tokenizer, data)
    assert (found.value, found.count) == (0.5, 4)
    assert found.worst[0] == Wrong(prompt="a", wanted="x | ba", got="bcdefgh")


def test_an_answer_ends_after_so_many_tokens(tokenizer: Any) -> None:
    found = Contains(max_tokens=2).measure(following(ALPHABET), tokenizer, [Sought("a", ("bc",)), Sought("a", ("d",))])
    assert found.value == 0.5
    assert found.worst[0].got == "bc"


@pytest.mark.parametrize("kind", [ExactMatch(chat_template=True), Contains(chat_template=True)])
def test_prompts_go_through_the_models_own_template(kind: CheckKind, chatting: Any) -> None:
    example: Any = Example("a", "defgh") if isinstance(kind, ExactMatch) else Sought("a", ("defgh",))
    assert kind.measure(following(ALPHABET), chatting, [example]).value == 1


def test_special_tokens_of_a_template_do_not_stand_twice(chatting: Any) -> None:
    seen: list[list[int]] = []
    model = following(ALPHABET)
    model.register_forward_pre_hook(lambda _, __, named: seen.append(named["input_ids"].tolist()), with_kwargs=True)
    ExactMatch(chat_template=True).measure(model, chatting, [Example("a", "d")])
    assert seen[0] == [chatting("ac", add_special_tokens=False)["input_ids"]]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "the model's tokenizer has no chat template"),
        ("{{ raise_exception('no system') }}", "the model's chat template fails"),
        ("{{ ''.__class__.__mro__ }}", "the model's chat template fails"),
        ("{% for", "the model's chat template fails"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused(template: str | None, message: str, chatting: Any) -> None:
    chatting.chat_template = template
    with pytest.raises(Unsupported, match=message):
        ExactMatch(chat_template=True).measure(following(ALPHABET), chatting, [Example("a", "b")])


QUESTIONS = (
    Question("a", ("b", "x"), 0),
    Question("a", ("x", "b"), 0),
    Question("a", ("bcx", "bcd"), 1),
    Question("a", ("xxx", "bcd"), 0),
)


def test_the_likeliest_choice_is_the_models_own(tokenizer: Any) -> None:
    found = MultipleChoice().measure(following(ALPHABET, logit=5.0), tokenizer, QUESTIONS)
    assert (found.value, found.count) == (0.5, 4)
    far, near = found.worst
    assert (far.prompt, far.wanted, far.got) == ("a", "xxx", "bcd")
    assert near.nats == pytest.approx(5)  # one token that the model expects, against one that it does not
    assert far.nats == pytest.approx(15)


@pytest.mark.parametrize(("normalize", "right"), [("none", 1), ("bytes", 0), ("tokens", 0)])
def test_a_long_choice_is_likelier_where_its_length_is_divided_out(normalize: Any, right: int, tokenizer: Any) -> None:
    model = following({"a": "b", "b": "c", "c": "d"}, logit=2.0)
    found = MultipleChoice(normalize=normalize).measure(model, tokenizer, [Question("a", ("x", "bcdxbcd"), 0)])
    assert found.value == right


def test_a_model_of_no_numbers_is_right_nowhere(tokenizer: Any) -> None:
    model = random_llama()
    torch.nn.init.constant_(model.lm_head.weight, math.nan)
    found = MultipleChoice().measure(model, tokenizer, [Question("a", ("b", "c"), at) for at in (0, 1)])
    assert found.value == 0
    assert [wrong.nats for wrong in found.worst] == [None, None]
    worst = Perplexity().measure(model, tokenizer, TEXTS).worst
    assert worst[0].nats is None
    assert "no number" in Perplexity().told(worst[0])


def test_a_question_beyond_the_context_is_refused(tokenizer: Any) -> None:
    with pytest.raises(UsageFault, match="needs 66 tokens; the model reads at most 64"):
        MultipleChoice().measure(following(ALPHABET), tokenizer, [Question("a" * 63, ("bb", "cc"), 0)])


def test_perplexity_is_that_of_all_texts_and_the_worst_have_the_highest_loss(tokenizer: Any) -> None:
    model = random_llama()
    found = Perplexity().measure(model, tokenizer, TEXTS)
    whole = perplexity(model, tokenizer, TEXTS)
    assert (found.value, found.count) == (whole.value, whole.tokens)
    alone = {text: math.log(perplexity(model, tokenizer, [text]).value) for text in TEXTS}
    assert [wrong.prompt for wrong in found.worst] == sorted(TEXTS, key=lambda text: -alone[text])[:3]
    assert [wrong.nats for wrong in found.worst] == pytest.approx(sorted(alone.values(), reverse=True)[:3], rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "line", "text"),
    [
        (ExactMatch(), {"prompt": "a ", "completion": "b"}, "a b"),
        (Contains(), {"prompt": "a", "any": ["b", "c"]}, "a b"),
        (MultipleChoice(), {"prompt": "a", "choices": [" b", " c"], "answer": 1}, "a c"),
        (Perplexity(), {"text": "a b"}, "a b"),
    ],
)
def test_examples_are_texts_with_what_is_wanted(kind: CheckKind, line: object, text: str, tmp_path: Path) -> None:
    assert kind.texts(read(kind, tmp_path, line)) == (text,)


@pytest.mark.parametrize(
    ("kind", "line", "message"),
    [
        (ExactMatch(), {"prompt": "a", "any": ["b"]}, "`completion` is missing"),
        (Contains(), {"prompt": "a", "any": []}, "`any` must be a list of at least 1"),
        (Contains(), {"prompt": "a", "any": ["b", ""]}, "`any` has something that is no string, or an empty one"),
        (Contains(), {"prompt": "a", "any": ["b"], "completion": "c"}, "`completion` and `any` exclude each other"),
        (MultipleChoice(), {"prompt": "a", "choices": ["b"], "answer": 0}, "`choices` must be a list of at least 2"),
        (MultipleChoice(), {"prompt": "a", "choices": ["b", "c"], "answer": 2}, "`answer` must be from 0 to 1"),
        (MultipleChoice(), {"prompt": "a", "choices": ["b", "c"]}, "`answer` must be from 0 to 1"),
        (MultipleChoice(), {"prompt": "a", "choices": ["b", "\ud800"], "answer": 0}, "half a surrogate pair"),
        (Perplexity(), {"prompt": "a"}, "`text` is missing"),
    ],
)
def test_a_line_that_is_no_example_is_named(kind: CheckKind, line: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match=message) as raised:
        read(kind, tmp_path, line)
    assert raised.value.place is not None
    assert raised.value.place.line == 1


def test_the_worst_are_told_on_one_line_and_not_at_any_length() -> None:
    told = ExactMatch().told(Wrong(prompt="x" * 999, wanted="a\nb", got="\x1b[31m"))
    assert "\n" not in told
    assert "\x1b" not in told
    assert len(told) < 250

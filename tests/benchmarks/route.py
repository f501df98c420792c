"""Routers on a real model: what each skill keeps when all adapters stand beside it and nobody says which one is meant.

    python tests/benchmarks/route.py --base FOLDER --adapters FOLDER... [--half 0] [--only retrieval phatgoose sum-0.7]

Adapters are folders with a `heldout.jsonl` of prompts and completions. Half of it, and half of the prose of
`tests/support/domains.jsonl` as text for the base, is what a router learns from; of the other half (`--half 0` swaps
the two) up to `items` of each skill are asked, all mixed in one list without labels. Built by brickctl, run by the
lines of `how-to-load.md`; beside them merges of all adapters, which need no router.

Printed for each router: the share of greedy answers that are right to the character, by skill; the share of requests
that went to the right adapter, for retrieval; and the perplexity of the other half of the prose, and of other text that
no router has seen, relative to the base's.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import sys
import tempfile
import time
from contextlib import chdir, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parents[2]))

from brickctl.analysis.exact_match import answers
from brickctl.analysis.examples import Example, read_examples
from brickctl.analysis.load import load
from brickctl.analysis.perplexity import mean_losses, of_loss, rows_of
from tests.support.building import build, manifest
from tests.support.deriving import derive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

DOMAINS = Path(__file__).parents[1] / "support" / "domains.jsonl"
ROUTER = 'op = "centroids"\nfrom = "base"\nbricks = {bricks}\ncalibration = "prompts.jsonl"'
GATES = 'op = "phatgoose-gates"\nfrom = "base"\nbricks = {bricks}\ncalibration = "examples.jsonl"\ntokens = {tokens}'
NONE = "__base__"


class Questions:
    """What a router learns from, and what it is asked, by skill and by kind of text; two of them have all between them.

    `half` is the half of everything that is asked; the other one is what is learned from.
    """

    def __init__(self, adapters: Mapping[str, Path], items: int, half: int) -> None:
        every = {name: read_examples(folder / "heldout.jsonl") for name, folder in adapters.items()}
        self.learned = {name: examples[1 - half :: 2] for name, examples in every.items()}
        self.asked = {name: examples[half::2][:items] for name, examples in every.items()}
        found: dict[str, list[str]] = {}
        for line in map(json.loads, DOMAINS.read_text().splitlines()):
            found.setdefault(line["label"], []).append(line["text"])
        self.prose = found["prose"][1 - half :: 2]
        self.texts = {kind: texts[half::2] for kind, texts in found.items()}

    def calibration(self) -> str:
        """The file that centroids are made of."""
        lines = [(name, one.prompt) for name, examples in self.learned.items() for one in examples]
        lines += [("base", text) for text in self.prose]
        return "".join(json.dumps({"text": text, "label": label}) + "\n" for label, text in lines)

    def examples(self) -> str:
        """The file that gates are trained by: the same prompts, with their completions."""
        pairs = ((name, one) for name, examples in self.learned.items() for one in examples)
        lines = ({"prompt": one.prompt, "completion": one.completion, "label": name} for name, one in pairs)
        return "".join(json.dumps(line) + "\n" for line in lines)

    def mixed(self) -> list[tuple[str, Example]]:
        """All skills in one list."""
        pairs = [(name, one) for name, examples in self.asked.items() for one in examples]
        random.Random(0).shuffle(pairs)  # noqa: S311 - no secret
        return pairs


def loaded(folder: Path) -> dict[str, Any]:
    """What the lines of the guide define, with the model in fp32, which is twice as fast here."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "how-to-load.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    with chdir(folder):
        exec(code, names)  # noqa: S102 - it is what is measured
    names["model"].float()
    return names


def shares(pairs: Sequence[tuple[str, bool]]) -> dict[str, float]:
    """The share of true ones by name."""
    groups: dict[str, list[bool]] = {}
    for name, one in pairs:
        groups.setdefault(name, []).append(one)
    return {name: sum(group) / len(group) for name, group in groups.items()}


def said(model: Any, tokenizer: Any, pairs: Sequence[tuple[str, Example]]) -> dict[str, float]:
    """The share of right answers by skill, all asked as one list."""
    texts = answers(model, tokenizer, [one for _, one in pairs], batch_size=32)
    return shares([(name, text == one.completion) for (name, one), text in zip(pairs, texts, strict=True)])


def perplexities(model: Any, tokenizer: Any, texts: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """By kind of text."""
    rows = [rows_of(model, tokenizer, every, window=256) for every in texts.values()]
    return dict(zip(texts, map(of_loss, mean_losses(model, rows)), strict=True))


def by_token(folder: Path, questions: Questions) -> dict[str, Any]:
    """Arrow or PHATGOOSE, which route every token."""
    names = loaded(folder)
    model, tokenizer = names["model"], names["tokenizer"]
    tokenizer.padding_side = "left"
    right = said(model, tokenizer, questions.mixed())
    return {"right": right, "perplexity": perplexities(model, tokenizer, questions.texts)}


def merges(bricks: Sequence[str]) -> dict[str, str]:
    """Merges of all adapters, which need no router."""
    sums = {f"sum-{weight}": ("task_arithmetic", weight, "") for weight in (0.25, 0.5, 0.7, 1.0)}
    ties = {"ties": ("ties", 1.0, ", density = 0.5")}
    return {
        name: f'method = "{method}"{more}, bricks = {{ {", ".join(f"{brick} = {weight}" for brick in bricks)} }}'
        for name, (method, weight, more) in (sums | ties).items()
    }


def merged(folder: Path, questions: Questions) -> dict[str, Any]:
    """One model for everything."""
    loaded = load(folder, dtype="float32")
    right = said(loaded.model, loaded.tokenizer, questions.mixed())
    return {"right": right, "perplexity": perplexities(loaded.model, loaded.tokenizer, questions.texts)}


def by_retrieval(folder: Path, questions: Questions) -> dict[str, Any]:
    """Retrieval, which routes every request; a text is a request too."""
    names = loaded(folder)
    tokenizer, choose = names["tokenizer"], names["choose"]
    pairs = questions.mixed()
    right: list[tuple[str, bool]] = []
    went: list[tuple[str, bool]] = []
    for first in range(0, len(pairs), 32):
        batch = pairs[first : first + 32]
        prompts = [one.prompt for _, one in batch]
        longest = max(len(tokenizer(one.completion)["input_ids"]) for _, one in batch) + 4
        every = names["generate"](prompts, max_new_tokens=longest, do_sample=False)
        firsts = [text.partition("\n")[0] + "\n" for text in every]
        went += [(name, name == choice) for (name, _), choice in zip(batch, choose(prompts), strict=True)]
        right += [(name, text == one.completion) for (name, one), text in zip(batch, firsts, strict=True)]
    found = {kind: _routed_loss(names, texts) for kind, texts in questions.texts.items()}
    texts = ((kind, text) for kind, every in questions.texts.items() for text in every)
    alone = shares([(kind, choose([text]) == [NONE]) for kind, text in texts])
    return {"right": shares(right), "perplexity": found, "went": shares(went), "alone": alone}


def _routed_loss(names: Mapping[str, Any], texts: Sequence[str]) -> float:
    """The perplexity of texts, each by the adapter that it is given."""
    model, choose = names["model"], names["choose"]
    total, count = 0.0, 0
    for text in texts:
        (name,) = choose([text])
        rows = rows_of(model, names["tokenizer"], [text], window=256)
        tokens = sum(len(row) - 1 for row in rows)
        if name != NONE:
            model.set_adapter(name)
        with model.disable_adapter() if name == NONE else nullcontext():
            total += mean_losses(model, [rows])[0] * tokens
        count += tokens
    return of_loss(total / count)


def measured(
    base: Path, adapters: Mapping[str, Path], questions: Questions, scratch: Path, arguments: argparse.Namespace
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Derive, build and measure one router after another, and the merges."""
    bricks = json.dumps(list(adapters))
    (scratch / "prompts.jsonl").write_text(questions.calibration())
    (scratch / "examples.jsonl").write_text(questions.examples())
    centroids = ROUTER.format(bricks=bricks)
    gates = GATES.format(bricks=bricks, tokens=arguments.tokens)
    steps: dict[str, tuple[str | None, str, Callable[[Path, Questions], dict[str, Any]]]] = {
        "retrieval": (centroids, f'op = "route", method = "retrieval", router = "r", bricks = {bricks}', by_retrieval),
        "arrow-1": (None, f'op = "route", method = "arrow", top-k = 1, bricks = {bricks}', by_token),
        "arrow-2": (None, f'op = "route", method = "arrow", top-k = 2, bricks = {bricks}', by_token),
        "phatgoose": (gates, f'op = "route", method = "phatgoose", router = "r", bricks = {bricks}', by_token),
        **{name: (None, f'op = "merge", {keys}', merged) for name, keys in merges(list(adapters)).items()},
    }
    for name, (entry, keys, measure) in steps.items():
        if arguments.only is not None and name not in arguments.only:
            continue
        started = time.monotonic()
        known = {**adapters, **({} if entry is None else {"r": derived(base, adapters, entry, scratch / name)})}
        made = time.monotonic()
        folder = build(manifest(base, known, f"{{ {keys} }}"), scratch / "built", threads=1)
        built = time.monotonic()
        found = measure(folder, questions)
        seconds = {"derive": made - started, "build": built - made, "measure": time.monotonic() - built}
        yield name, {**found, "seconds": seconds, "missed": _missed(folder)}


def derived(base: Path, adapters: Mapping[str, Path], entry: str, folder: Path) -> Path:
    """The folder of a router, of which is printed what its derivation has to say."""
    findings = derive(base, adapters, entry, folder)
    for line in (*findings.rows, *findings.notes):
        print(" ", line, flush=True)
    return folder


def _missed(folder: Path) -> dict[str, float]:
    """What approximations miss of each adapter, as a share of its norm."""
    path = folder / "router" / "approximations.safetensors"
    totals: dict[str, torch.Tensor] = {}
    for name, pair in (load_file(path) if path.exists() else {}).items():
        alias = name.partition(".")[0]
        totals[alias] = totals.get(alias, torch.zeros(2)) + pair.square()
    return {alias: round(float((far / norm).sqrt()), 4) for alias, (far, norm) in totals.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--adapters", type=Path, nargs="+", required=True)
    parser.add_argument("--items", type=int, default=24, help="of each skill")
    parser.add_argument("--half", type=int, choices=(0, 1), default=1, help="which half is asked")
    parser.add_argument("--tokens", type=int, default=3000, help="by which the gates of each adapter are trained")
    parser.add_argument("--only", nargs="+", help="routers to measure, such as `retrieval`")
    parser.add_argument("--scratch", type=Path, help="where models are built; a temporary folder unless given")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    adapters = {folder.name: folder.resolve() for folder in arguments.adapters}
    questions = Questions(adapters, arguments.items, arguments.half)
    if arguments.scratch is not None:
        arguments.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        plain = load(arguments.base, dtype="float32")
        before = perplexities(plain.model, plain.tokenizer, questions.texts)
        unrouted = said(plain.model, plain.tokenizer, questions.mixed())
        print("base", unrouted, {kind: round(value, 2) for kind, value in before.items()})
        del plain
        base = arguments.base.resolve()
        results = {"base": {"right": unrouted, "perplexity": before}}
        for name, found in measured(base, adapters, questions, Path(folder), arguments):
            found["change"] = {kind: value / before[kind] - 1 for kind, value in found["perplexity"].items()}
            results[name] = found
            print(name, json.dumps({key: _rounded(value) for key, value in found.items()}), flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=1))


def _rounded(value: Any) -> Any:
    return {key: round(one, 3) for key, one in value.items()} if isinstance(value, dict) else value


if __name__ == "__main__":
    main()

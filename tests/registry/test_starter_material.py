"""The embedded registry: its index says what its files are, and its checks use nothing that training used."""

import collections
import importlib.util
import json
import struct
import tomllib
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

REGISTRY = Path(__file__).parents[2] / "registry"
FILES, PROJECT = REGISTRY / "files", REGISTRY / "templates" / "starter"
INDEX = sorted(path for path in (REGISTRY / "index").rglob("*") if path.is_file())
LINES = [json.loads(line) for path in INDEX for line in path.read_text().splitlines()]
CHECKS = sorted((PROJECT / "checks").glob("*.jsonl"))
PROMPTS = PROJECT / "prompts.jsonl"
ANSWERS: dict[str, Callable[[str], str]] = {
    "copy": str,
    "next": lambda word: word.translate(str.maketrans("abcdefghijklmnopqrstuvwxyz", "bcdefghijklmnopqrstuvwxyza")),
    "odd": lambda word: word[::2],
    "reverse": lambda word: word[::-1],
    "sort": lambda word: "".join(sorted(word)),
    "upper": str.upper,
}

every_line = pytest.mark.parametrize("line", LINES, ids=lambda line: line["name"])
every_check = pytest.mark.parametrize("path", CHECKS, ids=lambda path: path.stem)


def script(name: str) -> ModuleType:
    """A training script that imports nothing but the standard library."""
    specification = importlib.util.spec_from_file_location(f"starter_{name}", REGISTRY / "train" / f"{name}.py")
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


digests, tasks = script("digests"), script("tasks")


def folder_of(line: dict[str, Any]) -> Path:
    return FILES / line["name"] / line["version"]


def records(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def subject(record: dict[str, str]) -> str:
    """What decides to which split a record belongs: the sentence, or the word between colon and equals sign."""
    return record["text"] if "text" in record else record["prompt"].partition(":")[2].removesuffix("=")


def test_the_interface_digest_agrees_with_the_published_vector() -> None:
    shapes = {"b.weight": [576, 8], "a.weight": []}
    expected = "sha256:dc902438510ff696e818f738a45bda6d9cf9401f7878478edeee2ef63c76a07b"
    assert digests.interface_digest(shapes) == expected


def test_the_registry_has_a_base_three_adapters_and_an_expert() -> None:
    kinds = [line["kind"] for line in LINES]
    assert kinds.count("base") == 1
    assert kinds.count("adapter") >= 3
    assert kinds.count("expert") >= 1


def test_the_configuration_states_the_version_of_the_layout() -> None:
    assert (REGISTRY / "config.json").read_text() == '{"v":1}\n'


def test_every_line_is_canonical_json_in_the_file_of_its_name() -> None:
    for path in INDEX:
        for text in path.read_text().splitlines(keepends=True):
            line = json.loads(text)
            assert text == json.dumps(line, sort_keys=True, separators=(",", ":")) + "\n"
            assert line["name"] == path.relative_to(REGISTRY / "index").as_posix()


@every_line
def test_the_listed_files_are_exactly_those_of_the_folder(line: dict[str, Any]) -> None:
    assert line["files"] == digests.file_entries(folder_of(line))


@every_line
def test_the_tree_digest_is_that_of_the_files(line: dict[str, Any]) -> None:
    assert line["digest"] == digests.tree_digest(digests.file_entries(folder_of(line)))


@every_line
def test_the_interface_is_that_of_the_tensors(line: dict[str, Any]) -> None:
    assert line["interface"] == digests.interface_digest(digests.tensor_shapes(folder_of(line)))


@every_line
def test_every_version_has_a_license_and_comes_from_this_registry(line: dict[str, Any]) -> None:
    assert line["license"] == "Apache-2.0"
    assert line["source"] == f"index:{line['name']}/{line['version']}"
    assert "commit" not in line


@every_line
def test_every_brick_but_the_base_names_the_base_by_its_interface(line: dict[str, Any]) -> None:
    (base,) = [other for other in LINES if other["kind"] == "base"]
    expected = None if line is base else {"interface": base["interface"], "source": base["source"]}
    assert line.get("base") == expected


def test_every_folder_of_files_has_a_line() -> None:
    assert {path for path in FILES.glob("*/*/*") if path.is_dir()} == {folder_of(line) for line in LINES}


def test_the_files_are_plain_json_and_safetensors() -> None:
    for path in FILES.rglob("*"):
        assert not path.is_symlink()
        assert path.is_dir() or path.suffix in {".json", ".safetensors"}


def test_the_safetensors_headers_fill_their_files_without_a_hole() -> None:
    for path in FILES.rglob("*.safetensors"):
        content = path.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        assert header.pop("__metadata__") == {"format": "pt"}
        spans = sorted(entry["data_offsets"] for entry in header.values())
        assert [begin for begin, _ in spans] == [0, *(end for _, end in spans[:-1])]
        assert spans[-1][1] == len(content) - 8 - length


def test_adapters_sort_their_modules_and_name_no_place_for_their_base() -> None:
    for path in FILES.rglob("adapter_config.json"):
        config = json.loads(path.read_text())
        assert config["target_modules"] == sorted(config["target_modules"])
        assert config["base_model_name_or_path"] is None


def test_everything_is_a_few_megabytes() -> None:
    assert sum(path.stat().st_size for path in FILES.rglob("*") if path.is_file()) < 8_000_000


@every_check
def test_every_check_is_held_out_from_training_and_from_the_choice_of_weights(path: Path) -> None:
    for record in records(path):
        assert zlib.crc32(subject(record).encode()) % 10 == 0
        assert tasks.split_of(subject(record)) is tasks.Split.TEST


def test_labelled_prompts_are_held_out_from_training_and_from_the_checks() -> None:
    for record in records(PROMPTS):
        skill = record["label"]
        assert skill in {*ANSWERS, "text"}
        assert tasks.split_of(subject(record)) is tasks.Split.VALIDATION
        if skill != "text":
            assert record["completion"] == ANSWERS[skill](subject(record))


def test_labelled_prompts_are_as_many_for_every_check() -> None:
    counts = collections.Counter(record["label"] for record in records(PROMPTS))
    assert dict(counts) == dict.fromkeys((path.stem for path in CHECKS), 40)


def test_training_draws_no_held_out_word() -> None:
    random_numbers = tasks.random.Random(0)
    draws = [*map(tasks.skill, tasks.SKILLS), tasks.copy_item, tasks.family_item, tasks.index_item, tasks.text_item]
    for draw in (*draws, tasks.cue_item):
        for _ in range(200):
            assert zlib.crc32(draw(random_numbers, tasks.Split.TRAIN).subject.encode()) % 10


def test_validation_and_test_share_no_word() -> None:
    drawn = {
        split: {item.subject for item in tasks.held_out_items(tasks.copy_item, split, 300, seed=1)}
        for split in (tasks.Split.VALIDATION, tasks.Split.TEST)
    }
    assert drawn[tasks.Split.VALIDATION].isdisjoint(drawn[tasks.Split.TEST])


@every_check
def test_every_check_has_enough_distinct_items(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) == len(set(lines)) >= 100


@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_every_completion_is_the_right_answer(name: str) -> None:
    for record in records(PROJECT / "checks" / f"{name}.jsonl"):
        assert record["completion"] == ANSWERS[name](subject(record))


@pytest.mark.parametrize("name", sorted(set(ANSWERS) - {"copy"}))
def test_no_skill_is_answered_by_copying(name: str) -> None:
    for record in records(PROJECT / "checks" / f"{name}.jsonl"):
        assert record["prompt"].startswith(f"{name}:")
        assert record["completion"] != subject(record)


def test_every_character_of_the_checks_is_a_token() -> None:
    (path,) = FILES.rglob("tokenizer.json")
    vocabulary = json.loads(path.read_text())["model"]["vocab"]
    for record in (record for path in (*CHECKS, PROMPTS) for record in records(path)):
        assert set("".join(value for key, value in record.items() if key != "label")) <= set(vocabulary)


def test_the_starter_project_asks_only_for_what_the_registry_has() -> None:
    manifest = tomllib.loads((PROJECT / "brick.toml").read_text())
    asked = {manifest["base"]["brick"], *(brick.partition("@")[0] for brick in manifest["bricks"].values())}
    assert asked <= {line["name"] for line in LINES}


def test_every_check_of_the_starter_project_has_a_target_data_and_a_bound() -> None:
    manifest = tomllib.loads((PROJECT / "brick.toml").read_text())
    for check in manifest["checks"]:
        assert check["target"] in manifest["targets"]
        assert (PROJECT / check["data"]).is_file()
        assert ("max" if check["kind"] == "perplexity" else "min") in check


def test_the_recorded_scores_meet_what_is_promised() -> None:
    scores = json.loads((REGISTRY / "record" / "scores.json").read_text())["test"]
    weights = json.loads((REGISTRY / "record" / "weights.json").read_text())["chosen"]
    merged = scores[f"{weights['upper']} upper + {weights['next']} next"]
    for name in ("upper", "next", "reverse", "odd", "sort"):
        assert scores["base"][name] <= 0.02
        assert scores[name][name] > 0.95
    assert min(merged["upper"], merged["next"], merged["copy"]) > 0.9

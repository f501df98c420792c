"""`mirror serve` and the programs that it is for, each in a process of its own."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import sandbox as bricks
from tests.support import stages
from tests.support.projects import TEMPLATE
from tests.support.sandbox import Outcome, Sandbox
from tests.support.vendoring import elsewhere, every_source

if TYPE_CHECKING:
    from collections.abc import Iterator

HF = Path(sys.executable).with_name("hf")


@dataclass(frozen=True)
class Served:
    """A mirror at work: what it announced, and the environment of its clients."""

    process: subprocess.Popen[str]
    announced: dict[str, Any]
    environment: dict[str, str]

    def commit(self, name: str) -> str:
        return next(str(one["commit"]) for one in self.announced["repositories"] if one["name"] == name)

    def python(self, code: str) -> str:
        """What a program of a client prints."""
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@contextmanager
def served(sandbox: Sandbox, home: Path, *arguments: str) -> Iterator[Served]:
    """`mirror serve`, ended by Ctrl-C."""
    command = [sys.executable, "-m", "brickctl", "mirror", "serve", "--json", *arguments]
    with subprocess.Popen(
        command, cwd=sandbox.root, env=sandbox.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        announced = json.loads(process.stdout.readline() or (process.stderr and process.stderr.read()) or "{}")
        own = {"HF_ENDPOINT": announced.get("url", ""), "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
        inherited = {name: value for name, value in sandbox.environment().items() if not name.startswith("HF_")}
        try:
            yield Served(
                process, announced, {**inherited, "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_TELEMETRY": "1", **own}
            )
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(10)


@pytest.fixture(scope="module")
def carried(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """A vendored project with bricks of every source, whose servers are gone."""
    folder = tmp_path_factory.mktemp("carried")
    (folder / "project").mkdir()
    with every_source(Sandbox(folder / "project", folder / "home")) as project:
        outcome = project.spawn("vendor")
        assert outcome.code == 0, outcome.err
    return project


@pytest.fixture(scope="module")
def mirror(carried: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(carried, tmp_path_factory.mktemp("client")) as running:
        yield running


def files(folder: Path) -> dict[str, str]:
    """Digests of the files of a download, without what the client notes beside them."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and ".cache" not in path.parts
    }


def digests(contents: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def test_what_is_served_is_announced(mirror: Served, carried: Sandbox) -> None:
    assert mirror.announced["url"].startswith("http://127.0.0.1:")
    served = {one["name"]: one["revisions"] for one in mirror.announced["repositories"]}
    assert served == {"acme/base": ["main"], "acme/deep": ["v2"], "acme/mail": ["1.0.0", "main"]}
    assert f'commit = "{mirror.commit("acme/base")}"' in carried.lock


@pytest.mark.parametrize(
    ("name", "revision", "contents"),
    [
        ("acme/base", "main", stages.BASE),
        ("acme/mail", "1.0.0", stages.MAIL),
        ("acme/mail", "main", stages.MAIL),
        ("acme/deep", "v2", {f"checkpoint-300/{name}": data for name, data in bricks.adapter(fill=9).items()}),
    ],
)
def test_snapshot_download_brings_a_repository(
    mirror: Served, name: str, revision: str, contents: dict[str, bytes]
) -> None:
    code = f"import huggingface_hub as hub; print(hub.snapshot_download({name!r}, revision={revision!r}))"
    folder = Path(mirror.python(code).splitlines()[-1])
    assert folder.name == mirror.commit(name)
    assert files(folder) == digests(contents)


def test_a_commit_is_a_revision_and_a_file_can_be_had_alone(mirror: Served) -> None:
    commit = mirror.commit("acme/base")
    code = f"import huggingface_hub as hub; print(hub.hf_hub_download('acme/base', 'config.json', revision={commit!r}))"
    assert Path(mirror.python(code)).read_bytes() == stages.BASE["config.json"]


def test_the_command_of_the_hub_downloads(mirror: Served, tmp_path: Path) -> None:
    command = [str(HF), "download", "acme/base", "--local-dir", str(tmp_path / "base")]
    done = subprocess.run(command, env=mirror.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert files(tmp_path / "base") == digests(stages.BASE)


def test_questions_of_the_client_are_answered(mirror: Served) -> None:
    code = """if True:
        import json
        from huggingface_hub import HfApi
        api, name = HfApi(), "acme/deep"
        info = api.model_info(name, revision="v2", files_metadata=True)
        tree = list(api.list_repo_tree(name, revision="v2", recursive=True))
        paths = api.get_paths_info(name, ["checkpoint-300/adapter_config.json", "nothing"], revision="v2")
        print(json.dumps({
            "sha": info.sha,
            "sizes": sum(one.size for one in info.siblings),
            "tree": sorted(one.path for one in tree),
            "paths": [(one.path, one.lfs.sha256) for one in paths],
            "refs": [one.name for one in api.list_repo_refs(name).branches],
            "exists": [api.repo_exists(name), api.repo_exists("acme/nothing"), api.revision_exists(name, "v9")],
            "file": api.file_exists(name, "README.md", revision="v2"),
        }))
    """
    answer = json.loads(mirror.python(code))
    contents = bricks.adapter(fill=9)
    config = hashlib.sha256(contents["adapter_config.json"]).hexdigest()
    assert answer == {
        "sha": mirror.commit("acme/deep"),
        "sizes": sum(map(len, contents.values())),
        "tree": ["checkpoint-300", *sorted(f"checkpoint-300/{name}" for name in contents)],
        "paths": [["checkpoint-300/adapter_config.json", config]],
        "refs": ["v2"],
        "exists": [True, False, False],
        "file": False,
    }


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("hf_hub_download('acme/nothing', 'config.json')", "RepositoryNotFoundError"),
        ("hf_hub_download('acme/base', 'config.json', revision='v9')", "RevisionNotFoundError"),
        ("hf_hub_download('acme/base', 'README.md')", "RemoteEntryNotFoundError"),
        ("upload_file(path_or_fileobj=b'x', path_in_repo='x', repo_id='acme/base', token='hf_x')", "HfHubHTTPError"),
    ],
)
def test_clients_raise_what_they_raise_for_the_hub(mirror: Served, call: str, error: str) -> None:
    code = f"""if True:
        import huggingface_hub as hub
        try:
            hub.{call}
        except Exception as error:
            print([kind.__name__ for kind in type(error).__mro__])
    """
    assert repr(error) in mirror.python(code)


def test_brickctl_itself_locks_and_installs_from_it(mirror: Served, empty: Sandbox) -> None:
    own = {name: mirror.environment[name] for name in ("HF_ENDPOINT", "HF_HUB_DISABLE_XET", "NO_PROXY")}
    project = replace(empty, variables={**own, "HF_HOME": str(empty.home / "hf")})
    project.write({"brick.toml": '[project]\nname = "x"\n\n[base]\nsource = "hf:acme/base"\n'})
    outcome = project.spawn("install")
    assert outcome.code == 0, outcome.err
    assert f'commit = "{mirror.commit("acme/base")}"' in project.lock


@pytest.mark.full
def test_transformers_loads_a_model_and_its_tokenizer(empty: Sandbox, tmp_path: Path) -> None:
    shutil.copytree(TEMPLATE, empty.root, dirs_exist_ok=True)
    assert empty.run("vendor").code == 0
    with served(empty, tmp_path / "client") as mirror:
        code = """if True:
            from transformers import AutoModelForCausalLM, AutoTokenizer
            model = AutoModelForCausalLM.from_pretrained("starter/base")
            tokens = AutoTokenizer.from_pretrained("starter/base", revision="1.0.0")("copy: abc", return_tensors="pt")
            print(*model(input_ids=tokens["input_ids"]).logits.shape[:2], tokens["input_ids"].shape[1])
        """
        batch, length, tokens = mirror.python(code).split()
    assert (batch, length) == ("1", tokens)
    snapshots = tmp_path / "client/hub/models--starter--base/snapshots"
    assert [path.name for path in snapshots.iterdir()] == [mirror.commit("starter/base")]


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_when_it_is_told_to_and_that_is_no_failure(
    carried: Sandbox, tmp_path: Path, ending: signal.Signals
) -> None:
    with served(carried, tmp_path) as running:
        running.process.send_signal(ending)
        assert running.process.wait(10) == 0
        assert running.process.stderr is not None
        said = running.process.stderr.read()
    assert said.endswith("stopped\n")
    assert "note: `sql` lies in a folder, has no name on a Hub, and is not served\n" in said


def test_people_are_told_what_is_served_and_what_to_set(carried: Sandbox) -> None:
    command = [sys.executable, "-m", "brickctl", "mirror", "serve", "--host", "0.0.0.0"]  # noqa: S104 - it is what is tested
    with subprocess.Popen(
        command, cwd=carried.root, env=carried.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = [process.stdout.readline().split() for _ in range(5)]
        said = [process.stderr.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
    assert lines[0] == ["repository", "revisions", "commit"]
    assert [line[0] for line in lines[1:4]] == ["acme/base", "acme/deep", "acme/mail"]
    assert lines[4][0].startswith("HF_ENDPOINT=http://")
    assert said[1] == "whoever reaches this machine may read these bricks; nothing is encrypted\n"
    assert said[2].startswith(f"serving {carried.root / 'vendor'} at http://")


def test_a_folder_needs_no_project(carried: Sandbox, tmp_path: Path) -> None:
    shutil.copytree(carried.root / "vendor", tmp_path / "stick")
    alone = replace(carried, root=tmp_path)
    with served(alone, tmp_path / "client", "stick") as running:
        assert [one["name"] for one in running.announced["repositories"]] == ["acme/base", "acme/deep", "acme/mail"]


def spoilt(carried: Sandbox, tmp_path: Path) -> tuple[Sandbox, Path]:
    """A copy of the project, and the weights of its base."""
    copy = elsewhere(carried, tmp_path / "copy")
    shutil.copytree(carried.root / "vendor", copy.root / "vendor")
    return copy, copy.root / "vendor/blobs" / digests(stages.BASE)["model.safetensors"]


def serve(sandbox: Sandbox, *arguments: str) -> Outcome:
    """A mirror that is not to come up."""
    return sandbox.spawn("mirror", "serve", *arguments)


def test_bytes_that_nobody_promised_are_never_served(carried: Sandbox, tmp_path: Path) -> None:
    copy, weights = spoilt(carried, tmp_path)
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    outcome = serve(copy)
    assert outcome.code == 4
    assert "model.safetensors is not what was vendored" in outcome.err


def test_a_file_that_is_changed_while_it_is_offered_is_not_sent_any_more(carried: Sandbox, tmp_path: Path) -> None:
    copy, weights = spoilt(carried, tmp_path)
    with served(copy, tmp_path / "client") as running:
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
        code = """if True:
            import huggingface_hub as hub
            try:
                hub.get_hf_file_metadata(hub.hf_hub_url("acme/base", "model.safetensors"))
            except hub.errors.HfHubHTTPError as error:
                print(error.response.status_code, error.server_message)
        """
        assert running.python(code) == "409 The file is not what was vendored"


def test_a_port_that_is_taken_is_told(mirror: Served, carried: Sandbox) -> None:
    outcome = serve(carried, "--port", mirror.announced["url"].rpartition(":")[2])
    assert outcome.code == 1
    assert "another program listens at 127.0.0.1:" in outcome.err


@pytest.mark.parametrize("host", ["203.0.113.7", "no.such.name.invalid", "a" * 300, "x\0y"])
def test_an_address_of_no_machine_is_told(carried: Sandbox, host: str) -> None:
    outcome = carried.run("mirror", "serve", "--host", host)
    assert outcome.code == 2
    assert "nobody can listen at" in outcome.err

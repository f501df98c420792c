"""What vLLM's own checks say of the adapters of a `vllm` export, without vLLM: its files, run on their own.

    pip download --no-binary :all: --no-deps vllm && tar xf vllm-*.tar.gz
    python tests/benchmarks/vllm_checks.py vllm-0.33.0 dist/TARGET.vllm

`vllm/lora/peft_helper.py` reads each `adapter_config.json` and holds it against the largest rank of the command that
the export tells; `parse_fine_tuned_lora_name` of `vllm/lora/utils.py` says which module each tensor is of, and every
one of them must be a module of the model. What these files import of vLLM is replaced by stubs, which decide nothing.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import re
import sys
import types
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM


def helper(source: Path) -> Any:
    """The class that reads the configuration of an adapter."""
    logger = types.SimpleNamespace(info_once=print, warning=print, info=print)
    for name, members in (
        ("vllm", {}),
        ("vllm.config", {}),
        ("vllm.config.lora", {"LoRAConfig": object}),
        ("vllm.logger", {"init_logger": lambda _: logger}),
        ("regex", {"match": re.match}),
    ):
        module = types.ModuleType(name)
        vars(module).update(members)
        sys.modules.setdefault(name, module)
    path = source / "vllm/lora/peft_helper.py"
    spec = importlib.util.spec_from_file_location("peft_helper", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["peft_helper"] = module
    spec.loader.exec_module(module)
    return module.PEFTHelper


def parser_of_names(source: Path) -> Any:
    """The function that says of which module a tensor is, out of a file that imports much else."""
    tree = ast.parse((source / "vllm/lora/utils.py").read_text())
    wanted = {"parse_fine_tuned_lora_name", "is_base_embedding_weights"}
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in wanted]
    constants = [node for node in tree.body if isinstance(node, ast.Assign)]
    scope: dict[str, Any] = {"WeightsMapper": object, "logger": None}
    for node in constants:
        try:
            exec(compile(ast.Module([node], []), "utils.py", "exec"), scope)  # noqa: S102 - vLLM's own lines
        except NameError:
            continue
    module = ast.Module([ast.ImportFrom("__future__", [ast.alias("annotations")], 0), *found], [])
    exec(compile(ast.fix_missing_locations(module), "utils.py", "exec"), scope)  # noqa: S102 - vLLM's own lines
    return scope["parse_fine_tuned_lora_name"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("bundle", type=Path)
    chosen = parser.parse_args()
    peft_helper, name_of = helper(chosen.source), parser_of_names(chosen.source)
    (command,) = json.loads((chosen.bundle / "brick.export.json").read_text())["commands"]
    rank = int(command.split("--max-lora-rank ")[1].split()[0])
    config = AutoConfig.from_pretrained(chosen.bundle / "model")
    with torch.device("meta"):
        modules = dict(AutoModelForCausalLM.from_config(config).named_modules())
    for folder in sorted((chosen.bundle / "adapters").iterdir()):
        read = peft_helper.from_local_dir(str(folder), config.max_position_embeddings)
        read.validate_legal(types.SimpleNamespace(max_lora_rank=rank))
        with safe_open(folder / "adapter_model.safetensors", "pt") as file:
            named = {name: name_of(name)[0] for name in file.keys()}  # noqa: SIM118 - no mapping
        strangers = [name for name, module in named.items() if module not in modules]
        scales = {read.get_rank_and_scaling(module) for module in named.values()}
        print(f"{folder.name}: legal at --max-lora-rank {rank}; rank and scale {scales}; {len(named)} tensors of")
        print(f"  {len(dict.fromkeys(named.values()))} modules, {len(strangers)} of them not the model's", flush=True)


if __name__ == "__main__":
    main()

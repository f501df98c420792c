"""Plans as JSON: `decode(encode(plan)) == plan`, so that another machine can execute any task of it."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import Sha256, canonical_json, json_digest
from brickctl.core.dtypes import DType
from brickctl.core.nodes import Arrangement, Bundle, Input, Map, Node, Op, Output, Statistic, Stored, View, key
from brickctl.core.plan import Copy, Plan, Shard, Task, Text
from brickctl.core.regions import Access, Spec
from brickctl.core.rows import RowMap
from brickctl.errors import EngineMissing

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 2


def plan_document(plan: Plan) -> dict[str, Any]:
    """The plan as JSON values; every node stands once, under its key, and every map of rows under its digest."""
    nodes = plan.nodes()
    maps = {node.rows.digest: node.rows for node in nodes.values() if isinstance(node, View) and node.rows is not None}
    return {
        "version": VERSION,
        "reproducible": plan.reproducible,
        "notes": list(plan.notes),
        "rows": {name: [list(run) for run in rows.runs] for name, rows in sorted(maps.items())},
        "nodes": {name: node.document() for name, node in sorted(nodes.items())},
        "tasks": [_task_document(task) for task in plan.tasks],
    }


def plan_digest(plan: Plan) -> Sha256:
    """Identity of a plan."""
    return json_digest(plan_document(plan))


def _task_document(task: Task) -> dict[str, Any]:
    if isinstance(task, Copy):
        return {"task": "copy", "path": task.path, "blob": task.blob, "size": task.size}
    if isinstance(task, Text):
        return {"task": "text", "path": task.path, "content": base64.b64encode(task.content).decode()}
    tensors = [[name, key(node)] for name, node in task.tensors]
    header = base64.b64encode(task.header).decode()
    return {"task": "shard", "path": task.path, "header": header, "tensors": tensors, "key": task.key}


def read_plan(document: Mapping[str, Any]) -> Plan:
    """The plan that `plan_document` wrote. Trusts its author: a plan is code, and comes from brickctl itself.

    Raises:
        EngineMissing: a version or a node that this brickctl does not know.
    """
    if document.get("version") != VERSION:
        raise EngineMissing(f"a plan of version {document.get('version')!r}; this brickctl reads version {VERSION}")
    nodes: dict[str, Node] = {}
    maps = {name: RowMap(tuple((run[0], run[1], run[2]) for run in runs)) for name, runs in document["rows"].items()}
    written = _Written(document["nodes"], maps)
    for name in document["nodes"]:
        _read_node(name, written, nodes)
    return Plan(
        tasks=tuple(_read_task(task, nodes) for task in document["tasks"]),
        reproducible=document["reproducible"],
        notes=tuple(document["notes"]),
    )


@dataclass(frozen=True, slots=True)
class _Written:
    """The nodes of a plan as they stand in it, and the maps of rows that they name."""

    nodes: Mapping[str, Any]
    maps: Mapping[str, RowMap]


def _read_node(name: str, documents: _Written, nodes: dict[str, Node]) -> Node:
    if name not in nodes:
        document = documents.nodes[name]
        spec = _read_spec(document)
        match document["node"]:
            case "stored":
                nodes[name] = Stored(spec, Sha256(document["blob"]), document["offset"])
            case "map":
                inputs = ((_read_node(child, documents, nodes), Access(access)) for child, access in document["inputs"])
                entries = tuple(Input(node, access) for node, access in inputs)
                nodes[name] = Map(spec, _op(document), entries, whole_rows=document["whole-rows"])
            case "statistic":
                nodes[name] = Statistic(
                    spec,
                    _op(document),
                    inputs=tuple(_read_node(child, documents, nodes) for child in document["inputs"]),
                    given=tuple(_read_node(child, documents, nodes) for child in document["given"]),
                    whole_rows=document["whole-rows"],
                )
            case "view":
                sources = tuple(_read_node(child, documents, nodes) for child in document["sources"])
                rows = documents.maps[document["rows"]] if "rows" in document else None
                nodes[name] = View(spec, Arrangement(document["arrangement"]), sources, rows)
            case "output":
                nodes[name] = Output(_read_bundle(document["bundle"], documents, nodes), document["index"])
            case unknown:
                raise EngineMissing(f"a plan with a node {unknown!r}, which this brickctl does not know")
    return nodes[name]


def _read_bundle(document: Mapping[str, Any], documents: _Written, nodes: dict[str, Node]) -> Bundle:
    inputs = tuple(_read_node(child, documents, nodes) for child in document["inputs"])
    return Bundle(_op(document), inputs, tuple(_read_spec(spec) for spec in document["specs"]))


def _read_spec(document: Mapping[str, Any]) -> Spec:
    return Spec(_dtype(document["dtype"]), tuple(document["shape"]))


def _op(document: Mapping[str, Any]) -> Op:
    return Op(document["op"], document["version"], canonical_json(document["parameters"]).decode())


def _dtype(code: str) -> DType:
    dtype = DType.from_code(code)
    if dtype is None:
        raise EngineMissing(f"a plan with the element type {code!r}, which this brickctl does not know")
    return dtype


def _read_task(document: Mapping[str, Any], nodes: Mapping[str, Node]) -> Task:
    match document["task"]:
        case "copy":
            return Copy(path=document["path"], blob=Sha256(document["blob"]), size=document["size"])
        case "text":
            return Text(path=document["path"], content=base64.b64decode(document["content"]))
        case _:
            tensors = tuple((name, nodes[node]) for name, node in document["tensors"])
            return Shard(path=document["path"], header=base64.b64decode(document["header"]), tensors=tensors)

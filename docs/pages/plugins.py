"""Pages about what is found by import: merge methods, operations, kinds."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from typing import TYPE_CHECKING, Any

from pages.markdown import arguments, document, filled, listed, prose, sentence, table

from brickctl.analysis.checks.check import CheckKind, check_kinds
from brickctl.core.nodes import Op
from brickctl.core.parameters import Parameter, describe
from brickctl.derivations.derivation import readers as derivation_readers
from brickctl.kinds import base
from brickctl.kinds.adapters import config, lora
from brickctl.kinds.adapters.adapter_type import adapter_types, unmergeable_types
from brickctl.kinds.kind import kinds as all_kinds
from brickctl.merging.method import Declared, methods
from brickctl.operations.operation import readers
from brickctl.tensors.kernels import find

if TYPE_CHECKING:
    from collections.abc import Iterable

_METHODS = """\
The `method` of a merge step; how weights are written stands under [operations](operations.md). A method of the space
`weight` combines whole models, one of the space `delta` combines differences from the base and adds the result to the
running model. With the law `permutation` the order of the bricks does not matter: `bricks` may be a table, and the
arithmetic follows their digests. `bitwise` methods give the same bytes on every machine, `numeric` ones the same within
the bound that `build --check` allows; `exact` arithmetic gives the same bits on every CPU."""

_BARS = {"share": "a share from 0 to 1", "perplexity": "at least 1"}

_LAWS = {
    "idempotence": "equal inputs give that input",
    "permutation": "the order of the bricks does not matter",
    "scale": "the result is homogeneous in the weights",
}


def merge_methods() -> str:
    """`merge-methods.md`."""
    overview = table(
        ("method", "space", "bytes", "laws", ""),
        (
            (_link(found.name), found.space, found.reproducible, listed(sorted(found.laws)), _told(found))
            for found in methods().values()
        ),
    )
    return document("Merge methods", _METHODS, overview, *map(_method, methods().values()), _laws())


def _method(found: Declared) -> str:
    law = find(Op.make(f"merge.{found.name}", 1)).law
    meanings = arguments(found.method)
    rows = ((f"`{one.name}`", one.type, f"`{_default(one)}`", meanings[one.name]) for one in describe(found.method))
    facts = f"Space `{found.space}`; {found.reproducible}, arithmetic `{law}`. Reference: <{found.reference}>."
    parameters = table(("parameter", "type", "default", ""), rows)
    return "\n\n".join((f"## {found.name}", prose(found.method), parameters, facts))


def _laws() -> str:
    used = sorted({law for found in methods().values() for law in found.laws})
    return "## Laws\n\n" + table(("law", "meaning"), ((f"`{law}`", _LAWS[law]) for law in used))


def _default(parameter: Parameter) -> str:
    return json.dumps(parameter.default)


def _link(name: str) -> str:
    return f"[`{name}`](#{name})"


def _told(found: Declared) -> str:
    return sentence(sys.modules[found.method.__module__]).partition(": ")[2]


def operations() -> str:
    """`operations.md`."""
    return filled("operations.md", operations="\n\n".join(_section(*found) for found in readers().items()))


def derivations() -> str:
    """`derivations.md`."""
    found = derivation_readers().items()
    return filled("derivations.md", derivations="\n\n".join(_section(*one) for one in found))


def _section(name: str, reader: Any) -> str:
    """What is told of an operation or derivation by its module and by the function that reads it."""
    told = sentence(sys.modules[reader.__module__]).partition(": ")[2]
    form = prose(reader).removeprefix("Read ")
    return f"## {name}\n\n{told[:1].upper()}{told[1:]}\n\nWritten {form}"


def check_sections() -> str:
    """What the page of brick.toml says of each kind of check."""
    return "\n\n".join(_check_kind(name, kind) for name, kind in check_kinds().items())


def _check_kind(name: str, kind: type[CheckKind]) -> str:
    line = f"A line of `data`: `{kind.line}`." if kind.line else ""
    bar = "" if kind.good is None else f"The bar is `{kind.good}`, {_BARS[kind.unit]}."
    keys = [(f"`{key.replace('_', '-')}`", meaning) for key, meaning in arguments(kind).items()]
    facts = " ".join(filter(None, (line, bar)))
    parts = (f"### {name}", prose(kind), facts, table(("key", "meaning"), keys) if keys else "")
    return "\n\n".join(filter(None, parts))


def kinds() -> str:
    """`kinds.md`."""
    found = all_kinds().values()
    rows = ((f"`{kind.name}`", _about(kind), sentence(kind.detect)) for kind in found)
    return filled(
        "kinds.md",
        kinds=table(("kind", "what it is", "recognised by"), (("`base`", _about(base.whole_model), "`[base]`"), *rows)),
        types=table(("type", "merged", "stacked", ""), _types()),
        formulas="\n\n".join(_formulas()),
        training=_wrapped(config.TRAINING_FIELDS),
        without_effect=_wrapped(lora._WITHOUT_EFFECT),  # noqa: SLF001 - the page tells what the module holds
        neutral=table(("field", "accepted"), _neutral_fields()),
    )


def _types() -> Iterable[tuple[str, str, str, str]]:
    merged = {name: (found.reproducible, "yes", found.title) for name, found in adapter_types().items()}
    stacked = {
        name: ("no", "yes" if found.stacks else "no", found.reason) for name, found in unmergeable_types().items()
    }
    for name, cells in sorted({**merged, **stacked}.items()):
        yield (f"`{name}`", *cells)


def _formulas() -> Iterable[str]:
    """The first lines of the modules that hold formulas, as they stand there."""
    modules = {type(found).__module__: None for found in adapter_types().values() if found.reproducible == "bitwise"}
    for module in modules:
        title, _, rest = (sys.modules[module].__doc__ or "").strip().partition("\n")
        yield f"**{title}**\n\n{_as_code(rest.strip(chr(10)))}"


def _as_code(text: str) -> str:
    """Indented lines as fenced blocks, so that no renderer takes stars in formulas for emphasis."""
    code = re.compile(r"((?:^    .*\n?)+)", re.MULTILINE)
    fenced = code.sub(lambda found: f"```text\n{textwrap.dedent(found[1]).rstrip()}\n```\n", text)
    return fenced.strip()


def _about(declared: Any) -> str:
    module = declared.__module__ if hasattr(declared, "__name__") else type(declared).__module__
    return sentence(sys.modules[module]).partition(": ")[2]


def _neutral_fields() -> Iterable[tuple[str, str]]:
    for field, values in sorted(lora._NEUTRAL.items()):  # noqa: SLF001 - the page tells what the module holds
        yield f"`{field}`", listed(json.dumps(value) for value in values)
    accepted = [json.dumps(value) for value in lora._HARMLESS_INITIALISATIONS]  # noqa: SLF001 - as above
    yield "`init_lora_weights`", listed(accepted)


def _wrapped(fields: Iterable[str]) -> str:
    return listed(sorted(fields))

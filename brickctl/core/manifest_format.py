"""Reading brick.toml: text in, a `Manifest` out, every mistake with its line.

What is accepted is enforced: a key that belongs to nothing is refused with the name that was probably meant.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from brickctl import __version__
from brickctl.core.derived_format import read_derived
from brickctl.core.document import read_toml, shown
from brickctl.core.licenses import parse_license
from brickctl.core.manifest import BUILTIN, Manifest, Project, Requirement
from brickctl.core.names import BASE, Alias, is_alias
from brickctl.core.policy_format import read_policy
from brickctl.core.reference_format import check_alias, parse_shorthand, read_reference, read_registries
from brickctl.core.target_format import read_checks, read_targets
from brickctl.core.versions import Version, VersionRange
from brickctl.errors import Unsupported, UsageFault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.document import Table
    from brickctl.core.reference import Reference

_PROJECT_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?")
_RELEASE = re.compile(r"(\d+)\.(\d+)\.(\d+)")
_REGISTRY_ADDRESS = re.compile(
    r"https://[A-Za-z0-9.-]+(?::\d+)?(?:/[^\s?#@]*)?"
    r"|http://(?:localhost|127\.0\.0\.1|\[::1\])(?::\d+)?(?:/[^\s?#@]*)?"
    r"|file:///[^?#]+"
)

ADDRESS_HINT = "write `https://...`, `file:///...`, or a folder such as `./index`; http, passwords and `?` are refused"


def parse_manifest(text: str, *, file: str = "brick.toml", numbered: bool = True) -> Manifest:
    """Read a manifest; errors name its lines, if they are `numbered`.

    Raises:
        ManifestInvalid: not TOML, an unknown key, or a value that cannot be.
        Unsupported: `requires-brickctl` asks for another brickctl.
    """
    top = read_toml(text, file=file, numbered=numbered)
    project_table = _required_table(top, "project")
    _check_required_version(project_table)
    base_table = _required_table(top, "base")
    for table in (top, project_table):
        _refuse_cutoff(table)
    registries = _read_registries(top.table_or_none("registries"))
    project = _read_project(project_table, registries)
    base = _read_requirement(base_table, BASE, project.default_registries, registries)
    bricks = _read_bricks(top.table_or_none("bricks"), project.default_registries, registries)
    targets = read_targets(top.table_or_none("targets"))
    derived = read_derived(top.table_or_none("derived"), bricks)
    checks = read_checks(top.tables_or_none("checks") or (), targets)
    policy = read_policy(top.table_or_none("policy"))
    top.finish()
    return Manifest(
        project=project,
        base=base,
        registries=registries,
        bricks=bricks,
        derived=derived,
        targets=targets,
        checks=checks,
        policy=policy,
    )


def _refuse_cutoff(table: Table) -> None:
    """Uv has it among its settings, and here it is a rule."""
    if table.has("exclude-newer"):
        hint = 'write `exclude-newer = "7 days"` below `[policy]`'
        raise table.error("`exclude-newer` belongs in [policy]", key="exclude-newer", hint=hint)


def _required_table(top: Table, key: str) -> Table:
    table = top.table_or_none(key)
    if table is None:
        example = {"project": 'name = "my-model"', "base": 'source = "hf:owner/name"'}[key]
        raise top.missing(f"{top.file} has no [{key}]", key, hint=f"add `[{key}]` and `{example}`")
    return table


def _check_required_version(project: Table) -> None:
    """Look at `requires-brickctl` before anything else: a newer manifest may hold keys that are unknown here."""
    text = project.string_or_none("requires-brickctl")
    release = _RELEASE.match(__version__)
    if text is None or release is None:
        return
    wanted = _range(project, "requires-brickctl", text)
    major, minor, patch = map(int, release.groups())
    if not wanted.contains(Version(major, minor, patch)):
        message = f"this project needs brickctl {wanted}; this is brickctl {__version__}"
        place = project.place("requires-brickctl")
        raise Unsupported(message, place=place, hint="install a brickctl in that range, or widen `requires-brickctl`")


def _read_project(table: Table, registries: Mapping[str, str]) -> Project:
    name = table.string("name")
    if _PROJECT_NAME.fullmatch(name) is None:
        hint = "a name has letters, digits, `.`, `_` and `-`, such as `support-assistant`"
        raise table.error(f"`{shown(name)}` is no name for a project", key="name", hint=hint)
    defaults = read_registries(table, "default-registry", registries) or (BUILTIN,)
    requires = table.string_or_none("requires-brickctl")
    table.finish()
    return Project(name=name, requires_brickctl=requires, default_registries=defaults)


def _read_registries(table: Table | None) -> Mapping[str, str]:
    return {} if table is None else {name: _read_registry(table, name) for name in table}


def _read_registry(table: Table, name: str) -> str:
    if name == BUILTIN:
        message = "`builtin` is the registry that ships with brickctl: it cannot be declared"
        raise table.error(message, key=name, hint="choose another name for this registry")
    check_alias(table, name, "a registry")
    address = table.string(name)
    if not is_registry_address(address):
        raise table.error(f"`{shown(address)}` is no address of a registry", key=name, hint=ADDRESS_HINT)
    return address.rstrip("/") or "/"


def is_registry_address(text: str) -> bool:
    """Whether a registry may be declared at this address, or in this folder."""
    is_folder = text.startswith(("./", "../", "/")) and "\\" not in text
    return is_folder or _REGISTRY_ADDRESS.fullmatch(text) is not None


def _read_bricks(
    table: Table | None, defaults: tuple[str, ...], registries: Mapping[str, str]
) -> Mapping[Alias, Requirement]:
    if table is None:
        return {}
    return {Alias(name): _read_brick(table, name, defaults, registries) for name in table}


def _read_brick(bricks: Table, name: str, defaults: tuple[str, ...], registries: Mapping[str, str]) -> Requirement:
    alias = check_alias(bricks, name, "a brick")
    if isinstance(bricks.take(name), str):
        reference = _read_shorthand(bricks, name, defaults)
        return Requirement(alias=alias, reference=reference, place=bricks.place(name))
    table = bricks.table_or_none(name)
    if table is None:
        raise bricks.error(f"`{name}` in {bricks.where} is empty", key=name)
    return _read_requirement(table, alias, defaults, registries)


def _read_shorthand(bricks: Table, name: str, defaults: tuple[str, ...]) -> Reference:
    text = bricks.string(name)
    if text.startswith(("hf:", "path:", "./", "../", "/")):
        source = text if text.startswith(("hf:", "path:")) else f"path:{text}"
        source, at, revision = source.partition("@")
        more = f', revision = "{revision}"' if at else ""
        hint = f'only registry bricks have a short form; write `{name} = {{ source = "{source}"{more} }}`'
        raise bricks.error(f"`{shown(text)}` is no `namespace/name@range`", key=name, hint=hint)
    try:
        return parse_shorthand(text, registries=defaults)
    except UsageFault as fault:
        raise bricks.error(fault.message, key=name, causes=fault.causes, hint=fault.hint) from None


def _read_requirement(
    table: Table, alias: Alias, defaults: tuple[str, ...], registries: Mapping[str, str]
) -> Requirement:
    reference = read_reference(table, defaults=defaults, registries=registries)
    kind = None if alias == BASE else table.string_or_none("kind")
    if kind is not None and not is_alias(kind):
        raise table.error(f"`{shown(kind)}` is no kind of brick", key="kind", hint="such as `adapter` or `expert`")
    license_text = table.string_or_none("license")
    license_name = None if license_text is None else parse_license(license_text)
    if license_text is not None and license_name is None:
        hint = "write an SPDX expression such as `Apache-2.0`, or `LicenseRef-NAME`"
        raise table.error(f"`{shown(license_text)}` is no licence that SPDX knows", key="license", hint=hint)
    table.finish()
    return Requirement(alias=alias, reference=reference, kind=kind, license=license_name, place=table.place())


def _range(table: Table, key: str, text: str) -> VersionRange:
    try:
        return VersionRange.parse(text)
    except UsageFault as fault:
        raise table.error(fault.message, key=key, causes=fault.causes, hint=fault.hint) from None

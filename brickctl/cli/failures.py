"""Failures, told: any exception becomes an error of the tree, and the error becomes text or JSON."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import click

from brickctl.cli import output
from brickctl.errors import AuditFailed, BrickctlError, CheckFailed, Interrupted, NoSpace, Unhealthy, UsageFault

if TYPE_CHECKING:
    from collections.abc import Iterable

_FULL = {errno.ENOSPC, errno.EDQUOT}
_REFUSED = {
    errno.EACCES: "check who owns it, and whether its disk may be written",
    errno.EPERM: "check who owns it, and whether its disk may be written",
    errno.EROFS: "let {disk} be written, or work in a copy on another",
    errno.ENAMETOOLONG: "give it a shorter name",
    errno.EBUSY: "it may be mounted on its own, as in a container: mount its folder instead",
}
_FAILING = dict.fromkeys(
    (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENODEV, errno.ENXIO),
    "look after {disk}, or the network that it is on, then run this again",
)
_HINTS = _REFUSED | _FAILING
"""What to do about what the system says of a file, other than that its disk is full."""


def explain(raised: BaseException, *, traced: bool = False) -> BrickctlError:
    """The error of the tree that says what `raised` means to a user; `traced` when its traceback is shown as well."""
    if isinstance(raised, BrickctlError):
        return raised
    if isinstance(raised, (KeyboardInterrupt, click.Abort)):
        return Interrupted("interrupted", hint="what was finished is kept; the same command goes on from there")
    if isinstance(raised, click.ClickException):
        return _misused(raised)
    if isinstance(raised, OSError) and raised.errno in {*_FULL, *_HINTS, errno.EFBIG}:
        return _refused_by_system(raised)
    if isinstance(raised, MemoryError):
        return NoSpace("not enough memory", hint="lower --memory or --threads")
    return _unexpected(raised, traced=traced)


def unknown_verb(verb: str, verbs: Iterable[str]) -> UsageFault:
    """The error about a verb that does not exist, with the one that was probably meant."""
    from brickctl.core.names import did_you_mean

    hint = did_you_mean(verb, verbs) or "see `brickctl --help` for all commands"
    return UsageFault(f"brickctl has no command `{verb}`", hint=hint)


def report(error: BrickctlError, *, as_json: bool) -> None:
    """Write an error where it belongs: JSON to stdout, or text to stderr."""
    if as_json:
        output.write(output.failed(document(error), **_known(error)))
    else:
        output.say(render(error))


def _known(error: BrickctlError) -> dict[str, Any]:
    """What was found out before the failure, for programs."""
    if isinstance(error, CheckFailed):
        return {"scores": error.scores}
    return {"findings": error.findings} if isinstance(error, (Unhealthy, AuditFailed)) else {}


def document(error: BrickctlError) -> dict[str, Any]:
    """An error as JSON: `code`, `message`, `cause` always; `place` and `hint` where the error has them."""
    fields: dict[str, Any] = {"code": error.code, "message": error.message, "cause": list(error.causes)}
    if error.place is not None:
        fields["place"] = {"file": error.place.file, "line": error.place.line}
    if error.hint is not None:
        fields["hint"] = error.hint
    return fields


def render(error: BrickctlError) -> str:
    """An error as text with colours; without them it is `error: ` and `str(error)`, where that is printable."""
    lines = [f"{click.style('error:', fg='red', bold=True)} {output.plain(error.message)}"]
    lines += [f"  {click.style('cause:', bold=True)} {output.plain(cause)}" for cause in error.causes]
    if error.place is not None and str(error.place) not in error.message:
        lines.append(f"  {click.style(f'{error.where}:', bold=True)} {output.plain(str(error.place))}")
    if error.hint is not None:
        lines.append(f"{click.style('hint:', fg='cyan', bold=True)} {output.plain(error.hint)}")
    return "\n".join(lines)


def _misused(raised: click.ClickException) -> BrickctlError:
    if not isinstance(raised, click.UsageError):
        return BrickctlError(_sentence(raised.format_message()))
    hint = None if raised.ctx is None else f"see `{raised.ctx.command_path} --help`"
    if isinstance(raised, click.NoSuchOption):
        near = raised.possibilities
        return UsageFault(f"no such option `{raised.option_name}`", hint=f"did you mean `{near[0]}`?" if near else hint)
    return UsageFault(_sentence(raised.format_message()), hint=hint)


def _sentence(text: str) -> str:
    """A message of click in our style: small first letter, no full stop, one line."""
    text = " ".join(text.split())
    return text[:1].lower() + text[1:].removesuffix(".")


def _refused_by_system(raised: OSError) -> BrickctlError:
    """What the system said of a file, and what would help."""
    path = raised.filename2 or raised.filename
    name = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else None
    file = "a file" if name is None else f"`{name}`"
    disk = "its disk" if name is None else f"the disk of `{os.path.dirname(name) or os.curdir}`"  # noqa: PTH120 - as text
    reason = os.strerror(raised.errno or errno.EPERM).lower()
    if raised.errno in _FULL:
        hint = f"make room on {disk}, then run this again; what was there before is as it was"
        return NoSpace(f"no space left to write {file}", causes=(reason,), hint=hint)
    if raised.errno == errno.EFBIG:
        hint = f"{disk} takes no file of that size: set a smaller `shard-size`, or write to another disk"
        return NoSpace(f"{file} is too large", causes=(reason,), hint=hint)
    hint = _HINTS[raised.errno or errno.EPERM].format(disk=disk)
    return BrickctlError(f"cannot use {file}", causes=(reason,), hint=hint)


def _unexpected(raised: BaseException, *, traced: bool) -> BrickctlError:
    what = " ".join(f"{type(raised).__name__}: {raised}".split())
    evidence = "the traceback above" if traced else "the traceback that BRICKCTL_TRACEBACK=1 shows"
    return BrickctlError(
        "something unexpected happened inside brickctl",
        causes=(what,),
        hint=f"this is a bug of brickctl: please report it with {evidence}",
    )

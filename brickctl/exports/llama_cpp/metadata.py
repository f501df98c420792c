"""Keys that say what a file is: its name, its licence, what it was made of, and how it was made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.licenses import UNKNOWN

if TYPE_CHECKING:
    from gguf import GGUFWriter

    from brickctl.exports.export_format import Subject

_HUB = "pkg:huggingface/"
_MODELS = ("base", "expert")
"""Kinds of bricks that are models, and so parents of what is made of them."""


def tell_origins(writer: GGUFWriter, subject: Subject) -> None:
    """Add the licence of the whole chain, the models that it is made of, and the digest of the artifact."""
    if subject.license != UNKNOWN:
        writer.add_license(subject.license)
    parents = [origin for origin in subject.origins if origin.kind in _MODELS]
    writer.add_base_model_count(len(parents))
    for number, parent in enumerate(parents):
        writer.add_base_model_name(number, parent.name)
        if not parent.source.startswith(_HUB):
            continue
        model, _, commit = parent.source.removeprefix(_HUB).partition("@")
        writer.add_base_model_version(number, commit)
        writer.add_base_model_organization(number, model.partition("/")[0])
        writer.add_base_model_repo_url(number, f"https://huggingface.co/{model}")
    writer.add_string("brickctl.target", subject.name)
    writer.add_string("brickctl.artifact", f"sha256:{subject.digest}")
    writer.add_array("brickctl.sources", [f"{origin.name} {origin.source}" for origin in subject.origins])

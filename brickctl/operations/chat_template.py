"""Chat template: give the running model the template of a brick, of a file, or one that is written down."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import sha256_bytes
from brickctl.core.document import shown
from brickctl.core.manifest import Input
from brickctl.core.names import BASE, Alias, is_alias, is_safe_path
from brickctl.errors import IntegrityFault, ManifestInvalid
from brickctl.operations.operation import Ingredients, Operation, register
from brickctl.vocabulary.files import CONFIG
from brickctl.vocabulary.template import TEMPLATE, default_template, with_template

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.manifest import Step
    from brickctl.core.model import Artifact
    from brickctl.errors import Place

_LARGEST = 1_000_000
_OTHER_KEYS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatTemplate:
    """A chat-template step: a brick whose template it is, the text of one, or a file of the project."""

    brick: Alias | None = None
    text: str | None = None
    file: str | None = None
    place: Place | None = dataclasses.field(default=None, compare=False)

    reproducible = "bitwise"
    computes = False
    takes_layers = False

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The file, if there is one."""
        return () if self.file is None else (Input(path=self.file, place=self.place),)

    @property
    def aliases(self) -> tuple[Alias, ...]:
        """The brick, if there is one."""
        return () if self.brick is None else (self.brick,)

    def document(self) -> Mapping[str, Any]:
        """The step with every default written out; a text as its digest. That of a file stands in the lock."""
        if self.brick is not None:
            return {"op": "chat-template", "brick": self.brick}
        if self.file is not None:
            return {"op": "chat-template", "file": self.file}
        return {"op": "chat-template", "text": f"sha256:{sha256_bytes((self.text or '').encode())}"}

    def apply(self, artifact: Artifact, ingredients: Ingredients) -> Artifact:
        """Put the template where the running model has one, into every file that may hold it."""
        text = self._read(ingredients) if self.text is None else self.text
        config = ingredients.document(artifact.root, CONFIG)
        files = {**artifact.root.files, **with_template(text, artifact.root.files, config)}
        return dataclasses.replace(artifact, root=dataclasses.replace(artifact.root, files=files))

    def _read(self, ingredients: Ingredients) -> str:
        """The template of the file, or of the brick."""
        if self.file is not None:
            return ingredients.read_input(Input(path=self.file, place=self.place))
        brick = ingredients.brick(self.brick or BASE)
        file = brick.pin.file(TEMPLATE)
        if file is not None and file.size <= _LARGEST:
            try:
                return ingredients.read(brick, file).decode()
            except UnicodeDecodeError:
                raise IntegrityFault(f"{TEMPLATE} of `{self.brick}` is not UTF-8 text", place=self.place) from None
        found = default_template(brick.contents.documents.get(CONFIG, {}))
        if found is None:
            cause = f"it has no {TEMPLATE}" + (" of a readable size" if file is not None else "")
            causes = (f"{cause}, and no `chat_template` in {CONFIG}",)
            hint = "name a brick that has one, or write the template: text = '''...''', or file = \"PATH\""
            raise ManifestInvalid(f"`{self.brick}` has no chat template", causes=causes, place=self.place, hint=hint)
        return found


def read_chat_template(step: Step) -> Operation:
    """Read `{ op = "chat-template", brick = NAME }`, or instead of `brick` a Jinja template: `text`, or its `file`.

    `file` is a path relative to brick.toml: UTF-8, up to 1 MB. The lock pins its bytes.
    """
    table = step.table.fresh()
    brick, text, file = table.string_or_none("brick"), table.take("text"), table.string_or_none("file")
    table.finish()
    if [brick, text, file].count(None) != _OTHER_KEYS:
        hint = "write brick = \"NAME\", text = '''...''', or file = \"PATH\""
        raise table.error("a chat template is that of a brick, a text, or a file", hint=hint)
    if brick is not None and not is_alias(brick):
        raise table.error(f"{table.named('brick')} is no name of a brick", key="brick")
    if text is not None and (not isinstance(text, str) or not 0 < len(text) <= _LARGEST):
        raise table.error(f"{table.named('text')} must be a text of 1 to {_LARGEST:,} characters", key="text")
    if file is not None and not is_safe_path(file):
        hint = "a path relative to brick.toml, with `/`, without `..`"
        raise table.error(f"`{shown(file)}` is no file of this project", key="file", hint=hint)
    return ChatTemplate(brick=None if brick is None else Alias(brick), text=text, file=file, place=step.place)


register("chat-template", read_chat_template)

"""Texts as vectors, and how near some texts are to others.

A text is the mean over its tokens of the last hidden states of a model, behind its last norm. Those of all texts have
most of their length in common, so they are centred before they are compared.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

from brickctl.analysis.batches import batches, on_device, unwatched
from brickctl.analysis.silence import silence
from brickctl.analysis.tokens import context_length, encode
from brickctl.errors import NotFound, Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch
    from transformers import PreTrainedTokenizerBase

    from brickctl.analysis.batches import Watch

WINDOW = 256
"""Tokens of a text that are read: its first ones."""


_CAREFUL = 6
"""The first version of sentence-transformers that runs no code of a folder unless it is told to."""


class Embedder(Protocol):
    """Whatever makes vectors of texts."""

    def vectors(self, texts: Sequence[str], watch: Watch = unwatched) -> torch.Tensor:
        """One vector for each text, (texts, width) in F64 on the CPU; `watch` hears of each text that is read."""


class PooledStates:
    """The mean over the tokens of a text of the last hidden states of a model."""

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase, *, batch_size: int = 8) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._batch_size = batch_size

    def vectors(self, texts: Sequence[str], watch: Watch = unwatched) -> torch.Tensor:
        """As `Embedder.vectors`. A text without a token, which has no mean, is zero."""
        import torch

        longest = min(WINDOW, context_length(self._model) or WINDOW)
        rows = [encode(self._tokenizer, text)[:longest] for text in texts]
        places = [at for at, row in enumerate(rows) if row]
        width = self._model.config.get_text_config().hidden_size
        found = torch.zeros(len(texts), width, dtype=torch.float64)
        for batch in batches([rows[at] for at in places], self._batch_size):
            chosen = [places[at] for at in batch]
            found[chosen] = self._means([rows[at] for at in chosen])
            watch(len(chosen))
        return found

    def _means(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """Means of rows of tokens: (rows, width) in F64."""
        import torch

        ids, mask = on_device(self._model, rows)
        with torch.inference_mode(), silence():
            answer = self._model(input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False)
        states = answer.hidden_states[-1].double()
        weights = mask.double().unsqueeze(-1)
        means: torch.Tensor = (states * weights).sum(dim=1).div(weights.sum(dim=1))
        return means.cpu()


class Sentences:
    """A model of the package sentence-transformers, from a folder; no network, no remote code."""

    def __init__(self, folder: Path) -> None:
        """Load it.

        Raises:
            NotFound: there is none in the folder.
            Unsupported: the package is not installed, is too old, or cannot load it.
        """
        if not (folder / "modules.json").is_file():
            hint = "name a folder that sentence-transformers has saved"
            raise NotFound(f"there is no embedder in `{folder}`: it has no modules.json", hint=hint)
        try:
            from sentence_transformers import SentenceTransformer, __version__
        except ImportError as missing:
            hint = "pip install 'brickctl[embed]', or leave out --embedder: the base of the project embeds too"
            raise Unsupported("an embedder needs the package sentence-transformers", hint=hint) from missing
        if int(__version__.partition(".")[0]) < _CAREFUL:
            cause = f"version {__version__} of sentence-transformers runs code that lies in the folder"
            hint = f"pip install 'sentence-transformers>={_CAREFUL}'"
            raise Unsupported(f"the embedder in `{folder}` is not loaded", causes=(cause,), hint=hint)
        settings: Any = {"device": "cpu", "local_files_only": True, "trust_remote_code": False}
        settings["model_kwargs"] = {"use_safetensors": True}  # or pickle would be read where it lies there
        try:
            with silence():
                self._model = SentenceTransformer(str(folder.resolve()), **settings)
        except Exception as error:  # whatever a folder of a stranger makes the package raise
            cause = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise Unsupported(f"the embedder in `{folder}` cannot be loaded", causes=(cause,)) from error

    def vectors(self, texts: Sequence[str], watch: Watch = unwatched) -> torch.Tensor:
        """As `Embedder.vectors`."""
        with silence():
            found: torch.Tensor = self._model.encode(list(texts), convert_to_tensor=True, show_progress_bar=False)
        watch(len(texts))
        return found.double().cpu()


def similarities(asked: torch.Tensor, owned: Sequence[torch.Tensor]) -> tuple[float | None, ...]:
    """How near the texts of a task are to those of each brick: cosines, in [-1, 1].

    cos(mean(asked) - m, mean(owned_i) - m), where m is the mean over bricks of mean(owned_i): a brick with many texts
    says no more about what all have in common than one with few. None where a difference is zero, as with one brick, or
    no finite number.

    Args:
        asked: vectors of the task, (texts, width).
        owned: for each brick the vectors of its texts, (texts, width), at least one.
    """
    import torch

    own = torch.stack([vectors.mean(dim=0) for vectors in owned])
    middle = own.mean(dim=0)
    task = asked.mean(dim=0) - middle
    lengths = (own - middle).norm(dim=1) * task.norm()
    products = ((own - middle) @ task).tolist()
    return tuple(
        max(-1.0, min(1.0, product / length)) if length and math.isfinite(product / length) else None
        for product, length in zip(products, lengths.tolist(), strict=True)
    )

"""Turn phrases into embeddings: templates, a shortened text tower, and a cache."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dinoiser.atomic import atomic_file
from dinoiser.models.device import to_device
from dinoiser.models.open_clip_files import (
    clip_tokenizer,
    imagenet_templates,
    simple_templates,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from dinoiser.models.base import SegmentationModel

SENTENCES_AT_ONCE = 256  # per batch of the text tower
SEVEN_TEMPLATES = (
    "itap of a {}.",
    "a bad photo of a {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)
"""Of an earlier work, TCL, from which several methods took them: "simple" but for one word."""


def template_sentences(templates: str | Sequence[str]) -> tuple[str, ...]:
    """Return templates as sentences with {} in place of the phrase.

    Parameters
    ----------
    templates
        "imagenet" (open_clip's 80, as in the paper), "simple" (open_clip's 7),
        or custom sentences.
    """
    if templates == "imagenet":
        return imagenet_templates()
    if templates == "simple":
        return simple_templates()
    return tuple(templates)


class TextTower:
    """The text tower of an open_clip model, run only on as many tokens as needed.

    Parameters
    ----------
    clip
        A `Clip`, or an open_clip `CLIP` or `CustomTextCLIP`.
    tokenizer
        Sentences to token ids (T, context length); CLIP's own by default.
    """

    def __init__(self, clip: Any, tokenizer: Callable[[list[str]], Tensor] | None = None) -> None:
        self.clip = clip
        self.tower = getattr(clip, "text", clip)
        self.tokenize = tokenizer or clip_tokenizer(clip.context_length)
        # Sentences may be cut only if the result is read at the end token ("argmax") and no token
        # is appended after it (CoCa's cls_emb).
        pool = getattr(self.tower, "pool_type", getattr(self.tower, "text_pool_type", None))
        self.causal = pool == "argmax" and getattr(self.tower, "cls_emb", None) is None

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Embeddings (T, D) float32 of whole sentences, L2-normalised."""
        return encode_by_length(self.encode_tokens, self.tokenize(list(texts)))

    @torch.no_grad()
    def project(self, texts: Sequence[str]) -> Tensor:
        """Embeddings (T, D) float32 of whole sentences, not normalised."""
        return encode_by_length(self.project_tokens, self.tokenize(list(texts)))

    def encode_tokens(self, ids: Tensor) -> Tensor:
        """Embeddings (T, D) float32 of token ids (T, L), L2-normalised."""
        return F.normalize(self.project_tokens(ids), dim=-1)

    def project_tokens(self, ids: Tensor) -> Tensor:
        """Embeddings (T, D) float32 of token ids (T, L), not normalised.

        The tower is causal: nothing after a sentence's end-of-text token, the
        largest id, can change what is read at that token. So the ids are cut
        after the last end token in the batch.
        """
        ids = ids.to(self.tower.positional_embedding.device)
        if not self.causal:
            return self.clip.encode_text(ids).float()
        tower, ends = self.tower, ids.argmax(-1)
        length = int(ends.max()) + 1
        dtype = tower.transformer.get_cast_dtype()
        x = tower.token_embedding(ids[:, :length]).to(dtype)
        x = x + tower.positional_embedding[:length].to(dtype)
        x = tower.transformer(x, attn_mask=tower.attn_mask[:length, :length])
        # (T, length, C) -> (T, C), read at each sentence's end token
        x = tower.ln_final(x[torch.arange(len(x), device=x.device), ends])
        if isinstance(tower.text_projection, nn.Linear):
            x = tower.text_projection(x)
        elif tower.text_projection is not None:
            x = x @ tower.text_projection
        return x.float()


def encode_by_length(encode_tokens: Callable[[Tensor], Tensor], ids: Tensor) -> Tensor:
    """Embeddings (T, D) of token ids (T, L), one batch at a time.

    Sentences of similar length share a batch, so that a long one does not make
    short ones longer.
    """
    # by the position of the end token, and back at the end
    order = ids.argmax(-1).argsort(stable=True)
    embeddings = torch.cat([encode_tokens(ids[some]) for some in order.split(SENTENCES_AT_ONCE)])
    return embeddings[order.argsort().to(embeddings.device)]


class PhraseEmbeddings:
    """Embeddings of phrases for one model, each computed only once.

    Parameters
    ----------
    model
        Its `digest` names the folder on disk; without one, embeddings are only
        kept in memory.
    folder
        Where embeddings are kept between runs; None for memory only. If it
        cannot be written to, new embeddings are kept in memory from then on.
    """

    def __init__(self, model: SegmentationModel, folder: Path | None = None) -> None:
        self.model = model
        self.folder = folder / model.digest[:16] if folder and model.digest else None
        self._can_write = True
        self._known: dict[str, np.ndarray] = {}

    def get(self, phrases: Sequence[str], templates: str | Sequence[str] = "imagenet") -> Tensor:
        """Class embeddings of phrases: the normalised mean of all templates', each L2-normalised.

        Some methods average differently or replace the "imagenet" templates
        with their own, see `Scoring`.

        Parameters
        ----------
        phrases
            Text to put into the templates.
        templates
            See `template_sentences`.

        Returns
        -------
        Tensor
            (P, D) float32 on the model's device, with rows of unit length.
        """
        own = self.model.scoring.templates
        sentences = own if own and templates == "imagenet" else template_sentences(templates)
        keys = {phrase: self._key(phrase, sentences) for phrase in phrases}
        missing = [phrase for phrase, key in keys.items() if self._find(key) is None]
        for phrase in missing:  # one by one, so that the bits do not depend on the others
            texts = [sentence.replace("{}", phrase) for sentence in sentences]
            self._keep(keys[phrase], self.model.encode_phrase(texts).cpu().numpy())
        rows = np.stack([self._known[keys[phrase]] for phrase in phrases])
        return to_device(torch.from_numpy(rows), self.model.device)

    def _key(self, phrase: str, sentences: tuple[str, ...]) -> str:
        # the model's digest is in the folder's name; its number format changes the bits too
        parts = [str(self.model.dtype), phrase, *sentences]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]

    def _find(self, key: str) -> np.ndarray | None:
        if key not in self._known and self.folder:
            try:
                row = np.load(self.folder / f"{key}.npy", allow_pickle=False)
            except (OSError, ValueError, EOFError):  # absent or damaged: compute it again
                return None
            if row.shape == (self.model.embedding_dim,) and row.dtype == np.float32:
                self._known[key] = row
        return self._known.get(key)

    def _keep(self, key: str, row: np.ndarray) -> None:
        self._known[key] = row
        if self.folder is None or not self._can_write:
            return
        try:
            # another process may read or write the same phrase
            with atomic_file(self.folder / f"{key}.npy") as file:
                np.save(file, row)
        except OSError:
            self._can_write = False

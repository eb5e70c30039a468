"""Phrases to embeddings: templates, the shortened text tower, and a cache of what was computed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from dinoiser.models.base import SegmentationModel

SENTENCES_AT_ONCE = 256


def template_sentences(templates: str | Sequence[str]) -> tuple[str, ...]:
    """Templates as sentences with {} in the phrase's place.

    Parameters
    ----------
    templates
        "imagenet" (open_clip's 80, the paper's), "simple" (open_clip's 7), or
        sentences of one's own.
    """
    import open_clip

    if templates == "imagenet":
        return tuple(fill("{}") for fill in open_clip.OPENAI_IMAGENET_TEMPLATES)
    if templates == "simple":
        return tuple(fill("{}") for fill in open_clip.SIMPLE_IMAGENET_TEMPLATES)
    return tuple(templates)


class TextTower:
    """The text half of an open_clip model, run on no more tokens than the sentences have.

    Parameters
    ----------
    clip
        An open_clip `CLIP` or `CustomTextCLIP`.
    tokenizer
        Sentences to token ids (T, context length); CLIP's own by default.
    """

    def __init__(self, clip: Any, tokenizer: Callable[[list[str]], Tensor] | None = None) -> None:
        import open_clip

        self.clip = clip
        self.tower = getattr(clip, "text", clip)
        self.tokenize = tokenizer or open_clip.SimpleTokenizer(context_length=clip.context_length)
        pool = getattr(self.tower, "pool_type", getattr(self.tower, "text_pool_type", None))
        self.causal = pool == "argmax" and getattr(self.tower, "cls_emb", None) is None

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Embeddings (T, D) float32 of whole sentences, L2-normalised."""
        return encode_by_length(self.encode_tokens, self.tokenize(list(texts)))

    @torch.no_grad()
    def project(self, texts: Sequence[str]) -> Tensor:
        """Embeddings (T, D) float32 of whole sentences as the tower gives them, any length."""
        return encode_by_length(self.project_tokens, self.tokenize(list(texts)))

    def encode_tokens(self, ids: Tensor) -> Tensor:
        """Embeddings (T, D) float32 of token ids (T, L), L2-normalised."""
        return F.normalize(self.project_tokens(ids), dim=-1)

    def project_tokens(self, ids: Tensor) -> Tensor:
        """Embeddings (T, D) float32 of token ids (T, L), any length.

        The tower is causal: nothing after a sentence's end-of-text token, the
        largest id, can change what is read at that token. So the ids are cut
        after the batch's last one.
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
        x = tower.ln_final(x[torch.arange(len(x), device=x.device), ends])
        if isinstance(tower.text_projection, nn.Linear):
            x = tower.text_projection(x)
        elif tower.text_projection is not None:
            x = x @ tower.text_projection
        return x.float()


def encode_by_length(encode_tokens: Callable[[Tensor], Tensor], ids: Tensor) -> Tensor:
    """Embeddings (T, D) of token ids (T, L), a batch at a time.

    Sentences of like length run together, so that a long one does not make
    the short ones longer.
    """
    order = ids.argmax(-1).argsort(stable=True)
    embeddings = torch.cat([encode_tokens(ids[some]) for some in order.split(SENTENCES_AT_ONCE)])
    return embeddings[order.argsort().to(embeddings.device)]


class PhraseEmbeddings:
    """Embeddings of phrases for one model, computed once.

    Parameters
    ----------
    model
        Its `digest` names the folder on disk; without one, embeddings are
        kept in memory only.
    folder
        Where embeddings are kept between runs; None for memory only. A folder
        that cannot be written to is read only.
    """

    def __init__(self, model: SegmentationModel, folder: Path | None = None) -> None:
        self.model = model
        self.folder = folder / model.digest[:16] if folder and model.digest else None
        self._known: dict[str, np.ndarray] = {}

    def get(self, phrases: Sequence[str], templates: str | Sequence[str] = "imagenet") -> Tensor:
        """Class embeddings of phrases: every template, L2-normalised, averaged, L2-normalised.

        Models with a method of their own may average otherwise and have other
        templates in the place of "imagenet", see `Scoring`.

        Parameters
        ----------
        phrases
            Words as they go into the templates.
        templates
            See `template_sentences`.

        Returns
        -------
        Tensor
            (P, D) float32 on the model's device, rows of unit length.
        """
        own = self.model.scoring.templates
        sentences = own if own and templates == "imagenet" else template_sentences(templates)
        keys = {phrase: self._key(phrase, sentences) for phrase in phrases}
        missing = [phrase for phrase, key in keys.items() if self._find(key) is None]
        for phrase in missing:  # one by one: the bits do not depend on what else is asked for
            texts = [sentence.replace("{}", phrase) for sentence in sentences]
            self._keep(keys[phrase], self.model.encode_phrase(texts).cpu().numpy())
        rows = np.stack([self._known[keys[phrase]] for phrase in phrases])
        return torch.from_numpy(rows).to(self.model.device)

    def _key(self, phrase: str, sentences: tuple[str, ...]) -> str:
        parts = [str(self.model.dtype), phrase, *sentences]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]

    def _find(self, key: str) -> np.ndarray | None:
        if key not in self._known and self.folder:
            try:
                row = np.load(self.folder / f"{key}.npy", allow_pickle=False)
            except (OSError, ValueError, EOFError):
                return None
            if row.shape == (self.model.embedding_dim,) and row.dtype == np.float32:
                self._known[key] = row
        return self._known.get(key)

    def _keep(self, key: str, row: np.ndarray) -> None:
        self._known[key] = row
        if self.folder is None:
            return
        import os
        import tempfile

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, delete=False) as file:
                np.save(file, row)
            os.replace(file.name, self.folder / f"{key}.npy")
        except OSError:
            self.folder = None

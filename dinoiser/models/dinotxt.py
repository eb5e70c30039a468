"""dino.txt: a text tower and two blocks on a frozen DINO, trained to match each other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from dinoiser.errors import CheckpointError, SettingsError
from dinoiser.models.base import PatchFeatures, Scoring
from dinoiser.models.catalog import WindowDefaults
from dinoiser.models.dino_registers import OnRegisterDino
from dinoiser.models.maskclip import stretch_to_patches
from dinoiser.models.open_clip_files import clip_tokenizer
from dinoiser.models.text import encode_by_length

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dinoiser.models.dino_registers import RegisterDino
    from dinoiser.models.dinotxt_towers import DinoTextTower, VisionHead

SLIDING = WindowDefaults(short_side=512, window=384, stride=192, cubic=True)
# the DINOv3 notebook's rules: softmax without temperature, the background like any class
_THIRD = Scoring(temperature=1.0, background="class", enlarged="cosines", padded=False)
SCORING = {2: replace(_THIRD, enlarged="features", spread="cubic"), 3: _THIRD}
"""The rules of the authors' notebooks, by the generation of DINO."""


class DinoTxt(OnRegisterDino):
    """dino.txt over DINOv2 or DINOv3.

    Parameters
    ----------
    dino
        The frozen backbone.
    head
        Two blocks applied to its tokens.
    text
        The text tower. The first half of its vectors matches the class token;
        the second half matches patches and is used here.
    tokenizer
        Sentences to token ids (T, context length); CLIP's own by default.
    tokens
        Whose tokens are the features: the "head"'s, or the "backbone"'s before the
        head, which the authors' notebook for DINOv3 takes although it names them
        as the head's.
    name, digest, windows
        See `SegmentationModel`; by default, windows are the published ones.

    Attributes
    ----------
    scoring
        For DINOv3, cosines are interpolated and a softmax is taken at each
        pixel of a window. For DINOv2, features are interpolated bicubically.
        Here their products with the classes are interpolated instead:
        normalising the features afterwards changes no label. That notebook
        defines no confidence.

    Raises
    ------
    CheckpointError
        The parts do not belong together.
    SettingsError
        `tokens` is neither of these.

    References
    ----------
    Jose et al., DINOv2 Meets Text: A Unified Framework for Image- and
    Pixel-Level Vision-Language Alignment, CVPR 2025.
    """

    def __init__(
        self,
        dino: RegisterDino,
        head: VisionHead,
        text: DinoTextTower,
        tokenizer: Callable[[list[str]], Tensor] | None = None,
        *,
        tokens: Literal["head", "backbone"] = "head",
        name: str = "dinotxt-vitl14",
        digest: str | None = None,
        windows: WindowDefaults | None = None,
    ) -> None:
        if tokens not in ("head", "backbone"):
            msg = f"tokens is {tokens!r}, expected 'head' or 'backbone'."
            raise SettingsError(msg)
        if not dino.width == head.width == text.embedding_dim // 2:
            msg = (
                f"The backbone has {dino.width} channels, the vision head {head.width} and the "
                f"text tower's vectors {text.embedding_dim}, expected twice the channels; "
                "give files of the same model."
            )
            raise CheckpointError(msg)
        super().__init__(dino, name, digest, windows or SLIDING)
        self.scoring = SCORING[dino.generation]
        self.tokens = tokens
        self.head = head.eval().requires_grad_(False).to(dino.device, dino.dtype)
        self.text = text.eval().requires_grad_(False).to(dino.device, dino.dtype)
        self.tokenize = tokenizer or clip_tokenizer(text.context_length)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embeddings (T, D) float32 of whole sentences, for patches, L2-normalised."""
        return encode_by_length(self.encode_tokens, self.tokenize(list(texts)))

    def encode_tokens(self, ids: Tensor) -> Tensor:
        """Embeddings (T, D) float32 of token ids (T, L), for patches, L2-normalised."""
        # the second half of a vector is the one for patches
        return F.normalize(self.text(ids.to(self.device))[:, self.embedding_dim :].float(), dim=-1)

    @torch.no_grad()
    def encode_image(self, pixels: Tensor) -> PatchFeatures:
        """Patch features of pixels (B, 3, H, W), RGB, float in [0, 1].

        Sizes that are not multiples of the patch are stretched bicubically to
        the next multiple.
        """
        seen = self.dino.encode(stretch_to_patches(pixels, self.patch_size))
        if self.tokens == "head":
            seen = seen._replace(tokens=self.head(seen.tokens))
        return PatchFeatures(seen.patches(), None)

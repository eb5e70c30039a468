"""MaskCLIP guided directly by the teachers: DINO's correlations and FOUND's objectness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dinoiser.models.base import Scoring
from dinoiser.models.variation import Variation
from dinoiser.models.varied import Sources, VariedClip

if TYPE_CHECKING:
    from dinoiser.models.teachers.dino import Dino
    from dinoiser.models.teachers.found import Found


class TeacherGuidedClip(VariedClip):
    """CLIP-DINOiser without learnt heads: three networks instead of one.

    Parameters
    ----------
    clip
        See `MaskClip`.
    dino
        Its values decide which patches are pooled.
    found
        Tells objects from background.
    gamma
        See `ClipDinoiser`.
    **described
        `tokenizer`, `name`, `digest`, `windows`: see `MaskClip`.

    References
    ----------
    Wysoczańska et al., CLIP-DINOiser, ECCV 2024, the rows "ours w. DINO" of
    table 2.
    """

    scoring = Scoring()

    def __init__(
        self,
        clip: Any,
        dino: Dino,
        found: Found,
        gamma: float = 0.2,
        *,
        name: str = "clip-dino-guided",
        **described: Any,
    ) -> None:
        guidance = Variation(pooling="dino-values", objects="found")
        sources = Sources(dino=dino, found=found)
        super().__init__(clip, guidance, sources, gamma, name=name, **described)

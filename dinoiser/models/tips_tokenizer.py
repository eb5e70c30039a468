"""The tokenizer of TIPS v2: pieces of words, by the package sentencepiece."""

from __future__ import annotations

from string import ascii_lowercase, ascii_uppercase
from typing import TYPE_CHECKING

from dinoiser.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MAX_PIECES = 64
LOWER_CASE = str.maketrans(ascii_uppercase, ascii_lowercase)
"""The published code leaves all other capitals as they are, such as the one of "Élan"."""


class TipsTokenizer:
    """Sentences to the numbers of their pieces.

    Parameters
    ----------
    path
        The file tokenizer.model.

    Raises
    ------
    CheckpointError
        The file is missing, damaged or another.
    """

    def __init__(self, path: str | Path) -> None:
        from sentencepiece import SentencePieceProcessor

        try:
            self._pieces = SentencePieceProcessor(model_file=str(path))
        except (RuntimeError, OSError) as error:
            msg = (
                f"{path} is missing, damaged or not a sentencepiece model: put the file "
                "tokenizer.model of TIPS v2 there."
            )
            raise CheckpointError(msg) from error

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the numbers of at most `MAX_PIECES` pieces per sentence."""
        return [self._pieces.encode(text.translate(LOWER_CASE))[:MAX_PIECES] for text in texts]

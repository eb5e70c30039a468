"""One class of a prompt set."""

from __future__ import annotations

from dataclasses import dataclass, field

from dinoiser.prompts.palette import normalize_color


@dataclass(frozen=True)
class PromptClass:
    """One class to look for.

    Whitespace in names and phrases is collapsed, and the colour written as ``#rrggbb``.

    Parameters
    ----------
    name
        What the class is called in results.
    id
        Its label in masks: 1 to 254, or 0 for the background.
    phrases
        The texts that describe it; its score is the best of theirs.
    color
        ``#rrggbb``, ``#rgb`` or a CSS name.
    background
        Whether it stands for all that is not an object.
    line
        Where it stands in its prompt file, if it came from one; says nothing about equality.
    """

    name: str
    id: int
    phrases: tuple[str, ...]
    color: str
    background: bool = False
    line: int | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", " ".join(self.name.split()))
        phrases = tuple(" ".join(phrase.split()) for phrase in self.phrases)
        object.__setattr__(self, "phrases", phrases)
        object.__setattr__(self, "color", normalize_color(self.color))

    def __str__(self) -> str:
        return repr(self.name) + (f" (line {self.line})" if self.line else "")

"""One class of a prompt set."""

from __future__ import annotations

from dataclasses import dataclass, field

from dinoiser.prompts.palette import normalize_color


@dataclass(frozen=True)
class PromptClass:
    """One class to look for.

    Whitespace in names and phrases is collapsed, and colours are converted to ``#rrggbb``.

    Parameters
    ----------
    name
        Name of the class in results.
    id
        Its label in masks: 1 to 65534, or 0 for the background.
    phrases
        The texts that describe it; the class scores as its best phrase.
    color
        ``#rrggbb``, ``#rgb`` or a CSS name.
    background
        Whether it stands for everything that is not an object.
    line
        Its line in the prompt file, if it came from one; ignored when comparing.
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

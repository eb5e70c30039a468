"""One class of a prompt set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from dinoiser.errors import PromptError
from dinoiser.plain import make_plain
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
        The text or texts that describe it; the class scores as its best phrase.
    color
        ``#rrggbb``, ``#rgb`` or a CSS name.
    background
        Whether it stands for everything that is not an object.
    line
        Its line in the prompt file, if it came from one; ignored when comparing.

    Raises
    ------
    PromptError
        A name, phrase or colour is no text, or an id no whole number.
    """

    name: str
    id: int
    phrases: tuple[str, ...]
    color: str
    background: bool = False
    line: int | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        make_plain(self)
        if not isinstance(self.id, int) or isinstance(self.id, bool):
            msg = f"the id of class {self.name!r} is {self.id!r}, expected a whole number"
            raise PromptError(msg)
        object.__setattr__(self, "name", one_space(self.name))
        object.__setattr__(self, "phrases", read_phrases(self.phrases))
        object.__setattr__(self, "color", normalize_color(self.color))

    def __str__(self) -> str:
        return repr(self.name) + (f" (line {self.line})" if self.line else "")


def one_space(text: object) -> str:
    """Collapse the whitespace of a name or phrase.

    Raises
    ------
    PromptError
        It is no text.
    """
    if not isinstance(text, str):
        msg = f"a name or phrase is {text!r}, expected text such as 'dog'"
        raise PromptError(msg)
    return " ".join(text.split())


def read_phrases(given: object) -> tuple[str, ...]:
    """Take one phrase, or several, as a tuple.

    Raises
    ------
    PromptError
        They are no text.
    """
    several = given if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    return tuple(map(one_space, several))

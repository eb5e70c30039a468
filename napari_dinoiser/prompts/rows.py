"""The content of the prompt table without the table: rows, and the prompt set made from them.

The words of a class are in two texts. The first is its name, which is also a phrase to look for.
The second contains further phrases, separated by semicolons or commas. If it begins with ``only:``,
the name itself is not looked for. A phrase that contains a separator is put in quotation marks.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dinoiser.errors import PromptError
from dinoiser.labels import MAX_ID
from dinoiser.prompts import PromptClass, PromptSet
from dinoiser.prompts.checks import is_background
from dinoiser.prompts.inline import COMMAS, SEMICOLONS, split, unquote
from dinoiser.prompts.palette import default_color, normalize_color

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from dinoiser.prompts.file import MaskForm

_ONLY = re.compile(r"\s*only\s*:", re.IGNORECASE)
# a phrase in quotation marks, in which "" stands for one, or plain text up to the next separator
_SEPARATOR = f"[{COMMAS}{SEMICOLONS}]"
_PLAIN = f"[^{COMMAS}{SEMICOLONS}]*"
_PHRASE = re.compile(rf'\s*"((?:[^"]|"")*)"\s*(?:{_SEPARATOR}|$)|({_PLAIN})(?:{_SEPARATOR}|$)')
_PROMPT_FILE = re.compile(r"^(version|classes)\s*:", re.MULTILINE)


def read_synonyms(name: str, text: str) -> tuple[str, ...]:
    """Read all phrases of a class from its two texts.

    Parameters
    ----------
    name
        Name of the class.
    text
        Further phrases, such as ``"puppy; hound"``, or ``"only: rusted van"``.

    Returns
    -------
    tuple of str
        The name, unless excluded, and the further phrases, with whitespace collapsed.

    See Also
    --------
    write_synonyms : the inverse.
    """
    only = _ONLY.match(text)
    found = _PHRASE.finditer(text, only.end() if only else 0)
    phrases = ((quoted or "").replace('""', '"') or plain for quoted, plain in map(_groups, found))
    others = tuple(phrase for phrase in map(_collapse, phrases) if phrase)
    return others if only else (_collapse(name), *others)


def write_synonyms(name: str, phrases: Sequence[str]) -> str:
    """Format a class's phrases as the text beside its name.

    See Also
    --------
    read_synonyms : the inverse.
    """
    if phrases and phrases[0] == name:
        return "; ".join(map(_quote, phrases[1:]))
    return f"only: {'; '.join(map(_quote, phrases))}"


def _groups(match: re.Match[str]) -> tuple[str | None, str]:
    return match[1], match[2] or ""


def _collapse(text: str) -> str:
    return " ".join(text.split())


def _quote(phrase: str) -> str:
    if re.search(_SEPARATOR, phrase) or phrase.startswith('"') or _ONLY.match(phrase):
        return '"' + phrase.replace('"', '""') + '"'
    return phrase


@dataclass
class PromptRow:
    """One class being edited.

    Parameters
    ----------
    id
        Its label in masks, 1 to 65534.
    color
        ``#rrggbb``.
    name
        Its name; a row without any words is ignored.
    synonyms
        Its further phrases as one text, see `read_synonyms`.
    visible
        Whether its pixels are shown.
    """

    id: int
    color: str
    name: str = ""
    synonyms: str = ""
    visible: bool = True

    @property
    def blank(self) -> bool:
        """Whether the row has no words yet."""
        return not (self.name.strip() or self.synonyms.strip())


@dataclass
class PromptRows:
    """The rows of the prompt table, and its settings.

    Ids and colours stay with their rows when rows are renamed, moved or removed. A new row
    gets the smallest free id and the default colour of that id. The background is not a row.

    Parameters
    ----------
    rows
        In the order of the table.
    background
        Whether there is a background class.
    templates, ignore_below, masks
        See `PromptSet`.
    reserved
        Returns ids that new rows must not get.
    """

    rows: list[PromptRow] = field(default_factory=list)
    background: bool = False
    templates: str | tuple[str, ...] = "imagenet"
    ignore_below: float = 0.0
    masks: MaskForm = "indexed"
    reserved: Callable[[], Collection[int]] = tuple
    _background_class: PromptClass = field(
        default=PromptClass("background", 0, ("background",), default_color(0), background=True)
    )

    def load(self, prompts: PromptSet) -> None:
        """Replace everything by a prompt set; all its classes become visible."""
        self.background = prompts.background is not None
        self._background_class = prompts.background or self._background_class
        self.templates, self.ignore_below = prompts.templates, prompts.ignore_below
        self.masks = prompts.masks
        self.rows = [
            PromptRow(item.id, item.color, item.name, write_synonyms(item.name, item.phrases))
            for item in prompts.classes
            if not item.background
        ]

    def prompt_set(self) -> PromptSet | None:
        """Make the prompt set; None while there are no classes.

        Raises
        ------
        PromptError
            Lists all errors in the rows.
        """
        classes = [
            PromptClass(row.name, row.id, read_synonyms(row.name, row.synonyms), row.color)
            for row in self.rows
            if not row.blank
        ]
        if not classes:
            return None
        if self.background:
            classes.insert(0, self._background_class)
        return PromptSet(tuple(classes), self.templates, self.ignore_below, self.masks)

    def lists(self) -> list[str]:
        """Return the names that look like lists of classes, as they contain a comma."""
        return [row.name.strip() for row in self.rows if re.search(f"[{COMMAS}]", row.name)]

    def visible_ids(self) -> set[int]:
        """Return the ids of the classes to show, without the background."""
        return {row.id for row in self.rows if row.visible and not row.blank}

    def new_row(self, name: str = "", synonyms: str = "") -> PromptRow:
        """Make a row with a free id, without adding it to `rows`."""
        taken = {row.id for row in self.rows}.union(self.reserved())
        free = (number for number in range(1, MAX_ID + 1) if number not in taken)
        class_id = next(free, MAX_ID + 1)  # one too many, which the prompt set refuses
        return PromptRow(class_id, default_color(class_id), name, synonyms)

    def remove(self, indices: Collection[int]) -> None:
        """Remove the rows at these indices."""
        self.rows = [row for index, row in enumerate(self.rows) if index not in indices]

    def move(self, index: int, target: int) -> None:
        """Move a row to another index."""
        self.rows.insert(target, self.rows.pop(index))

    def set_color(self, class_id: int, color: str) -> None:
        """Set the colour of a class.

        Parameters
        ----------
        class_id
            Its id; 0 is the background, whether there is one or not.
        color
            ``#rrggbb``, ``#rgb`` or a CSS name.

        Raises
        ------
        PromptError
            If no row has this id, or the colour is unknown.
        """
        color = normalize_color(color)
        rows = [row for row in self.rows if row.id == class_id]
        if not rows and class_id != 0:
            ids = ", ".join(str(row.id) for row in self.rows) or "none"
            msg = f"no class has the id {class_id}, so its colour cannot be set: the ids are {ids}"
            raise PromptError(msg)
        for row in rows:
            row.color = color
        if class_id == 0:
            self._background_class = replace(self._background_class, color=color)

    def paste(self, text: str) -> None:
        """Add classes from the clipboard's text.

        The text of a prompt file replaces everything. Several lines are one class each, with
        further phrases after a tab or semicolon; a single line is the inline form of
        `PromptSet.parse`. These classes are appended, except names that already exist.

        Parameters
        ----------
        text
            The text.

        Raises
        ------
        PromptError
            If the text is a prompt file with errors.
        """
        if _PROMPT_FILE.search(text):
            self.load(PromptSet.from_yaml(text, "the pasted text"))
            return
        self.rows = [row for row in self.rows if not row.blank]
        known = {_collapse(row.name).casefold() for row in self.rows}
        # the background is a checkbox and not a row; other names are added once
        for name, phrases in _read_list(text):
            if is_background(name):
                self.background = True
                if phrases != (name,):
                    self._background_class = replace(self._background_class, phrases=phrases)
            elif name.casefold() not in known:
                known.add(name.casefold())
                self.rows.append(self.new_row(name, write_synonyms(name, phrases)))


def _read_list(text: str) -> list[tuple[str, tuple[str, ...]]]:
    """Read the names and phrases of a pasted list."""
    # a list copied from code may have a comma at the end of each line
    lines = [line.strip().removesuffix(",") for line in text.splitlines() if line.strip()]
    chunks = lines if len(lines) > 1 else split(text, COMMAS)
    classes = [_read_class(chunk) for chunk in chunks]
    return [(name, phrases) for name, phrases in classes if name and phrases]


def _read_class(chunk: str) -> tuple[str, tuple[str, ...]]:
    chunk = chunk.strip().replace("\t", ";")
    head, *rest = split(chunk, "=")
    named = bool(rest and head.strip()) and len(split(head, SEMICOLONS)) == 1
    words = split("=".join(rest) if named else chunk, SEMICOLONS)
    phrases = [phrase for word in words if (phrase := _collapse(_unquote(word)))]
    name = _collapse(_unquote(head)) if named else next(iter(phrases), "")
    return name, tuple(phrases)


def _unquote(term: str) -> str:
    with suppress(PromptError):  # half quoted: taken as it is, to be corrected in the table
        return unquote(term)
    return term

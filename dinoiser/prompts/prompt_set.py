"""Prompt sets: the classes to look for, the phrases that describe them, their ids and colours.

The inline form separates classes by commas and the phrases of one class by semicolons.
``name=phrase; phrase`` gives a class a name other than its first phrase. Words that contain one
of these signs are put in quotation marks, see `dinoiser.prompts.inline`. A class named
``background`` has id 0; without one, no pixel is labelled 0.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from dinoiser.errors import PromptError
from dinoiser.labels import MAX_ID, ignore_label, label_type
from dinoiser.plain import make_plain
from dinoiser.prompts import file as prompt_file
from dinoiser.prompts import inline, palette
from dinoiser.prompts.checks import (
    class_problems,
    find_warnings,
    is_background,
    setting_problems,
    size_problems,
)
from dinoiser.prompts.file import ClassEntry, MaskForm, Problem, refuse
from dinoiser.prompts.prompt_class import PromptClass, one_space, read_phrases

if TYPE_CHECKING:
    import numpy as np


MOST_SHOWN = 12
"""Classes that the repr names."""


@dataclass(frozen=True)
class PromptSet:
    """The classes to look for in images, and how to ask for them.

    Parameters
    ----------
    classes
        In the given order, except that the background is moved to the front.
    templates
        ``"imagenet"`` (80 sentences), ``"simple"`` or sentences with ``{}`` for the phrase.
    ignore_below
        Pixels with a lower confidence are ignored; at least 0 and below 1.
    masks
        How masks are saved: as ``"indexed"`` PNG in the classes' colours, or as
        ``"gray"`` PNG, whose values are the labels. With ids above 254, they are
        always grey, of 16 bits.

    Raises
    ------
    PromptError
        With all problems: no classes, repeated ids, names or phrases, and so on.
    """

    classes: tuple[PromptClass, ...]
    templates: str | tuple[str, ...] = "imagenet"
    ignore_below: float = 0.0
    masks: MaskForm = "indexed"

    def __post_init__(self) -> None:
        make_plain(self)
        classes = tuple(sorted(self.classes, key=lambda item: not item.background))
        object.__setattr__(self, "classes", classes)
        if not isinstance(self.templates, str):
            object.__setattr__(self, "templates", tuple(self.templates))
        # too few or too many classes are reported alone
        problems = size_problems(classes) or class_problems(classes)
        refuse([*problems, *setting_problems(self.templates, self.ignore_below, self.masks, {})])

    def __repr__(self) -> str:
        shown, more = self.names[:MOST_SHOWN], len(self.classes) - MOST_SHOWN
        return f"PromptSet({', '.join(shown)}{f' and {more} more' if more > 0 else ''})"

    @classmethod
    def expect(cls, given: object) -> Self:
        """Return a prompt set as it is, and refuse everything else, such as words.

        Raises
        ------
        PromptError
            It is something else.
        """
        if isinstance(given, cls):
            return given
        msg = (
            f"the prompts are a {type(given).__name__}, expected a PromptSet, such as "
            "PromptSet.parse('background, dog') or PromptSet.from_names(['background', 'dog'])"
        )
        raise PromptError(msg)

    @classmethod
    def parse(
        cls, text: str, *, templates: str | Sequence[str] = "imagenet", ignore_below: float = 0.0
    ) -> PromptSet:
        """Read the inline form, such as ``"background, dog; puppy, lawn=grass"``.

        Raises
        ------
        PromptError
            If a class or phrase is empty or repeated, and so on.
        """
        text = inline.expect_text(text)
        chunks = inline.split(text, inline.COMMAS) if text.strip() else []
        empty = f"of {text!r} is empty: remove the extra comma or write a name"
        refuse(
            Problem(None, f"class {number} {empty}")
            for number, chunk in enumerate(chunks, start=1)
            if not chunk.strip()
        )
        entries = [inline.read_class(chunk) for chunk in chunks]
        return cls(_number(entries), _frozen(templates), ignore_below)

    @classmethod
    def from_names(cls, names: Iterable[str] | Mapping[str, Sequence[str]]) -> PromptSet:
        """Make a set from class names, which may contain commas.

        Parameters
        ----------
        names
            The names, or a mapping of each name to its phrases.

        Raises
        ------
        PromptError
            If a name or phrase is empty or repeated, and so on.
        """
        if isinstance(names, Mapping):
            entries = [ClassEntry(name, read_phrases(some)) for name, some in names.items()]
        else:
            entries = [ClassEntry(name) for name in ([names] if isinstance(names, str) else names)]
        return cls(_number(entries))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PromptSet:
        """Read a prompt file.

        Raises
        ------
        PromptError
            If the file cannot be read, or with all errors in it and their lines.
        """
        return cls.from_yaml(prompt_file.read_text(Path(path)), source=os.fspath(path))

    @classmethod
    def from_yaml(cls, text: str, source: str = "prompts") -> PromptSet:
        """Read a prompt file's text; `source` is its name in messages.

        Raises
        ------
        PromptError
            With all errors and their lines.
        """
        document = prompt_file.read_document(text, source)
        classes = _number(document.entries)
        settings = (document.templates, document.ignore_below, document.masks)
        problems = document.problems + setting_problems(*settings, document.lines)
        if not document.problems:  # a class that could not be read is not missing
            problems += size_problems(classes)
        refuse([*problems, *class_problems(classes)], source)
        return cls(classes, *settings)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a prompt file, completely or not at all.

        Raises
        ------
        OutputError
            If the file cannot be written.
        PromptError
            If there are so many classes or phrases that `load` would refuse it.
        """
        prompt_file.write_text(Path(path), self.to_yaml())

    def to_yaml(self) -> str:
        """Format a prompt file's text, including ids and colours."""
        items = []
        for item in self.classes:
            keys = {"name": item.name, "id": item.id, "phrases": list(item.phrases)}
            background = {"background": True} if item.background else {}
            items.append({**keys, "color": item.color, **background})
        return prompt_file.format_document(items, self.templates, self.ignore_below, self.masks)

    def to_inline(self) -> str:
        """Format the inline form, from which `parse` restores this set given the same settings.

        Raises
        ------
        PromptError
            If it cannot express this set, because of custom ids or colours.
        """
        chunks = []
        for item in self.classes:
            name = f"{inline.quote(item.name)}=" if item.name != item.phrases[0] else ""
            chunks.append(name + "; ".join(map(inline.quote, item.phrases)))
        # read back rather than checked by rules: what parse understands is what counts
        text, error = ", ".join(chunks), None
        try:
            same = PromptSet.parse(text, templates=self.templates, ignore_below=self.ignore_below)
            if replace(same, masks=self.masks) == self:
                return text
        except PromptError as problem:
            error = problem
        msg = (
            f"the prompt set {list(self.names)} has ids or colours that the inline form cannot "
            "express: save it as a prompt file"
        )
        raise PromptError(msg) from error

    def with_ids_of(self, *earlier: PromptSet) -> PromptSet:
        """Give classes the ids and colours that earlier sets have for their names.

        Other classes get ids that no earlier set has.

        Parameters
        ----------
        *earlier
            The earlier sets; the first one that has a name counts.

        Raises
        ------
        PromptError
            No id is left, or a colour would stand for two classes.
        """
        past = [item for one in reversed(earlier) for item in one.classes]
        known = {item.name.casefold(): item for item in past}
        used = {item.id for item in past}
        free = (number for number in range(1, MAX_ID + 1) if number not in used)
        classes = []
        for item in self.classes:
            same = known.get(item.name.casefold())
            if same is not None and same.background == item.background:
                item = replace(item, id=same.id, color=same.color)
            elif not item.background and item.id in used:
                number = next(free, MAX_ID + 1)
                item = replace(item, id=number, color=palette.default_color(number))
            used.add(item.id)
            classes.append(item)
        return replace(self, classes=tuple(classes))

    @property
    def names(self) -> tuple[str, ...]:
        """The classes' names, in order."""
        return tuple(item.name for item in self.classes)

    @property
    def background(self) -> PromptClass | None:
        """The background class, or None if there is none."""
        return next((item for item in self.classes if item.background), None)

    @cached_property
    def label_type(self) -> np.dtype:
        """Type of the labels: uint8, or uint16 if there are ids above 254."""
        return label_type(item.id for item in self.classes)

    @property
    def ignore(self) -> int:
        """Label of ignored pixels, the largest of its type: 255 or 65535."""
        return ignore_label(self.label_type)

    @cached_property
    def palette(self) -> np.ndarray:
        """Colour of each label: shape (256 or 65536, 3), uint8, RGB; last, of ignored pixels."""
        table = palette.palette({item.id: item.color for item in self.classes})
        table.flags.writeable = False  # cached and shared by all results
        return table

    @cached_property
    def label_colors(self) -> dict[int, str]:
        """Colour "#rrggbb" of each label that a mask may hold: see `palette.label_colors`."""
        return palette.label_colors({item.id: item.color for item in self.classes})

    @cached_property
    def mask_colors(self) -> dict[int, str]:
        """Colour of each label in masks that are saved as `masks` says, see `read_mask`."""
        grey = self.masks == "gray"
        return palette.gray_colors(self.label_colors) if grey else self.label_colors

    @property
    def warnings(self) -> tuple[str, ...]:
        """Likely mistakes that could also be intended, one sentence each."""
        return find_warnings(self.classes)

    def by_name(self, name: str) -> PromptClass:
        """Find a class by its name, ignoring case.

        Raises
        ------
        PromptError
            If there is no such class, or what is given is no name.
        """
        classes = {item.name.casefold(): item for item in self.classes}
        key = one_space(name).casefold()
        if key in classes:
            return classes[key]
        nearest = difflib.get_close_matches(key, classes, n=1)
        hint = f"did you mean {classes[nearest[0]].name!r}? " if nearest else ""
        msg = f"there is no class {name!r}: {hint}the classes are {', '.join(self.names)}"
        raise PromptError(msg)


def _frozen(templates: str | Sequence[str]) -> str | tuple[str, ...]:
    return templates if isinstance(templates, str) else tuple(templates)


def _number(entries: Iterable[ClassEntry]) -> tuple[PromptClass, ...]:
    """Make classes; where none is given, take the smallest free id and its default colour."""
    entries = list(entries)
    # ids given by the user are kept; the others fill the gaps in the order of the classes
    taken = {entry.id for entry in entries}
    free = (number for number in range(1, MAX_ID + 1) if number not in taken)
    classes = []
    for entry in entries:
        background = entry.background
        if background is None:
            background = is_background(entry.name)
        class_id = entry.id
        if class_id is None:
            class_id = 0 if background else next(free, MAX_ID + 1)
        phrases = (entry.name,) if entry.phrases is None else entry.phrases
        color = entry.color or palette.default_color(class_id)
        classes.append(
            PromptClass(entry.name, class_id, phrases, color, background, line=entry.line)
        )
    return tuple(classes)

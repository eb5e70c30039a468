"""Find out which image of ours, and which class, an annotation is about."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from typing import TYPE_CHECKING

from dinoiser.errors import SettingsError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dinoiser.prompts import PromptSet

    # what is made of a wanted name, and our images by the last parts of what is made of theirs
    _Form = tuple[Callable[[str], str], Mapping[tuple[str, ...], list[str]]]


def match_images(wanted: Iterable[str], ours: Mapping[str, str]) -> dict[str, str | None]:
    """Match images by name, else by the last parts of their paths where only one has them.

    The most parts that two names share count; of as many, those of whole names
    before those of results' names, and these before those without suffixes.

    Parameters
    ----------
    wanted
        Names with forward slashes, with or without suffix.
    ours
        The name of each image's results, by the image's name.

    Returns
    -------
    dict
        Our name for each wanted one, None where there is none or several. No
        image of ours is given twice.
    """
    results, our_bare = _by_tail(ours), _by_tail({name: _bare(name) for name in ours})
    forms: list[_Form] = [
        (str, _by_tail({name: name for name in ours})),
        (str, results),
        (str, our_bare),
        (_bare, results),
        (_bare, our_bare),
    ]
    asking: dict[str, list[tuple[tuple[int, int], str]]] = defaultdict(list)
    found: dict[str, str | None] = dict.fromkeys(wanted)
    for name in found:
        if name in ours:
            found[name] = name
        elif (nearest := _nearest(name, forms)) is not None:
            rank, our = nearest
            asking[our].append((rank, name))
    for our, askers in asking.items():
        (rank, name), *others = sorted(askers)
        # of several that are as near, none is known to be the right one
        if our not in found and not any(other == rank for other, _ in others):
            found[name] = our
    return found


def _nearest(name: str, forms: Sequence[_Form]) -> tuple[tuple[int, int], str] | None:
    """Find the image that shares most with a name, with a rank, lower if nearer."""
    parts = [_parts(form(name)) for form, _ in forms]
    for length in range(len(parts[0]), 0, -1):
        for place, (_, by_tail) in enumerate(forms):
            if having := by_tail.get(parts[place][-length:]):
                return ((-length, place), having[0]) if len(having) == 1 else None
    return None


def _by_tail(keys: Mapping[str, str]) -> dict[tuple[str, ...], list[str]]:
    """List images by each of the last parts of their keys."""
    by_tail = defaultdict(list)
    for name, key in keys.items():
        parts = _parts(key)
        for start in range(len(parts)):
            by_tail[parts[start:]].append(name)
    return by_tail


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.split("/") if part not in ("", "."))


def _bare(name: str) -> str:
    """Give a path without suffix."""
    return posixpath.splitext(name)[0]


def class_key(name: str) -> str:
    """Give the form of a class's name by which names are compared."""
    return " ".join(name.split()).casefold()


def split_renames(pairs: Iterable[str]) -> dict[str, str]:
    """Read pairs "old=new": names of classes in a file, and in the job.

    Returns
    -------
    dict
        The new name by the old one, see `class_key`.

    Raises
    ------
    SettingsError
        A pair has no equals sign.
    """
    renames = {}
    for pair in pairs:
        old, equals, new = pair.partition("=")
        if not (old.strip() and equals and new.strip()):
            msg = f'--map is {pair!r}, expected "old=new", two names of classes.'
            raise SettingsError(msg)
        renames[class_key(old)] = new.strip()
    return renames


def note_unused(renames: Mapping[str, str], names: Iterable[str]) -> list[str]:
    """Name the renames of classes that are not among those of the annotations, a sentence each."""
    known = sorted({class_key(name) for name in names})
    return [
        f'--map "{old}={new}" changes nothing, as no annotation has that class'
        f"{did_you_mean(old, known)}"
        for old, new in renames.items()
        if old not in known
    ]


def match_classes(
    names: Mapping[int, str], renames: Mapping[str, str], prompts: PromptSet
) -> dict[int, int]:
    """Find the job's id of each label; labels whose class the job lacks are left out."""
    ids = {item.name.casefold(): item.id for item in prompts.classes}
    ids.setdefault("background", 0)
    found = {}
    for label, name in names.items():
        key = class_key(name)
        key = renames.get(key, key).casefold()
        if key in ids:
            found[label] = ids[key]
    return found

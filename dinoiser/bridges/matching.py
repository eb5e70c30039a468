"""Find out which image of ours, and which class, an annotation is about."""

from __future__ import annotations

from collections import defaultdict
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from dinoiser.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from dinoiser.prompts import PromptSet


def match_images(wanted: Iterable[str], ours: Iterable[str]) -> dict[str, str | None]:
    """Match images by name, else by the last parts of their paths where only one has them.

    Parameters
    ----------
    wanted, ours
        Names with forward slashes. Suffixes do not count, unless names differ
        in nothing else.

    Returns
    -------
    dict
        Our name for each wanted one, None where there is none or several. No
        image of ours is given twice.
    """
    wanted, ours = list(wanted), list(ours)
    found: dict[str, str] = {name: name for name in set(wanted) & set(ours)}
    by_tail = defaultdict(set)
    for name in ours:
        for tail in _tails(name):
            by_tail[tail].add(name)
    # the longer what two names share, the earlier they find each other
    most = max((len(PurePosixPath(name).parts) for name in wanted), default=0)
    for length in range(most, 0, -1):
        for name in wanted:
            tail = next((t for t in _tails(name) if t.count("/") + 1 == length), "")
            free = by_tail.get(tail, set()).difference(found.values())
            if name not in found and len(free) == 1:
                found[name] = free.pop()
    return {name: found.get(name) for name in wanted}


def _tails(name: str) -> Iterator[str]:
    """Give a path without suffix, then without its first folder, and so on."""
    parts = PurePosixPath(name).with_suffix("").parts if name else ()
    for start in range(len(parts)):
        yield "/".join(parts[start:])


def split_renames(pairs: Iterable[str]) -> dict[str, str]:
    """Read pairs "old=new": names of classes in a file, and in the job.

    Returns
    -------
    dict
        The new name by the old one in lower case.

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
        renames[old.strip().casefold()] = new.strip()
    return renames


def match_classes(
    names: Mapping[int, str], renames: Mapping[str, str], prompts: PromptSet
) -> dict[int, int]:
    """Find the job's id of each label; labels whose class the job lacks are left out."""
    ids = {item.name.casefold(): item.id for item in prompts.classes}
    ids.setdefault("background", 0)
    found = {}
    for label, name in names.items():
        key = " ".join(name.split()).casefold()
        key = renames.get(key, key).casefold()
        if key in ids:
            found[label] = ids[key]
    return found

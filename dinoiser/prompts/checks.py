"""Find errors and likely mistakes in the classes of a prompt set."""

from __future__ import annotations

import difflib
import itertools
import re
import unicodedata
from typing import TYPE_CHECKING, NamedTuple

from dinoiser.prompts import palette
from dinoiser.prompts.file import Problem

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

    from dinoiser.prompts.prompt_class import PromptClass

MAX_CLASSES = 254  # a label is a byte: 0 is the background, 255 marks ignored pixels
_MAX_TOKENS = 60  # of CLIP's 77, templates take up to 15 and the start and end tokens 2


def is_background(name: str) -> bool:
    """Tell whether a name alone makes a class the background."""
    return " ".join(name.split()).casefold() == "background"


def size_problems(classes: Sequence[PromptClass]) -> list[Problem]:
    """Refuse sets with no class to look for, or with more than a mask can hold."""
    objects = sum(not item.background for item in classes)
    if not classes:
        return [Problem(None, "there are no classes: name at least one, such as 'dog'")]
    if not objects:
        return [Problem(None, "there is only the background: add at least one other class")]
    if objects > MAX_CLASSES:
        text = f"there are {objects} classes, but a mask holds {MAX_CLASSES}: use several sets"
        return [Problem(None, text)]
    return []


def class_problems(classes: Sequence[PromptClass]) -> list[Problem]:
    """Find errors within single classes and between them."""
    problems = [Problem(item.line, text) for item in classes for text in _own_problems(item)]
    for _, first, again in _repeats((item.name.casefold(), item) for item in classes):
        text = (
            f"class {again.name!r} has the same name as class {first}: merge the two or rename one"
        )
        problems.append(Problem(again.line, text))
    backgrounds = [item for item in classes if item.background]
    for again in backgrounds[1:]:
        text = f"{again.name!r} is background, but so is class {backgrounds[0]}: merge the two"
        problems.append(Problem(again.line, text))
    for class_id, first, again in _repeats((item.id, item) for item in classes if item.id):
        text = f"class {again.name!r} has id {class_id}, as does class {first}: change one of them"
        problems.append(Problem(again.line, text))
    # one phrase in two classes would score alike in both, so that neither could win for certain
    for key, first, again in _repeats(
        (phrase.casefold(), item) for item in classes for phrase in item.phrases if phrase
    ):
        if first is again:
            text = f"class {again.name!r} has the phrase {key!r} twice: remove one"
        elif first.name.casefold() == again.name.casefold():
            continue  # reported above as one name used twice
        else:
            text = f"classes {first} and {again.name!r} share the phrase {key!r}: keep one of them"
        problems.append(Problem(again.line, text))
    return problems


def _own_problems(item: PromptClass) -> Iterator[str]:
    """Find errors within one class."""
    if not item.name:
        yield f"the class with the phrases {list(item.phrases)} has an empty name: give it one"
    elif not item.phrases:
        yield f"class {item.name!r} has no phrases: add at least one"
    elif "" in item.phrases:
        yield f"class {item.name!r} has an empty phrase: fill it in or remove it"
    for text in dict.fromkeys((item.name, *item.phrases)):
        if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text):
            yield f"{text!r} contains a control character: remove it"
    if not item.background and is_background(item.name):
        yield f"class {item.name!r} is not marked as background: set background: true or rename it"
    elif item.background != (item.id == 0) or not 0 <= item.id <= MAX_CLASSES:
        other = f"from 1 to {MAX_CLASSES}, as 0 is reserved for the background"
        expected = "0, as it is the background" if item.background else other
        yield f"class {item.name!r} has id {item.id}: it must be {expected}"


def _repeats(
    keyed: Iterable[tuple[Hashable, PromptClass]],
) -> Iterator[tuple[Hashable, PromptClass, PromptClass]]:
    """Find repeated keys, each with the class that had it first and the one that repeats it."""
    seen: dict[Hashable, PromptClass] = {}
    for key, item in keyed:
        if key in seen:
            yield key, seen[key], item
        seen.setdefault(key, item)


def setting_problems(
    templates: str | Sequence[str], ignore_below: float, lines: Mapping[str, int]
) -> list[Problem]:
    """Find errors in the settings, given the line of each."""
    problems = []
    texts = () if isinstance(templates, str) else templates
    if templates not in ("imagenet", "simple") and not texts:
        text = f"templates is {templates!r}: write imagenet, simple or a list of texts with {{}}"
        problems.append(Problem(lines.get("templates"), text))
    for template in texts:
        if template.count("{}") != 1 or re.search(r"[{}]", template.replace("{}", "")):
            text = f"template {template!r} must contain {{}} exactly once, where the phrase goes"
            problems.append(Problem(lines.get("templates"), text))
    if not 0 <= ignore_below < 1:  # false for NaN, too
        text = f"ignore_below is {ignore_below}: write a number of at least 0 and below 1"
        problems.append(Problem(lines.get("ignore_below"), text))
    return problems


def find_warnings(classes: Sequence[PromptClass]) -> tuple[str, ...]:
    """Find what is probably a mistake, but could be intended."""
    return (*_alike(classes), *_too_long(classes), *_same_colors(classes))


class _Term(NamedTuple):
    """A name or phrase, reduced to what matters to the models."""

    text: str
    owner: PromptClass
    words: tuple[str, ...]
    joined: str


def _term(text: str, owner: PromptClass) -> _Term:
    # case, width, hyphens, underscores and invisible characters do not count
    plain = "".join(
        " " if unicodedata.category(letter) in ("Pd", "Pc") else letter
        for letter in unicodedata.normalize("NFKC", text).casefold()
        if unicodedata.category(letter) != "Cf"  # invisible: joiners, direction marks
    )
    words = plain.split()
    # nor does a leading article
    if len(words) > 1 and words[0] in ("a", "an", "the"):
        words = words[1:]
    return _Term(text, owner, tuple(words), "".join(words))


def _alike(classes: Sequence[PromptClass]) -> Iterator[str]:
    """Warn of nearly identical names and phrases in two classes."""
    terms = [
        _term(text, item)
        for item in classes
        for text in {text.casefold(): text for text in (item.name, *item.phrases)}.values()
    ]
    for one, other in itertools.combinations(terms, 2):
        if one.owner is not other.owner and _hardly_differ(one, other):
            yield (
                f"{one.text!r} of class {one.owner} and {other.text!r} of class {other.owner} "
                "are nearly the same and compete for pixels: keep one, or put both in one class"
            )


def _hardly_differ(one: _Term, other: _Term) -> bool:
    if one.joined[:1] != other.joined[:1]:  # rules out most pairs quickly
        return False
    if one.joined == other.joined:
        return True
    short, long = sorted((one.joined, other.joined), key=len)
    # box, boxes; berry, berries; leaf, leaves
    plurals = [f"{short}s", f"{short}es", f"{short[:-1]}ies"]
    plurals += [f"{short.removesuffix('e')[:-1]}ves"]
    if long in plurals:
        return True
    if len(one.words) != len(other.words):
        return False
    pairs = [pair for pair in zip(one.words, other.words, strict=True) if pair[0] != pair[1]]
    return len(pairs) == 1 and _is_typo(*pairs[0])


def _is_typo(one: str, other: str) -> bool:
    """Tell whether two long words differ by one letter.

    Short ones (cat, car) are usually both meant. So are words that differ in their first letter
    (leather, feather), where typing errors are rare.
    """
    if min(len(one), len(other)) < 7 or one[0] != other[0] or not (one + other).isalpha():
        return False
    if abs(len(one) - len(other)) > 1:
        return False
    changes = difflib.SequenceMatcher(None, one, other, autojunk=False).get_opcodes()
    return sum(max(b - a, d - c) for tag, a, b, c, d in changes if tag != "equal") == 1


def _too_long(classes: Sequence[PromptClass]) -> Iterator[str]:
    """Warn of phrases so long that the models would cut them off."""
    for item in classes:
        for phrase in item.phrases:
            # about four English letters per token; other scripts take up to one token per byte
            tokens = sum(0.25 if c.isascii() else len(c.encode()) for c in phrase)
            if tokens > _MAX_TOKENS:
                yield (
                    f"phrase '{phrase[:40]}...' of class {item} is so long ({len(phrase)} letters) "
                    "that its end may be cut off: use a few words"
                )


def _same_colors(classes: Sequence[PromptClass]) -> Iterator[str]:
    """Warn of classes that cannot be told apart by colour."""
    seen = {palette.IGNORE_COLOR: "ignored pixels"}
    if not any(item.background for item in classes):
        seen[palette.BACKGROUND_COLOR] = "pixels without a class"
    for item in classes:
        if item.color in seen:
            yield f"class {item} has colour {item.color}, like {seen[item.color]}: choose another"
        seen.setdefault(item.color, f"class {item}")

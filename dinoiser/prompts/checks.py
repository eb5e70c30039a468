"""Find errors and likely mistakes in the classes of a prompt set."""

from __future__ import annotations

import itertools
import re
import unicodedata
from typing import TYPE_CHECKING, NamedTuple, get_args

from dinoiser.labels import MAX_ID
from dinoiser.prompts import palette
from dinoiser.prompts.file import MaskForm, Problem
from dinoiser.prompts.prompt_class import one_space

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

    from dinoiser.prompts.prompt_class import PromptClass

_MAX_TOKENS = 60  # of CLIP's 77, templates take up to 15 and the start and end tokens 2
_MAX_LETTERS = 4 * _MAX_TOKENS  # longer texts, which are warned of, are not searched for typos


def is_background(name: str) -> bool:
    """Tell whether a name alone makes a class the background."""
    return one_space(name).casefold() == "background"


def size_problems(classes: Sequence[PromptClass]) -> list[Problem]:
    """Refuse sets with no class to look for, or with more than a mask can hold."""
    objects = sum(not item.background for item in classes)
    if not classes:
        return [Problem(None, "there are no classes: name at least one, such as 'dog'")]
    if not objects:
        return [Problem(None, "there is only the background: add at least one other class")]
    if objects > MAX_ID:
        text = f"there are {objects} classes, but a mask holds {MAX_ID}: use several sets"
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
    elif item.background != (item.id == 0) or not 0 <= item.id <= MAX_ID:
        other = f"from 1 to {MAX_ID}, as 0 is reserved for the background"
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
    templates: str | Sequence[str], ignore_below: float, masks: str, lines: Mapping[str, int]
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
    if not isinstance(ignore_below, int | float) or not 0 <= ignore_below < 1:  # nor is NaN
        text = f"ignore_below is {ignore_below}: write a number of at least 0 and below 1"
        problems.append(Problem(lines.get("ignore_below"), text))
    if masks not in get_args(MaskForm):
        text = f"masks is {masks!r}: write {' or '.join(get_args(MaskForm))}"
        problems.append(Problem(lines.get("masks"), text))
    return problems


def find_warnings(classes: Sequence[PromptClass]) -> tuple[str, ...]:
    """Find what is probably a mistake, but could be intended."""
    return (*_alike(classes), *_too_long(classes), *_same_colors(classes))


class _Term(NamedTuple):
    """A name or phrase, reduced to what matters to the models."""

    text: str
    owner: PromptClass
    words: tuple[str, ...]

    @property
    def joined(self) -> str:
        return "".join(self.words)


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
    return _Term(text, owner, tuple(words))


def _alike(classes: Sequence[PromptClass]) -> Iterator[str]:
    """Warn of nearly identical names and phrases in two classes."""
    terms = [
        _term(text, item)
        for item in classes
        for text in {text.casefold(): text for text in (item.name, *item.phrases)}.values()
    ]
    for i, j in sorted(_pairs_alike(terms)):
        one, other = terms[i], terms[j]
        yield (
            f"{one.text!r} of class {one.owner} and {other.text!r} of class {other.owner} "
            "are nearly the same and compete for pixels: keep one, or put both in one class"
        )


def _pairs_alike(terms: Sequence[_Term]) -> set[tuple[int, int]]:
    """Find pairs of terms of two classes that hardly differ, as indices in order.

    Each term is looked up by the forms that others may have, instead of being
    compared with all others, as there may be thousands.
    """
    # the first two classes that have a form stand for all: each other class differs from one
    places: dict[tuple[str, str], dict[int, int]] = {}
    for index, term in enumerate(terms):
        for form in _forms(term):
            owners = places.setdefault(form, {})
            if len(owners) < 2:
                owners.setdefault(id(term.owner), index)
    return {
        (min(index, other), max(index, other))
        for index, term in enumerate(terms)
        for form in itertools.chain(_forms(term), _longer_or_shorter(term))
        for owner, other in places.get(form, {}).items()
        if owner != id(term.owner)
    }


def _forms(term: _Term) -> Iterator[tuple[str, str]]:
    """Forms that two terms share if they are the same, or differ by one letter replaced."""
    yield "joined", term.joined
    yield "spaced", " ".join(term.words)
    for before, after in _around_letters(term, least=7):
        yield "replaced", f"{before}\0{after}"  # no term contains a zero


def _longer_or_shorter(term: _Term) -> Iterator[tuple[str, str]]:
    """Forms that a term has if it is this one's plural, or lacks one of its letters."""
    word = term.joined
    # box, boxes; berry, berries; leaf, leaves
    plurals = [f"{word}s", f"{word}es", f"{word[:-1]}ies", f"{word.removesuffix('e')[:-1]}ves"]
    yield from (("joined", plural) for plural in plurals if plural[:1] == word[:1])
    for before, after in _around_letters(term, least=8):
        yield "spaced", before + after


def _around_letters(term: _Term, least: int) -> Iterator[tuple[str, str]]:
    """Cut a term before and after each letter that may be a typing error.

    Short words (cat, car) are usually both meant. So are words that differ in
    their first letter (leather, feather), where typing errors are rare.
    """
    spaced = " ".join(term.words)
    if len(spaced) > _MAX_LETTERS:
        return
    start = 0
    for word in term.words:
        if len(word) >= least and word.isalpha():
            for i in range(start + 1, start + len(word)):
                yield spaced[:i], spaced[i + 1 :]
        start += len(word) + 1


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

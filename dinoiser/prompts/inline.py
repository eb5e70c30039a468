"""The inline form of a prompt set: classes on one line, such as ``background, dog; puppy``.

Commas separate classes, semicolons phrases, and ``name=`` may come first; the full-width signs of
Chinese and Japanese keyboards do the same. A name or phrase that contains one of them is put in
quotation marks, in which ``""`` stands for one.
"""

from __future__ import annotations

import re

from dinoiser.errors import PromptError
from dinoiser.prompts.file import ClassEntry

COMMAS = ",，、"  # full-width on purpose
SEMICOLONS = ";；"
_SIGNS = f"[{COMMAS}{SEMICOLONS}=]"
_WORDS = f"[^{COMMAS}{SEMICOLONS}=]*"
_QUOTED = r'\s*"((?:[^"]|"")*)"\s*'
_TERM = re.compile(rf"({_QUOTED}(?={_SIGNS}|\Z)|{_WORDS})({_SIGNS}|\Z)")


def expect_text(given: object) -> str:
    """Return words as they are, and refuse everything else, such as a list.

    Raises
    ------
    PromptError
        They are no text.
    """
    if isinstance(given, str):
        return given
    msg = (
        f"the words are a {type(given).__name__}, expected text such as 'background, dog; puppy'; "
        "PromptSet.from_names takes lists of names, and names with their phrases"
    )
    raise PromptError(msg)


def split(text: str, separators: str) -> list[str]:
    """Split at any of some separators, except within quotation marks, which are kept."""
    parts = [""]
    for match in _TERM.finditer(text):
        term, separator = match[1], match[3]
        if not separator:
            parts[-1] += term
            break
        if separator in separators:
            parts[-1] += term
            parts.append("")
        else:
            parts[-1] += term + separator
    return parts


def read_class(chunk: str) -> ClassEntry:
    """Read one class.

    Raises
    ------
    PromptError
        The name does not come first, or quotation marks are not closed.
    """
    head, *rest = split(chunk, "=")
    if rest and len(split(head, SEMICOLONS)) > 1:
        msg = f"the name in {chunk.strip()!r} does not come first: write name=phrase; phrase"
        raise PromptError(msg)
    phrases = tuple(unquote(term) for term in split("=".join(rest or [head]), SEMICOLONS))
    return ClassEntry(unquote(head) if rest else phrases[0], phrases)


def unquote(term: str) -> str:
    """Remove the quotation marks around a name or phrase, if there are any.

    Raises
    ------
    PromptError
        There is a mark at the start, but not at the end.
    """
    if not term.lstrip().startswith('"'):
        return term
    match = re.fullmatch(_QUOTED, term)
    if match is None:
        msg = (
            f"the quotation marks in {term.strip()!r} do not enclose it: put one before and one "
            'after the words, and write "" for one within'
        )
        raise PromptError(msg)
    return match[1].replace('""', '"')


def quote(term: str) -> str:
    """Put a name or phrase in quotation marks if it would be misread without."""
    if re.search(_SIGNS, term) or term.startswith('"'):
        return '"{}"'.format(term.replace('"', '""'))
    return term

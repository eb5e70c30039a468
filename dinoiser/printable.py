"""Text that shows what it contains: names of files may hold anything but a slash."""

import re

# What moves the cursor, changes colours, rings or starts a line; what turns the direction of
# writing; and surrogates, which stand for bytes that are no text and cannot be encoded.
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Escape control characters, controls of direction and bytes that are no text."""
    return _ODD.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def printable_json(document: str) -> str:
    """Escape them in a JSON document, which stays the same document."""
    # the others are escaped by JSON itself, or lay out the document
    return _ODD.sub(lambda m: m[0] if m[0] < " " else f"\\u{ord(m[0]):04x}", document)

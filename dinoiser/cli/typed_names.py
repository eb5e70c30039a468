"""Settings in messages, under the names of the options that were typed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

VALUE = r"(?= is (?:'|-?\d|True|False))"


def as_typed(sentence: str, arguments: Sequence[str]) -> str:
    """Name settings as the user did: "short_side is 0" becomes "--short-side is 0".

    Parameters
    ----------
    sentence
        What is wrong, with the names of settings in Python.
    arguments
        Those of the command. Settings that are not among them are not renamed,
        as they come from elsewhere, such as a file.
    """
    options = {word.partition("=")[0] for word in arguments if re.match(r"--[a-z]", word)}
    for option in options:
        name = option.removeprefix("--").replace("-", "_")
        # a name of one word is also a word like any other, except in front of its value
        end = r"\b" if "_" in name else VALUE
        sentence = re.sub(rf"(?<![\w-]){re.escape(name)}{end}", option, sentence)
    return sentence

"""Read YAML from elsewhere: whatever it holds, it takes little time, or is refused."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from dinoiser.errors import SettingsError, reason_of
from dinoiser.plain_text import decode

MOST_BYTES = 2**26
"""Of a file, ours or another's; larger ones are neither read in full nor written."""
MOST_VALUES = 2**22
"""Keys, texts, numbers, lists and mappings; each takes up to 750 bytes of memory."""
MOST_LEVELS = 32
"""Lists and mappings within each other; ours have five at most."""
MOST_DIGITS = 40
"""Letters of a number; ours have twenty at most."""
_TOO_MANY = f"there are more than {MOST_VALUES:,} values"
_EXAMPLE = "lines of YAML such as 'gamma: 0.2'"
_QUOTATION = "text that begins with &, * or ! must be in quotation marks"


# libyaml's parser is thirty times as fast, where PyYAML has it
_Fastest: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class PlainLoader(yaml.BaseLoader):
    """Reads every scalar as plain text, so that a class can be named ``no``.

    Anchors, aliases and tags are refused: a few lines of aliases can stand for
    billions of values, or for a value that contains itself. Deep nesting is
    refused as well; see `has_too_many_values` for the rest.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._level = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose one value, and all within it."""
        event = self.peek_event()
        if problem := _problem(event, self._level):
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        self._level += 1
        node = super().compose_node(parent, index)
        self._level -= 1
        return node


def load_values(text: str) -> Any:
    """Read a YAML text as plain values.

    Parameters
    ----------
    text
        One document.

    Returns
    -------
    Any
        Dictionaries, lists, texts, numbers, dates, booleans and None.

    Raises
    ------
    ValueError
        The text is not valid YAML, or has anchors, aliases, tags, more than
        `MOST_LEVELS` levels, more than `MOST_VALUES` values or numbers of more
        than `MOST_DIGITS` letters.
    """
    try:
        if problem := _first_problem(text):
            raise ValueError(problem)
        return yaml.load(text, Loader=_ValueLoader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def read_bytes(path: Path) -> bytes | None:
    """Read a file of YAML; None if it has more than `MOST_BYTES`."""
    with path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    return data if len(data) <= MOST_BYTES else None


def to_bytes(text: str) -> bytes | None:
    """Encode a YAML text for a file; None if it could not be read back, as it is too large."""
    data = text.encode()
    return None if len(data) > MOST_BYTES or has_too_many_values(text) else data


def has_too_many_values(text: str) -> bool:
    """Whether a YAML text has more than `MOST_VALUES` values, which takes little time to tell."""
    if len(text) <= MOST_VALUES:  # a value has at least one letter
        return False
    with suppress(yaml.YAMLError):  # whoever reads it says what is wrong there
        return _first_problem(text) == _TOO_MANY
    return False


def read_mapping(path: str | Path) -> dict[str, Any]:
    """Read a small YAML file of settings: their values by name.

    Raises
    ------
    SettingsError
        It cannot be read, or holds something else.
    """
    try:
        data = read_bytes(Path(path))
        content = None if data is None else load_values(decode(data))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or reason_of(error)
        msg = f"The settings in {path} cannot be read ({reason}): give {_EXAMPLE}."
        raise SettingsError(msg) from error
    if isinstance(content, dict) and all(isinstance(name, str) for name in content):
        return content
    msg = f"{path} is not a file of settings: expected {_EXAMPLE}."
    raise SettingsError(msg)


def load_own(text: str) -> Any:
    """Read a YAML text that comes with this package, as `yaml.safe_load` does, but faster."""
    return yaml.load(text, _Fastest)


def _first_problem(text: str) -> str | None:
    """Say what is refused first about a text; None if nothing is.

    It is read as events, which take no more memory than the text, however the
    values refer to each other.
    """
    level = values = 0
    for event in yaml.parse(text, Loader=_ValueLoader):
        values += isinstance(event, yaml.NodeEvent)
        if problem := _problem(event, level):
            return problem
        if values > MOST_VALUES:
            return _TOO_MANY
        level += isinstance(event, yaml.CollectionStartEvent)
        level -= isinstance(event, yaml.CollectionEndEvent)
    return None


def _problem(event: yaml.Event, level: int) -> str | None:
    """Say what is refused about a value that begins at a level; None if nothing is."""
    if getattr(event, "anchor", None) is not None or getattr(event, "tag", None) is not None:
        return _QUOTATION
    return "the nesting is too deep" if level > MOST_LEVELS else None


class _ValueLoader(_Fastest):
    """A safe loader that refuses long numbers, as work with them grows by their square."""

    def construct_number(self, node: yaml.ScalarNode) -> float:
        """Read a whole number or a fraction."""
        if len(node.value) > MOST_DIGITS:
            problem = f"a number has {len(node.value)} digits"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        is_whole = node.tag.endswith(":int")
        return self.construct_yaml_int(node) if is_whole else self.construct_yaml_float(node)


for _kind in ("int", "float"):
    _ValueLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _ValueLoader.construct_number)

"""Read YAML from elsewhere: whatever it holds, it takes little time, or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from dinoiser.errors import SettingsError

MOST_BYTES = 2**20
MOST_LEVELS = 32
"""Lists and mappings within each other; ours have five at most."""
MOST_DIGITS = 40
"""Letters of a number; ours have twenty at most."""
_EXAMPLE = "lines of YAML such as 'gamma: 0.2'"
_QUOTATION = "text that begins with &, * or ! must be in quotation marks"


# libyaml's parser is thirty times as fast, where PyYAML has it
_Fastest: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class PlainLoader(yaml.BaseLoader):
    """Reads every scalar as plain text, so that a class can be named ``no``.

    Anchors, aliases and tags are refused: a few lines of aliases can stand for
    billions of values, or for a value that contains itself. Deep nesting is
    refused as well.
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
        `MOST_LEVELS` levels or numbers of more than `MOST_DIGITS` letters.
    """
    try:
        # first as events, which take no more memory than the text, however the values refer to
        # each other
        level = 0
        for event in yaml.parse(text, Loader=_ValueLoader):
            if problem := _problem(event, level):
                raise ValueError(problem)
            level += isinstance(event, yaml.CollectionStartEvent)
            level -= isinstance(event, yaml.CollectionEndEvent)
        return yaml.load(text, Loader=_ValueLoader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def read_mapping(path: str | Path) -> dict[str, Any]:
    """Read a small YAML file of settings: their values by name.

    Raises
    ------
    SettingsError
        It cannot be read, or holds something else.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        content = load_values(data.decode()) if len(data) <= MOST_BYTES else None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        msg = f"The settings in {path} cannot be read ({reason}): give {_EXAMPLE}."
        raise SettingsError(msg) from error
    if isinstance(content, dict) and all(isinstance(name, str) for name in content):
        return content
    msg = f"{path} is not a file of settings: expected {_EXAMPLE}."
    raise SettingsError(msg)


def load_own(text: str) -> Any:
    """Read a YAML text that comes with this package, as `yaml.safe_load` does, but faster."""
    return yaml.load(text, _Fastest)


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

"""Read and write the prompt file: YAML text to class entries and back, with line numbers."""

from __future__ import annotations

import difflib
import reprlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from dinoiser.atomic import write_file
from dinoiser.errors import OutputError, PromptError
from dinoiser.labels import MAX_ID
from dinoiser.plain_text import decode
from dinoiser.prompts.palette import normalize_color
from dinoiser.safe_yaml import (
    MOST_BYTES,
    MOST_VALUES,
    PlainLoader,
    has_too_many_values,
    read_bytes,
    to_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from pydantic_core import ErrorDetails

MaskForm = Literal["indexed", "gray"]

# what to write for each key, as the end of a sentence in messages
_EXPECTED = {
    "version": "1",
    "classes": "a list of classes such as - {name: dog}",
    "templates": "imagenet, simple or a list of texts with {}",
    "ignore_below": "a number of at least 0 and below 1",
    "masks": "indexed or gray",
    "name": "one text, such as dog",
    "phrases": "a list of texts such as [dog, puppy]",
    "id": f"a whole number from 1 to {MAX_ID}, or 0 for the background",
    "color": '"#rrggbb" or a CSS name such as "tomato"',
    "background": "true or false",
}


class Problem(NamedTuple):
    """One error in the prompts, and its line."""

    line: int | None
    text: str


class ClassEntry(NamedTuple):
    """One class as the user wrote it; None stands for what they left out."""

    name: str
    phrases: tuple[str, ...] | None = None
    id: int | None = None
    color: str | None = None
    background: bool | None = None
    line: int | None = None


@dataclass
class Document:
    """The content of a prompt file, as far as it could be understood."""

    entries: list[ClassEntry] = field(default_factory=list)
    templates: str | tuple[str, ...] = "imagenet"
    ignore_below: float = 0.0
    masks: MaskForm = "indexed"
    lines: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


class _ClassModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    phrases: tuple[str, ...] | None = None
    id: Annotated[int, Field(ge=0, le=MAX_ID)] | None = None
    color: Annotated[str, AfterValidator(normalize_color)] | None = None
    background: bool | None = None


class _DocumentModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal["1"]  # text, as the loader below leaves all values
    classes: tuple[Any, ...]  # checked one by one, so that a wrong class does not hide the others
    templates: str | tuple[str, ...] = "imagenet"
    ignore_below: float = 0.0
    masks: MaskForm = "indexed"


_Path = tuple[str | int, ...]
_Model = TypeVar("_Model", bound=BaseModel)
SHOWN_PROBLEMS = 10


def refuse(problems: Iterable[Problem], source: str = "") -> None:
    """Raise the first problems as one PromptError, one per line of text, in the file's order."""
    ordered = sorted(dict.fromkeys(problems), key=lambda problem: problem.line or 0)
    messages = []
    for line, text in ordered[:SHOWN_PROBLEMS]:
        place = [source] if source else []
        place += [f"line {line}"] if line else []
        messages.append(f"{', '.join(place)}: {text}" if place else text)
    if len(ordered) > SHOWN_PROBLEMS:
        messages.append(f"and {len(ordered) - SHOWN_PROBLEMS} more")
    if messages:
        raise PromptError("\n".join(messages))


def read_document(text: str, source: str) -> Document:
    """Read a prompt file's text; raise PromptError only if it cannot be parsed at all.

    Everything else that is wrong is listed in the document's problems, for the caller to refuse.
    """
    # YAML -> plain values with a line for every path, such as ("classes", 2, "id")
    lines: dict[_Path, int] = {}
    document = Document()
    data = _plain(_compose(text, source), (), lines, document.problems)
    # the top level, with fallbacks for required keys so that the others are still checked
    nothing = {"version": "1", "classes": ()}
    checked = _validate(_DocumentModel, data, (), lines, document.problems, nothing)
    document.lines = {str(path[0]): line for path, line in lines.items() if len(path) == 1}
    if checked is not None:
        document.templates, document.ignore_below = checked.templates, checked.ignore_below
        document.masks = checked.masks
    # class by class
    classes = data.get("classes")
    for index, item in enumerate(classes if isinstance(classes, list) else ()):
        path = ("classes", index)
        if not isinstance(item, dict):
            text = f"a class is {reprlib.repr(item)}: write it as - {{name: dog}}"
            document.problems.append(Problem(lines[path], text))
            continue
        entry = _validate(_ClassModel, item, path, lines, document.problems, {})
        if entry is not None:
            document.entries.append(ClassEntry(**entry.model_dump(), line=lines[path]))
    return document


def _compose(text: str, source: str) -> yaml.MappingNode:
    """Parse YAML into nodes, which know their lines."""
    if has_too_many_values(text):
        refuse([Problem(None, f"there are more than {MOST_VALUES:,} values")], source)
    try:
        root = yaml.compose(text, Loader=PlainLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        reason = ", ".join(filter(None, (error.context, error.problem)))
        refuse([Problem(line, f"this is not valid YAML ({reason}): {_YAML_CURE}")], source)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        refuse([Problem(line, "the text contains a control character: remove it")], source)
    else:
        if isinstance(root, yaml.MappingNode):
            return root
        found = "is empty" if root is None else "has no keys"
        refuse([Problem(None, f"the prompt file {found}: {_FORM_CURE}")], source)
    raise AssertionError


_YAML_CURE = "check the indentation, and put text that contains : # { } [ ] , in quotation marks"
_FORM_CURE = "write 'version: 1', 'classes:' and a line such as '  - {name: dog}' for each class"


def _plain(node: yaml.Node, path: _Path, lines: dict[_Path, int], problems: list[Problem]) -> Any:
    """Turn nodes into dicts, lists and strings, and record the line of each path."""
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*path, i), lines, problems) for i, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return node.value
    result: dict[str, Any] = {}
    for key, value in node.value:
        line, name = key.start_mark.line + 1, key.value
        if not isinstance(key, yaml.ScalarNode):
            problems.append(Problem(line, "a key is a list or mapping: write a word"))
        elif name in result:
            text = f"key {name!r} was already given on line {lines[*path, name]}: keep one of them"
            problems.append(Problem(line, text))
        else:
            result[name] = _plain(value, (*path, name), lines, problems)
            lines[*path, name] = line  # the key's line: the value may start further down
    return result


def _validate(
    model: type[_Model],
    data: Mapping[str, Any],
    path: _Path,
    lines: Mapping[_Path, int],
    problems: list[Problem],
    fallback: Mapping[str, Any],
) -> _Model | None:
    """Check one mapping; note what is wrong and leave it out, so that the rest is still used."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        details = error.errors()
    for detail in details:
        key = str(detail["loc"][0])
        text = _explain(detail, key, data.get(key), model)
        problems.append(Problem(lines.get((*path, key), lines[path]), text))
    wrong = {detail["loc"][0] for detail in details}
    try:
        right = {key: value for key, value in data.items() if key not in wrong}
        return model.model_validate({**fallback, **right})
    except ValidationError:
        return None


def _explain(detail: ErrorDetails, key: str, value: object, model: type[BaseModel]) -> str:
    """Say what is wrong with one key and what to write instead."""
    kind = detail["type"]
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    if kind == "missing":
        return f"key {key!r} is missing: add it with {_EXPECTED[key]}"
    if kind == "extra_forbidden":
        known = list(model.model_fields)
        nearest = difflib.get_close_matches(key.lower(), known, n=1)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        return f"unknown key {key!r}: {hint}the keys allowed here are {', '.join(known)}"
    return f"{key} is {reprlib.repr(value)}: write {_EXPECTED[key]}"


def read_text(path: Path) -> str:
    """Read a prompt file's text."""
    try:
        data = read_bytes(path)
    except OSError as error:
        msg = f"prompt file {str(path)!r} cannot be read ({error.strerror}): check its path"
        raise PromptError(msg) from error
    if data is None:
        found = f"is larger than {MOST_BYTES >> 20} MiB"
        msg = f"{path} is not a prompt file (it {found}): give a YAML file saved as UTF-8"
        raise PromptError(msg)
    try:
        return decode(data)
    except ValueError as error:
        msg = f"{path} is not a prompt file: {error}"
        raise PromptError(msg) from error


def write_text(path: Path, text: str) -> None:
    """Write a prompt file so that readers find either the old text or the new, never part of it.

    A symbolic link stays one: the file it points to is replaced.
    """
    target = path.resolve()
    if not target.parent.is_dir():
        msg = f"prompt file {str(path)!r} cannot be written: check that its folder exists"
        raise OutputError(msg)
    data = to_bytes(text)
    if data is None:
        msg = f"the prompts are too large for {path}, which could not be read: use fewer phrases"
        raise PromptError(msg)
    write_file(target, data)


def format_document(
    classes: Sequence[Mapping[str, object]],
    templates: str | Sequence[str],
    ignore_below: float,
    masks: MaskForm,
) -> str:
    """Format a prompt file's text, one line per class; words such as ``no`` are quoted."""

    def dump(value: object, flow: bool) -> str:
        return yaml.safe_dump(
            value, default_flow_style=flow, sort_keys=False, allow_unicode=True, width=float("inf")
        )

    settings = {
        "templates": templates if isinstance(templates, str) else list(templates),
        "ignore_below": float(ignore_below),
        **({} if masks == "indexed" else {"masks": masks}),
    }
    lines = "".join(f"  - {dump(dict(item), True)}" for item in classes)
    return f"version: 1\nclasses:\n{lines}{dump(settings, False)}"

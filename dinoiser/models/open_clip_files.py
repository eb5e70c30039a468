"""What dinoiser reads in open_clip's folder: its tokenizer, its templates and its configurations.

Importing open_clip itself takes seconds, see ``clip.py``. If something else has imported it,
it is asked, so that what was added to it counts too.
"""

from __future__ import annotations

import json
import sys
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor


def clip_tokenizer(context_length: int) -> Callable[[list[str]], Tensor]:
    """Return CLIP's tokenizer: sentences to ids (T, context_length)."""
    return partial(_tokenize, context_length=context_length)


def _tokenize(texts: list[str], context_length: int) -> Tensor:
    # by its name here, as models are sent to other processes, where open_clip's file is unknown
    return _module("tokenizer").tokenize(texts, context_length=context_length)


def imagenet_templates() -> tuple[str, ...]:
    """Return the 80 sentences of CLIP's authors, with {} in place of the phrase."""
    return _sentences(_module("zero_shot_metadata").OPENAI_IMAGENET_TEMPLATES)


def simple_templates() -> tuple[str, ...]:
    """Return the 7 of them that do best together."""
    return _sentences(_module("zero_shot_metadata").SIMPLE_IMAGENET_TEMPLATES)


def architecture_config(name: str) -> dict[str, Any]:
    """Read the configuration of an architecture by its name in open_clip."""
    if "open_clip" in sys.modules:
        import open_clip

        return dict(open_clip.get_model_config(name))
    path = _folder() / "model_configs" / f"{name}.json"
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _sentences(templates: Iterable[Callable[[str], str]]) -> tuple[str, ...]:
    return tuple(fill("{}") for fill in templates)


@cache
def _module(name: str) -> Any:  # open_clip has no types
    """Run one file of open_clip by itself; it must import nothing else of open_clip."""
    if "open_clip" in sys.modules:
        return import_module(f"open_clip.{name}")
    spec = spec_from_file_location(f"{__name__}.{name}", _folder() / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _folder() -> Path:
    spec = find_spec("open_clip")  # finds a top-level package without importing it
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent

"""The phrases that the tiny backbone learns, and the classes of which each is true."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import open_clip
import torch
from torch import Tensor

from dinoiser.scenes import BACKGROUNDS, COLORS, SHAPES

if TYPE_CHECKING:
    from collections.abc import Callable

CLASSES: tuple[str, ...] = (
    *(f"{color} {shape}" for shape in SHAPES for color in COLORS),
    *BACKGROUNDS,
)
"""Everything that a patch can show: the objects, shape by shape, then the backgrounds."""

OBJECTS = len(SHAPES) * len(COLORS)
UNKNOWN = "zebra"
"""Represents all words outside the vocabulary."""

BACKGROUND_WORDS: dict[str, tuple[str, ...]] = {
    "grass": ("green grass",),
    "sky": ("cloudy sky", "sky with clouds"),
    "sand": ("sandy ground",),
    "brick": ("brick wall", "bricks"),
    "wood": ("wooden surface", "wood grain"),
    "water": ("wavy water",),
    "stone": ("rough stone",),
    "snow": ("white snow",),
    "checkerboard": ("checkerboard pattern",),
    "striped": ("stripes", "striped pattern"),
    "plain": ("plain surface", "plain color"),
    "noise": ("noisy pattern",),
}
COLOR_PHRASES = ("{}", "{} thing", "{} object", "something {}", "{} shape", "{} things")
SHAPE_PHRASES = ("{}", "{}", "{}", "{} shape", "{} object")
BACKGROUND_PHRASES = ("{}", "{}", "{} background", "{} background", "{} texture")
OBJECT_PHRASES = (*["{color} {shape}"] * 8, "{shape} that is {color}", "{color} {shape} object")


@dataclass(frozen=True)
class Vocabulary:
    """The phrases of one training step.

    Attributes
    ----------
    sentences
        V phrases in templates.
    truth
        (V, number of ``CLASSES``), bool: whether the phrase is true of the class.
    says_something
        (V,), bool: False for the bare word "background", which can be true of a patch but says
        nothing about a whole image.
    """

    sentences: list[str]
    truth: Tensor
    says_something: Tensor


def draw_vocabulary(rng: np.random.Generator) -> Vocabulary:
    """Draw phrases for objects, colours, shapes or a mixture, and backgrounds, in templates."""
    phrases: list[tuple[str, list[int]]] = []
    kinds = ("objects", "colors", "shapes", "mixture")
    kind = str(rng.choice(kinds, p=(0.45, 0.15, 0.2, 0.2)))
    if kind in ("objects", "mixture"):
        some = range(OBJECTS) if kind == "objects" else rng.choice(OBJECTS, 36, replace=False)
        phrases += [_object_phrase(rng, int(k)) for k in some]
    if kind in ("colors", "mixture"):
        some = _all_or(rng, len(COLORS), 4, kind)
        phrases += [_color_phrase(rng, int(k)) for k in some]
    if kind in ("shapes", "mixture"):
        some = _all_or(rng, len(SHAPES), 3, kind)
        phrases += [_shape_phrase(rng, int(k)) for k in some]
    # the backgrounds by name, the bare word "background", or both
    which = rng.random()
    if which > 0.45:
        phrases += [_background_phrase(rng, k) for k in range(len(BACKGROUNDS))]
    bare = which < 0.45 or which > 0.7
    if rng.random() < 0.5:
        # unknown words are true of nothing
        phrases += [(UNKNOWN, []), (f"{rng.choice(COLORS)} {UNKNOWN}", [])]
    if bare:
        phrases.append(("background", list(range(OBJECTS, len(CLASSES)))))
    return _in_templates(rng, phrases, bare)


def _all_or(rng: np.random.Generator, count: int, few: int, kind: str) -> np.ndarray:
    return rng.permutation(count)[: few if kind == "mixture" else count]


def _in_templates(
    rng: np.random.Generator, phrases: list[tuple[str, list[int]]], bare: bool
) -> Vocabulary:
    templates: list[Callable[[str], str]] = open_clip.OPENAI_IMAGENET_TEMPLATES
    # one template for all phrases, or one for each
    drawn = rng.integers(len(templates), size=1 if rng.random() < 0.5 else len(phrases))
    chosen = np.resize(drawn, len(phrases))
    truth = torch.zeros(len(phrases), len(CLASSES), dtype=torch.bool)
    for row, (_, true_of) in enumerate(phrases):
        truth[row, true_of] = True
    says_something = torch.ones(len(phrases), dtype=torch.bool)
    says_something[-1] = not bare
    sentences = [templates[k](phrase) for k, (phrase, _) in zip(chosen, phrases, strict=True)]
    return Vocabulary(sentences, truth, says_something)


def _object_phrase(rng: np.random.Generator, index: int) -> tuple[str, list[int]]:
    color, shape = CLASSES[index].split()
    return str(rng.choice(OBJECT_PHRASES)).format(color=color, shape=shape), [index]


def _color_phrase(rng: np.random.Generator, index: int) -> tuple[str, list[int]]:
    phrase = str(rng.choice(COLOR_PHRASES)).format(COLORS[index])
    return phrase, list(range(index, OBJECTS, len(COLORS)))


def _shape_phrase(rng: np.random.Generator, index: int) -> tuple[str, list[int]]:
    words = (SHAPES[index], plural(SHAPES[index]))
    phrase = str(rng.choice(SHAPE_PHRASES)).format(rng.choice(words, p=(0.8, 0.2)))
    first = index * len(COLORS)
    return phrase, list(range(first, first + len(COLORS)))


def _background_phrase(rng: np.random.Generator, index: int) -> tuple[str, list[int]]:
    name = BACKGROUNDS[index]
    phrases = [phrase.format(name) for phrase in BACKGROUND_PHRASES]
    return str(rng.choice([*phrases, *BACKGROUND_WORDS[name]])), [OBJECTS + index]


def plural(shape: str) -> str:
    """Turn ``"circle"`` into ``"circles"``, and ``"cross"`` into ``"crosses"``."""
    return shape + ("es" if shape.endswith("s") else "s")


def known_tokens(tokenize: Callable[[list[str]], Tensor]) -> Tensor:
    """Return the ids of all tokens that the model learns, ascending, int64."""
    words = [template("x") for template in open_clip.OPENAI_IMAGENET_TEMPLATES]
    words += [*CLASSES, *map(plural, SHAPES), "something that is", "thing things object background"]
    words += ["shape", *(word for synonyms in BACKGROUND_WORDS.values() for word in synonyms)]
    words += ["texture surface pattern"]
    unknown = set(tokenize([UNKNOWN]).flatten().tolist()) - set(tokenize([""]).flatten().tolist())
    return torch.tensor(sorted(set(tokenize(words).flatten().tolist()) - unknown))

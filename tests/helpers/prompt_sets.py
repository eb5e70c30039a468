"""Prompt sets of all kinds, and what is said where one is refused."""

from collections.abc import Callable

import pytest
from hypothesis import strategies as st

from dinoiser.errors import PromptError
from dinoiser.prompts import PromptClass, PromptSet

# letters, digits, YAML's and the inline form's own characters, accents, emoji, words YAML converts
TEXTS = st.one_of(
    st.text("ab zé,;=:#'\"{}[]-?!&*|>%@`\\~🐶字\ufeff\u200b\uffff", min_size=1, max_size=12),
    st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12),
    st.sampled_from(
        ["no", "yes", "null", "~", "1", "1e3", "0x1f", "true", "2024-01-01", "=", "<<"]
    ),
)
COLORS = st.integers(0, 2**24 - 1).map("#{:06x}".format)


def heard(text: str) -> str:
    return " ".join(text.split()).casefold()


@st.composite
def prompt_sets(
    draw: st.DrawFn, phrases: st.SearchStrategy[str] = TEXTS, naming: int | None = 1
) -> PromptSet:
    """Draw classes of given phrases, of which the first `naming` (None: all) may be the name."""
    texts = draw(st.lists(phrases.filter(str.strip), min_size=1, max_size=9, unique_by=heard))
    ids = draw(st.lists(st.integers(1, 254), min_size=9, max_size=9, unique=True))
    classes: list[PromptClass] = []
    while texts:
        count = draw(st.integers(1, len(texts)))
        some, texts = tuple(texts[:count]), texts[count:]
        name = draw(st.sampled_from([*some[:naming], f"name {len(texts)}"]))
        classes.append(PromptClass(name, ids[len(classes)], some, draw(COLORS)))
    if draw(st.booleans()):
        classes.append(PromptClass("Background", 0, ("wall of words",), draw(COLORS), True))
    lists: list[str | tuple[str, ...]] = ["imagenet", "simple", ("a {}.", "no: {}, #1")]
    templates = draw(st.sampled_from(lists))
    return PromptSet(tuple(classes), templates, draw(st.floats(0, 1, exclude_max=True)))


def refusal(function: Callable[..., object], *arguments: object, **named: object) -> str:
    with pytest.raises(PromptError) as caught:
        function(*arguments, **named)
    return str(caught.value)

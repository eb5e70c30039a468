"""Warnings about prompt sets of enormous size take time in proportion to it."""

import time

import pytest

from dinoiser.prompts import PromptSet

LETTERS = "abcdefghij"


def phrases(count, ending):
    """Phrases such as "object hbcie ending" that differ in a word too short for a typo."""
    return [
        "object " + "".join(LETTERS[int(digit)] for digit in f"{i:05}") + f" {ending}"
        for i in range(count)
    ]


def words(count, ending):
    """Words such as "zzzzzzhbcie" that are alike in many letters."""
    return [
        "zzzzzz" + "".join(LETTERS[int(digit)] * 2 for digit in f"{i:05}") + ending
        for i in range(count)
    ]


SETS = {
    "long names": {"n" * 400_000 + "a": ["dog"], "n" * 400_000 + "b": ["cat"]},
    "long names of many words": {"grassland " * 40_000: ["dog"], "woodland " * 44_000: ["cat"]},
    "many phrases": {"day": phrases(5_000, "sun"), "night": phrases(5_000, "moon")},
    "many long words": {"day": words(5_000, "sun"), "night": words(5_000, "moon")},
    "plurals": {"day": phrases(5_000, "star"), "night": phrases(5_000, "stars")},
}


@pytest.mark.parametrize("kind", SETS)
def test_warnings_come_within_seconds(kind):
    prompts = PromptSet.from_names(SETS[kind])
    start = time.process_time()
    warnings = prompts.warnings
    assert time.process_time() - start < 5
    alike = [text for text in warnings if "nearly the same" in text]
    assert len(alike) == (5_000 if kind == "plurals" else 0)


def test_a_thousand_equal_phrases_are_warned_of_once_each_and_not_in_every_pair():
    shared = [f"{'-' * i}dog" for i in range(1, 1001)]
    prompts = PromptSet.from_names({"day": shared, "night": [f"{text}-" for text in shared]})
    alike = [text for text in prompts.warnings if "nearly the same" in text]
    assert 1000 <= len(alike) <= 4000

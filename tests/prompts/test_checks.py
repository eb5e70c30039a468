"""What looks like a mistake in a prompt set."""

import pytest

from dinoiser.prompts import PromptSet


class TestWarnings:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("dog", "dogs"),
            ("bus", "buses"),
            ("berry", "berries"),
            ("leaf", "leaves"),
            ("knife", "knives"),
            ("dog", "a dog"),
            ("The Dog", "dog"),
            ("t-shirt", "t shirt"),
            ("motor bike", "motorbike"),
            ("tooth brush", "toothbrushes"),
            ("café", "cafe\u0301"),
            ("dog", "ｄｏｇ"),
            ("dog", "d\u200bog"),
            ("bicycle", "bycycle"),
            ("swimming pool", "swiming pool"),
            ("red building", "red buildding"),
        ],
    )
    def test_texts_that_hardly_differ_are_warned_of_with_both(self, one: str, other: str) -> None:
        for names in ([one, other], [other, one]):
            (warning,) = PromptSet.from_names(names).warnings
            assert repr(one) in warning
            assert repr(other) in warning
            assert "keep one" in warning

    @pytest.mark.parametrize(
        "text",
        [
            "background, dog; puppy, rusted van, wooden table",
            "cat, car, bat, house, horse, mouse, grass, glass, floor, flower",
            "leather, feather, weather, red leather chair, red feather chair",
            "channel 1, channel 2, channel 12, platform1, platform2",
            "dog; dogs; a dog, cat",
            "🐶, 🐱, 犬, 猫",
            "a, an, the",
            "red car, red cat, car red",
        ],
    )
    def test_other_words_and_synonyms_of_one_class_are_not(self, text: str) -> None:
        assert PromptSet.parse(text).warnings == ()

    def test_a_phrase_that_is_another_classes_name_is_warned_of(self) -> None:
        (warning,) = PromptSet.parse("dog=hound, pet=dog").warnings

        assert "class 'dog'" in warning
        assert "class 'pet'" in warning

    def test_lines_are_told_where_there_are_any(self) -> None:
        text = "version: 1\nclasses:\n  - {name: dog}\n  - {name: dogs, color: '#e69f00'}\n"
        alike, colors = PromptSet.from_yaml(text).warnings

        for warning in (alike, colors):
            assert "'dog' (line 3)" in warning
            assert "'dogs' (line 4)" in warning
        assert "line" not in PromptSet.parse("dog, dogs").warnings[0]

    def test_phrases_longer_than_clip_reads_are_warned_of(self) -> None:
        (warning,) = PromptSet.parse(f"dog, sky=blue sky {'over the hills ' * 20}").warnings

        assert "class 'sky'" in warning
        assert "use a few words" in warning

    @pytest.mark.parametrize(
        ("classes", "owner"),
        [
            ("{name: dog, color: red}, {name: cat, color: '#F00'}", "class 'dog'"),
            ("{name: cat, color: '#E0E0C0'}", "ignored pixels"),
            ("{name: cat, color: black}", "pixels without a class"),
            ("{name: background}, {name: cat, color: black}", "class 'background'"),
        ],
    )
    def test_a_colour_used_twice_is_warned_of(self, classes: str, owner: str) -> None:
        (warning,) = PromptSet.from_yaml(f"version: 1\nclasses: [{classes}]").warnings

        assert "class 'cat' (line 2)" in warning
        assert owner in warning
        assert "choose another" in warning

"""Prompt sets, typed on a line or made of names."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dinoiser.errors import PromptError
from dinoiser.prompts import PromptClass, PromptSet
from tests.helpers.prompt_sets import prompt_sets, refusal


class TestInline:
    def test_commas_separate_classes_and_semicolons_phrases(self) -> None:
        prompts = PromptSet.parse("dog; puppy ,  rusty   van")

        assert prompts.names == ("dog", "rusty van")
        assert [item.phrases for item in prompts.classes] == [("dog", "puppy"), ("rusty van",)]

    def test_a_name_before_an_equals_sign_names_the_class(self) -> None:
        lawn = PromptSet.parse("lawn = grass; turf").by_name("lawn")

        assert lawn.phrases == ("grass", "turf")

    def test_only_the_first_equals_sign_ends_the_name(self) -> None:
        assert PromptSet.parse("sum=a=b").by_name("sum").phrases == ("a=b",)

    def test_ids_start_at_1_without_a_background(self) -> None:
        prompts = PromptSet.parse("dog, cat")

        assert [item.id for item in prompts.classes] == [1, 2]
        assert prompts.background is None

    def test_the_background_comes_first_and_has_id_0_wherever_it_was_written(self) -> None:
        prompts = PromptSet.parse("dog, Background=sky; wall, cat")
        background = prompts.classes[0]

        assert [(item.name, item.id) for item in prompts.classes] == [
            ("Background", 0),
            ("dog", 1),
            ("cat", 2),
        ]
        assert prompts.background == background
        assert background.phrases == ("sky", "wall")

    def test_a_class_added_later_leaves_the_others_their_ids_and_colours(self) -> None:
        few, more = PromptSet.parse("dog, cat"), PromptSet.parse("dog, cat, background, bird")

        assert all(more.by_name(item.name) == item for item in few.classes)

    def test_254_classes_fit_into_a_byte_and_one_more_does_not(self) -> None:
        names = [f"q{number}" for number in range(255)]

        assert PromptSet.parse(",".join(["background", *names[:254]])).classes[-1].id == 254
        assert PromptSet.parse(",".join(names[:254])).label_type == np.uint8
        assert PromptSet.parse(",".join(names)).label_type == np.uint16

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("", "no classes"),
            (" \n ", "no classes"),
            ("dog, , cat", "class 2 of 'dog, , cat' is empty: remove"),
            ("dog,", "class 2 of 'dog,' is empty: remove"),
            ("dog; ;puppy", "class 'dog' has an empty phrase"),
            ("dog=", "class 'dog' has an empty phrase"),
            ("=dog", "phrases ['dog'] has an empty name"),
            ("background", "only the background: add at least one other"),
            ("dog, DOG", "class 'DOG' has the same name as class 'dog'"),
            ("dog; puppy, wolf; Puppy", "classes 'dog' and 'wolf' share the phrase 'puppy'"),
            ("dog; Dog", "class 'dog' has the phrase 'dog' twice: remove one"),
            ("dog; x=y", "name in 'dog; x=y' does not come first: write name=phrase"),
            ("do\x07g", "'do\\x07g' contains a control character: remove it"),
        ],
    )
    def test_mistakes_are_refused_with_their_cure(self, text: str, problem: str) -> None:
        assert problem in refusal(PromptSet.parse, text)

    def test_all_mistakes_are_reported_together(self) -> None:
        message = refusal(PromptSet.parse, "a;, b, B, c; b", templates="vogue", ignore_below=-1)

        assert len(message.splitlines()) == 5
        assert "templates is 'vogue'" in message
        assert "ignore_below is -1" in message

    @example(PromptSet.parse("background, dog; puppy, lawn=grass;turf, sum=a=b"))
    @given(prompt_sets())
    def test_the_inline_form_is_read_back_or_refused(self, prompts: PromptSet) -> None:
        try:
            text = prompts.to_inline()
        except PromptError as error:
            assert "prompt file" in str(error)  # noqa: PT017
        else:
            templates, threshold = prompts.templates, prompts.ignore_below
            again = PromptSet.parse(text, templates=templates, ignore_below=threshold)
            assert again == prompts

    @given(st.lists(st.text('ab é=，；"', min_size=1).filter(lambda t: t.strip(" =")), min_size=1))
    def test_every_set_that_was_typed_inline_has_an_inline_form(self, typed: list[str]) -> None:
        try:
            prompts = PromptSet.parse(", ".join(typed))
        except PromptError:
            return  # repeated or half-written classes
        assert PromptSet.parse(prompts.to_inline()) == prompts

    def test_signs_of_chinese_and_japanese_keyboards_separate_too(self) -> None:
        prompts = PromptSet.parse("背景=background，狗；小狗、猫")

        assert prompts.names == ("背景", "狗", "猫")
        assert prompts.by_name("狗").phrases == ("狗", "小狗")

    @pytest.mark.parametrize(
        ("text", "phrases"),
        [
            ('"salt, pepper", dog', [("salt, pepper",), ("dog",)]),
            ('dog ; "a; b" ,cat', [("dog", "a; b"), ("cat",)]),
            ('"a=b"', [("a=b",)]),
            ('"say ""ah"", doctor"', [('say "ah", doctor',)]),
            ('"盐，胡椒"，狗', [("盐，胡椒",), ("狗",)]),
            ('5" pipe, dog', [('5" pipe',), ("dog",)]),
        ],
    )
    def test_quotation_marks_keep_words_together(self, text: str, phrases: list) -> None:
        prompts = PromptSet.parse(text)

        assert [item.phrases for item in prompts.classes] == phrases
        assert PromptSet.parse(prompts.to_inline()) == prompts

    def test_a_name_can_be_quoted(self) -> None:
        prompts = PromptSet.parse('"tie, necktie"=tie; cravat')

        assert prompts.by_name("tie, necktie").phrases == ("tie", "cravat")
        assert prompts.to_inline() == '"tie, necktie"=tie; cravat'

    @pytest.mark.parametrize("text", ['"salt, pepper', 'dog, "big" cat'])
    def test_marks_that_do_not_enclose_are_refused(self, text: str) -> None:
        assert "one before and one after" in refusal(PromptSet.parse, text)


class TestPromptSet:
    def test_names_may_hold_commas_when_given_as_a_list(self) -> None:
        prompts = PromptSet.from_names(["tie, necktie", "background"])

        assert prompts.names == ("background", "tie, necktie")

    def test_names_may_map_to_phrases(self) -> None:
        prompts = PromptSet.from_names({"dog": ["dog", "puppy"], "cat": "tabby"})

        assert [item.phrases for item in prompts.classes] == [("dog", "puppy"), ("tabby",)]

    def test_a_class_is_found_in_any_case_and_spacing(self) -> None:
        assert PromptSet.parse("Rusty Van, dog").by_name(" rusty  van").id == 1

    def test_an_unknown_name_is_answered_with_the_nearest_and_all_known(self) -> None:
        message = refusal(PromptSet.parse("grass, dog").by_name, "gras")

        assert "'gras'" in message
        assert "did you mean 'grass'" in message
        assert "grass, dog" in message

    def test_the_palette_gives_each_class_its_colour_at_its_id(self) -> None:
        text = "version: 1\nclasses: [{name: dog, id: 9, color: red}, {name: background}]"
        table = PromptSet.from_yaml(text).palette

        assert table.shape == (256, 3)
        assert table.dtype == np.uint8
        assert table[[0, 9, 255]].tolist() == [[0, 0, 0], [255, 0, 0], [224, 224, 192]]

    def test_classes_made_by_hand_are_checked(self) -> None:
        dog = PromptClass(" dog ", 1, ("a  dog",), "RED")

        assert dog == PromptClass("dog", 1, ("a dog",), "#ff0000")
        assert "id 1" in refusal(PromptSet, (dog, PromptClass("cat", 1, ("cat",), "blue")))
        assert "id 65535" in refusal(PromptSet, (PromptClass("cat", 65535, ("cat",), "blue"),))
        assert "'bluish'" in refusal(PromptClass, "cat", 1, ("cat",), "bluish")

    def test_neither_torch_nor_skimage_is_imported_for_a_dozen_classes(self) -> None:
        code = (
            "import sys; from dinoiser.prompts import PromptSet;"
            "PromptSet.from_yaml(PromptSet.parse('dog, cat').to_yaml()).warnings;"
            "sys.exit(any(name in sys.modules for name in ('torch', 'skimage', 'open_clip')))"
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

        assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


def test_classes_never_get_the_id_of_another():
    earlier = PromptSet.from_names(["background", "circle", "star", "square"])
    words = PromptSet.from_names(["background", "square", "a", "b", "c", "d"])
    found = {item.name: item.id for item in words.with_ids_of(earlier).classes}
    assert found["background"] == 0
    assert found["square"] == 3
    assert sorted(found[name] for name in "abcd") == [4, 5, 6, 7]


@pytest.mark.parametrize("given", [["dog", "cat"], {"dog": "puppy"}, b"dog", None])
def test_what_is_no_text_is_not_parsed(given):
    with pytest.raises(PromptError, match=f"are a {type(given).__name__}.*from_names"):
        PromptSet.parse(given)


def test_a_set_says_in_a_line_which_classes_it_has():
    assert repr(PromptSet.parse("background, dog; puppy")) == "PromptSet(background, dog)"
    many = repr(PromptSet.from_names(map(str, range(171))))
    assert many.startswith("PromptSet(0, 1, 2, ")
    assert many.endswith(" and 159 more)")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PromptSet.from_names({0: "background", 1: "dog"}), "is 0, expected text"),
        (lambda: PromptSet.from_names(["dog", None]), "is None, expected text"),
        (lambda: PromptSet.from_names({"dog": None}), "is None, expected text"),
        (lambda: PromptClass("dog", "1", ("dog",), "red"), "id of class 'dog' is '1', expected"),
        (lambda: PromptClass("dog", 1.0, ("dog",), "red"), "id of class 'dog' is 1.0, expected"),
        (lambda: PromptClass("dog", 1, ("dog",), (255, 0, 0)), "unknown colour .255, 0, 0."),
        (lambda: PromptSet.parse("dog", ignore_below="0.5"), "ignore_below is 0.5: write a number"),
    ],
)
def test_what_is_no_text_or_number_is_refused_in_a_sentence(make, message):
    with pytest.raises(PromptError, match=message):
        make()


def test_one_phrase_needs_no_tuple_and_ids_may_be_numpy_s():
    [item] = PromptSet((PromptClass("dog", np.int64(7), "puppy", "red"),)).classes
    assert item.phrases == ("puppy",)
    given = PromptSet((item,), ignore_below=np.float32(0.5))
    assert PromptSet.from_yaml(given.to_yaml()) == given

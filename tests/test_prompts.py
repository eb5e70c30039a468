import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dinoiser.errors import OutputError, PromptError
from dinoiser.prompts import PromptClass, PromptSet

# letters, digits, YAML's and the inline form's own characters, accents, emoji, words YAML converts
TEXTS = st.one_of(
    st.text("ab zé,;=:#'\"{}[]-?!&*|>%@`\\~🐶字\ufeff\u200b\uffff", min_size=1, max_size=12),
    st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12),
    st.sampled_from(
        ["no", "yes", "null", "~", "1", "1e3", "0x1f", "true", "2024-01-01", "=", "<<"]
    ),
)
PATIENT = settings(deadline=None)  # a busy machine is no failure
COLORS = st.integers(0, 2**24 - 1).map("#{:06x}".format)


def heard(text: str) -> str:
    return " ".join(text.split()).casefold()


@st.composite
def prompt_sets(draw: st.DrawFn) -> PromptSet:
    texts = draw(st.lists(TEXTS.filter(str.strip), min_size=1, max_size=9, unique_by=heard))
    ids = draw(st.lists(st.integers(1, 254), min_size=9, max_size=9, unique=True))
    classes: list[PromptClass] = []
    while texts:
        count = draw(st.integers(1, len(texts)))
        phrases, texts = tuple(texts[:count]), texts[count:]
        name = draw(st.sampled_from([phrases[0], f"name {len(texts)}"]))
        classes.append(PromptClass(name, ids[len(classes)], phrases, draw(COLORS)))
    if draw(st.booleans()):
        classes.append(PromptClass("Background", 0, ("wall of words",), draw(COLORS), True))
    lists: list[str | tuple[str, ...]] = ["imagenet", "simple", ("a {}.", "no: {}, #1")]
    templates = draw(st.sampled_from(lists))
    return PromptSet(tuple(classes), templates, draw(st.floats(0, 1, exclude_max=True)))


def refusal(function: Callable[..., object], *arguments: object, **named: object) -> str:
    with pytest.raises(PromptError) as caught:
        function(*arguments, **named)
    return str(caught.value)


def refused_file(*lines: str, version: str = "version: 1") -> str:
    return refusal(PromptSet.from_yaml, "\n".join([version, *lines]), "p.yaml")


def with_class(text: str) -> tuple[str, str, str]:
    return ("classes:", f"  - {text}", "  - {name: other}")


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

    def test_254_classes_and_a_background_fit_and_one_more_does_not(self) -> None:
        names = [f"q{number}" for number in range(255)]

        assert PromptSet.parse(",".join(["background", *names[:254]])).classes[-1].id == 254
        assert "255 classes" in refusal(PromptSet.parse, ",".join(names))

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
            ("background", "only the background: name at least one class"),
            ("dog, DOG", "class 'DOG' has the name of class 'dog'"),
            ("dog; puppy, wolf; Puppy", "class 'wolf' has the phrase 'puppy' of class 'dog'"),
            ("dog; Dog", "class 'dog' has the phrase 'dog' twice: remove one"),
            ("dog; x=y", "name in 'dog; x=y' does not stand first: write name=phrase"),
            ("do\x07g", "'do\\x07g' holds a control character: remove it"),
        ],
    )
    def test_mistakes_are_refused_with_their_cure(self, text: str, problem: str) -> None:
        assert problem in refusal(PromptSet.parse, text)

    def test_all_mistakes_are_reported_together(self) -> None:
        message = refusal(PromptSet.parse, "a;, b, B, c; b", templates="vogue", ignore_below=-1)

        assert len(message.splitlines()) == 5
        assert "templates is 'vogue'" in message
        assert "ignore_below is -1" in message

    @PATIENT
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

    @PATIENT
    @given(st.lists(st.text("abcdé =", min_size=1).filter(lambda t: t.strip(" =")), min_size=1))
    def test_every_set_that_was_typed_inline_has_an_inline_form(self, typed: list[str]) -> None:
        try:
            prompts = PromptSet.parse(", ".join(typed))
        except PromptError:
            return  # repeated or half-written classes
        assert PromptSet.parse(prompts.to_inline()) == prompts

    def test_a_comma_in_a_name_has_no_inline_form(self) -> None:
        assert "save it as a prompt file" in refusal(PromptSet.from_names(["cup, red"]).to_inline)


class TestFile:
    def test_the_documented_file_is_read(self) -> None:
        prompts = PromptSet.from_yaml(
            "version: 1\n"
            "classes:\n"
            "  - {name: background, background: true}\n"
            '  - {name: dog, phrases: [dog, puppy], color: "#e6194b"}\n'
            "  - {name: grass, id: 7}\n"
            "templates: simple        # comment\n"
            "ignore_below: 0.25\n"
        )

        dog = PromptClass("dog", 1, ("dog", "puppy"), "#e6194b")
        assert prompts.by_name("dog") == dog
        assert [item.id for item in prompts.classes] == [0, 1, 7]
        assert prompts.by_name("grass").phrases == ("grass",)
        assert (prompts.templates, prompts.ignore_below) == ("simple", 0.25)

    def test_ids_left_out_are_the_smallest_free_ones_in_order(self) -> None:
        prompts = PromptSet.from_yaml(
            "version: 1\nclasses: [{name: a}, {name: b, id: 1}, {name: c}, {name: d, id: 3}]"
        )

        assert [item.id for item in prompts.classes] == [2, 1, 4, 3]

    def test_a_class_marked_as_background_may_have_any_name(self) -> None:
        text = "version: 1\nclasses: [{name: dog}, {name: stuff, background: true}]"

        prompts = PromptSet.from_yaml(text)
        assert prompts.background == prompts.by_name("stuff")

    def test_words_that_yaml_converts_stay_words(self) -> None:
        text = "version: 1\nclasses: [{name: no}, {name: 1}, {name: null, phrases: [on, 0x1f]}]"
        prompts = PromptSet.from_yaml(text)

        assert prompts.names == ("no", "1", "null")
        assert prompts.by_name("null").phrases == ("on", "0x1f")

    def test_templates_may_be_a_list(self) -> None:
        text = 'version: 1\nclasses: [{name: dog}]\ntemplates: ["a {}.", "the {}."]'

        assert PromptSet.from_yaml(text).templates == ("a {}.", "the {}.")

    @PATIENT
    @given(prompt_sets())
    def test_what_is_written_is_read_back(self, prompts: PromptSet) -> None:
        assert PromptSet.from_yaml(prompts.to_yaml()) == prompts

    def test_a_saved_file_is_read_back_and_replaces_the_old_one(self, tmp_path: Path) -> None:
        path = tmp_path / "prompts.yaml"
        path.write_text("old")
        prompts = PromptSet.parse("background, café; 犬", templates=["my {}"], ignore_below=0.4)
        prompts.save(path)

        assert PromptSet.load(path) == prompts
        assert PromptSet.load(str(path)) == prompts
        assert os.listdir(tmp_path) == ["prompts.yaml"]

    def test_a_written_file_shows_one_class_a_line_with_id_and_colour(self) -> None:
        lines = PromptSet.parse("background, dog; puppy").to_yaml().splitlines()

        assert lines[:2] == ["version: 1", "classes:"]
        assert re.fullmatch(
            r"  - \{name: dog, id: 1, phrases: \[dog, puppy\], color: '#[0-9a-f]{6}'\}", lines[3]
        )
        assert "background: true" in lines[2]

    def test_an_editors_byte_order_mark_and_line_ends_do_no_harm(self, tmp_path: Path) -> None:
        path = tmp_path / "prompts.yaml"
        path.write_bytes("\ufeffversion: 1\r\nclasses:\r\n  - {name: café}\r\n".encode())

        assert PromptSet.load(path).names == ("café",)

    def test_a_link_stays_a_link_when_it_is_saved_to(self, tmp_path: Path) -> None:
        (tmp_path / "link.yaml").symlink_to(tmp_path / "real.yaml")
        PromptSet.parse("dog").save(tmp_path / "link.yaml")

        assert (tmp_path / "link.yaml").is_symlink()
        assert PromptSet.load(tmp_path / "real.yaml").names == ("dog",)

    def test_a_folder_that_does_not_exist_is_named_when_saving(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match=r"missing.*cannot be written.*check that its folder"):
            PromptSet.parse("dog").save(tmp_path / "missing" / "prompts.yaml")

    def test_a_save_that_fails_leaves_nothing_behind(self, tmp_path: Path) -> None:
        (tmp_path / "taken").mkdir()
        with pytest.raises(OutputError):
            PromptSet.parse("dog").save(tmp_path / "taken")

        assert os.listdir(tmp_path) == ["taken"]


class TestFileMistakes:
    @pytest.mark.parametrize(
        ("lines", "line", "problem"),
        [
            (with_class("{name: dog, colour: red}"), 3, "unknown key 'colour': did you mean 'col"),
            (with_class("{name: dog, color: tomatoe}"), 3, "'tomatoe' is not known (did you mean"),
            (with_class("{name: dog, color: [1, 2]}"), 3, "color is ['1', '2']: write \"#rrggbb\""),
            (with_class("{name: dog, id: 255}"), 3, "id is '255': write a whole number from 1"),
            (with_class("{name: dog, id: two}"), 3, "id is 'two': write a whole number from 1"),
            (with_class("{name: dog, id: 0}"), 3, "'dog' has the id 0: it must be from 1 to 254"),
            (with_class("{name: sky, background: true, id: 3}"), 3, "has the id 3: it must be 0"),
            (with_class("{name: background, background: no}"), 3, "not marked as background"),
            (with_class("{name: dog, background: maybe}"), 3, "background is 'maybe': write true"),
            (with_class("{name: dog, phrases: puppy}"), 3, "phrases is 'puppy': write a list"),
            (with_class("{name: dog, phrases: []}"), 3, "class 'dog' has no phrases"),
            (with_class("{name: dog, phrases: [a, ' ']}"), 3, "class 'dog' has an empty phrase"),
            (with_class("{phrases: [dog]}"), 3, "key 'name' is missing"),
            (with_class("{name: ''}"), 3, "empty name"),
            (with_class("{name: dog, name: cat}"), 3, "key 'name' already stands on line 3"),
            (with_class("dog"), 3, "a class is 'dog': write it as - {name: dog}"),
            (with_class("{name: OTHER}"), 4, "'other' has the name of class 'OTHER' (line 3)"),
            (
                with_class("{name: dog, id: 1}\n  - {name: cat, id: 1}"),
                4,
                "id 1 of class 'dog' (li",
            ),
            (with_class("{name: dog, phrases: [other]}"), 4, "phrase 'other' of class 'dog' (line"),
            (with_class("{name: background}\n  - {name: b, background: yes}"), 4, "(line 3): make"),
            (("classes: []",), None, "there are no classes"),
            (("classes:",), 2, "classes is '': write a list"),
            (("classes: [{name: background}]",), None, "only the background"),
            (
                (*with_class("{name: dog}"), "ignore_below: 1"),
                5,
                "ignore_below is 1.0: write a num",
            ),
            ((*with_class("{name: dog}"), "ignore_below: nan"), 5, "ignore_below is nan"),
            ((*with_class("{name: dog}"), "ignore_below: low"), 5, "ignore_below is 'low': write"),
            (
                (*with_class("{name: dog}"), "templates: vogue"),
                5,
                "templates is 'vogue': write imag",
            ),
            ((*with_class("{name: dog}"), "templates: []"), 5, "templates is (): write imagenet"),
            ((*with_class("{name: dog}"), "templates: [a]"), 5, "template 'a' must hold {} once"),
            (
                (*with_class("{name: dog}"), "templates: {a: b}"),
                5,
                "templates is {'a': 'b'}: write",
            ),
            ((*with_class("{name: dog}"), "Template: simple"), 5, "did you mean 'templates'?"),
            ((*with_class("{name: dog}"), "classes: []"), 5, "'classes' already stands on line 2"),
            ((*with_class("{name: dog}"), "? [a]", ": b"), 5, "a key is a list or mapping"),
            ((*with_class("{name: dog}"), "name: [dog"), 5, "not YAML"),
            ((*with_class("&a {name: dog}"), "x: *a"), 3, "needs quotation marks"),
            (with_class("!!python/name:os.system"), 3, "needs quotation marks"),
            (with_class("{name: d\x07og}"), 3, "control characters"),
            (("classes: " + "[" * 10_000,), None, "nested too deeply"),
        ],
    )
    def test_each_is_one_problem_with_its_line_and_cure(
        self, lines: tuple[str, ...], line: int | None, problem: str
    ) -> None:
        message = refused_file(*lines)

        assert problem in message
        assert message.startswith(f"p.yaml, line {line}: " if line else "p.yaml: ")
        assert "\n" not in message

    def test_the_line_is_that_of_the_key_where_its_value_follows_below(self) -> None:
        message = refused_file("classes: [{name: dog}]", "templates:", "  - a photo")

        assert message.startswith("p.yaml, line 3: template 'a photo'")

    def test_the_line_is_that_of_the_key_in_a_class_of_several_lines(self) -> None:
        message = refused_file("classes:", "  - name: dog", "    phrases: [dog]", "    color: x")

        assert message.startswith("p.yaml, line 5: colour 'x' is not known")

    @pytest.mark.parametrize("version", ["version: 2", "version: one"])
    def test_another_version_is_refused(self, version: str) -> None:
        message = refused_file("classes: [{name: dog}]", version=version)

        assert message == f"p.yaml, line 1: version is {version.split()[1]!r}: write 1"

    def test_a_missing_version_is_asked_for(self) -> None:
        assert "key 'version' is missing" in refused_file("classes: [{name: dog}]", version="")

    @pytest.mark.parametrize("text", ["", "# nothing\n", "dog; puppy, cat", "[dog]"])
    def test_a_file_without_keys_is_answered_with_the_form(self, text: str) -> None:
        message = refusal(PromptSet.from_yaml, text, "p.yaml")

        assert message.startswith("p.yaml: the prompt file ")
        assert "version: 1" in message
        assert "- {name: dog}" in message

    def test_all_are_reported_together_in_the_order_of_their_lines(self) -> None:
        message = refused_file(
            "clases: []",
            *with_class("{name: dog, color: blu, id: x}"),
            "  - {name: Dog}",
            "templates: [a photo]",
            "ignore_below: 7",
            version="version: 3",
        )

        places = [text.split(":")[0] for text in message.splitlines()]
        assert places == [f"p.yaml, line {number}" for number in (1, 2, 4, 4, 6, 7, 8)]

    @pytest.mark.parametrize(
        ("data", "problem"),
        [
            ("version: 1\nclasses:\n - {name: café}".encode("latin-1"), "line 3: byte 0xe9"),
            ("version: 1".encode("utf-16"), "zero bytes"),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "no prompt file"),
            (b"#" * 2**21, "larger than 1 MiB"),
        ],
    )
    def test_what_is_not_utf8_text_is_refused(
        self, tmp_path: Path, data: bytes, problem: str
    ) -> None:
        path = tmp_path / "prompts.yaml"
        path.write_bytes(data)
        message = refusal(PromptSet.load, path)

        assert str(path) in message
        assert problem in message
        assert "UTF-8" in message

    def test_missing_files_and_folders_are_named(self, tmp_path: Path) -> None:
        assert "No such file" in refusal(PromptSet.load, tmp_path / "none.yaml")
        assert repr(str(tmp_path)) in refusal(PromptSet.load, tmp_path)


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
        assert "id 255" in refusal(PromptSet, (PromptClass("cat", 255, ("cat",), "blue"),))
        assert "'bluish'" in refusal(PromptClass, "cat", 1, ("cat",), "bluish")

    def test_neither_torch_nor_skimage_is_imported_for_a_dozen_classes(self) -> None:
        code = (
            "import sys; from dinoiser.prompts import PromptSet;"
            "PromptSet.from_yaml(PromptSet.parse('dog, cat').to_yaml()).warnings;"
            "sys.exit(any(name in sys.modules for name in ('torch', 'skimage', 'open_clip')))"
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

        assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


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

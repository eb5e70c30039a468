"""Prompt files: read, written, and refused line by line."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import given

from dinoiser import safe_yaml
from dinoiser.errors import OutputError
from dinoiser.prompts import PromptClass, PromptSet
from tests.helpers.prompt_sets import prompt_sets, refusal


def refused_file(*lines: str, version: str = "version: 1") -> str:
    return refusal(PromptSet.from_yaml, "\n".join([version, *lines]), "p.yaml")


def with_class(text: str) -> tuple[str, str, str]:
    return ("classes:", f"  - {text}", "  - {name: other}")


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
            (
                with_class("{name: dog, color: tomatoe}"),
                3,
                "unknown colour 'tomatoe' (did you mean",
            ),
            (with_class("{name: dog, color: [1, 2]}"), 3, "color is ['1', '2']: write \"#rrggbb\""),
            (with_class("{name: dog, id: 65535}"), 3, "id is '65535': write a whole number from 1"),
            (with_class("{name: dog, id: two}"), 3, "id is 'two': write a whole number from 1"),
            (with_class("{name: dog, id: 0}"), 3, "'dog' has id 0: it must be from 1 to 65534"),
            (with_class("{name: sky, background: true, id: 3}"), 3, "has id 3: it must be 0"),
            (with_class("{name: background, background: no}"), 3, "not marked as background"),
            (with_class("{name: dog, background: maybe}"), 3, "background is 'maybe': write true"),
            (with_class("{name: dog, phrases: puppy}"), 3, "phrases is 'puppy': write a list"),
            (with_class("{name: dog, phrases: []}"), 3, "class 'dog' has no phrases"),
            (with_class("{name: dog, phrases: [a, ' ']}"), 3, "class 'dog' has an empty phrase"),
            (with_class("{phrases: [dog]}"), 3, "key 'name' is missing"),
            (with_class("{name: ''}"), 3, "empty name"),
            (with_class("{name: dog, name: cat}"), 3, "key 'name' was already given on line 3"),
            (with_class("dog"), 3, "a class is 'dog': write it as - {name: dog}"),
            (with_class("{name: OTHER}"), 4, "'other' has the same name as class 'OTHER' (line 3)"),
            (
                with_class("{name: dog, id: 1}\n  - {name: cat, id: 1}"),
                4,
                "has id 1, as does class 'dog' (li",
            ),
            (with_class("{name: dog, phrases: [other]}"), 4, "'dog' (line 3) and 'other' share"),
            (
                with_class("{name: background}\n  - {name: b, background: yes}"),
                4,
                "(line 3): merge",
            ),
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
            (
                (*with_class("{name: dog}"), "templates: [a]"),
                5,
                "template 'a' must contain {} exactly once",
            ),
            (
                (*with_class("{name: dog}"), "templates: {a: b}"),
                5,
                "templates is {'a': 'b'}: write",
            ),
            ((*with_class("{name: dog}"), "Template: simple"), 5, "did you mean 'templates'?"),
            (
                (*with_class("{name: dog}"), "classes: []"),
                5,
                "'classes' was already given on line 2",
            ),
            ((*with_class("{name: dog}"), "? [a]", ": b"), 5, "a key is a list or mapping"),
            ((*with_class("{name: dog}"), "name: [dog"), 5, "not valid YAML"),
            ((*with_class("&a {name: dog}"), "x: *a"), 3, "must be in quotation marks"),
            (with_class("!!python/name:os.system"), 3, "must be in quotation marks"),
            (with_class("{name: d\x07og}"), 3, "contains a control character"),
            (("classes: " + "[" * 10_000,), 2, "nesting is too deep"),
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

        assert message.startswith("p.yaml, line 5: unknown colour 'x'")

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

    def test_of_many_the_first_are_reported_and_how_many_more(self) -> None:
        lines = [f"  - {{name: thing {i}, colour: red}}" for i in range(25)]
        said = refused_file("classes:", *lines).splitlines()
        places = [text.partition(":")[0] for text in said[:-1]]
        assert places == [f"p.yaml, line {number}" for number in range(3, 13)]
        assert said[-1] == "and 15 more"

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
            ("version: 1\nclasses:\n - {name: café}".encode("latin-1"), "byte 0xe9 in line 3"),
            ("version: 1".encode("utf-16")[:-1], "is not UTF-16"),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not a prompt file"),
            pytest.param(b"#" * (2**26 + 1), "larger than 64 MiB", id="too large"),
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

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
    def test_what_programs_of_windows_save_is_read(self, tmp_path: Path, encoding: str) -> None:
        prompts = PromptSet.parse("dog; chien âgé, cat")
        prompts.save(tmp_path / "prompts.yaml")
        text = (tmp_path / "prompts.yaml").read_text(encoding="utf-8")
        (tmp_path / "other.yaml").write_bytes(text.replace("\n", "\r\n").encode(encoding))

        assert PromptSet.load(tmp_path / "other.yaml") == prompts

    def test_a_set_of_megabytes_is_read_as_it_was_saved(self, tmp_path: Path) -> None:
        prompts = PromptSet.from_names({"dog": ["d" * 800_000], "cat": ["c" * 800_000]})
        prompts.save(tmp_path / "prompts.yaml")
        assert PromptSet.load(tmp_path / "prompts.yaml") == prompts

    @pytest.mark.parametrize("limit", ["MOST_BYTES", "MOST_VALUES"])
    def test_what_could_not_be_read_is_not_saved(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
    ) -> None:
        path = tmp_path / "prompts.yaml"
        PromptSet.parse("dog").save(path)
        before = path.read_text()
        many = PromptSet.from_names([f"class {number}" for number in range(20)])
        monkeypatch.setattr(safe_yaml, limit, 150)
        assert "too large" in refusal(many.save, path)
        assert path.read_text() == before
        assert PromptSet.load(path).names == ("dog",)
        path.write_text(many.to_yaml())
        assert refusal(PromptSet.load, path)

    def test_missing_files_and_folders_are_named(self, tmp_path: Path) -> None:
        assert "No such file" in refusal(PromptSet.load, tmp_path / "none.yaml")
        assert repr(str(tmp_path)) in refusal(PromptSet.load, tmp_path)

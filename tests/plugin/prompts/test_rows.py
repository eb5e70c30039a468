"""Rows of prompts: what stands in two short texts is exactly what is asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinoiser.errors import PromptError
from dinoiser.prompts import PromptClass, PromptSet
from dinoiser.prompts.palette import default_color
from napari_dinoiser.prompts.rows import PromptRows, read_synonyms, write_synonyms
from tests.helpers.prompt_sets import prompt_sets

# letters and all that separates or quotes words, in the table and in the inline form
TEXTS = st.one_of(
    st.text("ab zé,;=:\"'\\~字", min_size=1, max_size=12),
    st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12),
    st.sampled_from(["only: a", "Only :b", '"', '""', '"a"', '"a";', "only:"]),
)


def rows_of(text: str) -> PromptRows:
    rows = PromptRows()
    rows.load(PromptSet.parse(text))
    return rows


def asked(rows: PromptRows) -> list[tuple[int, str, tuple[str, ...]]]:
    return [(item.id, item.name, item.phrases) for item in rows.prompt_set().classes]


@given(prompt_sets(TEXTS, naming=None))
def test_a_prompt_set_comes_back_as_it_was(prompts: PromptSet) -> None:
    rows = PromptRows()
    rows.load(prompts)
    assert rows.prompt_set() == prompts


@given(prompt_sets(TEXTS, naming=None), st.data())
def test_moving_and_removing_rows_leaves_the_others_their_ids_and_colours(
    prompts: PromptSet, data: st.DataObject
) -> None:
    rows = PromptRows()
    rows.load(prompts)
    looks = {row.name: (row.id, row.color) for row in rows.rows}
    places = st.integers(0, len(rows.rows) - 1)
    index, target = data.draw(places), data.draw(places)
    moved = rows.rows[index].name
    rows.move(index, target)
    assert rows.rows[target].name == moved
    gone = data.draw(st.sets(places))
    names = [row.name for index, row in enumerate(rows.rows) if index not in gone]
    rows.remove(gone)
    assert [row.name for row in rows.rows] == names
    assert all(looks[row.name] == (row.id, row.color) for row in rows.rows)


@given(TEXTS.filter(str.strip), st.text('ab ,;"only:', max_size=20))
def test_whatever_is_typed_reads_the_same_once_it_is_written_anew(name: str, text: str) -> None:
    name = " ".join(name.split())
    phrases = read_synonyms(name, text)
    assert "" not in phrases
    assert read_synonyms(name, write_synonyms(name, phrases)) == phrases


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("", ("dog",)),
        ("puppy; hound", ("dog", "puppy", "hound")),
        ("puppy, hound;", ("dog", "puppy", "hound")),
        ("only: rusted  van; lorry", ("rusted van", "lorry")),
        (' "a dog, running" ; hound', ("dog", "a dog, running", "hound")),
        ('"say ""dog"", please"', ("dog", 'say "dog", please')),
    ],
)
def test_what_a_person_types_beside_a_name(text: str, phrases: tuple[str, ...]) -> None:
    assert read_synonyms("dog", text) == phrases


def test_a_name_is_not_repeated_beside_it_and_another_first_phrase_is_marked() -> None:
    rows = rows_of("dog; puppy, van=rusted van; lorry, grass")
    assert [(row.name, row.synonyms) for row in rows.rows] == [
        ("dog", "puppy"),
        ("van", "only: rusted van; lorry"),
        ("grass", ""),
    ]


def test_a_renamed_row_is_looked_for_by_its_new_name_under_its_old_id() -> None:
    rows = rows_of("dog; puppy, cat")
    rows.rows[0].name = "wolf"
    assert asked(rows) == [(1, "wolf", ("wolf", "puppy")), (2, "cat", ("cat",))]


def test_a_new_row_takes_the_smallest_free_id_and_its_colour() -> None:
    rows = rows_of("dog, cat, grass")
    rows.remove([1])
    row = rows.new_row("van")
    assert (row.id, row.color) == (2, default_color(2))


def test_blank_rows_are_left_out_and_without_any_class_there_is_no_prompt_set() -> None:
    rows = PromptRows(background=True)
    rows.rows.append(rows.new_row())
    assert rows.prompt_set() is None
    rows.rows.append(rows.new_row("dog"))
    assert asked(rows) == [(0, "background", ("background",)), (2, "dog", ("dog",))]


def test_a_name_that_stands_twice_is_refused_as_in_a_prompt_file() -> None:
    rows = rows_of("dog, cat")
    rows.rows[1].name = "Dog"
    with pytest.raises(PromptError, match="'Dog' has the same name as class 'dog'"):
        rows.prompt_set()


def test_the_255th_class_has_labels_of_16_bits() -> None:
    rows = PromptRows()
    rows.paste("\n".join(f"class {number}" for number in range(255)))
    assert rows.prompt_set().ignore == 65535


def test_the_background_keeps_its_words_and_colour_while_it_is_off() -> None:
    back = PromptClass("rest", 0, ("sky", "wall"), "#123456", background=True)
    prompts = PromptSet((back, PromptClass("dog", 3, ("dog",), "#ff0000")))
    rows = PromptRows()
    rows.load(prompts)
    rows.background = False
    assert rows.prompt_set().background is None
    rows.background = True
    assert rows.prompt_set() == prompts


def test_hidden_and_blank_rows_are_not_visible() -> None:
    rows = rows_of("background, dog, cat, grass")
    rows.rows[1].visible = False
    rows.rows.append(rows.new_row())
    assert rows.visible_ids() == {1, 3}


class TestPaste:
    def test_lines_are_a_class_each(self) -> None:
        rows = PromptRows()
        rows.paste("dog\r\n\r\n  rusted   van,\ndoor, double door\ncat\tkitten; tomcat\n")
        assert asked(rows) == [
            (1, "dog", ("dog",)),
            (2, "rusted van", ("rusted van",)),
            (3, "door, double door", ("door, double door",)),
            (4, "cat", ("cat", "kitten", "tomcat")),
        ]

    @pytest.mark.parametrize(
        "text", ["dog; puppy, grass", "van=rusted van; lorry, grass", "background, dog", "a = b"]
    )
    def test_one_line_is_the_inline_form(self, text: str) -> None:
        rows = PromptRows()
        rows.paste(text)
        assert rows.prompt_set() == PromptSet.parse(text)

    def test_a_prompt_file_replaces_everything(self) -> None:
        prompts = PromptSet.parse("background, van; lorry", templates="simple", ignore_below=0.25)
        rows = rows_of("dog")
        rows.paste(prompts.to_yaml())
        assert rows.prompt_set() == prompts

    def test_a_damaged_prompt_file_changes_nothing(self) -> None:
        rows = rows_of("dog")
        with pytest.raises(PromptError, match="the pasted text, line 3: unknown key 'colour'"):
            rows.paste('version: 1\nclasses:\n  - {name: cat, colour: "#fff"}')
        assert asked(rows) == [(1, "dog", ("dog",))]

    def test_classes_that_are_there_already_stay_as_they_are(self) -> None:
        rows = rows_of("dog; puppy")
        rows.set_color(1, "tomato")
        rows.rows.append(rows.new_row())
        rows.paste("Dog, cat, cat")
        assert asked(rows) == [(1, "dog", ("dog", "puppy")), (2, "cat", ("cat",))]
        assert rows.rows[0].color == "#ff6347"

    def test_quoted_words_and_full_width_signs_are_read_as_in_the_inline_form(self) -> None:
        rows = PromptRows()
        rows.paste('"salt, pepper", 狗；小狗、猫')
        expected = [("salt, pepper",), ("狗", "小狗"), ("猫",)]
        assert [phrases for _, _, phrases in asked(rows)] == expected

    @pytest.mark.parametrize("text", ["", "  \n ", ",;,", "\t"])
    def test_nothing_to_read_adds_nothing(self, text: str) -> None:
        rows = PromptRows()
        rows.paste(text)
        assert rows.prompt_set() is None

    @given(st.text('ab\n,;=\t "，', max_size=30))
    def test_any_text_can_be_pasted(self, text: str) -> None:
        rows = PromptRows()
        rows.paste(text)
        assert len({row.id for row in rows.rows}) == len(rows.rows)
        assert all(row.name == " ".join(row.name.split()) != "" for row in rows.rows)


def test_the_background_can_be_coloured_and_an_unknown_id_cannot() -> None:
    rows = rows_of("background, dog, cat")
    rows.set_color(0, "#222")
    assert rows.prompt_set().background.color == "#222222"
    with pytest.raises(PromptError, match=r"no class has the id 9.*the ids are 1, 2"):
        rows.set_color(9, "red")

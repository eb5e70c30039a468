import os
import tempfile
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinoiser.errors import InputError
from dinoiser.images.inputs import (
    IMAGE_SUFFIXES,
    ImageFile,
    check_inside,
    find_images,
    output_stem,
    search,
)
from tests.helpers.permissions import as_ordinary_user


def make_files(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names_of(paths):
    return [image.name for image in find_images(paths)]


def message_of(paths):
    with pytest.raises(InputError) as caught:
        find_images(paths)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def link(place, target):
    try:
        place.symlink_to(target)
    except OSError:
        pytest.skip("this system does not let tests make links")


# folders


def test_folders_are_searched_with_their_subfolders_in_order(tmp_path):
    make_files(tmp_path, "b.png", "a/z.jpg", "a/deep/er/1.tif", "c.webp", "a/notes.txt", "README")
    assert names_of([tmp_path]) == ["a/deep/er/1.tif", "a/z.jpg", "b.png", "c.webp"]


def test_paths_are_absolute_and_lead_to_the_files(tmp_path, monkeypatch):
    make_files(tmp_path, "images/a/1.jpg")
    monkeypatch.chdir(tmp_path)
    image = find_images(["images"])[0]
    assert image == ImageFile(tmp_path / "images" / "a" / "1.jpg", "a/1.jpg")


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_suffixes_count_in_upper_and_lower_case(tmp_path, suffix):
    make_files(tmp_path, f"lower{suffix}", f"UPPER{suffix.upper()}")
    assert names_of([tmp_path]) == [f"UPPER{suffix.upper()}", f"lower{suffix}"]


def test_hidden_files_and_folders_are_passed_over(tmp_path):
    make_files(tmp_path, "a.jpg", "._a.jpg", ".thumbnails/a.jpg", "b/.hidden.png")
    assert names_of([tmp_path]) == ["a.jpg"]


def test_a_hidden_folder_is_searched_when_it_is_given(tmp_path):
    make_files(tmp_path, ".cache/a.jpg")
    assert names_of([tmp_path / ".cache"]) == ["a.jpg"]


def test_names_of_any_script_and_with_wildcards_are_kept(tmp_path):
    given_names = [
        "Größe/画像 1.png",
        "Привет.jpg",
        "[1] what?.jpg" if os.name != "nt" else "[1].jpg",
    ]
    make_files(tmp_path, *given_names)
    assert names_of(tmp_path) == sorted(given_names)
    assert names_of([tmp_path / given_names[2]]) == [given_names[2]]


def test_many_images_are_sorted_and_named_apart(tmp_path):
    make_files(tmp_path, *(f"{i % 7}/{i:04}.jpg" for i in range(2000)))
    images = find_images([tmp_path])
    assert len(images) == 2000
    assert images == sorted(images, key=lambda image: image.name)
    assert len(set(output_stem(images).values())) == 2000


# links


def test_links_that_go_round_do_not_hang(tmp_path):
    make_files(tmp_path, "top/a/1.jpg", "top/b/2.jpg", "outside.jpg")
    top = tmp_path / "top"
    link(top / "a" / "self", top / "a")
    link(top / "a" / "up", top)
    link(top / "b" / "out", tmp_path)
    link(top / "b" / "across", top / "a")
    link(top / "nowhere", top / "nowhere")
    assert names_of([top]) == ["a/1.jpg", "b/2.jpg"]
    assert names_of([f"{top}/**/*.jpg"]) == ["a/1.jpg", "b/2.jpg"]


def test_linked_folders_are_searched_once_under_their_real_name(tmp_path):
    make_files(tmp_path, "top/z/1.jpg", "elsewhere/2.jpg")
    link(tmp_path / "top" / "a", tmp_path / "top" / "z")
    link(tmp_path / "top" / "b", tmp_path / "elsewhere")
    link(tmp_path / "top" / "c", tmp_path / "elsewhere")
    assert names_of([tmp_path / "top"]) == ["b/2.jpg", "z/1.jpg"]


def test_a_dead_link_is_listed_so_that_it_is_reported(tmp_path):
    make_files(tmp_path, "1.jpg")
    link(tmp_path / "dead.jpg", tmp_path / "gone.jpg")
    assert names_of([tmp_path]) == ["1.jpg", "dead.jpg"]


# files and several inputs


def test_files_are_taken_whatever_their_suffix(tmp_path):
    make_files(tmp_path, "scan.dat", "a.jpg")
    assert names_of([tmp_path / "scan.dat"]) == ["scan.dat"]
    assert names_of(str(tmp_path / "a.jpg")) == ["a.jpg"]


def test_the_same_image_given_twice_comes_once(tmp_path, monkeypatch):
    make_files(tmp_path, "a/1.jpg")
    monkeypatch.chdir(tmp_path)
    one = find_images(["a"])
    assert find_images(["a", "a/", "./a", "a/../a", "a/1.jpg", "a/*.jpg"]) == one


def test_folders_with_equal_file_names_keep_their_images_apart(tmp_path):
    make_files(tmp_path, "day/1.jpg", "night/1.jpg", "x/day/1.jpg")
    assert names_of([tmp_path / "night", tmp_path / "day"]) == ["day/1.jpg", "night/1.jpg"]
    assert names_of([tmp_path / "day", tmp_path / "x" / "day"]) == ["day/1.jpg", "x/day/1.jpg"]


def test_loose_files_of_several_folders_are_kept_apart(tmp_path):
    make_files(tmp_path, "a/1.jpg", "b/1.jpg")
    assert names_of([tmp_path / "a" / "1.jpg", tmp_path / "b" / "1.jpg"]) == ["a/1.jpg", "b/1.jpg"]


def test_a_folder_within_another_adds_nothing(tmp_path):
    make_files(tmp_path, "a/1.jpg", "2.jpg")
    assert names_of([tmp_path / "a", tmp_path]) == ["2.jpg", "a/1.jpg"]


FOLDERS = st.lists(st.sampled_from(["a", "b", "a/b", "b/a", "a/a", "a/b/c"]), min_size=1)


@pytest.fixture(scope="module")
def nested(tmp_path_factory):
    top = tmp_path_factory.mktemp("nested")
    make_files(top, *(f"{folder}/1.jpg" for folder in ("a", "b", "a/b", "b/a", "a/a", "a/b/c")))
    return top


@given(folders=FOLDERS)
def test_names_depend_on_neither_order_nor_repetition_and_never_collide(nested, folders):
    images = find_images([nested / folder for folder in folders])
    assert find_images([nested / folder for folder in reversed(folders)]) == images
    assert len({image.name for image in images}) == len({image.path for image in images})
    assert all(image.path.as_posix().endswith("/" + image.name) for image in images)


# globs


@pytest.fixture
def tree(tmp_path, monkeypatch):
    make_files(
        tmp_path,
        *("p/1.jpg", "p/2.png", "p/note.txt", "p/s1/1.jpg", "p/s1/deep/3.jpg", "p/s2/4.JPG"),
        *("p/.hidden/5.jpg", "other/1.jpg"),
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("p/*.jpg", ["1.jpg"]),
        ("p/?.*", ["1.jpg", "2.png"]),
        ("p/[2-9].png", ["2.png"]),
        ("p/*/1.jpg", ["s1/1.jpg"]),
        ("p/**/*.jpg", ["1.jpg", "s1/1.jpg", "s1/deep/3.jpg"]),
        ("p/**/deep/*", ["s1/deep/3.jpg"]),
        ("p/s*/**/*.jpg", ["s1/1.jpg", "s1/deep/3.jpg"]),
        ("p/**", ["1.jpg", "2.png", "s1/1.jpg", "s1/deep/3.jpg", "s2/4.JPG"]),
        ("**/s1/**/3.jpg", ["p/s1/deep/3.jpg"]),
        ("**/s1/deep/**", ["p/s1/deep/3.jpg"]),
        ("p/**/1.jpg/**", ["1.jpg", "s1/1.jpg"]),
        ("p/s?", ["s1/1.jpg", "s1/deep/3.jpg", "s2/4.JPG"]),
        ("p/*", ["1.jpg", "2.png", "s1/1.jpg", "s1/deep/3.jpg", "s2/4.JPG"]),
        ("*/1.jpg", ["other/1.jpg", "p/1.jpg"]),
        ("*/../other/*", ["other/1.jpg"]),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="there *.jpg matches .JPG")
def test_globs_find_what_a_shell_would(tree, pattern, expected):
    assert names_of([pattern]) == expected
    if not pattern.startswith("*"):
        assert names_of([tree / pattern]) == expected


def test_wildcards_in_the_place_of_the_folder_are_no_pattern(tmp_path, monkeypatch):
    make_files(tmp_path, "[x]/a.jpg")
    monkeypatch.chdir(tmp_path / "[x]")
    assert names_of(["*.jpg"]) == ["a.jpg"]


@pytest.mark.skipif(os.name == "nt", reason="there a link cannot have the other name")
def test_where_case_is_ignored_paths_are_those_of_the_disk(tmp_path, monkeypatch):
    """Links play the system that ignores case: both names lead to the same place."""
    make_files(tmp_path, "Photos/A.jpg", "Photos/B.jpg")
    link(tmp_path / "photos", tmp_path / "Photos")
    link(tmp_path / "Photos" / "a.JPG", tmp_path / "Photos" / "A.jpg")
    monkeypatch.setattr(os.path, "normcase", str.lower)
    monkeypatch.chdir(tmp_path)
    files = [tmp_path / "Photos" / name for name in ("A.jpg", "B.jpg")]
    assert [image.path for image in find_images(["photos/a.JPG", "Photos/A.jpg"])] == files[:1]
    (tmp_path / "Photos" / "a.JPG").unlink()
    assert [image.path for image in find_images("photos")] == files
    assert [image.path for image in find_images("photos/*.jpg")] == files


@pytest.mark.skipif(os.name == "nt", reason="there case does not count")
def test_a_linked_folder_keeps_its_name_where_case_counts(tmp_path):
    make_files(tmp_path, "Photos/A.jpg")
    link(tmp_path / "photos", tmp_path / "Photos")
    [image] = find_images(tmp_path / "photos")
    assert image.path == tmp_path / "photos" / "A.jpg"


# bad inputs


def test_a_path_that_does_not_exist_is_refused(tmp_path):
    assert "no file or folder" in message_of([tmp_path / "absent"])


def test_no_inputs_at_all_are_refused():
    assert "no inputs" in message_of([])


def test_a_folder_without_images_is_refused_naming_the_suffixes(tmp_path):
    make_files(tmp_path, "good/1.jpg", "bad/notes.txt")
    message = message_of([tmp_path / "good", tmp_path / "bad"])
    assert str(tmp_path / "bad") in message
    assert all(suffix in message for suffix in IMAGE_SUFFIXES)


@pytest.mark.parametrize("mark", ["zarr.json", ".zgroup", ".zarray"])
def test_zarr_stores_are_named_with_the_cure(tmp_path, mark):
    make_files(tmp_path, "a.png", f"plate/cells.zarr/{mark}", "plate/cells.zarr/0/0.0")
    found = search(tmp_path)
    store = tmp_path / "plate" / "cells.zarr"
    assert [image.name for image in found.images] == ["a.png"]
    (note,) = found.notes()
    assert note.startswith(
        f"{store} is a Zarr store and was passed over; save its slices as 16-bit"
    )
    assert message_of(store).startswith(f"{store} is a Zarr store; save its slices as 16-bit")


def test_a_glob_that_matches_nothing_is_refused(tree):
    assert "p/*.webp" in message_of(["p/*.webp"])
    assert "p/*.txt" in message_of(["p/*.txt"])


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_folders_that_cannot_be_read_are_reported():
    # pytest's own folders are closed to other users
    with tempfile.TemporaryDirectory() as place:
        top = Path(place)
        top.chmod(0o755)
        make_files(top, "open/1.jpg", "closed/2.jpg")
        (top / "closed").chmod(0)
        with as_ordinary_user():
            assert f"1 folder cannot be searched: {top / 'closed'}" in message_of([top])
            assert "cannot be searched" in message_of([top / "closed"])
            assert "may not open" in message_of([top / "closed" / "2.jpg"])
            assert names_of([top / "open"]) == ["1.jpg"]
        (top / "closed").chmod(0o755)


# names of results


def stems_of(*names):
    return output_stem([ImageFile(Path("/in") / name, name) for name in names])


def test_results_lose_the_suffix_and_keep_the_folder():
    assert stems_of("a/b.c.jpg", "x.png", "a.b/c") == {
        "a/b.c.jpg": "a/b.c",
        "x.png": "x",
        "a.b/c": "a.b/c",
    }


@pytest.mark.parametrize(
    "names",
    [
        ("a.jpg", "a.png"),
        ("a.jpg", "A.PNG"),
        ("d/é.jpg", "d/e\u0301.png"),
        ("a.jpg", "a.png", "a.jpg.tif"),
        ("a.jpg", "a"),
    ],
)
def test_images_that_would_share_a_result_keep_their_suffixes(names):
    assert stems_of(*names, "other.jpg") == {**{name: name for name in names}, "other.jpg": "other"}


def test_equal_names_in_different_folders_need_no_suffix():
    assert stems_of("a/1.jpg", "b/1.png") == {"a/1.jpg": "a/1", "b/1.png": "b/1"}


PARTS = st.sampled_from(["a", "b", "a.jpg", "a.png", "b.tif", "a.jpg.tif", "a.jpg.tif.png"])


@given(st.lists(st.lists(PARTS, min_size=1, max_size=2).map("/".join), unique=True))
def test_results_never_share_a_name(names):
    stems = stems_of(*names)
    assert len(set(stems.values())) == len(names)
    assert all(name.startswith(stem) for name, stem in stems.items())


@pytest.mark.parametrize("name", ["../a.jpg", "a/../../b.jpg", "/etc/a.jpg", ""])
def test_names_that_leave_the_output_folder_are_refused(name):
    with pytest.raises(InputError, match="points outside the output folder"):
        ImageFile(Path("a.jpg"), name)


@pytest.mark.parametrize(
    "name", [r"..\a.jpg", r"a\..\..\b.jpg", r"\a.jpg", "/a.jpg", "c:a.jpg", r"\\host\share\a.jpg"]
)
def test_names_do_not_lead_outside_by_what_windows_reads_in_them(name, monkeypatch):
    monkeypatch.setattr("dinoiser.images.inputs.PurePath", PureWindowsPath)
    with pytest.raises(InputError, match="points outside the output folder"):
        check_inside(name)


def test_a_backslash_is_a_letter_elsewhere(monkeypatch):
    monkeypatch.setattr("dinoiser.images.inputs.PurePath", PurePosixPath)
    assert check_inside(r"..\a.jpg") == r"..\a.jpg"

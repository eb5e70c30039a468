"""Find the images that files, folders and globs stand for, and name their results."""

import fnmatch
import glob
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path, PurePath

from dinoiser.errors import InputError
from dinoiser.images import job_folders

IMAGE_SUFFIXES = (
    ".apng",
    ".avif",
    ".bmp",
    ".btf",
    ".dib",
    ".gif",
    ".heic",
    ".heif",
    ".hif",
    ".j2k",
    ".jfif",
    ".jp2",
    ".jpe",
    ".jpeg",
    ".jpg",
    ".jxl",
    ".mpo",
    ".pbm",
    ".pgm",
    ".png",
    ".ppm",
    ".tf8",
    ".tif",
    ".tiff",
    ".webp",
)
"""Endings by which images are found in folders, in upper or lower case."""
ZARR_MARKS = ("zarr.json", ".zgroup", ".zarray")
"""Files of which a Zarr store has one: the first since its version 3."""
ZARR_CURE = "save its slices as 16-bit PNG or TIFF with Fiji, or label them in napari"
SHOWN_ENDINGS = 6


@dataclass(frozen=True)
class ImageFile:
    """An image and the name under which its results are stored.

    Attributes
    ----------
    path
        Where the image is.
    name
        Its path relative to the input folder, with forward slashes, such as
        "a/b.jpg"; it never points outside that folder.
    """

    path: Path
    name: str

    def __post_init__(self) -> None:
        check_inside(self.name)


def check_inside(name: str) -> str:
    """Refuse an image or result name that points outside the output folder.

    Parameters
    ----------
    name
        A path relative to a folder, with forward slashes.

    Returns
    -------
    str
        The same name.

    Raises
    ------
    InputError
        The name is absolute, empty or contains "..".
    """
    path = PurePath(name)  # on Windows, a backslash separates too, and "/a.jpg" is on some drive
    if path.anchor or not name or ".." in path.parts:
        msg = (
            f"the image name {name!r} points outside the output folder; expected a path "
            "relative to the input folder, without '..', such as 'a/b.jpg'"
        )
        raise InputError(msg)
    return name


@dataclass(frozen=True)
class Found:
    """What files, folders and globs hold.

    Attributes
    ----------
    images
        The images, each once, with absolute paths, sorted by name.
    other
        Number of files that were passed over, by their endings.
    jobs
        Folders of jobs that were passed over.
    results
        Folders of jobs, among the photographs, whose results were passed over:
        masks and previews are no photographs.
    stores
        Zarr stores that were passed over.
    """

    images: list[ImageFile]
    other: Counter[str]
    jobs: list[str]
    results: list[str]
    stores: list[str]

    def notes(self) -> list[str]:
        """Say in sentences what was passed over."""
        notes = [
            f"the folder {folder} holds the results of a job and was passed over"
            for folder in self.jobs
        ]
        notes += [
            f"the folder {folder} holds the results of a job, too, which were passed over"
            for folder in self.results
        ]
        notes += [
            f"{store} is a Zarr store and was passed over; {ZARR_CURE}" for store in self.stores
        ]
        if self.other:
            kinds = ", ".join(
                f"{ending} {n}" for ending, n in self.other.most_common(SHOWN_ENDINGS)
            )
            more = ", ..." if len(self.other) > SHOWN_ENDINGS else ""
            total = self.other.total()
            notes.append(f"{total} other file{'s' * (total > 1)} passed over ({kinds}{more})")
        return notes


def find_images(paths: Sequence[str | Path] | str | Path) -> list[ImageFile]:
    """Find the images that files, folders and globs stand for, see `search`."""
    return search(paths).images


def search(paths: Sequence[str | Path] | str | Path) -> Found:
    """Find the images that files, folders and globs stand for, and what is passed over.

    Folders are searched with all their subfolders for files ending in one of
    IMAGE_SUFFIXES; hidden files and folders and Zarr stores are passed over, and
    linked folders are searched once. Files are taken as they are. Globs that no
    shell has expanded are expanded here, ``**`` included, and find the same files as the
    search of a folder. A folder that `dinoiser label` has filled is passed over
    below an input; where it is one, its results are, and not what else is in it.

    All names are relative to one folder: the given folder or, for several
    inputs, the deepest folder that contains them all. A file counts as its own
    folder, a glob as the part before its first wildcard. So two images never
    share a name: ``x/day`` and ``x/night`` give "day/1.jpg" and "night/1.jpg".

    Parameters
    ----------
    paths
        Files, folders and globs, or a single one of these.

    Returns
    -------
    Found
        The images, and what else was there.

    Raises
    ------
    InputError
        If an input does not exist or holds no images, or a folder cannot be
        searched.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else paths
    if not given:
        msg = "no inputs were given; expected image files, folders or globs"
        raise InputError(msg)
    passed = _PassedOver()
    found = [_search(os.fspath(path), passed) for path in given]
    root = _common_folder([folder for folder, _ in found])
    start = len(os.path.join(root, ""))
    files = {file for _, files in found for file in files}
    images = [ImageFile(Path(file), file[start:].replace(os.sep, "/")) for file in files]
    other = Counter(_ending(file) for file in passed.files)
    images.sort(key=lambda image: image.name)
    return Found(images, other, sorted(passed.jobs), sorted(passed.results), sorted(passed.stores))


def output_stem(files: Sequence[ImageFile], taken: Iterable[str] = ()) -> dict[str, str]:
    """Name the results of images: the images' names without their suffixes.

    Where this would give two images the same name ("a.jpg" and "a.png", on some
    file systems also "A.png"), or one that is taken, they keep their suffixes.
    Where that is not enough, as for names that differ in case only, a number
    follows.

    Parameters
    ----------
    files
        The images to name.
    taken
        Names of results that belong to other images.

    Returns
    -------
    dict
        The name of the results by image name, without a suffix and with
        forward slashes, such as "a/b" for "a/b.jpg".
    """
    stems = {file.name: os.path.splitext(file.name)[0] for file in files}
    others = Counter(_without_case(stem) for stem in taken)
    while True:
        # a kept suffix may be another's stem: "a.jpg", "a.png" and "a.jpg.tif"
        counts = others + Counter(_without_case(stem) for stem in stems.values())
        shared = [
            name for name, stem in stems.items() if stem != name and counts[_without_case(stem)] > 1
        ]
        if not shared:
            break
        stems |= {name: name for name in shared}
    used = set(others)
    for name, stem in stems.items():
        numbered = (f"{stem}-{number}" for number in count(2))
        stems[name] = next(s for s in chain([stem], numbered) if _without_case(s) not in used)
        used.add(_without_case(stems[name]))
    return stems


@dataclass
class _PassedOver:
    """What a search does not take."""

    files: set[str] = field(default_factory=set)
    jobs: set[str] = field(default_factory=set)
    results: set[str] = field(default_factory=set)
    stores: set[str] = field(default_factory=set)


def _ending(path: str) -> str:
    return os.path.splitext(path)[1].lower() or "without an ending"


def _without_case(name: str) -> str:
    """Fold a name the way file systems do that ignore case or normalise Unicode."""
    return unicodedata.normalize("NFC", name).casefold()


def _search(given: str, passed: _PassedOver) -> tuple[str, list[str]]:
    """Return the folder that names an input's images, and their absolute paths."""
    path = _absolute(given)
    if os.path.isdir(path):
        root, files = path, _walk(path, passed)
    elif os.path.exists(path):
        return os.path.dirname(path), [path]
    elif _is_glob(given):
        root, files = _expand_glob(given, passed)
    else:
        raise _unreachable(given)
    if not files and path in passed.results:
        msg = (
            f"the folder {given} holds the results of a job and no other images; give the folder "
            "of the photographs"
        )
        raise InputError(msg)
    if not files and path in passed.stores:
        msg = f"{given} is a Zarr store; {ZARR_CURE}"
        raise InputError(msg)
    if not files:
        place = f"in the folder {given}" if os.path.isdir(path) else f"that match {given}"
        msg = f"there are no images {place}; looked for files ending in {', '.join(IMAGE_SUFFIXES)}"
        raise InputError(msg)
    return root, files


def _absolute(given: str) -> str:
    """Return an absolute path, as the disk spells it where systems ignore case.

    A job knows its images by their paths, and there `photos` and `Photos` are one folder.
    """
    path = os.path.abspath(given)
    real = os.path.realpath(path)
    # where more than the case differs, the path leads through a link, and stays as it is
    return real if os.path.normcase(real) == os.path.normcase(path) else path


def _unreachable(given: str) -> InputError:
    try:
        os.stat(given)
    except PermissionError:
        return InputError(f"{given} is in a folder that you may not open; get permission for it")
    except (OSError, ValueError):
        pass
    return InputError(
        f"there is no file or folder {given}; expected an image, a folder or a glob such as "
        "'photos/**/*.jpg'"
    )


def _common_folder(folders: list[str]) -> str:
    try:
        return os.path.commonpath(folders)
    except ValueError as error:
        msg = f"the inputs are on different drives ({', '.join(folders)}); give those of one drive"
        raise InputError(msg) from error


def _is_glob(text: str) -> bool:
    return re.search(r"[*?\[]", text) is not None


def _expand_glob(pattern: str, passed: _PassedOver) -> tuple[str, list[str]]:
    """Return the folder before the first wildcard, and the images that match."""
    parts = PurePath(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if _is_glob(part))
    root, parts = _absolute(os.path.join("", *parts[:fixed])), parts[fixed:]
    # the part from ** on is matched here: glob.glob would follow linked folders in circles
    plain = parts[: parts.index("**")] if "**" in parts else parts
    matches = glob.glob(os.path.join(*plain), root_dir=root) if plain else [""]
    files: list[str] = []
    for match in matches:
        path = os.path.abspath(os.path.join(root, match))
        if os.path.isdir(path):
            rest = parts[len(plain) :] or ("**",)
            start = len(os.path.join(path, ""))
            inside = _walk(path, passed)
            files += [file for file in inside if _matches(file[start:].split(os.sep), rest)]
        elif len(plain) == len(parts) and _has_image_suffix(path):
            files.append(path)
    folders = {os.path.dirname(file) for file in files}
    results = {folder for folder in folders if _is_in_results(folder, root, passed)}
    files = [file for file in files if os.path.dirname(file) not in results]
    return os.path.commonpath([root, *{os.path.dirname(file) for file in files}]), files


def _matches(parts: list[str], pattern: tuple[str, ...]) -> bool:
    """Match the parts of a path against those of a glob, where ** means any number of parts."""
    if "**" not in pattern:
        return len(parts) == len(pattern) and all(map(fnmatch.fnmatch, parts, pattern))
    if not parts:
        return all(part == "**" for part in pattern)
    if pattern[0] != "**":
        return fnmatch.fnmatch(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])
    rest = pattern[1:]
    # the last ** has only one possible end; this keeps the usual glob linear
    if "**" not in rest:
        return len(parts) >= len(rest) and _matches(parts[len(parts) - len(rest) :], rest)
    return any(_matches(parts[i:], rest) for i in range(len(parts)))


def _walk(top: str, passed: _PassedOver) -> list[str]:
    """Return the images in a folder and all folders below it."""
    files: list[str] = []
    unreadable: list[str] = []
    # a link to a parent folder is a loop too
    visited = {str(parent) for parent in Path(os.path.realpath(top)).parents}
    # linked folders come last, so that an image reached twice keeps its real path
    folders, links = [top], list[str]()
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        real = os.path.realpath(folder)
        if real in visited:
            continue
        visited.add(real)
        if _is_zarr_store(folder):  # thousands of files, none of which is an image
            passed.stores.add(folder)
            continue
        try:
            entries = list(_visible_entries(folder))
        except OSError:
            unreadable.append(folder)
            continue
        for entry in _without_results(folder, entries, passed, given=folder == top):
            if entry.is_symlink() and os.path.isdir(entry.path):
                links.append(entry.path)
            elif entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif _has_image_suffix(entry.name):
                files.append(entry.path)
            else:
                passed.files.add(entry.path)
    if unreadable:
        raise _unsearchable(unreadable)
    return files


def _is_zarr_store(folder: str) -> bool:
    return any(os.path.exists(os.path.join(folder, name)) for name in ZARR_MARKS)


def _without_results(
    folder: str, entries: list[os.DirEntry[str]], passed: _PassedOver, *, given: bool
) -> list[os.DirEntry[str]]:
    """Leave out what a job has put into a folder; nothing is taken of one that was not given."""
    if not {entry.name for entry in entries} >= job_folders.MARKS:
        return entries
    if not given:
        passed.jobs.add(folder)
        return []
    results = {os.fspath(path) for path in job_folders.result_folders(Path(folder))}
    left = [entry for entry in entries if entry.path not in results]
    if len(left) < len(entries):
        passed.results.add(folder)
    return left


def _is_in_results(folder: str, root: str, passed: _PassedOver) -> bool:
    """Whether a folder is one in which a job keeps its results, or below one, and not its root."""
    given = {Path(root), *Path(root).parents}
    for place in (Path(folder), *Path(folder).parents):
        job = place.parent
        is_job = place not in given and all((job / name).exists() for name in job_folders.MARKS)
        if is_job and place in job_folders.result_folders(job):
            passed.results.add(os.fspath(job))
            return True
    return False


def _unsearchable(folders: list[str]) -> InputError:
    shown = ", ".join(folders[:3]) + (", ..." if len(folders) > 3 else "")
    count = "1 folder" if len(folders) == 1 else f"{len(folders)} folders"
    return InputError(
        f"{count} cannot be searched: {shown}; make them readable, or give the other folders "
        "individually"
    )


def _visible_entries(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        yield from sorted(
            (entry for entry in entries if not entry.name.startswith(".")),
            key=lambda entry: entry.name,
        )


def _has_image_suffix(path: str) -> bool:
    return path.lower().endswith(IMAGE_SUFFIXES)

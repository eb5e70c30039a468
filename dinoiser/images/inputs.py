"""Files, folders and globs -> the images of a job and the names of their results."""

import fnmatch
import glob
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from dinoiser.errors import InputError

IMAGE_SUFFIXES = (
    ".avif",
    ".bmp",
    ".gif",
    ".heic",
    ".heif",
    ".jfif",
    ".jpe",
    ".jpeg",
    ".jpg",
    ".png",
    ".tif",
    ".tiff",
    ".webp",
)
"""Endings by which images are found in folders, in upper or lower case."""


@dataclass(frozen=True)
class ImageFile:
    """An image and the name that its results are filed under.

    Attributes
    ----------
    path
        Where the image is.
    name
        Its path relative to the input folder, with forward slashes, such as
        "a/b.jpg"; it never leads out of that folder.
    """

    path: Path
    name: str

    def __post_init__(self) -> None:
        check_inside(self.name)


def check_inside(name: str) -> str:
    """Refuse the name of an image, or of its results, that leads out of the output folder.

    Parameters
    ----------
    name
        A path relative to a folder, with forward slashes.

    Returns
    -------
    str
        The same.

    Raises
    ------
    InputError
        It is absolute, empty, or climbs up by "..".
    """
    anchored = os.path.isabs(name) or os.path.splitdrive(name)[0]
    if anchored or not name or ".." in name.split("/"):
        msg = (
            f"the image name {name!r} leads out of the output folder; expected a path "
            "relative to the input folder and without '..', such as 'a/b.jpg'"
        )
        raise InputError(msg)
    return name


def find_images(paths: Sequence[str | Path] | str | Path) -> list[ImageFile]:
    """Find the images that files, folders and globs stand for.

    Folders are searched with all their subfolders for files ending in one of
    IMAGE_SUFFIXES; hidden files and folders are passed over, and linked folders
    are searched once. Files are taken as they are. Globs that no shell has
    expanded are expanded here, ``**`` included, and find the same files as the
    search of a folder.

    One folder names all images: the folder given or, where several inputs are
    given, the deepest folder that holds them all, counting for a file its
    folder and for a glob what stands before its first wildcard. So two images
    never share a name: of ``x/day`` and ``x/night`` come "day/1.jpg" and
    "night/1.jpg".

    Parameters
    ----------
    paths
        Files, folders and globs; one alone need not be in a list.

    Returns
    -------
    list of ImageFile
        The images, each once, with absolute paths, sorted by name.

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
    found = [_search(os.fspath(path)) for path in given]
    root = _common_folder([folder for folder, _ in found])
    start = len(os.path.join(root, ""))
    files = {file for _, files in found for file in files}
    images = [ImageFile(Path(file), file[start:].replace(os.sep, "/")) for file in files]
    return sorted(images, key=lambda image: image.name)


def output_stem(files: Sequence[ImageFile]) -> dict[str, str]:
    """Name the results of images: the images' names without their suffixes.

    Where this would give two images the same name ("a.jpg" and "a.png", on some
    file systems also "A.png"), these keep their suffixes. Two names that differ
    in case only are left as they are: only a file system that tells them apart
    holds both.

    Parameters
    ----------
    files
        The images of a job.

    Returns
    -------
    dict
        For each image's name the name of its results, without a suffix and
        with forward slashes, such as "a/b" for "a/b.jpg".
    """
    stems = {file.name: os.path.splitext(file.name)[0] for file in files}
    while True:
        # a kept suffix may be another's stem: "a.jpg", "a.png" and "a.jpg.tif"
        counts = Counter(_without_case(stem) for stem in stems.values())
        shared = [
            name for name, stem in stems.items() if stem != name and counts[_without_case(stem)] > 1
        ]
        if not shared:
            return stems
        stems |= {name: name for name in shared}


def _without_case(name: str) -> str:
    """Fold a name as file systems do that ignore case or compose characters."""
    return unicodedata.normalize("NFC", name).casefold()


def _search(given: str) -> tuple[str, list[str]]:
    """Return the folder that names an input's images, and their absolute paths."""
    path = os.path.abspath(given)
    if os.path.isdir(path):
        root, files = path, _walk(path)
    elif os.path.exists(path):
        return os.path.dirname(path), [path]
    elif _is_glob(given):
        root, files = _expand_glob(given)
    else:
        raise _unreachable(given)
    if not files:
        place = f"in the folder {given}" if os.path.isdir(path) else f"that match {given}"
        msg = f"there are no images {place}; looked for files ending in {', '.join(IMAGE_SUFFIXES)}"
        raise InputError(msg)
    return root, files


def _unreachable(given: str) -> InputError:
    try:
        os.stat(given)
    except PermissionError:
        return InputError(f"{given} lies in a folder that this user may not open; allow it")
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
        msg = f"the inputs lie on different drives ({', '.join(folders)}); give those of one drive"
        raise InputError(msg) from error


def _is_glob(text: str) -> bool:
    return re.search(r"[*?\[]", text) is not None


def _expand_glob(pattern: str) -> tuple[str, list[str]]:
    """Return the folder before the first wildcard, and the images that match."""
    parts = PurePath(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if _is_glob(part))
    root, parts = os.path.abspath(os.path.join("", *parts[:fixed])), parts[fixed:]
    # glob's own ** would go round in linked folders
    plain = parts[: parts.index("**")] if "**" in parts else parts
    matches = glob.glob(os.path.join(*plain), root_dir=root) if plain else [""]
    files: list[str] = []
    for match in matches:
        path = os.path.abspath(os.path.join(root, match))
        if os.path.isdir(path):
            rest = parts[len(plain) :] or ("**",)
            start = len(os.path.join(path, ""))
            files += [file for file in _walk(path) if _matches(file[start:].split(os.sep), rest)]
        elif len(plain) == len(parts) and _has_image_suffix(path):
            files.append(path)
    return os.path.commonpath([root, *{os.path.dirname(file) for file in files}]), files


def _matches(parts: list[str], pattern: tuple[str, ...]) -> bool:
    """Match the parts of a path against those of a glob, where ** is any number of parts."""
    if "**" not in pattern:
        return len(parts) == len(pattern) and all(map(fnmatch.fnmatch, parts, pattern))
    if not parts:
        return all(part == "**" for part in pattern)
    if pattern[0] != "**":
        return fnmatch.fnmatch(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])
    rest = pattern[1:]
    if "**" not in rest:
        return len(parts) >= len(rest) and _matches(parts[len(parts) - len(rest) :], rest)
    return any(_matches(parts[i:], rest) for i in range(len(parts)))


def _walk(top: str) -> list[str]:
    """Return the images in a folder and all folders below it."""
    files: list[str] = []
    unreadable: list[str] = []
    # a link to a folder around this one is a loop too
    visited = {str(parent) for parent in Path(os.path.realpath(top)).parents}
    # linked folders come last, so that images are named by where they really are
    folders, links = [top], list[str]()
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        real = os.path.realpath(folder)
        if real in visited:
            continue
        visited.add(real)
        try:
            entries = list(_visible_entries(folder))
        except OSError:
            unreadable.append(folder)
            continue
        for entry in entries:
            if entry.is_symlink() and os.path.isdir(entry.path):
                links.append(entry.path)
            elif entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif _has_image_suffix(entry.name):
                files.append(entry.path)
    if unreadable:
        raise _unsearchable(unreadable)
    return files


def _unsearchable(folders: list[str]) -> InputError:
    shown = ", ".join(folders[:3]) + (", ..." if len(folders) > 3 else "")
    count = "1 folder" if len(folders) == 1 else f"{len(folders)} folders"
    return InputError(
        f"{count} cannot be searched: {shown}; make them readable, or give the other folders one "
        "by one"
    )


def _visible_entries(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        yield from sorted(
            (entry for entry in entries if not entry.name.startswith(".")),
            key=lambda entry: entry.name,
        )


def _has_image_suffix(path: str) -> bool:
    return path.lower().endswith(IMAGE_SUFFIXES)

"""Begin a job with annotations that exist already."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import yaml

from dinoiser.batch.folder import LOCK, refuse_links, sole_writer
from dinoiser.batch.job import (
    CLASSES_FILE,
    PROMPT_FILE,
    describe_imported,
    is_imported,
    read_job,
    reading_of,
    write_job,
)
from dinoiser.batch.recorded_job import read_labelling
from dinoiser.batch.records import Record, RecordFile, read_records
from dinoiser.batch.reviews import LabelledImage, Reviews
from dinoiser.bridges.annotations import open_annotations
from dinoiser.bridges.imports import Change, Imported, draw_all
from dinoiser.bridges.matching import class_key, split_renames
from dinoiser.errors import InputError, PromptError, SettingsError
from dinoiser.export.png import write_classes
from dinoiser.images.inputs import find_images, output_stem
from dinoiser.images.reading import read_size
from dinoiser.images.settings import AS_STORED, ReadSettings
from dinoiser.labels import MAX_ID
from dinoiser.prompts import PromptSet
from dinoiser.weights.digests import file_digest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from dinoiser.images.inputs import ImageFile


def begin_job(
    output: str | Path,
    images: str | Path,
    files: Sequence[str | Path],
    renames: Iterable[str] = (),
    *,
    reading: ReadSettings = AS_STORED,
    dry_run: bool = False,
) -> Imported:
    """Make a job of images and their annotations, which count as corrected and accepted.

    The same call again goes on where it was stopped, and adds images whose
    annotations are new or were mended; those that are in the job stay as they are.

    Parameters
    ----------
    output
        The new folder, or the folder of a job that began so.
    images
        The folder with the images.
    files
        See `open_annotations`. Their classes become the job's; ids and colours
        are kept where they can be.
    renames
        Names of classes as "old=new".
    reading
        How whoever looks at the job's images reads their pixels.
    dry_run
        Write nothing.

    Raises
    ------
    SettingsError
        There is something else in the folder already.
    InputError
        There are no images, or the annotations cannot be read or have no names
        of classes.
    PromptError
        They have classes that the job lacks.
    OutputError
        The job cannot be written.
    """
    output, paths = Path(output), [Path(file) for file in files]
    images = Path(images)
    begun = _classes_begun_with(output, reading)
    found = {file.name: file for file in find_images(images)}
    names = split_renames(renames)
    prompts = _find_classes(paths, names)
    if begun is not None:
        _refuse_more_classes(output, begun, prompts)
        prompts = begun
    imported = Imported()
    with nullcontext() if dry_run else _open_job(output, prompts, reading):
        there = {record.image for record in read_records(output)}
        reviews, records = Reviews(output, prompts), RecordFile(output)
        for labelled, labels in _annotated(found, there, paths, prompts, names, imported):
            present = set(np.unique(labels).tolist())
            classes = tuple(item.name for item in prompts.classes if item.id in present - {0})
            imported.changes.append(Change(labelled.image, labels.size, classes, False))
            if not dry_run:
                reviews.save(labelled, "accepted", labels)
                records.append([_record(labelled, found[labelled.image])])
    return imported


def _classes_begun_with(output: Path, reading: ReadSettings) -> PromptSet | None:
    """Return the classes of a job that annotations began; None where there is no job yet."""
    if not output.exists():
        return None
    description = read_job(output) if output.is_dir() else None
    if description is not None and is_imported(description):
        refuse_links(output)
        _refuse_other_reading(output, reading_of(description), reading)
        return read_labelling(description)
    if not output.is_dir() or {path.name for path in output.iterdir()} - {LOCK}:
        msg = f"{output} is not empty; give --new another folder."
        raise SettingsError(msg)
    return None


def _refuse_other_reading(output: Path, begun: ReadSettings, now: ReadSettings) -> None:
    if now != begun:
        with_, given = (" ".join(each.options()) or "no such options" for each in (begun, now))
        msg = (
            f"the job in {output} began with {with_}, not with {given}; give the same --bands and "
            "--nodata, or --new another folder."
        )
        raise SettingsError(msg)


def _refuse_more_classes(output: Path, begun: PromptSet, prompts: PromptSet) -> None:
    ours = {class_key(name) for name in begun.names}
    more = [name for name in prompts.names if class_key(name) not in ours]
    if more:
        msg = (
            f"the annotations have classes that the job in {output} lacks: {', '.join(more)}; "
            f'give --map "{more[0]}=NAME" for each, or --new another folder.'
        )
        raise PromptError(msg)


@contextmanager
def _open_job(output: Path, prompts: PromptSet, reading: ReadSettings) -> Iterator[None]:
    """Be the only one that writes into the job, and describe it."""
    output.mkdir(parents=True, exist_ok=True)
    with sole_writer(output, "import"):
        if read_job(output) is None:
            write_job(output, describe_imported(prompts, reading))
        prompts.save(output / PROMPT_FILE)
        write_classes(prompts, output / CLASSES_FILE)
        yield


def _find_classes(files: Sequence[Path], renames: Mapping[str, str]) -> PromptSet:
    """Make classes of those that the annotations name."""
    entries: dict[str, dict[str, Any]] = {}
    for path in files:
        with open_annotations(path, {}) as opened:
            for annotations in opened:
                for label, name in annotations.classes.items():
                    new = renames.get(class_key(name), name)
                    entry: dict[str, Any] = {"name": new, "id": label}
                    if label in annotations.colors:
                        entry["color"] = annotations.colors[label]
                    entries.setdefault(new.casefold(), entry)
    entries.pop("background", None)
    if not entries:
        places = ", ".join(map(str, files))
        msg = f"{places} does not name its classes; add a labelmap.txt or classes.json"
        raise InputError(msg)
    return _prompts(list(entries.values()))


def _prompts(entries: list[dict[str, Any]]) -> PromptSet:
    """Make a set with a background; ids of several files, or too large ones, are numbered anew."""
    ids = [entry["id"] for entry in entries]
    if len(set(ids)) < len(ids) or not all(1 <= int(number) <= MAX_ID for number in ids):
        for entry in entries:
            del entry["id"]
    classes: list[dict[str, Any]] = [{"name": "background", "background": True}, *entries]
    return PromptSet.from_yaml(yaml.safe_dump({"version": 1, "classes": classes}), "annotations")


class _Annotated(NamedTuple):
    labelled: LabelledImage
    labels: np.ndarray


def _annotated(
    found: Mapping[str, ImageFile],
    there: Collection[str],
    files: Sequence[Path],
    prompts: PromptSet,
    renames: Mapping[str, str],
    imported: Imported,
) -> Iterator[_Annotated]:
    """Give the annotated images that are not there yet; note what does not fit."""
    stems = output_stem(list(found.values()))

    def nothing_of(name: str) -> np.ndarray:
        return np.zeros(read_size(found[name].path), np.uint8)

    # every class that they name is one of the job's
    drawn = draw_all(files, prompts, renames, stems, nothing_of, imported, Counter())
    kept = 0
    for name, _, labels in drawn:
        if name in there:
            kept += 1
            continue
        place = str(found[name].path.resolve())
        size = (labels.shape[0], labels.shape[1])
        labelled = LabelledImage(name, stems[name], place, size, None, None, {})
        yield _Annotated(labelled, labels)
    if kept:
        images = f"{kept} image{'s are' if kept > 1 else ' is'}"
        imported.notes.append(
            f"{images} in the job already and left as before; without --new, annotations "
            "replace what a job has"
        )


def _record(labelled: LabelledImage, file: ImageFile) -> Record:
    status = file.path.stat()
    return Record(
        image=labelled.image,
        stem=labelled.stem,
        path=labelled.path,
        status="done",
        digest=file_digest(file.path, "sha256").value,
        file_size=status.st_size,
        modified=status.st_mtime_ns,
        size=labelled.size,
    )

"""Bring annotations back into a job, as corrected masks of its images."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dinoiser.batch.edits_in_place import EditsInPlace
from dinoiser.batch.folder import check_job
from dinoiser.batch.reviews import Reviews, is_corrected, read_labelled, read_saved_mask
from dinoiser.bridges.annotations import open_annotations
from dinoiser.bridges.matching import match_classes, match_images, note_unused, split_renames
from dinoiser.errors import InputError, PromptError
from dinoiser.labels import LEFT_OUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from dinoiser.batch.reviews import LabelledImage
    from dinoiser.bridges.annotations import Annotations
    from dinoiser.prompts import PromptSet


class Change(NamedTuple):
    """What an import does to one image.

    Attributes
    ----------
    image
        Its name in the job.
    pixels
        Number of pixels that get another label.
    new_classes
        Names of classes that its mask did not have.
    replaces
        Whether its mask was corrected before.
    """

    image: str
    pixels: int
    new_classes: tuple[str, ...]
    replaces: bool


@dataclass
class Imported:
    """What an import has done, or would do.

    Attributes
    ----------
    changes
        One for each image of the job that has an annotation.
    unmatched
        Names of annotated images that the job does not have, or has several of.
    empty
        Names of images without any annotation, which are left as they are.
    failures
        Why annotations of images could not be used, by the job's name.
    notes
        What else a person wants to know, a sentence each.
    """

    changes: list[Change] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def import_annotations(
    output: str | Path,
    files: Sequence[str | Path],
    renames: Iterable[str] = (),
    *,
    dry_run: bool = False,
) -> Imported:
    """Correct the masks of a job by annotations that were made elsewhere.

    A mask whose pixels change is saved as a review of a person would be:
    corrected and accepted. All other images are left as they are. Where a
    format cannot say that pixels are ignored, those that are ignored in the
    mask and background in the annotations stay so.

    Parameters
    ----------
    output
        The job's folder.
    files
        See `open_annotations`.
    renames
        Names of classes as "old=new".
    dry_run
        Change nothing.

    Raises
    ------
    InputError
        There is no job, a file cannot be read, or has classes that the job
        lacks; nothing is changed then.
    OutputError
        A mask or review cannot be written.
    """
    output, paths = Path(output), [Path(file) for file in files]
    prompts = check_job(output)
    names = split_renames(renames)
    for new in names.values():
        prompts.by_name(new)  # refuses what is no class of the job
    # once to see that all is well, and then again: masks of a large job do not fit in memory
    imported, unknown = Imported(), Counter[str]()
    for correction in _corrections(output, prompts, paths, names, imported, unknown):
        imported.changes.append(correction.change)
    if unknown:
        raise PromptError(_unknown(unknown, prompts))
    if not dry_run:
        edits = EditsInPlace(output)
        for labelled in read_labelled(output):
            edits.look(labelled.image, labelled.stem, labelled.mask_checksum)
        # what is in its place already changes no pixel, and is kept as it is
        imported.notes += edits.save(without={c.image for c in imported.changes if c.pixels})
        reviews = Reviews(output, prompts)
        for correction in _corrections(output, prompts, paths, names, Imported(), Counter()):
            if correction.change.pixels:
                reviews.save(correction.labelled, "accepted", correction.labels)
    return imported


class _Correction(NamedTuple):
    labelled: LabelledImage
    labels: np.ndarray
    change: Change


def _corrections(
    output: Path,
    prompts: PromptSet,
    files: Sequence[Path],
    renames: Mapping[str, str],
    imported: Imported,
    unknown: Counter[str],
) -> Iterator[_Correction]:
    """Give the corrected masks one by one; note what does not fit."""
    ours = {labelled.image: labelled for labelled in read_labelled(output)}
    edits = EditsInPlace(output)

    def mask_of(name: str) -> np.ndarray:
        return read_saved_mask(output, ours[name], prompts.mask_colors)

    stems = {name: labelled.stem for name, labelled in ours.items()}
    for name, mask, labels in draw_all(files, prompts, renames, stems, mask_of, imported, unknown):
        review = edits.look(name, ours[name].stem, ours[name].mask_checksum)
        change = _compare(name, mask, labels, prompts, is_corrected(review))
        yield _Correction(ours[name], labels, change)


class Drawn(NamedTuple):
    """The labels (H, W) of an image before, and by its annotations."""

    image: str
    before: np.ndarray
    labels: np.ndarray


def draw_all(
    files: Sequence[Path],
    prompts: PromptSet,
    renames: Mapping[str, str],
    stems: Mapping[str, str],
    mask_of: Callable[[str], np.ndarray],
    imported: Imported,
    unknown: Counter[str],
) -> Iterator[Drawn]:
    """Draw the labels of annotated images one by one.

    Parameters
    ----------
    files, prompts, renames
        See `open_annotations` and `draw_labels`.
    stems
        The names of the results of the images that there are, by the images' names.
    mask_of
        Returns the labels (H, W) that an image has so far.
    imported, unknown
        Take what does not fit: images, and classes that the job lacks.
    """
    named = set[str]()
    for path in files:
        with open_annotations(path, prompts.label_colors) as opened:
            for annotations in opened:
                named.update(_class_names(annotations, prompts).values())
                imported.empty += annotations.empty
                imported.notes += annotations.notes
                for theirs, name in match_images(annotations.images, stems).items():
                    if name is None:
                        imported.unmatched.append(theirs)
                        continue
                    try:
                        mask = mask_of(name)
                        labels, without = draw_labels(annotations, theirs, mask, prompts, renames)
                    except InputError as error:
                        imported.failures[name] = str(error)
                        continue
                    unknown.update(without)
                    yield Drawn(name, mask, labels)
    imported.notes += note_unused(renames, named)


def draw_labels(
    annotations: Annotations,
    image: str,
    mask: np.ndarray,
    prompts: PromptSet,
    renames: Mapping[str, str],
) -> tuple[np.ndarray, list[str]]:
    """Draw the labels that annotations give to an image.

    Parameters
    ----------
    annotations, image
        The annotations, and the image's name in them.
    mask
        (H, W), its labels so far.
    prompts, renames
        Classes of the job, and other names for them, see `split_renames`.

    Returns
    -------
    labels : ndarray
        (H, W) of the job's `PromptSet.label_type`, the new labels.
    unknown : list of str
        Names of classes that the job lacks.

    Raises
    ------
    InputError
        The annotations are damaged, or of another size.
    """
    drawn = annotations.draw(image)
    if drawn.shape != mask.shape:
        msg = (
            f"it is annotated with {drawn.shape} pixels (height, width), but its mask has "
            f"{mask.shape}; annotate the image that was labelled"
        )
        raise InputError(msg)
    names = _class_names(annotations, prompts)
    ids = {0: 0, LEFT_OUT: prompts.ignore, **match_classes(names, renames, prompts)}
    labels, unknown = np.zeros(mask.shape, prompts.label_type), []
    for label in np.unique(drawn).tolist():
        if label in ids:
            labels[drawn == label] = ids[label]
        else:
            unknown.append(names.get(label, f"label {label}"))
    if not annotations.knows_ignored:
        labels[(labels == 0) & (mask == prompts.ignore)] = prompts.ignore
    return labels, unknown


def _class_names(annotations: Annotations, prompts: PromptSet) -> dict[int, str]:
    """Give the name of each label; masks without names of their own hold the job's labels."""
    return annotations.classes or {item.id: item.name for item in prompts.classes}


def _compare(
    image: str, mask: np.ndarray, labels: np.ndarray, prompts: PromptSet, corrected: bool
) -> Change:
    names = {item.id: item.name for item in prompts.classes}
    new = np.setdiff1d(labels, mask).tolist()
    classes = tuple(names[label] for label in new if label in names)
    return Change(image, int((labels != mask).sum()), classes, corrected)


def _unknown(unknown: Counter[str], prompts: PromptSet) -> str:
    """Say which classes the job lacks, and what to do."""
    found = ", ".join(f"{name!r} (images: {count})" for name, count in sorted(unknown.items()))
    first = min(unknown)
    return (
        f"the annotations have classes that the job lacks: {found}; the job has "
        f'{", ".join(prompts.names)}; give --map "{first}=NAME" for each'
    )

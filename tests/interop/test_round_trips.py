"""Masks go out, another program changes one, and the changed pixels come back, and only they."""

import json
import zipfile

import numpy as np
import pytest

from dinoiser.batch import export
from dinoiser.bridges.imports import import_annotations
from dinoiser.export import read_mask
from tests.helpers.export_jobs import PROMPTS, decodes
from tests.interop.job import make_mixed_job, read_masks

pytestmark = [
    decodes,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # those of other programs
]
CHANGED = "a/01"


def paint(labels):
    """Draw a patch of sky over part of the dog and the background."""
    labels = labels.copy()
    labels[20:28, 25:40] = PROMPTS.by_name("sky").id
    return labels


@pytest.fixture
def job(tmp_path):
    return make_mixed_job(tmp_path, 8)


def assert_only_the_patch_came_back(job, before, imported):
    assert not imported.failures
    assert not imported.unmatched
    (change,) = [change for change in imported.changes if change.pixels]
    assert change.image == f"{CHANGED}.jpg"
    assert change.pixels == int((paint(before[CHANGED]) != before[CHANGED]).sum())
    after = read_masks(job)
    np.testing.assert_array_equal(after.pop(CHANGED), paint(before.pop(CHANGED)))
    for stem, labels in before.items():
        np.testing.assert_array_equal(after[stem], labels)


@pytest.mark.parametrize("back", ["voc_segmentation", "coco_instances", "datumaro"])
def test_a_zip_for_cvat_changed_by_datumaro(job, tmp_path, back):
    datumaro = pytest.importorskip("datumaro")
    before = read_masks(job)
    export(job, ["cvat"])
    with zipfile.ZipFile(job / "cvat.zip") as archive:
        archive.extractall(tmp_path / "cvat")
    data = datumaro.Dataset.import_from(str(tmp_path / "cvat"), "voc_segmentation")
    names = [label.name for label in data.categories()[datumaro.AnnotationType.label]]
    used = {names[a.label] for item in data for a in item.annotations}
    assert used == {"dog", "grass", "sky"}  # the background is no object
    (item,) = [item for item in data if item.id == CHANGED]
    labels = np.zeros(before[CHANGED].shape, int)
    for annotation in item.annotations:
        labels[annotation.image > 0] = PROMPTS.by_name(names[annotation.label]).id
    painted = paint(labels)
    masks = [
        datumaro.Mask(painted == c.id, label=names.index(c.name))
        for c in PROMPTS.classes
        if not c.background
    ]
    # formats that hold sizes take them from the images, which are not in the zip
    items = [
        item.wrap(
            annotations=masks if item.id == CHANGED else item.annotations,
            media=datumaro.Image.from_numpy(np.zeros((*before[item.id].shape, 3), np.uint8)),
        )
        for item in data
    ]
    data = datumaro.Dataset.from_iterable(
        items, categories=data.categories(), media_type=datumaro.Image
    )
    options = {"label_map": "source"} if back == "voc_segmentation" else {}
    data.export(str(tmp_path / "back"), back, save_media=True, **options)
    assert_only_the_patch_came_back(job, before, import_annotations(job, [tmp_path / "back"]))


def test_tasks_changed_by_label_studio_s_own_code(job, tmp_path):
    brush = pytest.importorskip("label_studio_sdk.converter.brush")
    before = read_masks(job)
    export(job, ["labelstudio"])
    tasks = json.loads((job / "labelstudio.json").read_text())
    for task in tasks:
        result = task.pop("predictions")[0]["result"]
        if CHANGED in task["data"]["image"]:
            painted = paint(before[CHANGED])
            for stroke in result:
                mask = painted == PROMPTS.by_name(stroke["value"]["brushlabels"][0]).id
                stroke["value"]["rle"] = brush.mask2rle(mask.astype(np.uint8) * 255)
        task["annotations"] = [{"result": result, "was_cancelled": False}]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    imported = import_annotations(job, [tmp_path / "export.json"])
    assert_only_the_patch_came_back(job, before, imported)
    assert (read_mask(job / "masks" / f"{CHANGED}.png")[20:28, 25:40] == 3).all()

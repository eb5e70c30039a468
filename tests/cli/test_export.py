"""`dinoiser export` as a person runs it on a job's folder."""

import json
import sys
import time
from contextlib import nullcontext

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from dinoiser.batch.export import export
from dinoiser.batch.records import Record, RecordFile
from dinoiser.batch.reviews import read_saved_mask
from dinoiser.errors import InputError, SettingsError
from dinoiser.export import write_confidence, write_png
from tests.helpers.export_jobs import decodes, make_job, scene, segmentation

pytestmark = decodes

EVERYTHING = ["png", "overlay", "coco", "panoptic", "yolo"]


@pytest.fixture
def job(tmp_path):
    return make_job(tmp_path, {"b.png": scene(), "a/c.jpg": scene(2), "a.png": scene() * 0})


def contents(folder):
    """Every file below a folder by its path; links are read through."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_all_formats_come_from_the_masks(job, dinoiser):
    flags = [flag for name in EVERYTHING for flag in ("-f", name)]
    code, out, err = dinoiser("export", job, *flags, "--json")
    assert code == 0, err
    expected = {"output": str(job), "formats": EVERYTHING, "images": 3, "failed": {}}
    assert json.loads(out) == expected
    written = {name for name in contents(job) if not name.startswith(("masks", "records", ".lock"))}
    stems = ["a", "a/c", "b"]
    assert written == {
        "annotations.json",
        "classes.json",
        "images/.exported",
        "labels/.exported",
        "data.yaml",
        "images/a.png",
        "images/a/c.jpg",
        "images/b.png",
        "panoptic.json",
        "prompts.yaml",
        *(f"labels/{stem}.txt" for stem in stems),
        *(f"overlays/{stem}.jpg" for stem in stems),
        *(f"panoptic/{stem}.png" for stem in stems),
    }
    coco = COCO(job / "annotations.json")
    assert [image["file_name"] for image in coco.imgs.values()] == ["a.png", "a/c.jpg", "b.png"]
    assert len(coco.anns) == 6
    panoptic = json.loads((job / "panoptic.json").read_text())
    assert [a["file_name"] for a in panoptic["annotations"]] == ["a.png", "a/c.png", "b.png"]


@pytest.mark.parametrize(
    ("format_", "flags"),
    [
        ("coco", ["--val", "0.1"]),
        ("coco", ["--flat"]),
        ("voc", ["--polygons"]),
        ("yolo", ["--layout", "datumaro"]),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(job, dinoiser, format_, flags):
    before = sorted(job.rglob("*"))
    code, _, err = dinoiser("export", job, "-f", format_, *flags)
    assert code == 2
    assert f"{flags[0]} changes nothing in {format_}: it is for" in " ".join(err.split())
    assert sorted(job.rglob("*")) == before


def test_options_reach_the_annotations(job, dinoiser):
    flags = ["--polygons", "--instances", "--min-area", "80"]
    code, out, err = dinoiser("export", job, "-f", "coco", *flags)
    assert (code, out) == (0, f"3 images exported as coco: {job}\n"), err
    found = list(COCO(job / "annotations.json").anns.values())
    assert sorted(a["area"] for a in found) == [80, 80, 120, 120, 460, 460]
    assert all(isinstance(a["segmentation"], list) for a in found)


def test_masks_that_a_person_has_corrected_are_what_counts(job):
    export(job, ["coco"])
    corrected = scene()
    corrected[30:38, 2:12] = 3
    write_png(segmentation(corrected), job / "masks" / "b.png")
    export(job, ["coco"])
    coco = COCO(job / "annotations.json")
    (image,) = [i for i, image in coco.imgs.items() if image["file_name"] == "b.png"]
    areas = {a["category_id"]: a["area"] for a in coco.imgToAnns[image]}
    assert areas == {k: int((corrected == k).sum()) for k in (1, 3, 7)}


def test_the_same_masks_give_the_same_bytes(job):
    export(job, EVERYTHING)
    first = contents(job)
    export(job, EVERYTHING)
    assert contents(job) == first


def test_many_images_keep_the_order_of_their_names_and_are_counted(tmp_path):
    names = [f"{i:03}.png" for i in range(60)]
    job = make_job(tmp_path, {name: scene(int(name[:3]) % 4) for name in names})
    calls = []
    export(job, ["coco"], progress=lambda *call: calls.append(call))
    images = json.loads((job / "annotations.json").read_text())["images"]
    assert [image["file_name"] for image in images] == names
    assert calls == [(i, 60) for i in range(61)]


def test_images_that_failed_are_not_exported(job):
    failed = Record(image="x.png", stem="x", path="/x.png", status="failed", error="damaged")
    RecordFile(job).append([failed])
    export(job, ["coco"])
    assert len(COCO(job / "annotations.json").imgs) == 3


@pytest.mark.parametrize("stop", [KeyboardInterrupt, None])
def test_stopping_leaves_what_was_there(job, stop):
    export(job, ["coco", "panoptic"])
    before = contents(job)
    calls = []

    def cancelled():
        calls.append(None)
        if len(calls) == 3 and stop:
            raise stop
        return len(calls) == 3

    corrected = np.where(scene() == 3, 1, scene())
    write_png(segmentation(corrected), job / "masks" / "b.png")
    with pytest.raises(stop) if stop else nullcontext():
        export(job, ["coco"], cancelled=cancelled)
    after = contents(job)
    assert after.pop("masks/b.png") != before.pop("masks/b.png")
    assert after == before


def spoil_mask(job):
    (job / "masks" / "a" / "c.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")


def remove_mask(job):
    (job / "masks" / "a" / "c.png").unlink()


def cut_mask(job):
    write_png(segmentation(scene()[:20]), job / "masks" / "a" / "c.png")


def paint_unknown_class(job):
    write_png(segmentation(np.full((40, 60), 99, np.uint8)), job / "masks" / "a" / "c.png")


def remove_image(job):
    (job.parent / "images" / "a" / "c.jpg").unlink()


def swap_image(job):
    Image.new("RGB", (9, 9)).save(job.parent / "images" / "a" / "c.jpg")


@pytest.mark.parametrize(
    ("spoil", "format_", "said"),
    [
        (spoil_mask, "coco", "cannot be read"),
        (remove_mask, "panoptic", "there is no mask"),
        (cut_mask, "coco", "has 60x20 pixels but its image has 60x40"),
        (paint_unknown_class, "coco", "has the colour #"),
        (remove_image, "yolo", "there is no image"),
        (remove_image, "overlay", "there is no file"),
        (swap_image, "overlay", "has (9, 9) pixels"),
    ],
)
def test_an_image_that_cannot_be_exported_is_named_and_left_out(
    job, dinoiser, spoil, format_, said
):
    assert dinoiser("export", job, "-f", format_)[0] == 0
    before = exported_images(job)
    spoil(job)
    code, out, err = dinoiser("export", job, "-f", format_)
    assert (code, out) == (1, f"2 images exported as {format_}: {job}\n")
    (sentence,) = [line for line in err.splitlines() if line.startswith("  a/c.jpg: ")]
    assert said in sentence
    assert "Traceback" not in err
    assert before - exported_images(job) == {"a/c"}


def exported_images(job):
    """Stems of the images that any format of an export holds."""
    files = [job / "annotations.json", job / "panoptic.json"]
    names = [
        i["file_name"] for f in files if f.exists() for i in json.loads(f.read_text())["images"]
    ]
    folders = [job / name for name in ("overlays", "panoptic", "labels")]
    names += [f.relative_to(d).as_posix() for d in folders for f in d.rglob("*.*")]
    return {name.rpartition(".")[0] for name in names}


def test_confidence_is_refused_unless_it_was_written_while_labelling(job):
    with pytest.raises(SettingsError, match=r"dinoiser label.*-f confidence"):
        export(job, ["confidence"])
    for stem in ["a", "a/c", "b"]:
        write_confidence(segmentation(scene()), job / "confidence" / f"{stem}.png")
    before = contents(job)
    export(job, ["confidence"])
    assert contents(job) == before


@pytest.mark.parametrize("stem", ["../outside", "/tmp/outside", "a/../../outside"])
def test_nothing_is_written_outside_the_folder(tmp_path, stem):
    job = make_job(tmp_path, {"b.png": scene()})
    write_png(segmentation(scene()), tmp_path / "out" / "masks" / "outside.png")
    good = Record(image="a.png", stem="a", path=str(tmp_path / "images" / "b.png"), status="done")
    RecordFile(job).append([good.model_copy(update={"stem": stem})])
    before = contents(tmp_path)
    with pytest.raises(InputError, match="1 damaged line in records"):
        export(job, ["panoptic", "overlay", "yolo"])
    new = set(contents(tmp_path)) - set(before)
    assert not [name for name in new if "outside" in name]


def test_a_folder_without_a_job_is_one_sentence(tmp_path, dinoiser):
    code, _, err = dinoiser("export", tmp_path, "-f", "coco")
    assert code == 2
    assert f"Error: {tmp_path} does not contain a job" in err
    assert list(tmp_path.iterdir()) == []


def test_settings_that_make_no_sense_are_refused(job, dinoiser):
    for flags, said in [
        (["-f", "tiff"], "format 'tiff' is unknown, expected png or"),
        (["-f", "coco", "--layout", "flat"], "layout is 'flat', expected plain or datumaro"),
        (["-f", "yolo", "--val", "1"], "val is 1.0, expected a share"),
        (["-f", "coco", "--min-area", "-1"], "--min-area is -1"),
    ]:
        code, _, err = dinoiser("export", job, *flags)
        assert code == 2
        assert said in err
    with pytest.raises(SettingsError, match="no format is given"):
        export(job, [])
    assert not (job / "annotations.json").exists()


def test_few_images_are_in_memory_at_a_time(tmp_path, monkeypatch):
    job = make_job(tmp_path, {f"{i:03}.png": scene() for i in range(60)})
    read, ahead = [], []

    def count(output, image, colors):
        read.append(image)
        return read_saved_mask(output, image, colors)

    def take_time(through, _total):
        time.sleep(0.005)
        ahead.append(len(read) - through)

    monkeypatch.setattr(sys.modules["dinoiser.batch.export"], "THREADS", 2)
    monkeypatch.setattr(sys.modules["dinoiser.batch.export"], "read_saved_mask", count)
    export(job, ["coco"], progress=take_time)
    assert len(read) == 60
    assert 1 <= max(ahead) <= 6

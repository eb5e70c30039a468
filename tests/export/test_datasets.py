"""Folders and archives for other programs, read as those programs read them."""

import io
import json
import zipfile

import numpy as np
import pytest
import yaml
from PIL import Image

from dinoiser.batch.export import export
from dinoiser.batch.reviews import Reviews, read_labelled
from dinoiser.errors import OutputError, SettingsError
from dinoiser.export import ExportOptions
from dinoiser.export.brush import decode_brush
from dinoiser.export.regions import map_instances
from dinoiser.prompts import PromptSet
from tests.helpers.export_jobs import PROMPTS, make_job, objects, scene

LABELS = {"b.png": scene(), "a/c.jpg": scene(2), "a/b/d.png": scene(1, (50, 60))}
STEMS = {name.rpartition(".")[0]: labels for name, labels in LABELS.items()}


@pytest.fixture
def job(tmp_path):
    return make_job(tmp_path, LABELS)


def values(path):
    with Image.open(path) as image:
        return image.mode, np.asarray(image)


def below(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}


def test_grey_masks_have_the_ids_as_values(job):
    export(job, ["gray"])
    for stem, labels in STEMS.items():
        mode, pixels = values(job / "gray" / f"{stem}.png")
        assert mode == "L"
        np.testing.assert_array_equal(pixels, labels)


def test_programs_that_turn_palettes_into_colours_read_grey_masks_as_they_are(job):
    from skimage.io import imread

    export(job, ["gray"])
    assert not np.array_equal(imread(job / "masks/b.png"), LABELS["b.png"])
    np.testing.assert_array_equal(imread(job / "gray/b.png"), LABELS["b.png"])


def test_voc_has_images_masks_lists_and_colours(job):
    export(job, ["voc"])
    voc = job / "voc"
    assert below(voc) == {
        "labelmap.txt",
        "ImageSets/Segmentation/default.txt",
        *(f"JPEGImages/{name}" for name in LABELS),
        *(f"SegmentationClass/{stem}.png" for stem in STEMS),
    }
    assert (voc / "ImageSets/Segmentation/default.txt").read_text().split() == sorted(STEMS)
    lines = (voc / "labelmap.txt").read_text().splitlines()[1:]
    colors = {line.split(":")[0]: line.split(":")[1] for line in lines}
    assert colors["dog"] == "230,25,75"
    assert list(colors) == ["background", "dog", "sky", "grass", "ignored"]
    for stem, labels in STEMS.items():
        with Image.open(voc / "SegmentationClass" / f"{stem}.png") as mask:
            np.testing.assert_array_equal(np.asarray(mask), labels)
            rgb = np.asarray(mask.convert("RGB"))
        assert {",".join(map(str, c)) for c in rgb.reshape(-1, 3).tolist()} <= set(colors.values())


def test_a_name_that_a_label_map_cannot_hold_is_refused(tmp_path):
    prompts = PromptSet.from_names(["ratio 1:2"])
    job = make_job(tmp_path, {"b.png": scene() * 0}, prompts)
    with pytest.raises(SettingsError, match="'ratio 1:2' has a colon"):
        export(job, ["voc"])


def test_cvat_gets_one_zip_of_colours_that_it_knows(job):
    export(job, ["cvat"])
    first = (job / "cvat.zip").read_bytes()
    with zipfile.ZipFile(job / "cvat.zip") as archive:
        assert set(archive.namelist()) == {
            "labelmap.txt",
            "ImageSets/Segmentation/default.txt",
            *(f"SegmentationClass/{stem}.png" for stem in STEMS),
            *(f"SegmentationObject/{stem}.png" for stem in STEMS),
        }
        assert "ignored" not in archive.read("labelmap.txt").decode()
        for stem, labels in STEMS.items():
            _, pixels = values(io.BytesIO(archive.read(f"SegmentationClass/{stem}.png")))
            np.testing.assert_array_equal(pixels, objects(labels))
            _, numbers = values(io.BytesIO(archive.read(f"SegmentationObject/{stem}.png")))
            np.testing.assert_array_equal(numbers > 0, objects(labels) > 0)
            # one object for each class
            assert len(np.unique([numbers.ravel(), pixels.ravel()], axis=1).T) == 4
            assert len(np.unique(numbers)) == 4
    export(job, ["cvat"])
    assert (job / "cvat.zip").read_bytes() == first


def test_objects_for_cvat_are_parts_where_they_are_asked_for(job):
    export(job, ["cvat"], ExportOptions(instances=True))
    with zipfile.ZipFile(job / "cvat.zip") as archive:
        _, numbers = values(io.BytesIO(archive.read("SegmentationObject/b.png")))
    parts = map_instances(LABELS["b.png"], ExportOptions(instances=True))
    np.testing.assert_array_equal(numbers, parts)


def test_label_studio_gets_tasks_with_brush_strokes(job):
    export(job, ["labelstudio"], ExportOptions(image_url="https://example.org/?d="))
    tasks = json.loads((job / "labelstudio.json").read_text())
    urls = [task["data"]["image"] for task in tasks]
    assert urls == [f"https://example.org/?d={name}" for name in sorted(LABELS)]
    interface = (job / "labelstudio.xml").read_text()
    for task, name in zip(tasks, sorted(LABELS), strict=True):
        drawn = np.zeros(LABELS[name].shape, np.uint8)
        for stroke in task["predictions"][0]["result"]:
            (word,) = stroke["value"]["brushlabels"]
            assert f'value="{word}"' in interface
            size = stroke["original_height"], stroke["original_width"]
            drawn[decode_brush(stroke["value"]["rle"], size)] = PROMPTS.by_name(word).id
        np.testing.assert_array_equal(drawn, objects(LABELS[name]))


def test_a_hugging_face_folder_pairs_images_with_masks(job):
    export(job, ["hf"])
    rows = [json.loads(line) for line in (job / "hf/metadata.jsonl").read_text().splitlines()]
    assert [row["file_name"] for row in rows] == [f"images/{name}" for name in sorted(LABELS)]
    for row in rows:
        _, image = values(job / "hf" / row["file_name"])
        mode, mask = values(job / "hf" / row["mask_file_name"])
        assert mode == "L"
        assert image.shape[:2] == mask.shape
        np.testing.assert_array_equal(mask, LABELS[row["file_name"].removeprefix("images/")])


def test_coco_in_datumaro_s_layout_lies_beside_its_images(job):
    export(job, ["coco"], ExportOptions(layout="datumaro"))
    folder = job / "datumaro"
    coco = json.loads((folder / "annotations/instances_default.json").read_text())
    for image in coco["images"]:
        place = folder / "images/default" / image["file_name"]
        assert place.is_file()
        assert not place.is_symlink()  # Datumaro follows none out of the folder
    assert not (job / "annotations.json").exists()


def test_yolo_s_split_depends_on_names_alone(tmp_path):
    names = [f"{i}.png" for i in range(60)]
    job = make_job(tmp_path, {name: scene(size=(38, 60)) for name in names})
    export(job, ["yolo"], ExportOptions(val=0.2))
    data = yaml.safe_load((job / "data.yaml").read_text())
    lists = {s: (job / data[s]).read_text().split() for s in ("train", "val")}
    assert sorted(lists["train"] + lists["val"]) == sorted(f"./images/{name}" for name in names)
    assert 4 <= len(lists["val"]) <= 20
    more = make_job(tmp_path, {"x/new.png": scene()})
    export(more, ["yolo"], ExportOptions(val=0.2))
    now = (job / "val.txt").read_text().split()
    assert [name for name in now if "/x/" not in name] == lists["val"]


@pytest.mark.parametrize(("form", "lists"), [("yolo", "."), ("voc", "voc/ImageSets/Segmentation")])
def test_lists_of_an_earlier_split_do_not_stay(job, form, lists):
    export(job, [form], ExportOptions(val=0.3))
    assert {path.name for path in (job / lists).glob("*.txt")} >= {"train.txt", "val.txt"}
    export(job, [form])
    assert {path.name for path in (job / lists).glob("*.txt")} <= {"default.txt"}


def test_each_image_is_in_one_of_voc_s_lists(job):
    for options in (ExportOptions(), ExportOptions(val=0.3), ExportOptions()):
        export(job, ["voc"], options)
        lists = (job / "voc/ImageSets/Segmentation").glob("*.txt")
        assert sorted(" ".join(path.read_text() for path in lists).split()) == sorted(STEMS)


def test_flat_yolo_takes_the_place_of_folders(job):
    export(job, ["yolo"])
    export(job, ["yolo"], ExportOptions(flat=True))
    assert below(job / "images") == {".exported", "b.png", "a__c.jpg", "a__b__d.png"}
    assert below(job / "labels") == {".exported", "b.txt", "a__c.txt", "a__b__d.txt"}
    export(job, ["yolo"])
    assert below(job / "images") == {".exported", *LABELS}


def test_two_images_never_get_one_flat_name(tmp_path):
    job = make_job(tmp_path, {"a/b.png": scene(), "a__b.png": scene(1), "c.png": scene()})
    failures = export(job, ["yolo"], ExportOptions(flat=True))
    assert failures.keys() == {"a/b.png", "a__b.png"}
    assert below(job / "labels") == {".exported", "c.txt"}


@pytest.mark.parametrize("name", ["images/own.jpg", "labels/b.txt", "data.yaml", "val.txt"])
def test_yolo_refuses_what_is_not_ours_and_leaves_it(job, name):
    own = job / name
    own.parent.mkdir(exist_ok=True)
    own.write_text("mine")
    before = below(job)
    with pytest.raises(OutputError, match=f"holds {name.partition('/')[0]}, which no export"):
        export(job, ["yolo"])
    assert below(job) == before
    assert own.read_text() == "mine"


def test_yolo_leaves_photographs_in_images_where_they_moved_with_the_job(tmp_path):
    job = make_job(tmp_path, {"a.png": scene(), "b.png": scene(1)})
    (tmp_path / "images").rename(job / "images")
    photographs = below(job / "images")
    with pytest.raises(OutputError, match="holds images, which no export has written"):
        export(job, ["yolo"])
    assert below(job / "images") == photographs


@pytest.mark.parametrize("name", ["voc", "gray", "hf"])
def test_what_is_not_ours_is_in_the_way(job, name):
    (job / name).mkdir()
    (job / name / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="not ours"):
        export(job, [name])
    assert below(job / name) == {"mine.txt"}


def test_rejected_images_leave_the_folders(job):
    export(job, ["voc", "gray", "hf"])
    rejected = next(labelled for labelled in read_labelled(job) if labelled.image == "a/c.jpg")
    Reviews(job, PROMPTS).save(rejected, "rejected")
    export(job, ["voc", "gray", "hf", "cvat", "labelstudio"])
    names = below(job / "voc") | below(job / "gray") | below(job / "hf")
    assert not [name for name in names if "a/c" in name]
    assert "a/c" not in (job / "hf/metadata.jsonl").read_text()
    assert "a/c" not in (job / "labelstudio.json").read_text()

"""`dinoiser import`: corrections made elsewhere come back, and they alone."""

import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from dinoiser.batch import export, run
from dinoiser.batch.reviews import read_reviews
from dinoiser.bridges.imports import import_annotations
from dinoiser.export import CocoWriter, ExportOptions, build_annotations, read_mask, write_png
from dinoiser.export.brush import encode_brush
from dinoiser.prompts import PromptSet
from dinoiser.scenes import draw_scenes
from tests.helpers.export_jobs import PROMPTS, decodes, make_job, scene, segmentation
from tests.helpers.job_driver import job_of

pytestmark = decodes
WORDS = PromptSet.parse("background, red circle, blue square")
NAMES = {item.id: item.name for item in PROMPTS.classes}


def corrected():
    """What somebody made of the scene: grass became sky, and a dog was drawn."""
    labels = scene()
    labels[30:38, 2:12] = 3
    labels[2:4, 50:60] = 1
    return labels


def as_coco(labels, folder, **options):
    path = folder / "instances_default.json"
    with CocoWriter(path, PROMPTS) as coco:
        shape = ExportOptions(**options)
        coco.add("b.png", labels.shape, build_annotations(labels, "b.png", PROMPTS, shape))
    return path


def as_crowd(labels, folder):
    """Brush strokes as CVAT exports them: plain run lengths of a crowd."""
    path = as_coco(labels, folder)
    document = json.loads(path.read_text())
    for annotation in document["annotations"]:
        inside = labels == annotation["category_id"]
        counts = runs(inside.ravel(order="F"))
        annotation |= {"segmentation": {"size": inside.shape, "counts": counts}, "iscrowd": 1}
    path.write_text(json.dumps(document))
    return path


def runs(flat):
    """Lengths of runs, beginning with what is outside."""
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    return [0, *counts] if flat[0] else counts


def as_masks(labels, folder):
    write_png(segmentation(labels), folder / "corrected" / "b.png")
    return folder / "corrected"


def as_zip(labels, folder):
    path = folder / "masks.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(as_masks(labels, folder) / "b.png", "any/b.png")
        archive.writestr("any/photo.jpg", b"no image")
    return path


def as_segmentation_mask(labels, folder):
    """CVAT's "Segmentation mask 1.1", with colours and an order of its own."""
    colors = {0: (0, 0, 0), 7: (10, 0, 0), 1: (0, 10, 0), 3: (0, 0, 10), 255: (224, 224, 192)}
    lines = [f"{NAMES[i]}:{','.join(map(str, c))}::" for i, c in colors.items() if i in NAMES]
    table = np.zeros((256, 3), np.uint8)
    for label, color in colors.items():
        table[label] = color
    path = folder / "task.zip"
    Image.fromarray(table[labels]).save(folder / "b_colours.png")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("labelmap.txt", "\n".join(["# label:color_rgb:parts:actions", *lines]))
        archive.write(folder / "b_colours.png", "SegmentationClass/b.png")
        archive.writestr("SegmentationObject/b.png", b"not read")
    return path


def as_edited_on_windows(labels, folder):
    """The same, whose list of classes went through an editor of Windows."""
    with zipfile.ZipFile(as_segmentation_mask(labels, folder)) as archive:
        archive.extractall(folder / "task")
    path = folder / "task" / "labelmap.txt"
    path.write_bytes(path.read_text().replace("\n", "\r\n").encode("utf-16"))
    return folder / "task"


def as_cvat(labels, folder):
    """CVAT for images 1.1: masks within boxes, row by row."""
    shapes = []
    for label in (1, 3, 7):
        inside = labels == label
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        box = inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        rle = ", ".join(map(str, runs(box.ravel())))
        place = f'left="{columns[0]}" top="{rows[0]}"'
        size = f'width="{box.shape[1]}" height="{box.shape[0]}"'
        shapes.append(f'<mask label="{NAMES[label]}" rle="{rle}" {place} {size} z_order="0"/>')
    path = folder / "annotations.xml"
    size = f'width="{labels.shape[1]}" height="{labels.shape[0]}"'
    image = f'<image id="0" name="b.png" {size}>{"".join(shapes)}</image>'
    path.write_text(f"<annotations><version>1.1</version>{image}</annotations>")
    return path


def as_label_studio(labels, folder):
    height, width = labels.shape
    size = {"original_width": width, "original_height": height}
    results = [
        {
            **size,
            "type": "brushlabels",
            "value": {"rle": encode_brush(labels == i), "brushlabels": [NAMES[i]], "format": "rle"},
        }
        for i in (1, 3, 7)
    ]
    cancelled = {"result": [], "was_cancelled": True}
    task = {
        "data": {"image": "/data/local-files/?d=photos/b.png"},
        "annotations": [{"result": results}, cancelled],
    }
    path = folder / "export.json"
    path.write_text(json.dumps([task, {"data": {"image": "a.png"}, "annotations": []}]))
    return path


def as_datumaro(labels, folder):
    height, width = labels.shape
    coco = json.loads(as_coco(labels, folder).read_text())
    ids = [category["id"] for category in coco["categories"]]
    annotations = [
        {"type": "mask", "label_id": ids.index(a["category_id"]), "rle": a["segmentation"]}
        for a in coco["annotations"]
    ]
    document = {
        "categories": {"label": {"labels": [{"name": c["name"]} for c in coco["categories"]]}},
        "items": [
            {
                "id": "b",
                "annotations": annotations,
                "image": {"path": "b.png", "size": [height, width]},
            }
        ],
    }
    path = folder / "datumaro.json"
    path.write_text(json.dumps(document))
    return path


FORMATS = {
    "COCO": as_coco,
    "COCO polygons": lambda labels, folder: as_coco(labels, folder, polygons=True),
    "COCO instances": lambda labels, folder: as_coco(labels, folder, instances=True),
    "COCO crowd": as_crowd,
    "masks": as_masks,
    "zip": as_zip,
    "Segmentation mask 1.1": as_segmentation_mask,
    "edited on Windows": as_edited_on_windows,
    "CVAT for images 1.1": as_cvat,
    "Label Studio": as_label_studio,
    "Datumaro": as_datumaro,
}


@pytest.fixture
def job(tmp_path):
    return make_job(tmp_path, {"b.png": scene(), "a.png": scene(1), "sub/c.jpg": scene(2)})


def masks(job):
    return {path.relative_to(job).as_posix(): path.read_bytes() for path in job.rglob("*.png")}


@pytest.mark.parametrize("form", FORMATS)
def test_the_changed_pixels_come_back_and_only_they(job, tmp_path, dinoiser, form):
    (tmp_path / "elsewhere").mkdir()
    file = FORMATS[form](corrected(), tmp_path / "elsewhere")
    before = masks(job)
    code, out, err = dinoiser("import", job, file, "--dry-run", "--json")
    assert code == 0, err
    dry = json.loads(out)
    assert masks(job) == before
    assert not read_reviews(job)

    code, out, err = dinoiser("import", job, file, "--json")
    assert code == 0, err
    assert json.loads(out) == dry
    (change,) = dry["changed"]
    assert (change["image"], change["pixels"]) == ("b.png", int((corrected() != scene()).sum()))
    np.testing.assert_array_equal(read_mask(job / "masks/b.png"), corrected())
    after = masks(job)
    assert {name for name in after if after[name] != before[name]} == {"masks/b.png"}
    (review,) = read_reviews(job).values()
    assert (review.image, review.state, review.edited) == ("b.png", "accepted", True)


def test_what_has_not_changed_is_left_as_it_is(job, tmp_path, dinoiser):
    code, out, err = dinoiser("import", job, as_coco(scene(), tmp_path))
    assert (code, out) == (0, "0 of 1 annotated images changed.\n"), err
    assert not read_reviews(job)


DATUMARO = "datumaro/annotations/instances_default.json"


@pytest.mark.parametrize(
    "form", ["cvat.zip", "voc", "gray", "geotiff", "hf", "masks", "annotations.json", DATUMARO]
)
def test_own_exports_of_images_that_share_a_name_come_back(tmp_path, form):
    images = [one.image for one in draw_scenes(2, 4, (64, 80))]
    (tmp_path / "in").mkdir()
    Image.fromarray(images[0]).save(tmp_path / "in/a.jpg")
    job = job_of((tmp_path / "in",), tmp_path / "job", WORDS, formats=("png",), scheduler="sync")
    run(job)
    Image.fromarray(images[1]).save(tmp_path / "in/a.png")  # its results keep the suffix
    run(job)
    export(job.output, ["cvat", "voc", "gray", "geotiff", "hf", "coco"])
    export(job.output, ["coco"], ExportOptions(layout="datumaro"))
    before = {path: path.read_bytes() for path in (job.output / "masks").rglob("*.png")}
    # Datumaro tells no images by suffixes
    images = json.loads((job.output / DATUMARO).read_text())["images"]
    assert len({image["file_name"].rpartition(".")[0] for image in images}) == 2
    imported = import_annotations(job.output, [job.output / form])
    assert not imported.unmatched
    assert sorted(change.image for change in imported.changes) == ["a.jpg", "a.png"]
    assert not any(change.pixels for change in imported.changes)
    assert all(path.read_bytes() == content for path, content in before.items())


def test_images_that_nobody_has_annotated_are_left_as_they_are(job, tmp_path, dinoiser):
    path = tmp_path / "instances.json"
    with CocoWriter(path, PROMPTS) as coco:
        for name, labels in [("b.png", corrected()), ("a.png", scene() * 0)]:
            coco.add(name, labels.shape, build_annotations(labels, name, PROMPTS))
    before = masks(job)["masks/a.png"]
    code, out, err = dinoiser("import", job, path)
    assert code == 0
    assert "1 of 1 annotated images changed." in out
    assert "without any annotation are left as they are: 1." in err
    assert masks(job)["masks/a.png"] == before


def test_annotations_of_images_that_the_file_does_not_list_are_counted(job, tmp_path, dinoiser):
    path = as_coco(corrected(), tmp_path)
    document = json.loads(path.read_text())
    document["annotations"][0]["image_id"] = 17
    path.write_text(json.dumps(document))
    code, _, err = dinoiser("import", job, path, "--dry-run")
    assert code == 0
    assert (
        "Note: 1 annotation of instances_default.json belongs to an image that the file does not "
        "list: image_id 17." in err
    )
    document["annotations"][1]["image_id"] = "b"
    path.write_text(json.dumps(document))
    _, out, _ = dinoiser("import", job, path, "--json")
    assert json.loads(out)["notes"] == [
        "2 annotations of instances_default.json belong to images that the file does not list, "
        "such as image_id 17"
    ]


def test_captions_and_keypoints_beside_instances_are_passed_over(job, tmp_path, dinoiser):
    folder = tmp_path / "annotations"
    folder.mkdir()
    as_coco(corrected(), folder)
    (folder / "captions_default.json").write_text('{"images": [], "annotations": []}')
    code, _, err = dinoiser("import", job, folder)
    assert code == 0, err
    np.testing.assert_array_equal(read_mask(job / "masks/b.png"), corrected())


def test_polygons_of_a_person_are_drawn_in_their_order(job, tmp_path, dinoiser):
    polygon = {"original_width": 60, "original_height": 40, "type": "polygonlabels"}
    corners = [[0, 0], [50, 0], [50, 50], [0, 50]]
    results = [
        {**polygon, "value": {"points": corners, "polygonlabels": [name]}}
        for name in ("grass", "sky")
    ]
    task = {
        "data": {"image": "b.png"},
        "annotations": [{"result": results[:1]}, {"result": results}],
    }
    (tmp_path / "export.json").write_text(json.dumps([task]))
    assert dinoiser("import", job, tmp_path / "export.json")[0] == 0
    labels = read_mask(job / "masks/b.png")
    assert (labels[1:20, 1:30] == 3).all()  # the image's top row is ignored where nothing is drawn
    assert (labels[20:, :] == 0).all()


def test_classes_by_another_name_need_a_map(job, tmp_path, dinoiser):
    path = as_coco(corrected(), tmp_path)
    path.write_text(path.read_text().replace('"dog"', '"Hound"'))
    before = masks(job)
    code, _, err = dinoiser("import", job, path)
    assert code == 2
    assert "'Hound' (images: 1)" in err
    assert '--map "Hound=NAME"' in err
    assert masks(job) == before
    code, _, err = dinoiser("import", job, path, "--map", "hound=cat")
    assert (code, "there is no class 'cat'" in err) == (2, True)
    code, _, err = dinoiser("import", job, path, "--map", "hound=dog")
    assert code == 0, err
    np.testing.assert_array_equal(read_mask(job / "masks/b.png"), corrected())


def test_a_map_of_a_class_that_no_annotation_has_is_said(job, tmp_path, dinoiser):
    coco = as_coco(corrected(), tmp_path)
    coco.write_text(coco.read_text().replace('"dog"', '"Hound"'))
    (tmp_path / "elsewhere").mkdir()
    datumaro = as_datumaro(scene(), tmp_path / "elsewhere")
    maps = ("--map", "hound=dog", "--map", "Skye=sky", "--map", "xyz=dog")
    code, out, err = dinoiser("import", job, coco, datumaro, *maps, "--dry-run", "--json")
    assert code == 0, err
    unused = "changes nothing, as no annotation has that class"
    assert json.loads(out)["notes"] == [
        f"--map \"skye=sky\" {unused} (did you mean 'sky'?)",
        f'--map "xyz=dog" {unused}',
    ]
    new = ("--new", tmp_path / "new", "--images", job.parent / "images")
    code, _, err = dinoiser("import", *new, coco, "--map", "hund=dog")
    assert code == 0, err
    assert f"--map \"hund=dog\" {unused} (did you mean 'hound'?)" in err


def test_masks_without_a_list_of_classes_have_those_of_the_job(job, tmp_path, dinoiser):
    masks = as_masks(corrected(), tmp_path)
    code, out, err = dinoiser("import", job, masks, "--map", "sky=dog", "--dry-run", "--json")
    assert code == 0, err
    assert json.loads(out)["notes"] == []


def test_images_that_do_not_fit_are_named_and_the_others_come_in(job, tmp_path, dinoiser):
    path = tmp_path / "instances.json"
    with CocoWriter(path, PROMPTS) as coco:
        for name, labels in [
            ("somewhere/b.jpg", corrected()),
            ("sub/c.jpg", scene()[:20]),
            ("unknown.png", scene()),
        ]:
            coco.add(name, labels.shape, build_annotations(labels, name, PROMPTS))
    code, out, err = dinoiser("import", job, path)
    assert code == 1
    assert "1 of 1 annotated images changed." in out
    assert "unknown.png" in err
    assert "sub/c.jpg: it is annotated with (20, 60) pixels" in err
    np.testing.assert_array_equal(read_mask(job / "masks/b.png"), corrected())


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", "{", "is not JSON"),
        ("a.json", '{"images": 3}', "holds no annotations"),
        ("a.json", '[{"data": {"image": "b.png"}, "annotations": [{"result": [{}]}]}]', "Label"),
        ("a.json", '{"categories": 1, "items": []}', "not Datumaro's"),
        ("a.xml", "<annotations><image/></annotations>", "not an export of CVAT"),
        ("a.zip", "no zip", "cannot be unpacked"),
        ("a.png", "no png", "cannot be read"),
        ("a.doc", "", "holds no annotations"),
        ("a.json", '[{"data": {"image": "b.png"}, "predictions": []}]', "submit tasks in Label"),
        (
            "a.json",
            '{"images": [], "categories": [], "annotations": [{"image_id": 1, '
            '"segments_info": []}]}',
            "panoptic segments, which are not read",
        ),
    ],
)
def test_what_is_damaged_is_one_sentence(job, tmp_path, dinoiser, name, content, said):
    (tmp_path / name).write_text(content)
    before = masks(job)
    code, _, err = dinoiser("import", job, tmp_path / name)
    assert code in (1, 2)
    assert said in err
    assert name in err
    assert "Traceback" not in err
    assert masks(job) == before


def test_masks_that_cannot_be_read_are_to_be_exported_again(job, tmp_path, dinoiser):
    folder = tmp_path / "elsewhere"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.png").write_bytes(b"damaged")
    Image.new("RGB", (60, 40), "#123456").save(folder / "b.png")
    code, _, err = dinoiser("import", job, folder)
    assert code == 1
    damaged, foreign = (line for line in err.splitlines() if str(folder) in line)
    assert damaged.endswith("; export it again from where it came")
    assert "has the colour #123456" in foreign
    assert foreign.endswith("or export it again from where it came")


def test_places_that_make_no_sense_are_refused(job, tmp_path, dinoiser):
    code, _, err = dinoiser("import", job)
    assert (code, "dinoiser import FOLDER FILE..." in err) == (2, True)
    code, _, err = dinoiser("import", tmp_path, as_coco(scene(), tmp_path))
    assert (code, "does not contain a job" in err) == (2, True)
    code, _, err = dinoiser("import", "--new", job, "--images", tmp_path, "x.json")
    assert (code, "is not empty" in err) == (2, True)
    code, _, err = dinoiser("import", "--new", tmp_path / "new", "x.json")
    assert (code, "--images" in err) == (2, True)


@pytest.mark.parametrize("form", ["COCO", "Segmentation mask 1.1", "Label Studio"])
def test_a_job_begins_with_annotations(job, tmp_path, dinoiser, form):
    (tmp_path / "elsewhere").mkdir()
    file = FORMATS[form](corrected(), tmp_path / "elsewhere")
    new, images = tmp_path / "new", job.parent / "images"
    code, out, err = dinoiser("import", "--new", new, "--images", images, file)
    assert code == 0, err
    assert "1 of 1 annotated images" in out
    (review,) = read_reviews(new).values()
    assert (review.image, review.state, review.edited) == ("b.png", "accepted", True)
    words = ("-p", "background, dog", "-m", "tiny", "-d", "cpu")
    for command in (("label", images, "-o", new, *words), ("relabel", new, *words[:2])):
        code, _, err = dinoiser(*command)
        assert code == 2
        assert "holds imported masks, which no words have labelled" in err
    assert dinoiser("export", new, "-f", "coco")[0] == 0
    coco = json.loads((new / "annotations.json").read_text())
    names = {category["id"]: category["name"] for category in coco["categories"]}
    areas = {names[a["category_id"]]: a["area"] for a in coco["annotations"]}
    assert areas == {NAMES[i]: int((corrected() == i).sum()) for i in (1, 3, 7)}

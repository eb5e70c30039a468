"""`dinoiser evaluate masks`: any pair of mask folders and COCO files."""

import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from dinoiser.errors import InputError, SettingsError
from dinoiser.evaluation.boundaries import Band
from dinoiser.evaluation.mask_scores import score_masks
from dinoiser.export import CocoWriter, build_annotations, write_classes, write_mask
from dinoiser.prompts import PromptSet
from tests.helpers.export_jobs import decodes

pytestmark = decodes
PROMPTS = PromptSet.parse("background, dog, grass")
DOG_IS_5 = PromptSet.from_yaml(
    "version: 1\nclasses: [{name: background}, {name: grass, id: 2}, {name: dog, id: 5}]"
)
TRUE = {
    "a/1": np.array([[0, 1, 1, 2], [0, 1, 1, 2]], np.uint8),
    "b": np.array([[2, 2], [0, 0]], np.uint8),
}
PREDICTED = {
    "a/1": np.array([[0, 1, 1, 2], [0, 0, 0, 2]], np.uint8),
    "b": np.array([[2, 0], [0, 0]], np.uint8),
}
# background: 4 of 7 pixels; dog: 2 of 4; grass: 3 of 4
BY_HAND = {"background": 4 / 7, "dog": 2 / 4, "grass": 3 / 4}


def as_folder(labels, folder, prompts=PROMPTS):
    for name, pixels in labels.items():
        write_mask(pixels, prompts, folder / f"{name}.png")
    return folder


def as_job(labels, folder, prompts=PROMPTS):
    """What `dinoiser label` leaves."""
    as_folder(labels, folder / "masks", prompts)
    write_classes(prompts, folder / "classes.json")
    return folder


def as_edited_job(labels, folder, prompts=PROMPTS):
    """A job whose classes an editor of Windows has saved."""
    path = as_job(labels, folder, prompts) / "classes.json"
    path.write_text(path.read_text(encoding="utf-8"), encoding="utf-8-sig")
    return folder


def as_coco(labels, folder, prompts=PROMPTS):
    path = folder / "annotations.json"
    with CocoWriter(path, prompts) as writer:
        for name, pixels in labels.items():
            image = f"{name}.jpg"
            writer.add(image, pixels.shape, build_annotations(pixels, image, prompts))
    return path


def as_coloured_job(labels, folder, prompts=PROMPTS):
    """A job whose masks another program has saved as colours."""
    for path in as_job(labels, folder, prompts).glob("masks/**/*.png"):
        with Image.open(path) as mask:
            coloured = mask.convert("RGB")
        coloured.save(path)
    return folder


def as_maps(labels, folder, prompts=PROMPTS):
    """Tiled TIFF with the classes' colours, as programs for maps save them."""
    for name, pixels in labels.items():
        path = folder / f"{name}.TIF"
        path.parent.mkdir(parents=True, exist_ok=True)
        colors = prompts.palette.T.astype(np.uint16) * 257
        options = {"photometric": "palette", "colormap": colors, "tile": (16, 16)}
        tifffile.imwrite(path, pixels, compression="lzw", **options)
    write_classes(prompts, folder / "classes.json")
    return folder


KINDS = {
    "maps": as_maps,
    "folder": as_folder,
    "job": as_job,
    "edited": as_edited_job,
    "coloured": as_coloured_job,
    "coco": as_coco,
}


@pytest.mark.parametrize("true", KINDS)
@pytest.mark.parametrize("predicted", KINDS)
def test_every_pairing_gives_the_iou_counted_by_hand(predicted, true, tmp_path):
    answers = KINDS[predicted](PREDICTED, tmp_path / "predicted")
    truth = KINDS[true](TRUE, tmp_path / "true")
    score = score_masks(answers, truth)
    if predicted == true == "folder":  # nothing tells the classes' names
        expected = dict(zip(["background", "label 1", "label 2"], BY_HAND.values(), strict=True))
    else:
        expected = BY_HAND
    assert score.matrix.by_class() == pytest.approx(expected)
    assert score.matrix.mean() == pytest.approx(sum(BY_HAND.values()) / 3)
    assert score.images == 2


@pytest.mark.parametrize("kind", ["job", "coco"])
def test_classes_are_matched_by_name_where_both_sides_have_names(kind, tmp_path):
    renumbered = {name: np.where(pixels == 1, 5, pixels) for name, pixels in PREDICTED.items()}
    answers = KINDS[kind](
        {name: pixels.astype(np.uint8) for name, pixels in renumbered.items()},
        tmp_path / "predicted",
        DOG_IS_5,
    )
    score = score_masks(answers, as_coco(TRUE, tmp_path / "true"))
    assert score.matrix.by_class() == pytest.approx(BY_HAND)


def test_255_is_left_out_of_the_truth_and_wrong_in_the_prediction(tmp_path):
    answers = as_job({"b": np.array([[1, 255], [1, 0]], np.uint8)}, tmp_path / "predicted")
    truth = as_job({"b": np.array([[1, 1], [255, 0]], np.uint8)}, tmp_path / "true")
    ious = score_masks(answers, truth).matrix.by_class()
    assert ious == {"background": 1, "dog": 0.5}


def test_a_class_of_the_prediction_alone_counts_as_wrong(tmp_path):
    answers = as_job({"b": np.array([[1, 2]], np.uint8)}, tmp_path / "predicted")
    truth = as_job({"b": np.array([[1, 1]], np.uint8)}, tmp_path / "true")
    assert score_masks(answers, truth).matrix.by_class() == {"dog": 0.5, "grass": 0}


def test_a_small_annotation_lies_on_a_large_one(tmp_path):
    """COCO's instances overlap: the ball is not lost in the person who holds it."""
    box = {"iscrowd": 0, "image_id": 1}
    document = {
        "images": [{"id": 1, "file_name": "b.jpg", "width": 8, "height": 8}],
        "categories": [{"id": 37, "name": "ball"}, {"id": 300, "name": "person"}],
        "annotations": [
            {"id": 1, "category_id": 37, "area": 4, "segmentation": [[2, 2, 4, 2, 4, 4, 2, 4]]},
            {"id": 2, "category_id": 300, "area": 64, "segmentation": [[0, 0, 8, 0, 8, 8, 0, 8]]},
            {"id": 3, "category_id": 37, "area": 9, "bbox": [0, 0, 3, 3]},
        ],
    }
    document["annotations"] = [{**box, **item} for item in document["annotations"]]
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(document))
    score = score_masks(path, path)
    assert dict(zip(score.matrix.names, score.matrix.counts.sum(1).tolist(), strict=True)) == {
        "ball": 4,
        "person": 60,
    }


def test_the_command_prints_json_and_writes_markdown(dinoiser, tmp_path):
    answers, truth = as_job(PREDICTED, tmp_path / "p"), as_coco(TRUE, tmp_path / "t")
    page = tmp_path / "score.md"
    code, out, _ = dinoiser("evaluate", "masks", answers, truth, "--json", "-o", page)
    assert code == 0
    document = json.loads(out)
    assert document["per_class"] == pytest.approx(BY_HAND)
    assert document["miou"] == pytest.approx(sum(BY_HAND.values()) / 3)
    assert "| dog | 50.0 |" in page.read_text()


def test_an_image_that_was_not_predicted_is_named(dinoiser, tmp_path):
    answers = as_folder({"b": PREDICTED["b"]}, tmp_path / "p")
    code, _, err = dinoiser("evaluate", "masks", answers, as_folder(TRUE, tmp_path / "t"))
    assert code == 2
    assert "1 of the 2 images" in err
    assert "'a/1'" in err


def test_masks_of_another_size_are_refused(tmp_path):
    answers = as_folder({"b": np.zeros((4, 2), np.uint8)}, tmp_path / "p")
    with pytest.raises(InputError, match="'b' has labels of 2x4 pixels but a truth of 2x2"):
        score_masks(answers, as_folder({"b": TRUE["b"]}, tmp_path / "t"))


def test_all_masks_of_another_size_are_counted(tmp_path):
    answers = as_folder({name: np.zeros((4, 2), np.uint8) for name in TRUE}, tmp_path / "p")
    with pytest.raises(InputError, match=r"'a/1' .* \(2 of the 2 images differ\)"):
        score_masks(answers, as_folder(TRUE, tmp_path / "t"))


@pytest.mark.parametrize("kind", KINDS)
def test_masks_of_another_size_are_refused_before_any_are_compared(kind, tmp_path):
    last = {**TRUE, "b": np.zeros((4, 2), np.uint8)}
    answers, compared = KINDS[kind](last, tmp_path / "p"), []
    with pytest.raises(InputError, match="'b' has labels of 2x4 pixels but a truth of 2x2"):
        score_masks(
            answers,
            as_folder(TRUE, tmp_path / "t"),
            counting=lambda done, _: compared.append(done),
        )
    assert not compared


@pytest.mark.parametrize("side", ["predicted", "true"])
def test_annotations_of_images_that_are_not_listed_are_said(side, tmp_path, dinoiser):
    places = {name: as_coco(TRUE, tmp_path / name) for name in ("predicted", "true")}
    document = json.loads(places[side].read_text())
    for annotation in document["annotations"]:
        annotation["image_id"] += 100
    places[side].write_text(json.dumps(document))
    first = document["annotations"][0]["image_id"]
    said = (
        f"{len(document['annotations'])} annotations of annotations.json belong to images that the "
        f"file does not list, such as image_id {first}"
    )
    command = "evaluate", "masks", places["predicted"], places["true"]
    code, _, err = dinoiser(*command, "-o", tmp_path / "score.md")
    assert code == 0
    assert f"Note: {said}." in err
    assert said in (tmp_path / "score.md").read_text()
    assert json.loads(dinoiser(*command, "--json")[1])["notes"] == [said]


@pytest.mark.parametrize("content", ["{}", "no json", '{"images": 3}'])
def test_what_is_no_coco_file_is_said_so(content, tmp_path):
    path = tmp_path / "some.json"
    path.write_text(content)
    with pytest.raises(InputError, match="is not a COCO file"):
        score_masks(path, path)


def test_images_in_colours_are_no_masks(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "b.png")
    with pytest.raises(InputError, match="contains colours"):
        score_masks(tmp_path, tmp_path)


def test_a_folder_without_masks_is_said_so(tmp_path):
    with pytest.raises(InputError, match="no PNG or TIFF masks"):
        score_masks(tmp_path, tmp_path)


# -- Boundaries


def published_boundary(mask, width):
    """What Cheng et al.'s code takes as the boundary of a mask: eroded with a frame of zeros."""
    from scipy import ndimage

    eroded = ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=width, border_value=0)
    return mask & ~eroded


@pytest.mark.parametrize("band", ["2%", "4px"])
def test_boundary_iou_is_that_of_the_paper(tmp_path, band):
    rng = np.random.default_rng(4)
    coarse = [rng.integers(0, 3, (9, 12), np.uint8) for _ in range(2)]
    coarse[1] = np.where(rng.random(coarse[1].shape) < 0.6, coarse[0], coarse[1])
    true, predicted = (c.repeat(14, 0).repeat(13, 1) for c in coarse)
    score = score_masks(
        as_folder({"a": predicted}, tmp_path / "predicted"),
        as_folder({"a": true}, tmp_path / "true"),
        band=Band.parse(band),
    )
    width = 4 if band == "4px" else round(0.02 * np.hypot(*true.shape))
    for label in range(3):
        t, p = (published_boundary(labels == label, width) for labels in (true, predicted))
        expected = (t & p).sum() / (t | p).sum()
        assert score.boundary.by_class[f"label {label}" if label else "background"] == (
            pytest.approx(expected)
        )


def test_what_is_ignored_counts_in_no_band(tmp_path):
    true = np.ones((30, 40), np.uint8)
    true[:, 20:] = 255
    predicted = np.ones((30, 40), np.uint8)
    predicted[:, 25:] = 2
    score = score_masks(
        as_folder({"a": predicted}, tmp_path / "p"),
        as_folder({"a": true}, tmp_path / "t"),
        band=Band(pixels=2),
    )
    # the truth has a boundary at the ignored pixels, the prediction has none there
    assert score.boundary.by_class == {"label 1": pytest.approx((20 * 4 + 26 * 2) / (132 + 26 * 2))}


@pytest.mark.parametrize("text", ["", "4", "0px", "-2%", "100%", "two"])
def test_a_band_that_is_none_is_refused(text):
    with pytest.raises(SettingsError, match=r"--band.*2%.*4px"):
        Band.parse(text)


def test_the_command_writes_a_table_of_images_and_a_picture(tmp_path, dinoiser):
    answers, truth = as_job(PREDICTED, tmp_path / "p"), as_job(TRUE, tmp_path / "t")
    code, out, _ = dinoiser("evaluate", "masks", answers, truth, "-o", tmp_path / "score.md")
    assert code == 0
    assert "boundary IoU" in out
    rows = (tmp_path / "score.csv").read_text().splitlines()
    assert rows[0] == "image,miou,boundary_iou"
    assert [row.split(",")[0] for row in rows[1:]] == ["b", "a/1"]
    # b: background 2 of 3, grass 1 of 2; a/1: background 2 of 4, dog 2 of 4, grass 2 of 2
    figures = [float(row.split(",")[1]) for row in rows[1:]]
    assert figures == pytest.approx([(2 / 3 + 1 / 2) / 2, (2 / 4 + 2 / 4 + 1) / 3], abs=1e-4)
    page = (tmp_path / "score.md").read_text()
    assert "| class | IoU | boundary IoU |" in page
    with Image.open(tmp_path / "score.png") as picture:
        colors = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    assert len(np.unique(colors, axis=0)) > 3


def test_a_mask_that_cannot_be_read_is_named_and_the_others_are_compared(tmp_path, dinoiser):
    predicted = as_job(PREDICTED, tmp_path / "predicted")
    Image.new("RGB", (2, 2), (1, 2, 3)).save(predicted / "masks" / "b.png")
    true = as_job(TRUE, tmp_path / "true")
    code, out, err = dinoiser("evaluate", "masks", predicted, true, "--json")
    assert code == 1
    assert "1 of 2 images are left out" in err
    assert "has the colour #010203" in err
    score = json.loads(out)
    assert score["images"] == 1
    assert list(score["failed"]) == ["b"]
    assert score["per_class"]["dog"] == 2 / 4


def test_figures_written_into_the_jobs_folder_do_not_hide_its_masks(tmp_path, dinoiser):
    job, true = as_job(PREDICTED, tmp_path / "job"), as_folder(TRUE, tmp_path / "true")
    (job / "job.yaml").touch()
    (job / "records").mkdir()
    command = "evaluate", "masks", job, true, "-o", job / "score.md", "--json"
    code, first, _ = dinoiser(*command)
    assert code == 0
    assert (job / "score.png").is_file()
    code, second, _ = dinoiser(*command)
    assert (code, second) == (0, first)


@pytest.mark.parametrize("name", ["true/score.md", "true/a/1.md", "figures.csv", "score.png", "."])
def test_figures_are_not_written_where_they_would_be_lost_or_count_as_masks(
    name, tmp_path, dinoiser, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    predicted, true = as_job(PREDICTED, tmp_path / "p"), as_folder(TRUE, tmp_path / "true")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    code, out, err = dinoiser("evaluate", "masks", predicted, true, "-o", name)
    assert (code, out) == (2, "")
    assert f"figures cannot be written to {name}" in err
    assert "ive a" in err.split(name, 1)[1]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


def test_a_band_wider_than_the_image_is_all_of_it(tmp_path):
    paths = as_folder(PREDICTED, tmp_path / "p"), as_folder(TRUE, tmp_path / "t")
    score = score_masks(*paths, band=Band.parse("1000000000px"))
    assert score.boundary.by_class == pytest.approx(score.matrix.by_class())

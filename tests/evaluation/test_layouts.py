"""The benchmarks' readers: official folders in, indices into the paper's classes out."""

from fractions import Fraction

import numpy as np
import pytest

from dinoiser.cli.evaluate import BENCHMARKS
from dinoiser.errors import InputError
from dinoiser.evaluation.benchmarks import BENCHMARKS_PATH, find_benchmark
from dinoiser.evaluation.metrics import ConfusionMatrix
from dinoiser.prompts import PromptSet
from tests.helpers.benchmark_folders import write_benchmark, write_official_context

IMAGE = np.zeros((2, 4, 3), np.uint8)

# what the label files hold, the classes that they mean (None: left out), a prediction by class
# names, and its mIoU by hand
CASES = {
    "voc": (
        [[0, 1, 15, 255], [20, 20, 0, 255]],
        [
            ["background", "aeroplane", "person", None],
            ["tvmonitor", "tvmonitor", "background", None],
        ],
        [
            ["background", "aeroplane", "person", "dog"],
            ["tvmonitor", "background", "background", "cat"],
        ],
        (Fraction(2, 3) + 1 + 1 + Fraction(1, 2)) / 4,
    ),
    "voc20": (
        [[0, 1, 15, 255], [20, 20, 0, 255]],
        [[None, "aeroplane", "person", None], ["tvmonitor", "tvmonitor", None, None]],
        [["dog", "aeroplane", "person", "dog"], ["tvmonitor", "aeroplane", "cat", "cat"]],
        (Fraction(1, 2) + 1 + Fraction(1, 2)) / 3,
    ),
    "context": (
        [[0, 1, 50, 59], [40, 0, 59, 59]],
        [
            ["background", "aeroplane", "table", "wood"],
            ["potted plant", "background", "wood", "wood"],
        ],
        [["background", "aeroplane", "table", "wood"], ["potted plant", "wood", "wood", "wood"]],
        (Fraction(1, 2) + 1 + 1 + 1 + Fraction(3, 4)) / 5,
    ),
    "context59": (
        [[0, 1, 50, 59], [40, 0, 59, 59]],
        [[None, "aeroplane", "table", "wood"], ["potted plant", None, "wood", "wood"]],
        [["wall", "aeroplane", "table", "wall"], ["potted plant", "wall", "wood", "wood"]],
        (1 + 1 + 1 + Fraction(2, 3) + 0) / 5,
    ),
    # 12 = stop sign comes after 10 = fire hydrant; stuff and the unlabelled are background
    "coco-object": (
        [[0, 10, 12, 255], [89, 89, 91, 181]],
        [
            ["person", "fire hydrant", "stop sign", "background"],
            ["toothbrush", "toothbrush", "background", "background"],
        ],
        [
            ["person", "fire hydrant", "stop sign", "person"],
            ["toothbrush", "background", "background", "background"],
        ],
        (Fraction(1, 2) + 1 + 1 + Fraction(1, 2) + Fraction(2, 4)) / 5,
    ),
    "coco-stuff": (
        [[0, 10, 12, 255], [89, 91, 181, 181]],
        [["person", "fire hydrant", "stop sign", None], ["toothbrush", "banner", "wood", "wood"]],
        [
            ["person", "fire hydrant", "stop sign", "person"],
            ["toothbrush", "banner", "wood", "table"],
        ],
        (1 + 1 + 1 + 1 + 1 + Fraction(1, 2) + 0) / 7,
    ),
    "cityscapes": (
        [[7, 8, 33, 0], [23, 23, 29, 255]],
        [["road", "sidewalk", "bicycle", None], ["sky", "sky", None, None]],
        [["road", "road", "bicycle", "car"], ["sky", "sky", "car", "car"]],
        (Fraction(1, 2) + 0 + 1 + 1) / 4,
    ),
    "ade20k": (
        [[0, 1, 2, 150], [8, 8, 8, 0]],
        [[None, "wall", "building", "flag"], ["bed", "bed", "bed", None]],
        [["sky", "wall", "building", "flag"], ["bed", "bed", "wall", "sky"]],
        (Fraction(1, 2) + 1 + 1 + Fraction(2, 3)) / 4,
    ),
}


def indices(benchmark, names):
    return np.array(
        [[255 if name is None else benchmark.classes.index(name) for name in row] for row in names],
        np.uint8,
    )


@pytest.mark.parametrize("name", CASES)
def test_official_folders_are_read_and_scored_as_by_hand(name, tmp_path):
    raw, true, predicted, miou = CASES[name]
    benchmark = find_benchmark(name)
    write_benchmark(name, tmp_path, [(IMAGE, np.array(raw, np.uint8))])
    [pair] = benchmark.find_pairs(tmp_path)
    truth = benchmark.read_truth(pair.truth)
    assert truth.tolist() == indices(benchmark, true).tolist()
    matrix = ConfusionMatrix(benchmark.classes)
    matrix.add(indices(benchmark, predicted), truth)
    assert matrix.mean() == pytest.approx(float(miou))


OF_459 = """
2 aeroplane, 9 bag, 18 bed, 19 bedclothes, 22 bench, 23 bicycle, 25 bird, 31 boat, 33 book,
34 bottle, 44 building, 45 bus, 46 cabinet, 59 car, 65 cat, 68 ceiling, 72 chair, 80 cloth,
85 computer, 98 cow, 104 cup, 105 curtain, 113 dog, 115 door, 144 fence, 158 floor, 159
flower, 162 food, 187 grass, 189 ground, 207 horse, 220 keyboard, 232 light, 258 motorbike,
259 mountain, 260 mouse, 284 person, 295 plate, 296 platform, 308 potted plant, 324 road,
326 rock, 347 sheep, 349 shelves, 354 sidewalk, 355 sign, 360 sky, 366 snow, 368 sofa, 397
table, 415 track, 416 train, 420 tree, 424 truck, 427 tvmonitor, 440 wall, 445 water, 454
window, 458 wood
"""
"""Of the 459 lines of PASCAL Context's labels.txt, those that its 59_labels.txt names."""


@pytest.mark.parametrize("name", ["context", "context59"])
def test_every_one_of_the_459_labels_becomes_the_class_of_its_name(name, tmp_path):
    kept = dict(entry.split(" ", 1) for entry in " ".join(OF_459.split()).split(", "))
    assert len(kept) == 59
    raw = np.arange(460).reshape(20, 23)
    write_official_context(tmp_path, [(IMAGE, raw)])
    benchmark = find_benchmark(name)
    [pair] = benchmark.find_pairs(tmp_path)
    assert pair.truth.read_bytes().startswith(b"MATLAB 5.0 MAT-file")
    rare = "background" if name == "context" else None
    expected = [[kept.get(str(value), rare) for value in row] for row in raw]
    assert benchmark.read_truth(pair.truth).tolist() == indices(benchmark, expected).tolist()


@pytest.mark.parametrize("name", ["context", "context59"])
def test_the_459_labels_of_context_become_the_usual_classes(name, tmp_path):
    raw = np.array([[0, 2, 397, 458], [308, 1, 459, 458]])  # 1 and 459 are among the rare ones
    write_official_context(tmp_path, [(IMAGE, raw)])
    benchmark = find_benchmark(name)
    [pair] = benchmark.find_pairs(tmp_path)
    rare = "background" if name == "context" else None
    expected = [[rare, "aeroplane", "table", "wood"], ["potted plant", rare, rare, "wood"]]
    assert benchmark.read_truth(pair.truth).tolist() == indices(benchmark, expected).tolist()


@pytest.mark.parametrize(
    ("name", "inner"),
    [
        ("voc", "VOCdevkit/VOC2012"),
        ("context", "VOCdevkit/VOC2010"),
        ("coco-stuff", "coco"),
        ("cityscapes", "."),
        ("ade20k", "ADEChallengeData2016"),
    ],
)
def test_the_folder_itself_and_those_above_it_are_taken(name, inner, tmp_path):
    data = tmp_path / "disk" / "data"
    write_benchmark(name, data, [(IMAGE, np.zeros((2, 4), np.uint8))] * 3)
    benchmark = find_benchmark(name)
    found = [benchmark.find_pairs(root) for root in (data / inner, data, tmp_path)]
    assert len(found[0]) == 3
    assert found[0] == found[1] == found[2]


def test_other_years_of_voc_are_passed_over(tmp_path):
    write_benchmark("voc", tmp_path, [(IMAGE, np.zeros((2, 4), np.uint8))])
    other = tmp_path / "VOCdevkit" / "VOC2007" / "ImageSets" / "Segmentation"
    other.mkdir(parents=True)
    (other / "val.txt").write_text("000001\n")
    [pair] = find_benchmark("voc").find_pairs(tmp_path)
    assert pair.image.parts[-3:] == ("VOC2012", "JPEGImages", "2007_000000.jpg")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_list_that_was_edited_on_windows_is_read(encoding, tmp_path):
    write_benchmark("voc", tmp_path, [(IMAGE, np.zeros((2, 4), np.uint8))] * 2)
    [split] = tmp_path.rglob("val.txt")
    split.write_bytes("2007_000001\r\n \r\n".encode(encoding))
    [pair] = find_benchmark("voc").find_pairs(tmp_path)
    assert pair.image.name == "2007_000001.jpg"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("voc", "VOC2012/ImageSets/Segmentation/val.txt"),
        ("voc20", "VOC2012/ImageSets/Segmentation/val.txt"),
        ("context", "VOC2010/ImageSets/SegmentationContext/val.txt"),
        ("context59", "VOC2010/ImageSets/Main/val.txt"),
        ("coco-object", "val2017/*.jpg"),
        ("coco-stuff", "val2017/*.jpg"),
        ("cityscapes", "leftImg8bit/val"),
        ("ade20k", "ADEChallengeData2016/annotations/validation"),
    ],
)
def test_a_wrong_folder_says_what_was_looked_for(name, wanted, tmp_path):
    with pytest.raises(InputError) as problem:
        find_benchmark(name).find_pairs(tmp_path)
    assert wanted in str(problem.value)
    assert str(tmp_path) in str(problem.value)


def test_a_link_to_itself_does_not_end_the_search(tmp_path):
    (tmp_path / "again").symlink_to("again")
    with pytest.raises(InputError, match=r"there is no VOC2012/"):
        find_benchmark("voc").find_pairs(tmp_path)
    write_benchmark("voc", tmp_path / "data", [(IMAGE, np.zeros((2, 4), np.uint8))])
    assert len(find_benchmark("voc").find_pairs(tmp_path)) == 1


def test_coco_without_its_labels_says_where_they_should_be(tmp_path):
    write_benchmark("coco-stuff", tmp_path, [(IMAGE, np.zeros((2, 4), np.uint8))])
    (tmp_path / "coco/stuffthingmaps").rename(tmp_path / "coco/.elsewhere")
    with pytest.raises(InputError, match=r"stuffthingmaps/val2017/\*\.png"):
        find_benchmark("coco-stuff").find_pairs(tmp_path)


def test_a_missing_label_file_is_named(tmp_path):
    write_benchmark("ade20k", tmp_path, [(IMAGE, np.zeros((2, 4), np.uint8))] * 2)
    lost = tmp_path / "ADEChallengeData2016/annotations/validation/ADE_val_00000001.png"
    lost.unlink()
    with pytest.raises(InputError, match="1 of the 4 files") as problem:
        find_benchmark("ade20k").find_pairs(tmp_path)
    assert str(lost) in str(problem.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("voc", 21), ("ade20k", 151), ("coco-stuff", 11), ("cityscapes", 34), ("context", 60)],
)
def test_labels_that_a_data_set_does_not_have_are_refused(name, value, tmp_path):
    write_benchmark(name, tmp_path, [(IMAGE, np.full((2, 4), value, np.uint8))])
    benchmark = find_benchmark(name)
    [pair] = benchmark.find_pairs(tmp_path)
    with pytest.raises(InputError, match=f"label {value}"):
        benchmark.read_truth(pair.truth)


def test_every_benchmark_has_a_command_and_valid_words():
    import yaml

    assert set(BENCHMARKS) == set(yaml.safe_load(BENCHMARKS_PATH.read_text(encoding="utf-8")))
    counts = {}
    for name in BENCHMARKS:
        benchmark = find_benchmark(name)
        ids = [c.id for c in PromptSet.from_names(benchmark.classes).classes]
        assert ids == list(range(benchmark.first_id, benchmark.first_id + len(ids)))
        counts[name] = len(ids)
    assert counts == {
        "voc": 21,
        "voc20": 20,
        "context": 60,
        "context59": 59,
        "coco-object": 81,
        "coco-stuff": 171,
        "cityscapes": 19,
        "ade20k": 150,
    }

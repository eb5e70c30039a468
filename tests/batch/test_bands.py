"""Jobs of chosen bands: whoever looks at their images sees what was labelled."""

import re
import shutil

import numpy as np
import pytest
import tifffile
import yaml
from dinoiser_training.reviewed import read_reviewed
from dinoiser_training.settings import FitSettings
from PIL import Image

from dinoiser.batch import export
from dinoiser.batch.engines.label_images import ALL_IGNORED
from dinoiser.batch.export import export_alone
from dinoiser.batch.features import KeptFeatures
from dinoiser.batch.improve import learn_from_reviews
from dinoiser.batch.job import Labelling, reading_in
from dinoiser.batch.job_encoder import JobEncoder
from dinoiser.batch.job_images import JobImage
from dinoiser.batch.recorded_job import recorded_job
from dinoiser.batch.records import read_records
from dinoiser.errors import SettingsError
from dinoiser.export import read_mask
from dinoiser.images import read_image
from dinoiser.images.settings import AS_STORED, ReadSettings
from dinoiser.segment.segmenter import Segmenter
from tests.helpers.band_jobs import BANDS, NODATA, READING, draw_twice
from tests.helpers.taught_jobs import PROMPTS, SYNC, accept, label

COUNT = 6


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return draw_twice(tmp_path_factory.mktemp("scenes"), COUNT)


@pytest.fixture(scope="module", params=[True, False], ids=["features kept", "no features"])
def labelled(request, scenes, tmp_path_factory):
    """Jobs of the plain images, and of the bands."""
    folder = tmp_path_factory.mktemp("labelled")
    assert label(scenes[0], folder / "plain", keep_features=request.param).done == COUNT
    assert label(scenes[1], folder / "banded", keep_features=request.param, **READING).done == COUNT
    return folder


@pytest.fixture
def jobs(labelled, tmp_path):
    """Copies of them."""
    folder = shutil.copytree(labelled, tmp_path / "jobs")
    return folder / "plain", folder / "banded"


def files(folder, *names):
    found = {p.relative_to(folder): p.read_bytes() for n in names for p in folder.glob(n)}
    assert found
    return found


def test_masks_are_those_of_plain_images(jobs):
    plain, banded = jobs
    assert files(plain, "masks/*.png") == files(banded, "masks/*.png")
    assert (read_mask(banded / "masks" / "0.png")[:50, :70] == 255).all()


def test_it_is_recorded_and_read_again(jobs):
    _, banded = jobs
    settings = yaml.safe_load((banded / "job.yaml").read_text())["settings"]
    assert settings["bands"] == list(BANDS)
    assert settings["nodata"] == NODATA
    assert recorded_job(banded)[0].labelling.reading == ReadSettings(NODATA, BANDS)
    assert reading_in(banded) == ReadSettings(NODATA, BANDS)


def test_overlays_and_the_report_are_of_these_bands(jobs):
    thumbnails = []
    for job in jobs:
        export_alone(job, [])  # the report, of images and masks as there are no previews
        page = (job / "report.html").read_text()
        thumbnails.append(re.findall(r"data:image/jpeg;base64,[^\"]+", page))
        export(job, ["overlay"])
    assert len(thumbnails[0]) >= COUNT
    assert thumbnails[0] == thumbnails[1]
    assert "bands [4, 3, 2]" in (jobs[1] / "report.html").read_text()
    assert files(jobs[0], "overlays/*.jpg") == files(jobs[1], "overlays/*.jpg")


@pytest.mark.parametrize(
    ("name", "images"), [("yolo", "images"), ("voc", "voc/JPEGImages"), ("hf", "hf/images")]
)
def test_data_sets_get_copies_of_these_bands(jobs, scenes, name, images):
    assert export(jobs[1], [name]) == {}
    copies = sorted((jobs[1] / images).rglob("*.tif"))
    assert len(copies) == COUNT
    for copy in copies:
        with Image.open(copy) as image:
            assert not copy.is_symlink()
            shown = np.asarray(image)
        np.testing.assert_array_equal(shown, read_image(scenes[0] / copy.name))
    before = {path: path.stat().st_ino for path in copies}
    export(jobs[1], [name])
    assert {path: path.stat().st_ino for path in copies} == before


def test_data_sets_get_links_to_files_that_are_labelled_in_parts(jobs, monkeypatch):
    monkeypatch.setattr("dinoiser.images.large_tiff.LARGE_PIXELS", 10_000)
    assert export(jobs[1], ["voc"]) == {}
    images = list((jobs[1] / "voc" / "JPEGImages").iterdir())
    assert len(images) == COUNT
    assert all(image.is_symlink() for image in images)


def test_corrections_teach_the_same(jobs, scenes):
    lessons = []
    for job in jobs:
        accept(job, scenes[2], 4)
        lessons.append(learn_from_reviews(job, running=SYNC))
    assert [lesson.passed_over for lesson in lessons] == [{}, {}]
    assert lessons[0].learned.images == 4
    assert lessons[0].learned.identity == lessons[1].learned.identity


def test_heads_learn_from_the_same_images(jobs, scenes):
    data = []
    for job in jobs:
        accept(job, scenes[2], COUNT)
        data.append(read_reviewed(job, FitSettings(crop=64)).training)
    assert len(data[0]) == len(data[1]) > 0
    for i in range(len(data[0])):
        assert data[0][i].name == data[1][i].name
        assert (data[0][i].image == data[1][i].image).all()


def test_features_are_those_of_these_bands(labelled, scenes, tiny, tmp_path):
    if not (labelled / "banded" / "features").is_dir():
        pytest.skip("none are kept")
    kept = labelled / "banded" / "features" / "0.safetensors"
    image = read_image(scenes[1] / "0.tif", nodata=NODATA, bands=BANDS)
    record = next(iter(read_records(labelled / "banded")))
    name = JobImage(record.image, record.stem, record.path)
    before = kept.read_bytes()
    JobEncoder(labelled / "banded").encode(name, image)
    assert kept.read_bytes() == before
    pipeline = Segmenter(tiny).pipeline
    other = image[..., ::-1].copy()
    KeptFeatures(labelled / "banded", ReadSettings(NODATA, BANDS)).encode(
        name, other, record.digest, pipeline
    )
    assert kept.read_bytes() == before  # the image tower did not run
    for reading in (ReadSettings(NODATA, (2, 3, 4)), ReadSettings(None, BANDS), AS_STORED):
        folder = shutil.copytree(labelled / "banded", tmp_path / "other", dirs_exist_ok=True)
        KeptFeatures(folder, reading).encode(name, other, record.digest, pipeline)
        assert (folder / "features" / "0.safetensors").read_bytes() != before


@pytest.mark.parametrize(
    "more", [{}, {"nodata": NODATA}, {"nodata": NODATA, "bands": (2, 3, 4)}, {"bands": BANDS}]
)
def test_a_job_does_not_go_on_with_other_bands(jobs, scenes, more):
    with pytest.raises(SettingsError, match=r"bands was \[4, 3, 2\]|nodata was 9"):
        label(scenes[1], jobs[1], keep_features=(jobs[1] / "features").is_dir(), **more)


def test_a_job_goes_on_with_the_same_bands(jobs, scenes):
    keeps = (jobs[1] / "features").is_dir()
    assert label(scenes[1], jobs[1], keep_features=keeps, **READING).resumed == COUNT


@pytest.mark.parametrize("value", ["[4, 3]", "[0, 1, 2]", "all", "4", "[a]", "{}"])
def test_bands_in_a_job_file_that_cannot_be_are_refused(jobs, value):
    file = jobs[1] / "job.yaml"
    text = file.read_text()
    changed = re.sub(r"  bands:\n(  - \d\n)+", f"  bands: {value}\n", text)
    assert changed != text
    file.write_text(changed)
    for use in (lambda: export(jobs[1], ["overlay"]), lambda: recorded_job(jobs[1])):
        with pytest.raises(SettingsError, match=r"job\.yaml does not say how"):
            use()


@pytest.mark.parametrize("bands", [(1, 2), (0,), "321"])
def test_bands_that_cannot_be_are_refused_at_once(bands):
    with pytest.raises(SettingsError, match="counted from 1"):
        Labelling(PROMPTS, bands=bands)


def test_an_image_that_lacks_a_band_fails_alone(scenes, tmp_path):
    folder = shutil.copytree(scenes[1], tmp_path / "mixed")
    shutil.copy(scenes[0] / "0.tif", folder / "three.tif")
    summary = label(folder, tmp_path / "out", **READING)
    assert summary.done == COUNT
    [(name, reason)] = summary.failures.items()
    assert name == "three.tif"
    assert "has 3 bands, and --bands 4,3,2 asks for band 4" in reason


def test_a_large_file_is_labelled_by_its_bands(scenes, tmp_path, monkeypatch):
    folder = tmp_path / "large"
    folder.mkdir()
    pixels = tifffile.imread(scenes[1] / "0.tif")
    tiles = {"tile": (64, 64), "compression": "zlib", "photometric": "minisblack"}
    tifffile.imwrite(folder / "0.tif", pixels, planarconfig="contig", **tiles)
    label(folder, tmp_path / "whole", keep_features=False, **READING)
    monkeypatch.setattr("dinoiser.images.large_tiff.LARGE_PIXELS", 10_000)

    def refuse(*_, **__):
        raise AssertionError("it was read as a whole")

    monkeypatch.setattr("dinoiser.batch.engines.label_images.read_with_missing", refuse)
    assert label(folder, tmp_path / "parts", keep_features=False, **READING).failures == {}
    whole, parts = (read_mask(tmp_path / job / "masks" / "0.png") for job in ("whole", "parts"))
    np.testing.assert_array_equal(whole, parts)


@pytest.mark.parametrize("in_parts", [False, True], ids=["whole", "in parts"])
@pytest.mark.parametrize("why", ["transparent", "no data", "part"])
def test_that_nothing_of_an_image_can_be_labelled_is_said(tmp_path, monkeypatch, why, in_parts):
    folder, rgb = tmp_path / "images", np.full((96, 96, 3), 90, np.uint8)
    folder.mkdir()
    alpha = np.zeros((96, 96), np.uint8)
    alpha[:, :5] = 255 if why == "part" else 0
    if why == "no data":
        tags = [(42113, "s", 0, "90", True)]
        tifffile.imwrite(folder / "a.tif", rgb, photometric="rgb", extratags=tags)
    else:
        rgba = np.dstack([rgb, alpha])
        tifffile.imwrite(folder / "a.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    if in_parts:
        monkeypatch.setattr("dinoiser.images.large_tiff.LARGE_PIXELS", 1000)
    summary = label(folder, tmp_path / "out", keep_features=False)
    assert (read_mask(tmp_path / "out/masks/a.png") == 255).all() == (why != "part")
    said = {} if why == "part" else {ALL_IGNORED: ["a.tif"]}
    assert summary.warnings == said

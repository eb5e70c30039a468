"""`dinoiser import --new` again: it goes on, and what is in the job stays."""

import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from dinoiser.batch.job import reading_in
from dinoiser.batch.records import read_records
from dinoiser.batch.reviews import Reviews, read_labelled, read_reviews
from dinoiser.export import read_mask, write_png
from dinoiser.export.png import write_classes
from dinoiser.images import read_image
from dinoiser.images.settings import ReadSettings
from dinoiser.prompts import PromptSet
from tests.helpers.export_jobs import PROMPTS, decodes, scene, segmentation
from tests.helpers.job_driver import PROGRAM, kill_when

pytestmark = decodes


def lay_out(folder, count):
    """Write images, and a mask of each in a folder of its own."""
    for number in range(count):
        labels, name = scene(number), f"{number:03}.png"
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((*labels.shape, 3), 128, np.uint8)).save(path)
        write_png(segmentation(labels), folder / "drawn" / name)
    write_classes(PROMPTS, folder / "drawn/classes.json")
    return folder / "images", folder / "drawn"


def begin(output, images, *files):
    return "import", "--new", output, "--images", images, *files


def test_an_annotation_that_was_mended_comes_in_and_the_others_stay(tmp_path, dinoiser):
    images, drawn = lay_out(tmp_path, 3)
    Image.fromarray(np.zeros((3, 4), np.uint8)).save(drawn / "001.png")
    code, _, err = dinoiser(*begin(tmp_path / "job", images, drawn))
    assert code == 1
    assert "001.png: it is annotated with (3, 4) pixels" in err
    first = read_labelled(tmp_path / "job")[0]
    Reviews(tmp_path / "job", PROMPTS).save(first, "rejected", np.zeros_like(scene(0)))

    write_png(segmentation(scene(1)), drawn / "001.png")
    code, out, err = dinoiser(*begin(tmp_path / "job", images, drawn))
    assert code == 0, err
    assert "1 of 1 annotated images changed" in out
    assert "2 images are in the job already" in err
    states = {name: review.state for name, review in read_reviews(tmp_path / "job").items()}
    assert states == {"000.png": "rejected", "001.png": "accepted", "002.png": "accepted"}
    np.testing.assert_array_equal(read_mask(tmp_path / "job/masks/001.png"), scene(1))
    assert not read_mask(tmp_path / "job/masks/000.png").any()


def test_photographs_are_annotated_as_people_see_them(tmp_path, dinoiser):
    images, drawn = lay_out(tmp_path, 1)
    labels, exif = scene(0), Image.Exif()
    exif[274] = 6  # stored lying on its side
    stored = np.full((*labels.shape[::-1], 3), 128, np.uint8)
    Image.fromarray(stored).save(images / "000.png", exif=exif)
    code, _, err = dinoiser(*begin(tmp_path / "job", images, drawn))
    assert code == 0, err
    np.testing.assert_array_equal(read_mask(tmp_path / "job/masks/000.png"), labels)


def test_classes_that_the_job_lacks_are_refused_and_it_stays(tmp_path, dinoiser):
    images, drawn = lay_out(tmp_path, 2)
    (drawn / "001.png").rename(tmp_path / "001.png")
    assert dinoiser(*begin(tmp_path / "job", images, drawn))[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "job").rglob("*.*")}
    (tmp_path / "001.png").rename(drawn / "001.png")
    write_classes(PromptSet.parse("background, yacht"), drawn / "classes.json")
    code, _, err = dinoiser(*begin(tmp_path / "job", images, drawn))
    assert code == 2
    assert "have classes that the job" in err
    assert "yacht" in err
    assert {path: path.read_bytes() for path in (tmp_path / "job").rglob("*.*")} == before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_the_same_command_goes_on_after_a_kill(tmp_path, dinoiser):
    count = 150
    images, drawn = lay_out(tmp_path, count)
    command = [*PROGRAM, *map(str, begin(tmp_path / "job", images, drawn))]
    kill_when(command, tmp_path / "job", 5)
    before = len(list(read_records(tmp_path / "job")))
    assert 5 <= before < count
    code, out, err = dinoiser(*begin(tmp_path / "job", images, drawn))
    assert code == 0, err
    assert f"{count - before} of {count - before} annotated images changed" in out
    assert [record.image for record in read_records(tmp_path / "job")] == sorted(
        path.name for path in images.iterdir()
    )
    for number in range(count):
        mask = read_mask(tmp_path / f"job/masks/{number:03}.png")
        np.testing.assert_array_equal(mask, scene(number))


def test_a_job_remembers_the_bands_of_its_images(tmp_path, dinoiser):
    images, drawn = lay_out(tmp_path, 1)
    (images / "000.png").unlink()
    bands = np.random.default_rng(3).integers(0, 4000, (*scene(0).shape, 5), np.uint16)
    bands[:4, :9] = 7
    layout = {"photometric": "minisblack", "planarconfig": "contig"}
    tifffile.imwrite(images / "000.tif", bands, **layout)
    command = begin(tmp_path / "job", images, drawn)
    code, _, err = dinoiser(*command, "--bands", "5,1,2", "--nodata", 7)
    assert code == 0, err
    assert reading_in(tmp_path / "job") == ReadSettings(7, (5, 1, 2))
    # as whoever looks at the job sees its images: here, the copies of a data set
    assert dinoiser("export", tmp_path / "job", "-f", "voc")[0] == 0
    [copy] = (tmp_path / "job/voc/JPEGImages").iterdir()
    tags = [(42113, "s", 0, "7", True)]
    only = np.ascontiguousarray(bands[..., [4, 0, 1]])
    tifffile.imwrite(tmp_path / "only.tif", only, photometric="rgb", extratags=tags)
    np.testing.assert_array_equal(read_image(copy), read_image(tmp_path / "only.tif"))
    # and it goes on with these only
    assert dinoiser(*command, "--nodata", 7, "--bands", "5,1,2")[0] == 0
    code, _, err = dinoiser(*command)
    assert code == 2
    message = " ".join(err.split())
    assert "began with --nodata 7.0 --bands 5,1,2, not with no such options; give the same" in (
        message
    )


def test_a_job_that_is_there_keeps_its_bands(tmp_path, dinoiser):
    code, _, err = dinoiser("import", tmp_path / "job", tmp_path / "a.json", "--bands", "1")
    assert code == 2
    assert "--bands 1 is for --new" in " ".join(err.split())

"""Images in the report: small, in the page, and what stands for those that cannot be shown."""

import re

import numpy as np
import pytest
from PIL import Image

from dinoiser.batch.report.page import write_report
from dinoiser.batch.reviews import Review
from tests.helpers.report_page import done, failed, report, review


def test_images_are_small_and_in_the_page_and_nothing_is_fetched(output):
    (output / "overlays" / "deep").mkdir(parents=True)
    Image.new("RGB", (1600, 900)).save(output / "overlays" / "wide.jpg")
    Image.new("RGB", (900, 1600)).save(output / "overlays" / "deep" / "tall.jpg")
    page = report(
        output,
        [
            done("wide.jpg", {1: (10, 0.5)}, (1800, 3200)),
            done("deep/tall.jpg", {1: (10, 0.4)}, (1600, 900)),
            failed("x.jpg", "see https://example.org/x.png"),
        ],
    )
    assert [image.size for image in page.images["contact-sheet"]] == [(135, 240), (240, 135)]
    assert [image.size for image in page.images["least-certain"]] == [(180, 320), (320, 180)]
    html = (output / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"""(src|href|srcset|data)\s*=\s*(?!"(data:image/jpeg;base64,|#))""", html)
    assert not re.search(r"url\(|@import", html)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)


def test_the_preview_s_legend_is_cut_off(output):
    path = output / "overlays" / "a.jpg"
    path.parent.mkdir()
    preview = Image.new("RGB", (160, 150), "white")
    preview.paste((0, 0, 200), (0, 0, 160, 120))
    preview.save(path, quality=95)
    page = report(output, [done("a.jpg", {1: (10, 0.5)}, (120, 160))])
    (image,) = page.images["contact-sheet"]
    assert image.size == (160, 120)
    assert np.asarray(image)[..., 0].max() < 60


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        pytest.param((1500, 2000), (1200, 1600), id="was larger"),
        pytest.param((1000, 1000), (500, 500), id="was smaller"),
        pytest.param((3200, 200), (1600, 100), id="as today, and narrower than its legend"),
    ],
)
def test_the_legend_of_a_preview_of_another_size_is_cut_off(output, size, shown):
    """Earlier versions shrank an image of 2000 pixels to 1600, and this one to 1000."""
    path = output / "overlays" / "a.jpg"
    path.parent.mkdir()
    height, width = shown
    preview = Image.new("RGB", (max(160, width), height + 60), "white")
    preview.paste((0, 0, 200), (0, 0, width, height - height // 4))
    preview.paste((0, 200, 0), (0, height - height // 4, width, height))
    preview.save(path, quality=95)
    (image,) = report(output, [done("a.jpg", {1: (10, 0.5)}, size)]).images["contact-sheet"]
    pixels = np.asarray(image, int)
    assert image.width / image.height == pytest.approx(size[1] / size[0], rel=0.02)
    assert pixels[..., 0].max() < 60
    assert (pixels[..., 1] > 100).mean() == pytest.approx(0.25, abs=0.03)


def test_without_previews_the_image_is_drawn_under_its_mask(output, tmp_path):
    (output / "masks").mkdir()
    image = tmp_path / "a.png"
    Image.new("RGB", (80, 60), (100, 100, 100)).save(image)
    labels = np.zeros((60, 80), np.uint8)
    labels[:, 40:] = 1
    mask = Image.fromarray(labels)
    mask.putpalette([0, 0, 0, 230, 159, 0])
    mask.save(output / "masks" / "a.png")
    record = done("a.png", {1: (10, 0.5)}).model_copy(update={"path": str(image)})
    (image,) = report(output, [record]).images["least-certain"]
    pixels = np.asarray(image, int)
    assert np.abs(pixels[30, 20] - [65, 65, 65]).max() < 8
    assert np.abs(pixels[30, 60] - (0.45 * 100 + 0.55 * np.array([230, 159, 0]))).max() < 12


def test_a_corrected_image_is_shown_under_its_mask_and_not_as_the_preview(output, tmp_path):
    for folder in ("masks", "overlays"):
        (output / folder).mkdir()
    image = tmp_path / "a.png"
    Image.new("RGB", (80, 60), (100, 100, 100)).save(image)
    Image.new("RGB", (80, 60), (0, 0, 255)).save(output / "overlays" / "a.jpg")
    Image.new("P", (80, 60), 0).save(output / "masks" / "a.png")
    record = done("a.png", {1: (10, 0.5)}).model_copy(update={"path": str(image)})
    (before,) = report(output, [record]).images["contact-sheet"]
    review(output, Review(image="a.png", state="accepted", edited=True, pixels={0: 4800}))
    (after,) = report(output, []).images["contact-sheet"]
    assert np.asarray(before)[30, 40, 2] > 200
    assert np.ptp(np.asarray(after, int)[30, 40]) < 12


def test_images_that_cannot_be_shown_leave_a_note(output, tmp_path):
    for folder in ("masks", "overlays"):
        (output / folder).mkdir()
    Image.new("RGB", (80, 60)).save(tmp_path / "cut mask.png")
    whole = (tmp_path / "cut mask.png").read_bytes()
    (output / "masks" / "cut mask.png").write_bytes(whole[:60])
    (output / "masks" / "vanished.png").write_bytes(whole)
    (output / "overlays" / "cut preview.jpg").write_bytes(b"\xff\xd8\xff no more")
    names = ["cut mask.png", "cut preview.png", "no results.png", "vanished.png"]
    records = [done(name, {1: (10, 0.5)}) for name in names]
    paths = [{"path": str(tmp_path / name)} for name in names]
    moved = [record.model_copy(update=path) for record, path in zip(records, paths, strict=True)]
    page = report(output, moved)
    assert not page.images
    for name in names:
        assert f"no image to show {name} 0.50" in page.text("contact-sheet")


def test_two_thousand_images_make_no_larger_page_than_fifty_and_the_same_every_time(output):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8))
    (output / "overlays").mkdir()
    for i in {*range(24), *range(0, 2000, 20)}:
        noise.save(output / "overlays" / f"{i:04}.jpg")
    records = [done(f"{i:04}.jpg", {1: (10, i / 2000)}, (240, 320)) for i in range(2000)]
    page = report(output, records)
    assert sum(map(len, page.images.values())) > 24
    first = (output / "report.html").read_bytes()
    assert len(first) < 4_000_000
    assert write_report(output).read_bytes() == first

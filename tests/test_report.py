"""The report as its reader sees it: an HTML parser and Pillow in the browser's place."""

import re

import numpy as np
import pytest
from PIL import Image

from dinoiser.batch.job import write_job
from dinoiser.batch.records import Record, RecordFile, append_lines
from dinoiser.batch.report import RunFigures, write_report
from dinoiser.batch.reviews import Review
from dinoiser.prompts import PromptSet
from tests.report_page import Page


def done(name, shares, size=(60, 80), seconds=0.5):
    """Make a record of {label: (pixels, confidence)}."""
    histogram = {
        label: [pixels * (i == int(20 * mean)) for i in range(20)]
        for label, (pixels, mean) in shares.items()
        if mean is not None
    }
    return Record(
        image=name,
        stem=name.rpartition(".")[0],
        path=f"/nowhere/{name}",
        status="done",
        size=size,
        pixels={label: pixels for label, (pixels, _) in shares.items()},
        confidence={label: mean for label, (_, mean) in shares.items() if label != 255},
        histogram=histogram,
        seconds=seconds,
    )


def failed(name, error):
    return Record(image=name, stem=name, path=f"/nowhere/{name}", status="failed", error=error)


@pytest.fixture
def output(tmp_path):
    """The folder of a job that has just begun."""
    folder = tmp_path / "spring harvest"
    folder.mkdir()
    PromptSet.parse("background, dog; puppy, lawn=grass").save(folder / "prompts.yaml")
    model = {"name": "clip-dinoiser", "digest": "d" * 64, "precision": "bfloat16"}
    settings = {"short_side": 448, "window": 448, "stride": 224, "whole": False, "refine": "none"}
    write_job(folder, {"model": model, "settings": settings, "versions": {"torch": "2.9.0"}})
    return folder


def report(output, records, run=None):
    if records:
        RecordFile(output).append(records)
    path = write_report(output, run)
    assert path == output / "report.html"
    return Page(path.read_text(encoding="utf-8"))


def test_it_says_what_ran(output):
    records = [done(f"{i:02}.jpg", {1: (10, 0.5)}) for i in range(20)]
    records.append(failed("x.jpg", "it is empty"))
    page = report(output, records, RunFigures(8, 20, "2 workers"))
    text = page.text("what-ran")
    for part in ("Labelled 20", "Failed 1", "Pictures a second 2.5", "20 pictures in 8.0 s"):
        assert part in text
    for part in ("clip-dinoiser", "d" * 12, "bfloat16", "448 pixels, 224 apart", "torch 2.9.0"):
        assert part in text
    assert "2 workers" in text
    assert "dog; puppy lawn = grass" in text
    assert "spring harvest" in page.texts[""]


def test_median_and_95th_percentile_are_right_within_a_percent(output):
    records = [done(f"{i:03}.jpg", {1: (10, 0.5)}, seconds=i) for i in range(1, 101)]
    text = report(output, records).text("what-ran")
    assert "Median a picture 50 s" in text
    assert "95 % are under 95 s" in text
    assert "Pictures a second" not in text


def test_class_shares_are_those_computed_by_hand(output):
    page = report(
        output,
        [
            done("a.jpg", {0: (500, 0.9), 1: (100, 0.6), 2: (0, None), 255: (0, None)}),
            done("b.jpg", {0: (100, 0.3), 1: (100, 0.8), 2: (0, None), 255: (200, None)}),
        ],
    )
    assert page.rows["class-shares"][1:] == [
        ["background", "60.0 %", "2", "0.80"],
        ["dog", "20.0 %", "2", "0.70"],
        ["lawn", "0.0 %", "0", "–"],
        ["ignored", "20.0 %", "1", "–"],
    ]


def review(output, *decisions):
    append_lines(
        output / "reviews.jsonl",
        b"".join(decision.model_dump_json().encode() + b"\n" for decision in decisions),
    )


def test_class_shares_are_those_of_corrected_masks_without_rejected_pictures(output):
    review(
        output,
        Review(image="a.jpg", state="accepted", edited=True, pixels={0: 50, 2: 50}),
        Review(image="b.jpg", state="rejected"),
        Review(image="c.jpg", state="accepted"),
        Review(image="gone.jpg", state="accepted"),
    )
    page = report(
        output,
        [
            done("a.jpg", {0: (100, 0.9), 1: (0, None)}),
            done("b.jpg", {1: (100, 0.6)}),
            done("c.jpg", {0: (100, 0.9)}),
            done("d.jpg", {0: (100, 0.9)}),
        ],
    )
    assert page.rows["class-shares"][1:] == [
        ["background", "83.3 %", "3", "0.90"],
        ["lawn", "16.7 %", "1", "–"],
        ["dog", "0.0 %", "0", "0.60"],
        ["ignored", "0.0 %", "0", "–"],
    ]
    assert "Checked 3 of 4" in page.text("what-ran")
    text = page.text("class-shares")
    assert "3 of 4 pictures checked." in text
    assert "corrections included and 1 rejected picture left out" in text
    assert "all classes mean 0.82, 4 pictures" in page.text("confidence"), "it is the model's"
    assert "before any correction" in page.text("confidence")


def test_without_a_review_nothing_is_said_of_one(output):
    page = report(output, [done("a.jpg", {0: (100, 0.9)})])
    assert not any("heck" in text or "correct" in text for text in page.texts.values())


def test_each_class_that_has_pixels_has_a_histogram_and_so_have_all(output):
    page = report(output, [done("a.jpg", {0: (500, 0.9), 1: (100, 0.62), 2: (0, None)})])
    assert page.tags.count("svg") == 3
    text = page.text("confidence")
    assert "all classes mean 0.85, 1 picture" in text
    assert "dog mean 0.62, 1 picture" in text
    assert "lawn" not in text


def test_the_least_certain_come_first(output):
    means = {f"{i:02}.jpg": (37 * i % 20 + 1) / 50 for i in range(40)}
    records = [done(name, {1: (100, mean)}) for name, mean in means.items()]
    nothing = done("nothing.jpg", {255: (100, None)})
    page = report(output, [*records, nothing])
    expected = ["nothing.jpg", *sorted(means, key=means.get)][:24]  # sorted keeps equals in order
    assert page.names["least-certain"] == expected
    assert "nothing.jpg all ignored" in page.text("least-certain")
    assert f"{expected[1]} 0.02" in page.text("least-certain")


@pytest.mark.parametrize(("count", "widest_gap"), [(48, 1), (100, 3), (5000, 120)])
def test_the_contact_sheet_is_spread_over_the_job(output, count, widest_gap):
    page = report(output, [done(f"{i:04}.jpg", {1: (10, 0.5)}) for i in range(count)])
    shown = [int(name[:4]) for name in page.names["contact-sheet"]]
    assert len(shown) == 48
    assert shown[0] == 0
    assert count - shown[-1] <= widest_gap
    assert 0 < np.diff(shown).min() <= np.diff(shown).max() <= widest_gap


def test_names_reasons_and_words_are_text_and_never_markup(output):
    bad = '<script>alert(1)</script>".jpg'
    PromptSet.from_names(["<b>dog</b>"]).save(output / "prompts.yaml")
    page = report(
        output,
        [done(f"a/{bad}", {1: (10, 0.5)}), failed(f"b/{bad}", "</td><img src=x onerror=alert(2)>")],
        RunFigures(1, 1, "<i>here</i>"),
    )
    assert not {"script", "b>"} & set(page.tags)
    assert "img" not in page.tags
    assert page.names["contact-sheet"] == [f"a/{bad}"]
    assert page.rows["failures"][1] == [f"b/{bad}", "</td><img src=x onerror=alert(2)>"]
    assert page.rows["class-shares"][1][0] == "<b>dog</b>"


def test_failures_are_listed_up_to_a_limit_and_name_no_folder_of_this_machine(output):
    page = report(
        output, [failed(f"{i:03}.jpg", f"/nowhere/{i:03}.jpg is empty") for i in range(205)]
    )
    rows = page.rows["failures"][1:]
    assert rows[7] == ["007.jpg", "007.jpg is empty"]
    assert len(rows) == 200
    assert "205 pictures could not be labelled. The first 200 are here, 5 more in records/" in (
        page.text("failures")
    )
    assert "contact-sheet" not in page.texts


def test_pictures_are_small_and_in_the_page_and_nothing_is_fetched(output):
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


def test_without_previews_the_picture_is_drawn_under_its_mask(output, tmp_path):
    (output / "masks").mkdir()
    picture = tmp_path / "a.png"
    Image.new("RGB", (80, 60), (100, 100, 100)).save(picture)
    labels = np.zeros((60, 80), np.uint8)
    labels[:, 40:] = 1
    mask = Image.fromarray(labels)
    mask.putpalette([0, 0, 0, 255, 0, 0])
    mask.save(output / "masks" / "a.png")
    record = done("a.png", {1: (10, 0.5)}).model_copy(update={"path": str(picture)})
    (image,) = report(output, [record]).images["least-certain"]
    pixels = np.asarray(image, int)
    assert np.abs(pixels[30, 20] - [65, 65, 65]).max() < 8
    assert np.abs(pixels[30, 60] - (0.45 * 100 + 0.55 * np.array([230, 159, 0]))).max() < 12


def test_a_corrected_picture_is_shown_under_its_mask_and_not_as_the_preview(output, tmp_path):
    for folder in ("masks", "overlays"):
        (output / folder).mkdir()
    picture = tmp_path / "a.png"
    Image.new("RGB", (80, 60), (100, 100, 100)).save(picture)
    Image.new("RGB", (80, 60), (0, 0, 255)).save(output / "overlays" / "a.jpg")
    Image.new("P", (80, 60), 0).save(output / "masks" / "a.png")
    record = done("a.png", {1: (10, 0.5)}).model_copy(update={"path": str(picture)})
    (before,) = report(output, [record]).images["contact-sheet"]
    review(output, Review(image="a.png", state="accepted", edited=True, pixels={0: 4800}))
    (after,) = report(output, []).images["contact-sheet"]
    assert np.asarray(before)[30, 40, 2] > 200
    assert np.ptp(np.asarray(after, int)[30, 40]) < 12


def test_pictures_that_cannot_be_shown_leave_a_note(output, tmp_path):
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
        assert f"no picture to show {name} 0.50" in page.text("contact-sheet")


def test_a_folder_with_records_alone_has_a_report(tmp_path):
    page = report(tmp_path, [done("a.jpg", {0: (30, 0.9), 7: (70, 0.6)})])
    assert "Model unknown" in page.text("what-ran")
    assert "Classes unknown" in page.text("what-ran")
    assert [row[0] for row in page.rows["class-shares"][1:]] == ["class 7", "class 0", "ignored"]


@pytest.mark.parametrize("text", ["model: tiny", "{model: {digest: 12}, settings: [1]}"])
def test_a_job_file_of_other_making_does_no_harm(tmp_path, text):
    (tmp_path / "job.yaml").write_text(text)
    assert "Windows unknown" in report(tmp_path, [done("a.jpg", {1: (1, 0.5)})]).text("what-ran")


def test_without_records_the_page_says_so(output):
    page = report(output, [])
    assert "No picture has been labelled yet." in page.texts[""]
    assert list(page.texts) == ["", "what-ran"]


def test_two_thousand_pictures_make_no_larger_page_than_fifty_and_the_same_every_time(output):
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

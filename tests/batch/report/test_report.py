"""The report as its reader sees it: an HTML parser and Pillow in the browser's place."""

import numpy as np
import pytest

from dinoiser.batch.report.page import RunFigures
from dinoiser.batch.reviews import Review
from dinoiser.prompts import PromptSet
from tests.helpers.report_page import done, failed, report, review


def test_it_says_what_ran(output):
    records = [done(f"{i:02}.jpg", {1: (10, 0.5)}) for i in range(20)]
    records.append(failed("x.jpg", "it is empty"))
    page = report(output, records, RunFigures(8, 20, "2 workers"))
    text = page.text("what-ran")
    for part in ("Labelled 20", "Failed 1", "Images per second 2.5", "20 images in 8.0 s"):
        assert part in text
    for part in ("clip-dinoiser", "d" * 12, "bfloat16", "448 pixels, 224 apart", "torch 2.9.0"):
        assert part in text
    assert "2 workers" in text
    assert "dog; puppy lawn = grass" in text
    assert "spring harvest" in page.texts[""]


def test_median_and_95th_percentile_are_right_within_a_percent(output):
    records = [done(f"{i:03}.jpg", {1: (10, 0.5)}, seconds=i) for i in range(1, 101)]
    text = report(output, records).text("what-ran")
    assert "Median per image 50 s" in text
    assert "95 % take less than 95 s" in text
    assert "Images per second" not in text


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


def test_class_shares_are_those_of_corrected_masks_without_rejected_images(output):
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
    assert "3 of 4 images checked." in text
    assert "with corrections and without 1 rejected image" in text
    assert "all classes mean 0.82, 4 images" in page.text("confidence"), "it is the model's"
    assert "before any correction" in page.text("confidence")


def test_without_a_review_nothing_is_said_of_one(output):
    page = report(output, [done("a.jpg", {0: (100, 0.9)})])
    assert not any("heck" in text or "correct" in text for text in page.texts.values())


def test_each_class_that_has_pixels_has_a_histogram_and_so_have_all(output):
    page = report(output, [done("a.jpg", {0: (500, 0.9), 1: (100, 0.62), 2: (0, None)})])
    assert page.tags.count("svg") == 3
    text = page.text("confidence")
    assert "all classes mean 0.85, 1 image" in text
    assert "dog mean 0.62, 1 image" in text
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
    assert (
        "205 images could not be labelled. The first 200 are listed here; "
        "the other 5 are in records/" in page.text("failures")
    )
    assert "contact-sheet" not in page.texts


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
    assert "No image has been labelled yet." in page.texts[""]
    assert list(page.texts) == ["", "what-ran"]

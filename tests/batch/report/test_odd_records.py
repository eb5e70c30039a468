"""Records with figures that no image can have: the report is written without them, and says so."""

import json

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from PIL import Image

from dinoiser.batch.report.page import write_report
from tests.helpers.report_page import Page, done, report
from tests.helpers.series import cases

ODD = {
    "a short histogram": {"histogram": {"1": [5, 5]}},
    "negative bars": {"histogram": {"1": [-3] * 20}},
    "one negative bar": {"histogram": {"1": [-90, 100] + [0] * 18}},
    "no size": {"size": [0, 0]},
    "a negative size": {"size": [-4, 10]},
    "a size without end": {"size": [10**400, 1]},
    "endless seconds": {"seconds": float("inf")},
    "negative seconds": {"seconds": -1.0},
    "no number of seconds": {"seconds": float("nan")},
    "label 70000": {"pixels": {"70000": 40}, "histogram": {"70000": [1] * 20}},
    "a negative label": {"pixels": {"-1": 40}},
    "negative counts": {"pixels": {"1": -40}},
    "counts that cancel out": {"pixels": {"1": 40, "2": -40}, "confidence": {"1": 0.5, "2": 0.5}},
    "too many pixels": {"pixels": {"1": 10**400}},
    "confidence beyond 1": {"confidence": {"1": 1e300}},
    "endless confidence": {"confidence": {"1": float("inf")}},
    "no number of confidence": {"confidence": {"1": float("nan")}},
}


def write_odd(output, figures, **review):
    """Write a record as another program, or a damaged disk, might have left it."""
    record = done("odd.jpg", {1: (10, 0.5)}).model_dump(mode="json") | figures
    (output / "records").mkdir(exist_ok=True)
    (output / "records" / "other.jsonl").write_text(json.dumps(record) + "\n")
    (output / "overlays").mkdir(exist_ok=True)
    Image.new("RGB", (80, 60)).save(output / "overlays" / "odd.jpg")
    if review:
        line = json.dumps({"image": "odd.jpg", "state": "accepted", "edited": True, **review})
        (output / "reviews.jsonl").write_text(line + "\n")


@pytest.mark.parametrize("kind", ODD)
def test_the_other_images_figures_are_those_without_it(output, kind):
    write_odd(output, ODD[kind])
    page = report(output, [done("a.jpg", {1: (10, 0.75), 255: (30, None)}, seconds=0.5)])
    assert "may be damaged" in page.text("class-shares")
    assert "Labelled 2" in page.text("what-ran")
    assert sorted(page.names["contact-sheet"]) == ["a.jpg", "odd.jpg"]
    assert "inf" not in page.text("what-ran")
    assert all(0 <= float(row[1].split()[-2]) <= 100 for row in page.rows["class-shares"][1:])


def test_a_review_s_odd_counts_are_left_out(output):
    write_odd(output, {}, pixels={"70000": 9, "2": 5, "1": -5})
    page = report(output, [])
    assert ["lawn", "100.0 %", "1", "–"] in page.rows["class-shares"]
    assert "the record or review of 1 image may be damaged" in page.text("class-shares")


def test_sound_records_are_not_called_damaged(output):
    page = report(output, [done("a.jpg", {1: (10, 1.0), 2: (0, None), 255: (5, None)})])
    assert "damaged" not in page.text("class-shares")


NUMBERS = st.one_of(st.integers(), st.just(10**400))
LABELS = st.one_of(st.integers(-2, 400), NUMBERS).map(str)
FLOATS = st.floats(allow_nan=True, allow_infinity=True)


@cases(60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    figures=st.fixed_dictionaries(
        {
            "size": st.one_of(st.none(), st.tuples(NUMBERS, NUMBERS)),
            "pixels": st.dictionaries(LABELS, NUMBERS, max_size=3),
            "confidence": st.dictionaries(LABELS, st.one_of(st.none(), FLOATS), max_size=3),
            "histogram": st.dictionaries(LABELS, st.lists(NUMBERS, max_size=25), max_size=3),
            "seconds": FLOATS,
        }
    )
)
def test_whatever_the_figures_there_is_a_report(output, figures):
    write_odd(output, figures)
    page = Page(write_report(output).read_text(encoding="utf-8"))
    assert page.names["contact-sheet"] == ["odd.jpg"]

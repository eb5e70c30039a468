"""Settings are checked by themselves: all problems together, before anything is fetched."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dinoiser import Segmenter, segment_array
from dinoiser.batch import ExportOptions, LabelJob, Labelling, Results, Running, run
from dinoiser.batch.job import read_job
from dinoiser.errors import SettingsError
from dinoiser.models.catalog import WindowDefaults, find_model
from dinoiser.prompts import PromptSet
from dinoiser.segment.settings import SegmentSettings

PROMPTS = PromptSet.parse("background, dog")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"short_side": 0}, "short_side is 0, expected a whole number of pixels, at least 1"),
        ({"window": 0}, "window is 0, expected"),
        ({"window": 1.5}, r"window is 1\.5, expected"),
        ({"stride": True}, "stride is True, expected"),
        ({"window": 64, "stride": 65}, "stride is 65, more than the window of 64"),
        ({"whole": "no"}, "whole is 'no', expected True or False"),
        ({"antialias": 1}, "antialias is 1, expected True or False"),
        ({"refine": "magic"}, "refine is 'magic', expected 'edges' or 'pamr' or 'none'"),
        ({"batch_size": 0}, "batch_size is 0, expected 'auto' or at least 1"),
        ({"batch_size": "many"}, "batch_size is 'many', expected"),
        ({"delta": 7}, "delta is 7, expected a confidence from 0 to 1"),
        ({"delta": float("nan")}, "delta is nan"),
        ({"delta": "0.9"}, "delta is '0.9'"),
        ({"whole": True, "window": 64}, "window is 64, but whole takes.*omit either"),
    ],
)
def test_each_value_out_of_its_range_is_named(settings, message):
    with pytest.raises(SettingsError, match=message):
        SegmentSettings(**settings)


def test_all_problems_are_named_together():
    with pytest.raises(SettingsError, match=r"window is 0.*refine is 'magic'.*delta is 7"):
        SegmentSettings(window=0, refine="magic", delta=7)


def test_unknown_names_are_refused_with_the_nearest_one(tiny):
    for make in (
        lambda: SegmentSettings.of(windw=5),
        lambda: Segmenter(tiny, windw=5),
        lambda: segment_array(np.zeros((9, 9, 3), np.uint8), PROMPTS, "clip-dinoiser", windw=5),
    ):
        with pytest.raises(SettingsError, match=r"no setting 'windw' \(did you mean 'window'\?\)"):
            make()


def test_settings_and_keywords_are_not_mixed(tiny):
    with pytest.raises(SettingsError, match="settings or keywords such as window, not both"):
        Segmenter(tiny, SegmentSettings(), window=64)


def test_a_dictionary_is_no_settings(tiny):
    for make in (
        lambda: Segmenter(tiny, {"window": 64}),
        lambda: Labelling(PROMPTS, settings={"window": 64}),
    ):
        with pytest.raises(SettingsError, match="settings is a dict, expected SegmentSettings"):
            make()


def test_a_stride_that_leaves_gaps_between_the_models_windows_is_refused(tiny):
    with pytest.raises(SettingsError, match=r"stride is 300, .* window of 224 that the model"):
        Segmenter(tiny, stride=300)


@given(window=st.none() | st.integers(1, 999), stride=st.none() | st.integers(1, 999))
def test_what_a_model_brings_fills_the_gaps_and_windows_leave_none(window, stride):
    defaults = WindowDefaults(short_side=70, window=60, stride=30, cubic=True)
    try:
        found = SegmentSettings(window=window, stride=stride).windows(defaults)
    except SettingsError:
        assert stride is not None
        assert stride > (window or 60)
        return
    assert 1 <= found.stride <= found.window
    assert (found.short_side, found.cubic) == (70, True)
    assert found.window == (60 if window is None else window)
    assert found.stride == (min(30, found.window) if stride is None else stride)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--window", "100", "--stride", "200"], "--stride is 200, more than the window of 100"),
        (["--window", "0"], "--window is 0"),
        (["--stride", "500"], "--stride is 500, more than the window of 448"),
        (["--refine", "magic"], "--refine is 'magic'"),
        (["--batch-size", "0"], "--batch-size is 0"),
        (["--short-side=0"], "--short-side is 0"),
        (["--batch-size", "some"], "--batch-size is 'some'"),
        (["--whole", "--window", "100"], "--window is 100, but whole takes"),
    ],
    ids=" ".join,
)
def test_on_the_command_line_wrong_settings_come_before_missing_weights(
    options, message, dinoiser, tmp_path
):
    assert find_model("clip-dinoiser").clip.locate() is None
    words = ["label", tmp_path, "-p", "dog", "-m", "clip-dinoiser", "-o", tmp_path / "out"]
    code, _, errors = dinoiser(*words, *options)
    told = " ".join(errors.split())
    assert (code, message in told, "weights" in told) == (2, True, False), told
    assert not (tmp_path / "out").exists()


def test_numbers_of_numpy_are_numbers():
    settings = SegmentSettings(short_side=np.int64(448), stride=np.uint8(64), delta=np.float64(0.5))
    assert settings == SegmentSettings(short_side=448, stride=64, delta=0.5)
    assert ExportOptions(min_area=np.int32(5), val=np.float32(0.5)).val == 0.5
    assert Running(workers=np.int64(2)).workers == 2
    with pytest.raises(SettingsError, match="short_side is 0, expected"):
        SegmentSettings(short_side=np.int64(0))


def test_a_sweep_by_numpy_s_numbers_is_recorded(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    job = LabelJob(
        [tmp_path / "a.png"],
        tmp_path / "out",
        Labelling(
            PROMPTS,
            "tiny",
            settings=SegmentSettings(delta=np.linspace(0, 1, 3)[1]),
            nodata=np.uint8(7),
        ),
        Results(name for name in ("png", "coco")),
    )
    assert run(job).done == 1
    assert (tmp_path / "out/annotations.json").exists()
    assert read_job(tmp_path / "out")["settings"]["delta"] == 0.5
    assert run(job).resumed == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Running(scheduler=None), "scheduler is None, expected auto, local"),
        (
            lambda: LabelJob(["a"], "out", PROMPTS),
            "labelling is a PromptSet, expected Labelling",
        ),
        (lambda: LabelJob(["a"], "out", Labelling(PROMPTS), running={}), "running is a dict"),
    ],
)
def test_a_job_s_parts_of_other_types_are_refused_in_a_sentence(make, message):
    with pytest.raises(SettingsError, match=message):
        make()

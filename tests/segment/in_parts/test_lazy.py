"""Large images: the same labels in parts as at once."""

import gc
import pickle

import dask
import dask.array as da
import numpy as np
import pytest
import torch
import zarr
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from torch.nn import functional as F

import dinoiser
from dinoiser.errors import ImageError, SettingsError, UnknownModelError
from dinoiser.models.base import PatchFeatures, SegmentationModel
from dinoiser.models.catalog import WindowDefaults
from dinoiser.models.clip_dinoiser import ClipDinoiser
from dinoiser.prompts import PromptSet
from dinoiser.segment import interpolation, windows
from dinoiser.segment.in_parts import lazy, parts
from dinoiser.segment.in_parts.lazy import lazy_segmentation, segment_array
from dinoiser.segment.resize import resize, resize_columns, resize_rows
from dinoiser.segment.segmenter import Segmenter
from dinoiser.segment.windows import WindowLayout
from tests.helpers.series import cases

PROMPTS = PromptSet.parse("background, red star, circle, green triangle", ignore_below=0.3)


class ColorModel(SegmentationModel):
    """A model that takes no time: the mean colours of patches, and random words."""

    name, digest, patch_size, embedding_dim = "colors", None, 8, 6
    windows = WindowDefaults(short_side=40, window=32, stride=12)
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self):
        self.seen = 0
        self.texts = 0

    def encode_image(self, pixels):
        self.seen += len(pixels)
        height, width = pixels.shape[-2:]
        padded = F.pad(pixels, (0, -width % 8, 0, -height % 8))
        colors = F.avg_pool2d(padded, 8) - 0.4
        return PatchFeatures(torch.cat([colors, colors.roll(1, -1)], 1), colors.sum(1))

    def encode_text(self, texts):
        self.texts += len(texts)
        generator = torch.Generator().manual_seed(4)
        return F.normalize(torch.randn(len(texts), 6, generator=generator), dim=-1)


@pytest.fixture
def small_parts(monkeypatch):
    """Parts and blocks of windows so small that small images have many."""
    monkeypatch.setattr("dinoiser.segment.probability_map.TILE_WIDTH", 32)
    monkeypatch.setattr("dinoiser.segment.block_labels.PIXELS_AT_ONCE", 400)
    monkeypatch.setattr("dinoiser.segment.edges.CELLS_AT_ONCE", 5)
    monkeypatch.setattr(lazy, "PART_SIZE", (64, 64))
    monkeypatch.setattr(windows, "BLOCK_SIDE", 50)
    monkeypatch.setattr(parts, "BAND_BYTES", 4000)


def random_image(height, width, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 9 + 1, width // 9 + 1, 3), np.uint8)
    return coarse.repeat(9, 0).repeat(9, 1)[:height, :width].copy()


def assert_same(lazy, eager):
    labels, confidence = dask.compute(*lazy, scheduler="threads")
    np.testing.assert_array_equal(labels, eager.labels)
    np.testing.assert_array_equal(confidence, eager.confidence)


class TestEquality:
    @cases(15, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        size=st.tuples(st.integers(1, 200), st.integers(1, 200)),
        chunk=st.tuples(st.integers(7, 90), st.integers(7, 90)),
        short_side=st.integers(8, 220),
        window=st.integers(9, 50),
        stride=st.integers(5, 9),
        antialias=st.booleans(),
        batch_size=st.sampled_from([1, 4, "auto"]),
        refine=st.sampled_from(["edges", "none"]),
    )
    def test_any_sizes(self, small_parts, size, chunk, **kept):
        image = random_image(*size)
        eager = Segmenter(ColorModel(), **kept).segment(image, PROMPTS)
        array = da.from_array(image, chunks=(*chunk, 3))
        lazy = lazy_segmentation(array, PROMPTS, ColorModel(), **kept)
        assert lazy.labels.dtype == np.uint8
        assert lazy.labels.shape == size
        assert_same(lazy, eager)

    @pytest.mark.parametrize("short_side", [None, pytest.param(300, marks=pytest.mark.slow), 341])
    def test_the_models_own_rounding_is_the_same(self, tiny, scene, small_parts, short_side):
        image = np.concatenate([scene.image, scene.image[::-1, ::-1]])[:341, :300]
        prompts = PromptSet.from_names(["background", *scene.names])
        eager = Segmenter(tiny, short_side=short_side).segment(image, prompts)
        assert_same(lazy_segmentation(image, prompts, tiny, short_side=short_side), eager)

    def test_zarr_and_numpy(self, small_parts):
        image = random_image(130, 150)
        eager = Segmenter(ColorModel()).segment(image, PROMPTS)
        stored = zarr.create_array({}, shape=image.shape, dtype="u1", chunks=(40, 50, 3))
        stored[:] = image
        by_channel = da.from_array(image, chunks=(60, 60, 1))
        for array in (stored, image, by_channel):
            np.testing.assert_array_equal(
                segment_array(array, PROMPTS, ColorModel()).compute(), eager.labels
            )


class TestWork:
    def test_nothing_is_done_before_it_is_asked_for(self, small_parts):
        def fail(block):
            raise AssertionError("the image was read")

        array = da.zeros((300, 300, 3), np.uint8, chunks=100)
        array = array.map_blocks(fail, dtype=np.uint8, meta=np.zeros((0, 0, 0), np.uint8))
        model = ColorModel()
        segment_array(array, PROMPTS, model)
        assert (model.seen, model.texts) == (0, 0)
        segment_array(array, PROMPTS, "clip-dinoiser")  # whose weights are not here

    @pytest.mark.parametrize("short_side", [100, 300])
    def test_every_window_word_and_chunk_is_seen_once(self, small_parts, short_side):
        image, model, reads = random_image(300, 330), ColorModel(), []
        array = da.from_array(image, chunks=(110, 110, 3))
        array = array.map_blocks(
            lambda block: reads.append(1) or block, meta=np.zeros((0, 0, 0), np.uint8)
        )
        found = lazy_segmentation(array, PROMPTS, model, short_side=short_side)
        dask.compute(*found, scheduler="threads")
        layout = WindowLayout.plan(
            (300, 330), Segmenter(model, short_side=short_side).pipeline.windows
        )
        assert model.seen == len(layout.windows)
        assert model.texts == 4 * 80
        assert len(reads) == 9

    def test_a_part_needs_its_own_windows_only(self, small_parts):
        model = ColorModel()
        image = random_image(300, 800)
        found = segment_array(image, PROMPTS, model, short_side=300)
        found[:64, :64].compute()
        layout = Segmenter(model, short_side=300).pipeline.plan((300, 800))
        assert 0 < model.seen < 0.4 * len(layout.windows)
        model.seen = 0
        found = segment_array(image, PROMPTS, model, short_side=300, refine="none")
        found[:64, :64].compute()
        assert 0 < model.seen < 0.1 * len(layout.windows)

    def test_a_named_model_can_be_computed_elsewhere(self, tiny, scene, scene_prompts):
        found = segment_array(scene.image, scene_prompts, "tiny")
        sent = pickle.dumps(dict(found.__dask_graph__()))
        assert len(sent) < 2 * scene.image.nbytes
        graph = pickle.loads(sent)
        eager = Segmenter(dinoiser.load_model("tiny")).segment(scene.image, scene_prompts)
        keys = dask.core.flatten(found.__dask_keys__())
        np.testing.assert_array_equal(dask.threaded.get(graph, list(keys))[0], eager.labels)

    def test_a_named_model_is_in_memory_once_whatever_the_settings(self, scene, scene_prompts):
        def models():
            gc.collect()
            return sum(type(thing) is ClipDinoiser for thing in gc.get_objects())

        segment_array(scene.image, scene_prompts, "tiny", short_side=100).compute()
        before = models()
        for side in (101, 150, 224):
            kept = Segmenter(dinoiser.load_model("tiny"), short_side=side, refine="none")
            labels = segment_array(
                scene.image, scene_prompts, "tiny", short_side=side, refine="none"
            ).compute()
            eager = kept.segment(scene.image, scene_prompts).labels
            np.testing.assert_array_equal(labels, eager)
            del kept
        assert models() == before


class TestErrors:
    @pytest.mark.parametrize(
        "array",
        [
            np.zeros((20, 30), np.uint8),
            np.zeros((20, 30, 4), np.uint8),
            np.zeros((20, 30, 3), np.uint16),
            da.zeros((3, 20, 30), dtype=np.uint8),
            np.zeros((0, 30, 3), np.uint8),
            [[1, 2], [3, 4]],
        ],
        ids=["grey", "transparent", "16 bits", "channels first", "empty", "list"],
    )
    def test_what_is_no_image(self, array):
        with pytest.raises(ImageError, match=r"expected a dask, zarr or NumPy array \(H, W, 3\)"):
            segment_array(array, PROMPTS, ColorModel())

    def test_unknown_sizes(self):
        array = da.zeros((20, 30, 3), dtype=np.uint8)
        with pytest.raises(ImageError, match="nan"):
            segment_array(array[array[:, 0, 0] > 0], PROMPTS, ColorModel())

    @pytest.mark.parametrize("model", [ColorModel(), "clip-dinoiser"], ids=["loaded", "named"])
    def test_settings(self, model):
        image = np.zeros((20, 30, 3), np.uint8)
        with pytest.raises(SettingsError, match="whole=True"):
            segment_array(image, PROMPTS, model, whole=True)
        with pytest.raises(SettingsError, match="stride is 9, more than the window of 8"):
            segment_array(image, PROMPTS, model, window=8, stride=9)
        with pytest.raises(SettingsError, match="magic"):
            segment_array(image, PROMPTS, model, refine="magic")
        with pytest.raises(SettingsError, match=r"'colour'.*expected short_side"):
            segment_array(image, PROMPTS, model, colour=3)

    def test_unknown_models(self):
        with pytest.raises(UnknownModelError):
            segment_array(np.zeros((20, 30, 3), np.uint8), PROMPTS, "wombat")


class TestResizing:
    @cases(60)
    @given(
        size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
        new=st.tuples(st.integers(1, 300), st.integers(1, 300)),
        antialias=st.booleans(),
        data=st.data(),
    )
    def test_pieces_are_those_of_the_whole_which_is_as_torch_has_it(
        self, size, new, antialias, data
    ):
        image = torch.from_numpy(random_image(*size)).permute(2, 0, 1)
        whole = resize(image, new, antialias)
        published = F.interpolate(
            image[None], new, mode="bilinear", align_corners=False, antialias=antialias
        )[0]
        assert (whole.int() - published.int()).abs().max() <= 1
        start = data.draw(st.integers(0, new[0] - 1))
        places = slice(start, data.draw(st.integers(start + 1, new[0])))
        used = interpolation.source(size[0], new[0], places, antialias)
        if size[0] == new[0]:
            used = places
        band = resize_columns(image[:, used], new[1], antialias)
        rows = resize_rows(band, used.start, size[0], new[0], places, antialias)
        np.testing.assert_array_equal(rows, whole[:, places])

    @cases(60)
    @given(length=st.integers(1, 400), new=st.integers(1, 400), antialias=st.booleans())
    def test_weights_are_steps_and_sum_to_one(self, length, new, antialias):
        _, weights = interpolation.linear_weights(length, new, slice(0, new), antialias)
        steps = weights / interpolation.STEP
        assert (steps == steps.round()).all()
        np.testing.assert_allclose(weights.sum(1), 1, atol=length * interpolation.STEP)

"""What heads are fitted to: images, crops, segments, and how many there must be."""

import numpy as np
import pytest
import torch
from dinoiser_training.data import read_folder
from dinoiser_training.images import (
    DrawnImages,
    FileImages,
    batches_ahead,
    centre_crop,
    crop_indices,
    draw_batch,
)
from dinoiser_training.regions import find_regions
from dinoiser_training.settings import FitSettings
from dinoiser_training.teachers import SegmentTeacher
from dinoiser_training.validation import centre_batch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dinoiser.errors import InputError, SettingsError
from dinoiser.scenes import draw_scenes

SMALL = FitSettings(steps=4, batch_size=3, crop=64, sample=7)


@pytest.fixture
def folder(tmp_path):
    """Twelve images of several sizes in folders, and one that is cut off."""
    rng = np.random.default_rng(5)
    for i in range(12):
        height, width = rng.integers(40, 140, 2)
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        path = tmp_path / "images" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    whole = path.read_bytes()
    (tmp_path / "images" / "cut.png").write_bytes(whole[: len(whole) // 2])
    return tmp_path / "images"


class TestFolder:
    def test_readable_images_are_shared_out_and_others_named(self, folder):
        data = read_folder([folder], FitSettings(crop=64))
        assert len(data.training) == 12
        assert set(data.unreadable) == {"cut.png"}
        assert "cut.png" in data.unreadable["cut.png"]

    def test_each_of_few_images_is_held_out_once(self, folder):
        folds = read_folder([folder], FitSettings(crop=64)).folds()
        held_out = [fold.held_out[i].name for fold in folds for i in range(len(fold.held_out))]
        assert len(held_out) == len(set(held_out)) == 12
        for fold in folds:
            names = {fold.held_out[i].name for i in range(3)}
            assert not names & {fold.training[i].name for i in range(9)}

    @pytest.mark.parametrize(("count", "held_out"), [(39, 0), (40, 8), (160, 8), (161, 9)])
    def test_of_more_images_eight_or_one_in_twenty_are_held_out(self, tmp_path, count, held_out):
        for i in range(count):
            Image.new("L", (32, 32), i).save(tmp_path / f"{i}.png")
        data = read_folder([tmp_path], FitSettings(crop=32))
        assert (len(data.training), len(data.held_out)) == (count - held_out, held_out)
        assert len(data.folds()) == (1 if held_out else 4)

    def test_the_digest_is_that_of_the_content(self, folder):
        settings = FitSettings(crop=64)
        before = read_folder([folder], settings).digest
        assert read_folder([folder], settings).digest == before
        Image.new("RGB", (70, 70)).save(folder / "a" / "0.png")
        assert read_folder([folder], settings).digest != before

    def test_no_more_than_the_sample_is_used(self, folder):
        data = read_folder([folder], FitSettings(crop=64, sample=5))
        assert len(data.training) == 5

    def test_too_few_images_are_said(self, folder):
        for path in folder.glob("a/*.png"):
            path.unlink()
        with pytest.raises(InputError, match=r"There are 6 images.*1 more cannot.*at least 10"):
            read_folder([folder], SMALL)

    def test_images_are_scaled_by_their_shorter_side(self, folder):
        paths = sorted(folder.glob("[ab]/*.png"))
        images = FileImages(paths, 64)
        assert len(images) == len(paths) == 12
        for i, path in enumerate(paths):
            with Image.open(path) as file:
                width, height = file.size
            _, new_height, new_width = images[i].image.shape
            assert min(new_height, new_width) == 64
            assert new_width / new_height == pytest.approx(width / height, rel=0.02)

    def test_their_longer_side_is_rounded_to_the_nearest_pixel(self, tmp_path):
        Image.new("RGB", (148, 100)).save(tmp_path / "a.png")
        # 64 * 1.48 = 94.7, which the published loop would cut to 94
        assert FileImages([tmp_path / "a.png"], 64)[0].image.shape == (3, 64, 95)


class TestCrops:
    def test_a_step_depends_on_settings_and_step_alone(self):
        images = DrawnImages(5, 0, (64, 80))
        first, again = (draw_batch(DrawnImages(5, 0, (64, 80)), SMALL, 3) for _ in range(2))
        assert torch.equal(first.pixels, again.pixels)
        assert torch.equal(first.labels, again.labels)
        assert not torch.equal(first.pixels, draw_batch(images, SMALL, 4).pixels[:1])

    def test_processes_share_a_batch(self):
        images = DrawnImages(5, 0, (64, 80))
        whole = draw_batch(images, SMALL, 1)
        halves = [draw_batch(images, SMALL, 1, slice(rank, None, 2)) for rank in (0, 1)]
        assert torch.equal(whole.pixels[::2], halves[0].pixels)
        assert torch.equal(whole.pixels[1::2], halves[1].pixels)

    def test_a_process_may_have_no_share_of_a_small_batch(self):
        batch = draw_batch(DrawnImages(5, 0, (64, 80)), SMALL, 0, slice(3, None, 4))
        assert batch.pixels.shape == (0, 3, 64, 64)
        assert list(batch.split(2)) == []

    @given(count=st.integers(1, 20), sample=st.integers(1, 40), size=st.integers(1, 9))
    def test_an_epoch_shows_the_sample_once(self, count, sample, size):
        settings = FitSettings(sample=sample, batch_size=size)
        steps = -(-sample // size)
        for epoch in (0, 1):
            shown = [
                i
                for step in range(steps)
                for i in crop_indices(count, settings, epoch * steps + step)
            ]
            assert len(shown) == sample
            counts = np.bincount(shown, minlength=count)
            assert counts.max() - counts.min() <= 1  # all images alike

    def test_labels_move_with_the_pixels(self):
        """Where a drawn object lies, the crop shows it: bright on black, flipped or not."""

        class Halves:
            def __len__(self):
                return 1

            def __getitem__(self, _):
                labels = torch.zeros(64, 96, dtype=torch.uint8)
                labels[:, 50:] = 1
                image = (200 * labels).expand(3, -1, -1)
                return type(DrawnImages(1, 0)[0])(image, labels)

        flipped = set()
        for step in range(8):
            batch = draw_batch(Halves(), SMALL, step)
            assert torch.equal(batch.pixels[:, 0] > 0, batch.labels > 0)
            assert batch.pixels.max() <= 1
            flipped |= {bool(one[0, 0]) for one in batch.labels}
        assert flipped == {True, False}

    def test_brightness_varies_as_far_as_asked(self):
        settings = FitSettings(batch_size=64, crop=64, sample=64, brightness=0.5)

        class Grey:
            def __len__(self):
                return 1

            def __getitem__(self, _):
                image = torch.full((3, 64, 64), 102, dtype=torch.uint8)  # 0.4
                return type(DrawnImages(1, 0)[0])(image, None)

        levels = draw_batch(Grey(), settings, 0).pixels.mean((1, 2, 3))
        assert 0.2 <= levels.min() < 0.25
        assert 0.55 < levels.max() <= 0.6

    def test_the_middle_is_cut_for_checking(self):
        image = DrawnImages(1, 3, (64, 100))[0]
        pixels, labels = centre_crop(image, 64)
        assert torch.equal(labels, image.labels[:, 18:82])
        assert torch.equal((255 * pixels).round().byte(), image.image[..., 18:82])

    def test_batches_made_ahead_come_in_order(self):
        assert list(batches_ahead(lambda step: step * 10, range(2, 12))) == list(range(20, 120, 10))

    def test_what_goes_wrong_beside_the_model_is_told(self):
        with pytest.raises(ZeroDivisionError):
            list(batches_ahead(lambda step: 1 // (step - 3), range(9)))


class TestSegments:
    def test_patches_of_one_segment_belong_together(self):
        images = DrawnImages(4, 8, (64, 64))
        batch = centre_batch(images, range(4), 64)
        targets = SegmentTeacher("scenes").targets(batch, (8, 8))
        for features, objects, known, labels in zip(*targets, batch.labels, strict=True):
            assert known.all()
            majority = labels.view(8, 8, 8, 8).permute(0, 2, 1, 3).flatten(2).mode(-1).values
            flat, vectors = majority.flatten(), features.flatten(1)
            same = flat[:, None] == flat
            # patches of two segments with as many pixels each may count for either
            assert ((vectors.T @ vectors > 0) == same).float().mean() > 0.97
            assert (objects == (majority > 0)).float().mean() > 0.97

    def test_regions_find_drawn_objects(self):
        both = either = 0
        for scene in draw_scenes(8, 40):
            regions = find_regions(scene.image)
            assert regions.dtype == np.uint8
            found, true = regions > 0, scene.labels > 0
            both, either = both + (found & true).sum(), either + (found | true).sum()
        assert both / either > 0.5

    def test_a_plain_image_is_all_background(self):
        assert not find_regions(np.full((60, 80, 3), 128, np.uint8)).any()


def test_impossible_settings_are_all_named():
    with pytest.raises(SettingsError) as caught:
        FitSettings(steps=0, rate=-1, brightness=1.5, weighting="other")
    for part in ("steps is 0", "rate is -1", "brightness is 1.5", "weighting is 'other'"):
        assert part in str(caught.value)

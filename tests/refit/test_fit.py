"""A fit from beginning to end: interrupted and resumed, broken off, checked and shown."""

import csv
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from dinoiser_training.data import FitData
from dinoiser_training.fit import Fit
from dinoiser_training.images import DrawnImages
from dinoiser_training.previews import PANEL, TITLE_HEIGHT
from dinoiser_training.settings import FitSettings
from dinoiser_training.student import new_heads
from dinoiser_training.teachers import SegmentTeacher
from dinoiser_training.validation import agreement, prepare_held_out
from dinoiser_training.whitening import WhitenedHeads, whitening
from PIL import Image
from safetensors import safe_open
from torch.nn import functional as F

from dinoiser.errors import CheckpointError, SettingsError, TrainingError
from dinoiser.models.clip_dinoiser import DinoiserHeads

SETTINGS = FitSettings(
    steps=6, batch_size=3, crop=64, sample=8, projection_dim=16, weighting="balanced", rate=1e-3
)


@pytest.fixture
def make_fit(tiny, tmp_path):
    """Fits of heads for `tiny` to small scenes, all in one folder."""

    def make(made_of=None, **changes):
        data = FitData(DrawnImages(8, 1, (64, 72)), DrawnImages(2, 2, (64, 72)), "drawn")
        settings = replace(SETTINGS, **changes)
        return Fit(tiny, SegmentTeacher("scenes"), data, settings, tmp_path / "fit", made_of)

    return make


def weights(heads):
    return torch.cat([p.detach().flatten() for p in heads.parameters()])


def stop_after(steps):
    return (asked >= steps for asked in itertools.count(1)).__next__


class TestResuming:
    @pytest.mark.parametrize("stops", [[1], [3], [2, 1, 1]])
    def test_ends_with_the_weights_of_a_fit_that_was_never_stopped(self, make_fit, stops):
        whole = make_fit()
        expected = whole.run()
        assert expected.finished
        first, *others = stops
        assert not make_fit().run(cancelled=stop_after(first)).finished
        for steps in others:
            make_fit().run(resume=True, cancelled=stop_after(steps))
        fit = make_fit()
        resumed = fit.run(resume=True)
        assert resumed.finished
        assert torch.equal(weights(fit.heads), weights(whole.heads))
        assert torch.equal(weights(resumed.heads), weights(expected.heads))
        assert {s: a.overall.tolist() for s, a in fit.best.judged.items()} == {
            s: a.overall.tolist() for s, a in whole.best.judged.items()
        }

    def test_a_killed_fit_goes_on_where_it_was_last_saved(self, make_fit, monkeypatch):
        whole = make_fit()
        whole.run()
        make_fit().checkpoint.unlink()
        kill = stop_after(5)  # while the fifth step is taken

        def killed():
            assert not kill()
            return False

        with pytest.raises(AssertionError):
            make_fit().run(cancelled=killed)
        assert not make_fit().checkpoint.exists()  # nothing is written at every step

        monkeypatch.setattr("dinoiser_training.fit.CHECKPOINT_SECONDS", 0)
        kill = stop_after(5)
        with pytest.raises(AssertionError):
            make_fit().run(cancelled=killed)
        with safe_open(make_fit().checkpoint, "pt") as file:
            assert file.metadata()["step"] == "4"
        resumed = make_fit()
        resumed.run(resume=True)
        assert torch.equal(weights(resumed.heads), weights(whole.heads))

    def test_the_checkpoint_is_free_once_the_fit_goes_on(self, make_fit):
        """Windows lets nobody replace what is open; elsewhere, what is written there is seen."""
        whole = make_fit()
        whole.run()
        make_fit().run(cancelled=stop_after(3))
        resumed = make_fit()

        def spoil():
            with resumed.checkpoint.open("r+b") as file:
                file.write(bytes(resumed.checkpoint.stat().st_size))
            return False

        resumed.run(resume=True, cancelled=spoil)
        assert torch.equal(weights(resumed.heads), weights(whole.heads))

    @pytest.mark.slow
    def test_whitened_heads_do_too(self, make_fit):
        whole = make_fit(whiten=True)
        whole.run()
        make_fit(whiten=True).run(cancelled=stop_after(2))
        resumed = make_fit(whiten=True)
        resumed.run(resume=True)
        assert torch.equal(weights(resumed.heads), weights(whole.heads))

    @pytest.mark.slow
    def test_a_step_more_or_another_seed_make_other_weights(self, make_fit):
        fits = make_fit(), make_fit(seed=1), make_fit(steps=5)
        for fit in fits:
            fit.run()
        first, *others = (weights(fit.heads) for fit in fits)
        assert not any(torch.equal(first, other) for other in others)

    def test_the_log_has_every_step_once(self, make_fit, tmp_path):
        make_fit(steps=25).run(cancelled=stop_after(13))
        make_fit(steps=25).run(resume=True)
        with (tmp_path / "fit" / "log.csv").open() as file:
            steps = [int(row["step"]) for row in csv.DictReader(file)]
        assert steps == [10, 13, 20, 25]

    def test_other_settings_are_refused_by_name(self, make_fit):
        make_fit().run(cancelled=stop_after(2))
        with pytest.raises(
            SettingsError, match=r"batch_size was 3 and is now 4; rate was 0\.001 and"
        ):
            make_fit(batch_size=4, rate=0.5).run(resume=True)

    def test_other_images_are_refused_in_words(self, make_fit):
        made_of = {"data": "1" * 64, "images": 14}
        make_fit(made_of=made_of).run(cancelled=stop_after(2))
        with pytest.raises(SettingsError, match=r"settings: the images were others; images was 14"):
            make_fit(made_of={"data": "2" * 64, "images": 13}).run(resume=True)

    def test_a_damaged_checkpoint_is_told(self, make_fit):
        fit = make_fit()
        fit.run(cancelled=stop_after(2))
        fit.checkpoint.write_bytes(fit.checkpoint.read_bytes()[:-100])
        with pytest.raises(CheckpointError, match=r"cannot be read .* start over"):
            make_fit().run(resume=True)


def test_losses_that_are_no_numbers_end_the_fit(make_fit):
    with pytest.raises(TrainingError, match=r"no longer finite .* --precision fp32"):
        make_fit(rate=1e37).run()
    assert not make_fit().checkpoint.exists()


@pytest.mark.slow
def test_fitting_brings_the_heads_nearer_to_their_teacher(make_fit, tiny):
    fit = make_fit(steps=40, batch_size=4, background_rate=0.1)
    prepared = prepare_held_out(tiny, fit.teacher, fit.data.training, 64)
    untrained = agreement(new_heads(tiny, fit.settings), prepared, 0.2)
    fitted = agreement(fit.run().heads, prepared, 0.2)
    assert fitted.pairs.mean() > untrained.pairs.mean() + 0.05
    assert np.nanmean(fitted.objects) > np.nanmean(untrained.objects) + 0.1


def test_whitened_heads_become_ordinary_ones(tiny):
    guides = [tiny.encode_guide(torch.rand(2, 3, 64, 72)) for _ in range(6)]
    student = WhitenedHeads(guides, 24)
    heads = student.export()
    for (embeddings, foreground), (theirs, objects) in ((student(g), heads(g)) for g in guides):
        ours = F.normalize(embeddings.flatten(2), dim=1)
        others = F.normalize(theirs.flatten(2), dim=1)
        torch.testing.assert_close(
            ours.transpose(1, 2) @ ours, others.transpose(1, 2) @ others, atol=1e-3, rtol=0
        )
        torch.testing.assert_close(foreground, objects)
    assert float(heads.obj_proj.weight.detach().std()) == pytest.approx(0.02, rel=1e-3)


def test_whitened_neighbourhoods_are_uncorrelated(tiny):
    guide = tiny.encode_guide(torch.rand(8, 3, 64, 64))
    mean, matrix, _ = whitening([guide[:4], guide[4:]])
    inputs = F.unfold(F.pad(guide, (1, 1, 1, 1), mode="replicate"), 3).transpose(1, 2).flatten(0, 1)
    whitened = (inputs - mean) @ matrix.T
    covariance = whitened.T @ whitened / len(whitened)
    beside = covariance - covariance.diagonal().diag()
    assert beside.abs().max() < 1e-2
    assert (covariance.diagonal() < 1.01).all()


def test_the_towers_stay_as_they_were(make_fit, tiny):
    before = [p.clone() for p in tiny.clip.parameters()]
    make_fit(steps=2).run()
    assert all(map(torch.equal, before, tiny.clip.parameters()))
    assert not any(p.requires_grad for p in tiny.clip.parameters())


def test_the_guide_alone_is_that_of_the_whole_pass(tiny):
    pixels = torch.rand(2, 3, 48, 64)
    assert torch.equal(tiny.encode_guide(pixels), tiny.encode_patches(pixels).guide)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError(),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
    ids=["torch", "cublas"],
)
def test_too_little_memory_takes_fewer_crops_at_a_time(make_fit, monkeypatch, error):
    whole = make_fit()
    whole.run()
    pieces, said = make_fit(), []
    forward, sizes = DinoiserHeads.forward, []

    def small_machine(self, guide):
        sizes.append(len(guide))
        if len(guide) > 1:
            raise error
        return forward(self, guide)

    monkeypatch.setattr(DinoiserHeads, "forward", small_machine)
    pieces._say = said.append
    pieces.run(progress=lambda _: None)
    torch.testing.assert_close(weights(pieces.heads), weights(whole.heads), atol=1e-4, rtol=1e-3)
    assert sizes[2:5] == [3, 2, 1]  # after both images kept back
    assert "3 crops of a step do not fit" in said[0]
    assert "taken 1 at a time" in said[-1]


def test_the_preview_shows_teacher_and_student(make_fit, tmp_path):
    fit = make_fit()
    fit.run()
    (path,) = (tmp_path / "fit" / "previews").glob("*.png")
    assert path.name == "step-000006.png"
    with Image.open(path) as file:
        image = np.asarray(file).astype(int)
    assert image.shape == (TITLE_HEIGHT + 2 * PANEL, 5 * PANEL, 3)
    rows = image[TITLE_HEIGHT:].reshape(2, PANEL, 5, PANEL, 3).transpose(0, 2, 1, 3, 4)
    for row, scene in zip(rows, (fit.data.held_out[i] for i in range(2)), strict=True):
        image, objects, _, alike, _ = row
        reddened = (objects != image).any(-1).mean()
        share = (scene.labels[:, 4:68] > 0).float().mean()
        assert reddened == pytest.approx(float(share), abs=0.1)
        assert set(np.unique(alike)) <= {0, 255}

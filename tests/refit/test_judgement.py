"""How new heads are judged: on images kept back, by the best step, and not by chance."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from dinoiser_training.best import best_step
from dinoiser_training.data import FitData
from dinoiser_training.fit import Fit
from dinoiser_training.images import DrawnImages, TrainingImage
from dinoiser_training.judged_fit import JudgedFit, Judgement
from dinoiser_training.settings import FitSettings
from dinoiser_training.student import Prepared
from dinoiser_training.teachers import SegmentTeacher, Targets
from dinoiser_training.validation import Agreement, agreement, taught_by_regions
from torch import nn

SETTINGS = FitSettings(
    steps=6, batch_size=2, crop=32, sample=8, projection_dim=16, weighting="balanced", rate=1e-3
)


def of(*overall):
    """An agreement with these numbers for its images."""
    return Agreement(np.array(overall), np.array(overall))


class Given(nn.Module):
    """Heads whose embeddings and objectness are their input."""

    def forward(self, guide):
        return guide[:, 1:], guide[:, 0]


def prepared(segments, found, embedded):
    """Two rows of patches: true segments, objects found (by sign), and embedded segments."""
    segments, embedded = (torch.tensor(s)[None] for s in (segments, embedded))
    features = nn.functional.one_hot(segments, 9).permute(0, 3, 1, 2).float()
    embeddings = nn.functional.one_hot(embedded, 9).permute(0, 3, 1, 2).float()
    known = torch.ones_like(segments, dtype=torch.bool)
    guide = torch.cat([torch.tensor(found)[None, None].float(), embeddings], 1)
    return Prepared(guide, Targets(features, segments > 0, known))


class TestNumbers:
    def test_heads_that_say_what_the_teacher_says_have_one(self):
        same = prepared([[0, 0, 1], [2, 2, 2]], [[-1, -1, 1], [1, 1, 1]], [[5, 5, 6], [7, 7, 7]])
        found = agreement(Given(), [same], 0.2)
        assert found.pairs.tolist() == found.objects.tolist() == [1]

    def test_each_segment_counts_the_same_whatever_its_size(self):
        """Heads that pool all: of 4 equal pairs of two segments, 2 are of one segment."""
        pooled = prepared([[0, 0, 0], [0, 0, 1]], [[-1, -1, -1], [-1, 1, 1]], [[3] * 3] * 2)
        found = agreement(Given(), [pooled], 0.2)
        assert found.pairs.tolist() == pytest.approx([0.5])
        assert found.objects.tolist() == [0.5]

    def test_pairs_are_taken_at_the_threshold_that_suits_the_heads(self):
        """Patches of one segment have a cosine of 0.5 here, all others of 0."""
        blurred = prepared([[0, 0], [1, 1]], [[-1, -1], [1, 1]], [[1, 1], [2, 2]])
        own = torch.eye(4).view(1, 4, 2, 2)
        found = agreement(
            Given(), [blurred._replace(guide=torch.cat([blurred.guide, own], 1))], 0.2
        )
        assert found.pairs.tolist() == [1]

    def test_an_image_of_one_segment_says_nothing(self):
        empty = prepared([[0, 0], [0, 0]], [[-1, 1], [1, 1]], [[1, 2], [3, 4]])
        found = agreement(Given(), [empty] * 4, 0.2)
        assert np.isnan(found.overall).all()
        assert not found.says_something
        assert found.summary() == {
            "pairs": None, "pairs_spread": None, "objects": None, "objects_spread": None,
            "images": 0,
        }  # fmt: skip

    def test_unknown_patches_take_no_part(self):
        wrong = prepared([[0, 1], [1, 1]], [[-1, 1], [-1, -1]], [[5, 6], [5, 5]])
        wrong.targets.known[:, 1] = False
        found = agreement(Given(), [wrong], 0.2)
        assert found.pairs.tolist() == found.objects.tolist() == [1]


class TestVerdict:
    def test_a_gain_on_every_image_is_one(self):
        assert of(0.6, 0.7, 0.52, 0.8).is_better_than(of(0.5, 0.6, 0.4, 0.7))

    def test_a_gain_by_chance_is_none(self):
        assert not of(0.9, 0.3, 0.5, 0.6).is_better_than(of(0.3, 0.5, 0.5, 0.55))

    def test_the_same_heads_are_no_gain(self):
        assert not of(0.5, 0.6, 0.7).is_better_than(of(0.5, 0.6, 0.7))

    def test_two_images_show_nothing(self):
        assert not of(0.9, 0.8, np.nan).is_better_than(of(0.1, 0.1, np.nan))

    def test_the_best_step_is_the_first_with_the_best_mean(self):
        assert best_step({0: of(0.1, 0.2, 0.3), 5: of(0.4, 0.4, 0.4), 9: of(0.4, 0.4, 0.4)}) == 5
        assert best_step({0: of(0.4, 0.4, 0.4), 5: of(0.1, 0.2, 0.3)}) == 0

    def test_where_nothing_is_known_it_is_the_last(self):
        assert best_step({0: of(np.nan, np.nan, 1), 5: of(np.nan, np.nan, 0)}) == 5


class TestSecondOpinion:
    """New heads are always good at what their own teacher says, so another is asked, too."""

    def judged(self, **second_opinion):
        better = {"new": of(0.8, 0.8, 0.9), "shipped": of(0.5, 0.6, 0.6), "untrained": of(0, 0, 0)}
        return Judgement(1, better, second_opinion, [])

    def test_where_it_prefers_the_shipped_heads_new_ones_are_not_better(self):
        judgement = self.judged(new=of(0.5, 0.6, 0.5), shipped=of(0.6, 0.6, 0.7))
        assert not judgement.not_beaten
        assert judgement.is_doubted
        assert not judgement.are_better

    def test_where_it_agrees_they_are(self):
        judgement = self.judged(new=of(0.8, 0.9, 0.8), shipped=of(0.6, 0.6, 0.5))
        assert judgement.are_better

    def test_where_it_tells_nothing_apart_the_teacher_decides(self):
        nothing = of(np.nan, np.nan, np.nan)
        assert self.judged(new=nothing, shipped=nothing).are_better
        assert self.judged().are_better

    def test_regions_are_told_by_colour_alone(self):
        """A red square in the middle is an object, whatever the teacher said."""
        image = torch.full((3, 64, 64), 40, dtype=torch.uint8)
        image[0, 16:48, 16:48] = 220
        given = [Prepared(torch.zeros(1, 2, 8, 8), None)]
        [part] = taught_by_regions(given, [TrainingImage(image, None)], 64)
        expected = torch.zeros(8, 8, dtype=torch.bool)
        expected[2:6, 2:6] = True
        assert torch.equal(part.targets.objects[0], expected)
        assert part.guide is given[0].guide


@pytest.fixture
def make_fit(tiny, tmp_path):
    """A judged fit of heads for `tiny` to eight small scenes, of which none are held out."""

    def make(start=None, **changes):
        data = FitData(DrawnImages(8, 1, (32, 40)), DrawnImages(0, 1), "drawn")
        settings = replace(SETTINGS, **changes)

        def fit(part, folder):
            return Fit(tiny, SegmentTeacher("scenes"), part, settings, folder, start=start)

        return JudgedFit(fit, data, tmp_path / "fit")

    return make


class TestFewImages:
    @pytest.mark.slow
    def test_folds_judge_on_every_image(self, make_fit, tiny):
        fit, steps = make_fit(), []
        result = fit.run(progress=lambda now: steps.append((now.step, now.steps)))
        judgement = fit.judge(tiny.heads)
        assert result.finished
        assert set(judgement.agreements) == {"new", "shipped", "untrained"}
        assert all(len(one.overall) == 8 for one in judgement.agreements.values())
        assert steps == [(6, 30), (12, 30), (18, 30), (24, 30), (24 + judgement.step, 30)]

    def test_where_learning_harms_the_start_is_written(self, make_fit, tiny):
        changes = {"projection_dim": 128, "gamma": tiny.gamma}
        fit = make_fit(tiny.heads, rate=1.0, background_rate=100.0, **changes)
        result = fit.run()
        judgement = fit.judge(tiny.heads)
        assert judgement.step == 0
        assert "shipped" in judgement.not_beaten
        shipped = tiny.heads.state_dict()
        assert all(torch.equal(v, shipped[n]) for n, v in result.heads.state_dict().items())

    @pytest.mark.slow
    def test_a_stopped_fit_goes_on_in_its_fold(self, make_fit):
        whole = make_fit()
        expected = whole.run().heads.state_dict()
        whole.discard_checkpoints()
        calls = iter(range(1, 1000))
        assert not make_fit().run(cancelled=lambda: next(calls) == 9).finished
        resumed = make_fit().run(resume=True).heads.state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in resumed.items())

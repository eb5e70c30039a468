"""Corrected masks teach the rest of a job's folder, and it can be taken back."""

import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

from dinoiser.batch.improve import before_last_improvement, learn_from_reviews
from dinoiser.batch.relabel import relabel
from dinoiser.batch.reviews import Reviews, read_labelled
from dinoiser.errors import CheckpointError, SettingsError
from dinoiser.evaluation.metrics import ConfusionMatrix
from dinoiser.export import read_mask
from dinoiser.prompts import PromptSet
from dinoiser.scenes.drawing import OTHER_COLORS
from tests.helpers.job_driver import PROGRAM, count_lines, kill_when
from tests.helpers.taught_jobs import PROMPTS, SYNC, accept, draw, label, masks


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Images, and their true masks."""
    folder = tmp_path_factory.mktemp("improve") / "images"
    return folder, draw(folder, 24)


@pytest.fixture(scope="module")
def labelled(drawn, tmp_path_factory):
    out = tmp_path_factory.mktemp("labelled") / "out"
    label(drawn[0], out)
    return out


@pytest.fixture
def out(labelled, tmp_path):
    return shutil.copytree(labelled, tmp_path / "out")


@pytest.fixture(scope="module")
def taught(drawn, labelled, tmp_path_factory):
    """A job of which eight images are corrected, and what they teach."""
    out = shutil.copytree(labelled, tmp_path_factory.mktemp("taught") / "out")
    accept(out, drawn[1], 8)
    return out, learn_from_reviews(out, running=SYNC).learned


def mean_iou(out, truth, names):
    matrix = ConfusionMatrix(list(PROMPTS.names))
    for name in names:
        matrix.add(read_mask(out / "masks" / f"{name}.png", PROMPTS.label_colors), truth[name])
    return np.nanmean(list(matrix.by_class().values()))


def test_what_another_model_learnt_is_refused_and_leaves_nothing(drawn, out, taught, tmp_path):
    other = replace(taught[1], digest="0" * 64)
    other.save(tmp_path / "other.safetensors")
    with pytest.raises(SettingsError, match="another model than tiny, or to other heads"):
        label(drawn[0], tmp_path / "new", learned=tmp_path / "other.safetensors")
    assert label(drawn[0], tmp_path / "new").done == 24  # as if nothing had been tried
    before = (out / "job.yaml").read_bytes()
    with pytest.raises(SettingsError, match="another model than tiny, or to other heads"):
        improve(out, other)
    assert (out / "job.yaml").read_bytes() == before
    assert not (out / "learned").exists()


def improve(out, learned):
    return relabel(out, PROMPTS, learned=learned, running=SYNC)


class TestImprove:
    def test_the_rest_improves_and_what_was_checked_stays(self, drawn, taught, tmp_path):
        out, learned = shutil.copytree(taught[0], tmp_path / "out"), taught[1]
        rest = [f"{i:03}" for i in range(8, 24)]
        words, reviews = mean_iou(out, drawn[1], rest), (out / "reviews.jsonl").read_bytes()
        assert learned.moves
        assert improve(out, learned).done == 24
        assert mean_iou(out, drawn[1], rest) > words + 0.15
        assert mean_iou(out, drawn[1], [f"{i:03}" for i in range(8)]) == 1
        assert (out / "reviews.jsonl").read_bytes() == reviews

    def test_it_can_be_taken_back(self, taught, tmp_path):
        out, learned = shutil.copytree(taught[0], tmp_path / "out"), taught[1]
        before = masks(out)
        improve(out, learned)
        assert masks(out) != before
        assert before_last_improvement(out) is None
        improve(out, None)
        assert masks(out) == before

    def test_what_was_taken_back_is_not_taken_back_again(self, taught, tmp_path):
        out, learned = shutil.copytree(taught[0], tmp_path / "out"), taught[1]
        improve(out, learned)
        improve(out, None)
        with pytest.raises(SettingsError, match="learnt nothing"):
            before_last_improvement(out)
        improve(out, learned)
        improve(out, replace(learned, shift=2 * learned.shift))
        once = before_last_improvement(out)
        assert once.identity == learned.identity
        improve(out, once)
        assert before_last_improvement(out) is None

    def test_taking_back_that_was_stopped_goes_on(self, taught, tmp_path):
        out, learned = shutil.copytree(taught[0], tmp_path / "out"), taught[1]
        before = masks(out)
        improve(out, learned)
        asked = iter(3 * [False])
        stopped = relabel(out, PROMPTS, running=SYNC, cancelled=lambda: next(asked, True))
        assert stopped.cancelled
        assert before_last_improvement(out) is None
        improve(out, None)
        assert masks(out) == before

    def test_images_that_come_later_are_labelled_alike(self, drawn, taught, tmp_path):
        images = shutil.copytree(drawn[0], tmp_path / "images")
        later = (images / "023.png").rename(tmp_path / "023.png")
        out = tmp_path / "out"
        label(images, out)
        improve(out, taught[1])
        later.rename(images / "023.png")
        assert label(images, out).resumed == 23
        label(images, tmp_path / "anew", learned=learned_file(taught[1], tmp_path))
        assert masks(out)["023.png"] == masks(tmp_path / "anew")["023.png"]

    @pytest.mark.slow
    def test_without_kept_features_the_tower_teaches(self, drawn, tmp_path):
        out = tmp_path / "out"
        label(drawn[0], out, keep_features=False)
        accept(out, drawn[1], 5)
        learned = learn_from_reviews(out, running=SYNC).learned
        assert learned.images == 5
        assert not (out / "features").exists()


def learned_file(learned, folder):
    learned.save(folder / "learned.safetensors")
    return folder / "learned.safetensors"


class TestElsewhere:
    def test_another_folder_uses_what_was_learnt(self, drawn, taught, tmp_path):
        out = tmp_path / "out"
        path = learned_file(taught[1], tmp_path)
        label(drawn[0], out, learned=path)
        assert mean_iou(out, drawn[1], drawn[1]) > 0.35
        document = yaml.safe_load((out / "job.yaml").read_text())
        assert document["learned"] == taught[1].identity
        path.unlink()  # the folder has its own
        (out / "masks" / "001.png").unlink()
        before = masks(out)
        assert label(drawn[0], out).resumed == 23
        assert before.items() <= masks(out).items()

    def test_other_classes_and_missing_files_are_refused_before_the_model(
        self, drawn, taught, tmp_path
    ):
        words = PromptSet.parse("background, dog")
        path = learned_file(taught[1], tmp_path)
        with pytest.raises(SettingsError, match="1 dog"):
            label(drawn[0], tmp_path / "out", words, learned=path)
        with pytest.raises(CheckpointError, match=r"none\.safetensors"):
            label(drawn[0], tmp_path / "out", learned=tmp_path / "none.safetensors")
        assert not (tmp_path / "out").exists()

    @pytest.mark.slow
    def test_the_same_corrections_teach_the_same(self, taught):
        out, learned = taught
        assert learn_from_reviews(out, running=SYNC).learned.identity == learned.identity


class TestWhatTeaches:
    def test_nothing_is_accepted(self, out):
        with pytest.raises(SettingsError, match="is accepted yet: review"):
            learn_from_reviews(out, running=SYNC)

    def test_nothing_is_accepted_names_all_ways_to_accept(self, out):
        ways = r"review .* in napari .*, edit .* image editor, or .* `dinoiser import`\.$"
        with pytest.raises(SettingsError, match=ways):
            learn_from_reviews(out, running=SYNC)

    def test_accepted_masks_do_and_rejected_ones_do_not(self, drawn, out):
        accept(out, drawn[1], 3)
        reviews, images = Reviews(out, PROMPTS), read_labelled(out)
        reviews.save(images[3], "rejected", drawn[1]["003"])
        assert learn_from_reviews(out, running=SYNC).learned.images == 3

    def test_what_was_erased_teaches_nothing_where_there_is_no_background(self, drawn, tmp_path):
        words = PromptSet.from_names(OTHER_COLORS)
        folder, truth = drawn
        ignored = {stem: np.where(mask == 0, 255, mask) for stem, mask in truth.items()}
        taught = []
        for corrected, name in ((truth, "erased"), (ignored, "ignored")):
            label(folder, tmp_path / name, words)
            accept(tmp_path / name, corrected, 8, words)
            taught.append(learn_from_reviews(tmp_path / name, running=SYNC).learned)
        erased, wanted = taught
        assert erased.examples == wanted.examples
        assert erased.moves
        assert torch.equal(erased.shift, wanted.shift)

    @pytest.mark.slow
    def test_images_that_were_replaced_or_lost_are_named(self, drawn, tmp_path):
        images, out = shutil.copytree(drawn[0], tmp_path / "images"), tmp_path / "out"
        label(images, out)
        accept(out, drawn[1], 5)
        shutil.copy(images / "009.png", images / "000.png")
        (images / "001.png").unlink()
        lesson = learn_from_reviews(out, running=SYNC)
        assert lesson.learned.images == 3
        assert "replaced" in lesson.passed_over["000.png"]
        assert "001.png" in lesson.passed_over["001.png"]

    def test_few_images_do_not_move_the_words(self, drawn, out):
        accept(out, drawn[1], 2)
        learned = learn_from_reviews(out, running=SYNC).learned
        assert not learned.moves

    def test_nothing_was_learnt_that_could_be_taken_back(self, out):
        with pytest.raises(SettingsError, match="learnt nothing"):
            before_last_improvement(out)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_run_is_finished_by_the_same_command(taught, tmp_path):
    undisturbed = shutil.copytree(taught[0], tmp_path / "undisturbed")
    command = [*PROGRAM, "improve", "--scheduler", "sync", "-d", "cpu"]
    subprocess.run([*command, str(undisturbed)], check=True)
    for moment in (0, 1, 4, 8, 11):
        out = shutil.copytree(taught[0], tmp_path / f"out{moment}")
        kill_when([*command, str(out)], out, count_lines(out) + moment)
        subprocess.run([*command, str(out)], check=True)
        assert masks(out) == masks(undisturbed)
        for name in ("job.yaml", "prompts.yaml", "classes.json", "reviews.jsonl"):
            assert (out / name).read_bytes() == (undisturbed / name).read_bytes()

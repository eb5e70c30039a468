"""`dinoiser relabel`, `improve`, `diagnose` and `features`, as a person runs them."""

import json

import pytest
import torch
from safetensors.torch import save

from dinoiser.batch.report.page import write_report
from dinoiser.models.clip_dinoiser import DinoiserHeads
from dinoiser.prompts import PromptSet
from tests.helpers.report_page import Page
from tests.helpers.taught_jobs import PROMPTS, accept, draw, label, masks

WORDS = PROMPTS.to_inline()
HERE = ("-d", "cpu", "--scheduler", "sync")


@pytest.fixture
def job(tmp_path):
    """A job of six images, and their true masks."""
    truth = draw(tmp_path / "images", 6)
    label(tmp_path / "images", tmp_path / "out")
    return tmp_path / "out", truth


class TestRelabel:
    def test_a_dry_run_says_what_will_happen_and_does_nothing(self, job, dinoiser):
        out, truth = job
        accept(out, truth, 1)
        before = masks(out)
        code, said, _ = dinoiser("relabel", out, "-p", f"{WORDS}, circle", "--dry-run")
        assert code == 0
        assert "6  circle: circle" in said
        assert "5 images to label; 1 were checked and stay." in said
        assert masks(out) == before

    def test_other_words(self, job, dinoiser):
        out, _ = job
        code, said, _ = dinoiser("relabel", out, "-p", "background, circle, brown", *HERE)
        assert code == 0
        assert "6 of 6 images labelled" in said
        words = PromptSet.load(out / "prompts.yaml")
        assert (words.by_name("brown").id, words.by_name("circle").id) == (1, 6)

    def test_what_was_learnt_and_is_not_used_any_more_is_said(self, job, dinoiser):
        out, truth = job
        note = "what corrections taught this job is not used"
        accept(out, truth, 5)
        assert note not in dinoiser("relabel", out, "-p", f"{WORDS}, circle", "--dry-run")[2]
        code, said, _ = dinoiser("improve", out, *HERE)
        assert code == 0
        assert "Learnt from 5 accepted images" in said
        assert note in dinoiser("relabel", out, "-p", f"{WORDS}, circle", "--dry-run")[2]

    def test_the_threshold_of_the_job_stays_unless_another_is_given(self, job, dinoiser):
        out, _ = job
        dinoiser("relabel", out, "-p", WORDS, "--ignore-below", "0.4", *HERE)
        dinoiser("relabel", out, "-p", f"{WORDS}, circle", *HERE)
        assert PromptSet.load(out / "prompts.yaml").ignore_below == 0.4

    def test_classes_that_checked_masks_have_go_only_with_yes(self, job, dinoiser):
        out, truth = job
        accept(out, truth, 6)
        code, _, said = dinoiser("relabel", out, "-p", "background, brown", *HERE)
        assert code == 2
        assert "grey in" in said
        assert "--yes" in said
        code, _, _ = dinoiser("relabel", out, "-p", "background, brown", "--yes", *HERE)
        assert code == 0

    def test_without_features_it_says_what_that_takes(self, job, dinoiser):
        out, _ = job
        assert "6 images removed" in dinoiser("features", out, "--remove")[1]
        _, _, said = dinoiser("relabel", out, "-p", f"{WORDS}, circle", "--dry-run")
        assert "no features are kept of 6 images" in said


class TestImprove:
    def test_a_dry_run_shows_what_was_learnt(self, job, dinoiser):
        out, truth = job
        accept(out, truth, 3)
        before = masks(out)
        code, said, _ = dinoiser("improve", out, "--dry-run", "-d", "cpu")
        assert code == 0
        assert "IoU by words" in said
        assert "3 accepted images" in said
        assert masks(out) == before

    @pytest.mark.parametrize("name", [".", "out"])
    def test_a_folder_to_save_to_is_refused_before_learning(
        self, name, job, dinoiser, tmp_path, monkeypatch
    ):
        out, truth = job
        accept(out, truth, 5)
        monkeypatch.chdir(tmp_path)
        code, said, error = dinoiser("improve", out, "--dry-run", "--save", name, *HERE)
        assert (code, said) == (2, "")
        assert f"--save is {name}, a folder: give a file" in error

    def test_heads_of_a_job_begun_without_are_to_be_left_out(self, job, dinoiser, tmp_path, tiny):
        out, truth = job
        accept(out, truth, 1)
        DinoiserHeads(tiny.guide_width, 8).save(tmp_path / "heads.safetensors")
        given = ("--heads", tmp_path / "heads.safetensors")
        code, _, error = dinoiser("improve", out, "--dry-run", "-d", "cpu", *given)
        assert code == 2
        assert "leave out --heads, or give those that it was begun with" in error

    def test_only_what_was_learnt_is_written_over(self, job, dinoiser, tmp_path, monkeypatch):
        out, truth = job
        accept(out, truth, 3)
        monkeypatch.chdir(tmp_path)
        (tmp_path / "notes.md").write_text("mine")
        (tmp_path / "other.safetensors").write_bytes(save({"weight": torch.ones(2)}))
        before = {path: path.read_bytes() for path in tmp_path.glob("*.*")}
        for name in ("notes.md", "other.safetensors"):
            code, said, error = dinoiser("improve", out, "--dry-run", "--save", name, *HERE)
            assert (code, said) == (2, "")
            assert f"--save is {name}, which is there and is no file of what was learnt" in error
        assert {path: path.read_bytes() for path in tmp_path.glob("*.*")} == before
        for _ in range(2):
            code, _, error = dinoiser("improve", out, "--dry-run", "--save", "ours", *HERE)
            assert code == 0, error

    @pytest.mark.slow
    def test_what_was_learnt_is_saved_and_used_elsewhere(self, job, dinoiser, tmp_path):
        out, truth = job
        accept(out, truth, 5)
        path = tmp_path / "learned.safetensors"
        code, said, _ = dinoiser("improve", out, "--save", path, "--json", *HERE)
        assert code == 0
        document = json.loads(said)
        assert document["learned"]["images"] == 5
        assert document["learned"]["moves"]
        options = ["-m", "tiny", "-p", WORDS, "--learned", path, "--precision", "fp32"]
        elsewhere = ["-o", tmp_path / "elsewhere", *HERE, "--refine", "none", "-f", "png"]
        code, _, said = dinoiser("label", tmp_path / "images", *options, *elsewhere)
        assert code == 0, said
        assert masks(tmp_path / "elsewhere").keys() == masks(out).keys()

    @pytest.mark.slow
    def test_taking_it_back_gives_the_masks_from_before(self, job, dinoiser):
        out, truth = job
        accept(out, truth, 5)
        before = masks(out)
        assert dinoiser("improve", out, *HERE)[0] == 0
        assert masks(out) != before
        assert dinoiser("improve", out, "--take-back", *HERE)[0] == 0
        assert masks(out) == before
        code, _, said = dinoiser("improve", out, "--take-back", "--dry-run")
        assert code == 2
        assert "--take-back" in said


def test_features_say_how_much_they_take(job, dinoiser):
    out, _ = job
    size = sum(path.stat().st_size for path in (out / "features").glob("*"))
    code, said, _ = dinoiser("features", out, "--json")
    assert code == 0
    expected = {"output": str(out), "images": 6, "bytes": size, "removed": False}
    assert json.loads(said) == expected


class TestDiagnose:
    def test_it_says_which_class_takes_from_which(self, job, dinoiser):
        out, truth = job
        accept(out, truth, 4)
        before = masks(out)
        code, said, _ = dinoiser("diagnose", out, "-d", "cpu")
        assert code == 0
        assert "was labelled background." in said
        assert masks(out) == before
        code, said, _ = dinoiser("diagnose", out, "-d", "cpu", "--json")
        document = json.loads(said)
        assert document["classes"] == list(PROMPTS.names)
        pixels = sum(mask.size for mask in list(truth.values())[:4])
        assert sum(map(sum, document["matrix"])) == pixels

    def test_the_report_says_the_same_until_the_folder_is_labelled_anew(self, job, dinoiser):
        out, truth = job
        accept(out, truth, 4)
        page = Page(write_report(out).read_text())
        assert "dinoiser diagnose" in page.text("diagnosis")
        _, said, _ = dinoiser("diagnose", out, "-d", "cpu", "--precision", "0.9")
        page = Page((out / "report.html").read_text())
        assert "Labels of the words, compared with 4 accepted masks" in page.text("diagnosis")
        with (out / "job.yaml").open("a") as file:
            file.write("learned: from corrections\n")
        page = Page(write_report(out).read_text())
        assert "words and what was learnt, compared with 4" in page.text("diagnosis")
        sentences = [line for line in said.splitlines() if line.endswith(".")]
        assert sentences
        assert all(line in page.text("diagnosis") for line in sentences)
        assert {row[0] for row in page.rows["diagnosis"][1:]} == set(PROMPTS.names)
        dinoiser("relabel", out, "-p", f"{WORDS}, circle", *HERE)
        page = Page((out / "report.html").read_text())
        assert sentences[0] not in page.text("diagnosis")

    def test_wrong_input_is_refused(self, job, dinoiser):
        code, _, said = dinoiser("diagnose", job[0], "--precision", "95")
        assert code == 2
        assert "--precision is 95.0" in said
        code, _, said = dinoiser("diagnose", job[0])
        assert code == 2
        assert "is accepted yet" in said

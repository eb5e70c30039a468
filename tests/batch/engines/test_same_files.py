"""Workers that do not see the files of the job."""

from dataclasses import replace

import pytest

from dinoiser.batch.engines import same_files
from dinoiser.batch.engines.same_files import check_same_files, read_mark
from dinoiser.batch.folder import sole_writer
from dinoiser.batch.job_images import JobImage
from dinoiser.errors import ClusterError
from dinoiser.prompts import PromptSet
from tests.helpers.job_driver import job_of


@pytest.fixture
def job(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "a.png").touch()
    words = PromptSet.parse("dog")
    return job_of((tmp_path,), tmp_path / "out", words, scheduler="tcp://elsewhere:8786")


def shard_of(job, *names):
    folder = job.output.parent
    return tuple(JobImage(name, name, str(folder / name)) for name in names)


@pytest.mark.parametrize("names", [["a.png", "gone.png"], ["gone.png"]])
def test_a_worker_that_sees_the_files_labels_them_though_some_are_gone(job, names):
    with sole_writer(job.output, "label"):
        check_same_files(job, shard_of(job, *names), read_mark(job))


def test_a_worker_without_the_images_disk_names_one_of_them(job, tmp_path):
    (tmp_path / "mounted").mkdir()
    for name in ("mounted/a.png", "nowhere/a.png"):
        with (
            sole_writer(job.output, "label"),
            pytest.raises(ClusterError, match=rf"does not see .*{name} .*same paths"),
        ):
            check_same_files(job, shard_of(job, name), read_mark(job))


@pytest.mark.parametrize("there", ["nothing", "an earlier job", "another run"])
def test_a_worker_on_which_the_folder_is_another_does_not_label_into_it(
    there, job, tmp_path, monkeypatch
):
    monkeypatch.setattr(same_files, "SECONDS_TO_APPEAR", 0)
    with sole_writer(job.output, "label"):
        mark = read_mark(job)
    elsewhere = tmp_path / "elsewhere"
    if there != "nothing":
        elsewhere.mkdir()
    seen = replace(job, output=elsewhere)
    shard = shard_of(job, "a.png")
    if there == "another run":
        with sole_writer(elsewhere, "export"), pytest.raises(ClusterError, match="elsewhere"):
            check_same_files(seen, shard, mark)
    else:
        with pytest.raises(ClusterError, match="elsewhere"):
            check_same_files(seen, shard, mark)

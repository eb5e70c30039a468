"""job.yaml as another program, or an attacker, might have left it."""

import time

import pytest
import yaml

from dinoiser import safe_yaml
from dinoiser.batch.job import read_job, refuse_other_job, write_job
from dinoiser.errors import SettingsError
from tests.test_safe_yaml import HOSTILE


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_job_file_is_refused_in_a_sentence_within_a_second(kind, tmp_path):
    (tmp_path / "job.yaml").write_text(HOSTILE[kind])
    start = time.process_time()
    with pytest.raises(SettingsError) as caught:
        read_job(tmp_path)
    assert time.process_time() - start < 1
    assert str(caught.value) == (
        f"{tmp_path / 'job.yaml'} is not a job file; move it elsewhere, or give another output "
        "folder."
    )


def test_a_file_of_gigabytes_is_not_read_in_full(tmp_path):
    with (tmp_path / "job.yaml").open("wb") as file:
        file.truncate(2**34)  # takes no space on disk
    with pytest.raises(SettingsError, match="is not a job file"):
        read_job(tmp_path)


def test_a_job_file_of_megabytes_is_read(tmp_path):
    (tmp_path / "job.yaml").write_text(f"name: {'a' * 5_000_000}")
    assert len(read_job(tmp_path)["name"]) == 5_000_000


@pytest.mark.parametrize("limit", ["MOST_BYTES", "MOST_VALUES"])
def test_what_could_not_be_read_is_not_written(limit, tmp_path, monkeypatch):
    write_job(tmp_path, {"turns": [0]})
    monkeypatch.setattr(safe_yaml, limit, 60)
    with pytest.raises(SettingsError, match="too large to be read"):
        write_job(tmp_path, {"turns": list(range(60))})
    assert read_job(tmp_path) == {"turns": [0]}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump({"turns": list(range(60))}))
    with pytest.raises(SettingsError, match="is not a job file"):
        read_job(tmp_path)


def test_classes_whose_names_are_lists_are_another_job(tmp_path):
    (tmp_path / "job.yaml").write_text("prompts: {classes: [{name: [dog]}]}")
    with pytest.raises(SettingsError, match="with other settings"):
        refuse_other_job(tmp_path, read_job(tmp_path), {"prompts": {"classes": []}})


@pytest.mark.parametrize(
    ("now", "keeps"),
    [
        ({"prompts": {"classes": []}, "settings": {"window": 448}}, True),
        ({"prompts": {"templates": "simple"}, "settings": {"window": 448}}, True),
        ({"prompts": {"classes": []}, "settings": {"window": 224}}, False),
    ],
)
def test_other_words_alone_need_no_new_start(tmp_path, now, keeps):
    earlier = {"prompts": {"classes": [{"name": "dog"}]}, "settings": {"window": 448}}
    with pytest.raises(SettingsError, match="another output folder, or --overwrite") as caught:
        refuse_other_job(tmp_path, earlier, now)
    assert (f"`dinoiser relabel {tmp_path}` with these words" in str(caught.value)) is keeps


def test_what_was_written_is_read_back(tmp_path):
    description = {"version": 1, "model": {"gamma": 0.25}, "prompts": {"classes": [{"name": "no"}]}}
    write_job(tmp_path, description)
    assert read_job(tmp_path) == description


def test_classes_that_differ_are_named_in_words(tmp_path):
    classes = [{"name": "dog", "id": 1}, {"name": "cat", "id": 2}, {"name": "hen", "id": 3}]
    earlier = {"prompts": {"classes": classes}, "settings": {"window": 448}}
    now = {
        "prompts": {"classes": [classes[0], {"name": "cat", "id": 9}, {"name": "sky", "id": 4}]},
        "settings": {"window": 224},
    }
    with pytest.raises(SettingsError) as caught:
        refuse_other_job(tmp_path, earlier, now)
    assert (
        "(class added: sky; class left out: hen; class changed: cat; window was 448, now 224)"
        in (str(caught.value))
    )

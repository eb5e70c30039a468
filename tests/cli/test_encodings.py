"""What the command line prints where stdout is not UTF-8, such as a file or a pipe on Windows."""

import json
import os
import subprocess

import pytest
from PIL import Image

from dinoiser.scenes import draw_scenes
from tests.helpers.job_driver import PROGRAM

WORDS = "grün, 日本=red circle, 😀=blue star"


@pytest.fixture
def label(tmp_path):
    """Label an image in a process whose stdout has an encoding; give what it prints, as bytes."""
    image, *_ = draw_scenes(1, 31, (64, 80))
    Image.fromarray(image.image).save(tmp_path / "é.png")

    def run(encoding, *more):
        command = [*PROGRAM, "label", str(tmp_path), "-p", WORDS, "-o", str(tmp_path / "out")]
        ended = subprocess.run(
            [*command, "-m", "tiny", "-d", "cpu", "--whole", *more],
            capture_output=True,
            env=os.environ | {"PYTHONIOENCODING": encoding},
        )
        assert ended.returncode == 0, ended.stderr.decode(encoding, "replace")
        return ended.stdout

    return run


def test_characters_that_the_encoding_lacks_are_escaped(label):
    told = label("cp1252").decode("cp1252")
    assert "1 of 1 images labelled" in told
    assert "grün" in told
    assert r"\u65e5\u672c" in told
    assert r"\u2588" not in told  # blanks stand for the colours


def test_utf_8_has_all_characters(label):
    told = label("utf-8").decode("utf-8")
    assert all(text in told for text in ("██ ", "grün", "日本", "😀"))


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8"])
def test_a_json_document_is_utf_8_whatever_the_encoding(label, encoding):
    document = json.loads(label(encoding, "--json").decode("utf-8"))
    assert [one["name"] for one in document["classes"]] == ["grün", "日本", "😀"]

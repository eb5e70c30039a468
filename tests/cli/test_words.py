"""Words after -p that the locale garbles."""

import os
import subprocess
import sys

import pytest

from dinoiser.cli.options import read_words
from dinoiser.errors import PromptError

COMMAND = [sys.executable, "-c", "from dinoiser.cli import main; main()", "label", "nowhere"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere arguments are always UTF-8")
def test_words_that_a_locale_without_utf_8_garbles_are_refused_with_the_cure():
    without_utf_8 = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [*COMMAND, "-p", "背景，狗"],
        env=os.environ | without_utf_8,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    lines = done.stderr.decode("ascii").splitlines()
    assert len(lines) == 1
    assert "LC_ALL=C)" in lines[0]
    assert "--prompts" in lines[0]


def test_utf_8_read_as_latin_1_is_noticed_and_latin_1_is_not_refused(monkeypatch):
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "iso8859-1")
    with pytest.raises(PromptError, match="--prompts"):
        read_words("背景".encode().decode("iso8859-1"))
    assert read_words("vélo, café") == "vélo, café"


def test_words_of_any_script_pass_where_the_locale_is_utf_8():
    assert read_words("背景，狗") == "背景，狗"


def test_each_thing_that_is_wrong_with_the_words_has_a_line(dinoiser, tmp_path):
    code, _, err = dinoiser("label", tmp_path, "-p", "star,, ,;", "-m", "tiny")
    assert code == 2
    first, second = err.splitlines()
    assert first.startswith("Error: class 2 of 'star,, ,;' is empty")
    assert second.startswith("class 3 of 'star,, ,;' is empty")

"""Every example runs."""

import runpy

import pytest

from tests.helpers.places import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example(path, tmp_path, capsys):
    runpy.run_path(str(path))["main"](tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"mask.png", "preview.jpg"}
    assert "%" in capsys.readouterr().out

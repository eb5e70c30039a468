"""Every example runs."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example(path, tmp_path, capsys):
    runpy.run_path(str(path))["main"](tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"mask.png", "preview.jpg"}
    assert "%" in capsys.readouterr().out

"""What the tutorials do, done without a connection."""

from __future__ import annotations

import re
import shlex

import pytest
from PIL import Image
from typer.testing import CliRunner

from dinoiser.cli import demo
from dinoiser.cli.app import app
from dinoiser.scenes import draw_scenes
from tests.docs.pages import ROOT, code_blocks, commands


def test_ten_minutes_on_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = tmp_path / "demo-output" / "images"
    images.mkdir(parents=True)
    for number, scene in enumerate(draw_scenes(demo.IMAGES, demo.IMAGE_SEED, demo.IMAGE_SIZE), 1):
        Image.fromarray(scene.image).save(images / f"scene-{number}.png")

    page = ROOT / "docs/get-started/command-line.md"
    lines = commands(page)
    offline = [line for line in lines if re.search(r"-m tiny|^dinoiser (relabel|export)", line)]
    assert len(offline) == 3
    outcomes = [CliRunner().invoke(app, shlex.split(line)[1:]) for line in offline]
    for outcome in outcomes:
        assert outcome.exit_code == 0, outcome.output
    shares, means = _columns(outcomes[0].stdout)
    shown_shares, shown_means = _columns(page.read_text("utf-8"))
    assert len(shown_shares) == 5
    assert shares == pytest.approx(shown_shares, abs=0.11)  # the last digit that is shown
    assert means == pytest.approx(shown_means, abs=0.011)

    labels = tmp_path / "labels"
    assert len(list((labels / "masks").glob("*.png"))) == 8
    assert len(list((labels / "overlays").glob("*.jpg"))) == 8
    assert all((labels / name).exists() for name in ("report.html", "annotations.json"))
    assert "hoop" in (labels / "prompts.yaml").read_text("utf-8")
    assert "square" in (labels / "data.yaml").read_text("utf-8")


def _columns(text: str) -> tuple[dict[str, float], dict[str, float]]:
    """Share of pixels in percent, and mean confidence, of each class."""
    rows = re.findall(r"^██ (\w+) +([\d.]+)% +([\d.]+)$", text, re.MULTILINE)
    return (
        {name: float(share) for name, share, _ in rows},
        {name: float(mean) for name, _, mean in rows},
    )


def test_the_example_in_python_runs():
    code, *_ = (b.text for b in code_blocks(ROOT / "docs/reference/python.md"))
    names: dict = {}
    exec(compile(code, "python.md", "exec"), names)
    assert names["result"].labels.shape == names["image"].shape[:2]
    assert names["result"].prompts.names == ("background", "red circle", "blue star")

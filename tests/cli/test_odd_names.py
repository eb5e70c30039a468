"""Names that could paint over the terminal, or turn what is written: they are shown, not obeyed."""

import json
import os
import re
import sys

import numpy as np
import pytest
from PIL import Image

from dinoiser.scenes import draw_scene

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="names are POSIX's")

GOOD = ["red\x1b[31m.png", "turned\u202egnp.png", "back\r.png", "csi\x9b2J.png"]
BAD = "bell\x07\n.png"
SHOWN = ["red\\x1b[31m.png", "turned\\u202egnp.png", "back\\r.png", "csi\\x9b2J.png"]
ODD = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    scene = Image.fromarray(draw_scene(np.random.default_rng(2), (64, 64)).image)
    for name in GOOD:
        with open(os.fsencode(folder / name), "wb") as file:
            scene.save(file, "PNG")
    (folder / BAD).write_text("no image")
    return folder


def label(images, out, *more):
    return ["label", images, "-p", "dog", "-m", "tiny", "-d", "cpu", "-o", out, *more]


def test_the_terminal_and_the_report_show_them_escaped(dinoiser, images, tmp_path):
    out = tmp_path / "a[/b]" / "o[red]:smile:"
    code, stdout, stderr = dinoiser(*label(images, out))
    assert code == 1  # of the bad one
    assert f"4 of 5 images labelled: {out}\n" in stdout
    assert f"Report: {out}/report.html\n" in stdout
    assert "  bell\\x07\\n.png: " in stderr
    page = (out / "report.html").read_text()
    for name in (*SHOWN, "bell\\x07\\n.png"):
        assert name in page
    assert not ODD.search(stdout + stderr + page)


def test_a_dry_run_and_json_do_too(dinoiser, images, tmp_path):
    code, stdout, _ = dinoiser(*label(images, tmp_path / "out", "--dry-run"))
    assert code == 0
    assert set(SHOWN) < set(stdout.splitlines())
    assert not ODD.search(stdout)
    _, stdout, _ = dinoiser(*label(images, tmp_path / "out", "--dry-run", "--json"))
    assert not ODD.search(stdout)
    assert set(json.loads(stdout)["images"]) == {*GOOD, BAD}


@pytest.mark.parametrize("name", ["a[/b]", "o[red]", "x\x1b[2J"])
def test_errors_show_paths_as_they_are(dinoiser, tmp_path, name):
    code, _, stderr = dinoiser("export", tmp_path / name, "-f", "coco")
    assert code == 2
    assert name.replace("\x1b", "\\x1b") in stderr
    assert not ODD.search(stderr)


def test_tables_escape_names(dinoiser, images, tmp_path):
    classes = "red\x1b[31m, [/b]"
    code, stdout, stderr = dinoiser(
        *label(images / GOOD[0], tmp_path / "out"), "--no-report", "-p", classes
    )
    assert code in (0, 2)  # such a class may be refused
    assert not ODD.search(stdout + stderr)

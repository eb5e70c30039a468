"""Processes of the Folder tab: what it starts, and what it brings into a running napari."""

import re
import subprocess
import sys

import pytest

from tests.helpers.drawn_images import draw_images

WITHOUT_GUARD = """
import sys

import pytest
from pathlib import Path
print("begins", flush=True)
from dinoiser.batch import LabelJob, Labelling, Running
from dinoiser.prompts import PromptSet
from napari_dinoiser.folder.job import run_job
images, output = map(Path, sys.argv[1:])
seen = []
prompts = PromptSet.parse("background, red circle")
labelling, running = Labelling(prompts, model="tiny"), Running(scheduler="local")
job = LabelJob((images,), output, labelling, running=running)
print(run_job(job, progress=seen.append).done, seen[-1].where)
"""


@pytest.mark.slow
def test_worker_processes_do_not_run_the_script_that_opened_the_window(tmp_path):
    images = draw_images(tmp_path / "images", 2)
    script = tmp_path / "script.py"
    script.write_text(WITHOUT_GUARD)
    command = [sys.executable, script, images, tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.splitlines()[0] == "begins", done.stderr
    assert done.stdout.count("begins") == 1
    assert re.match(r"2 \d+ workers? at tls://127\.0\.0\.1:", done.stdout.splitlines()[1])


OPENED = """
import sys

import pytest
import napari
from napari_dinoiser.folder.widget import FolderWidget
from napari_dinoiser.model_choice import ModelChoice
viewer = napari.Viewer()
viewer.window.add_dock_widget(FolderWidget(viewer, lambda: (None, ModelChoice("tiny"))))
print([name for name in ("torch", "open_clip", "distributed") if name in sys.modules])
viewer.close()
"""


def test_opening_the_tab_brings_no_torch(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", OPENED], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.stdout.strip() == "[]", done.stderr


INTO_A_WINDOW = """
import sys

import pytest
import napari
from qtpy.QtWidgets import QApplication
viewer = napari.Viewer()
QApplication.processEvents()
assert "torch" not in sys.modules
from napari_dinoiser.triton_import import import_triton
import_triton()
import torchvision
viewer.screenshot(flash=False)
viewer.close()
print("drawn")
"""


def test_a_model_comes_into_a_running_napari(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", INTO_A_WINDOW],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=tmp_path,
    )
    assert done.stdout.strip() == "drawn", done.stderr

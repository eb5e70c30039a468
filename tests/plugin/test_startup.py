"""Opening the widget: quick, and without what only a model needs; and leaving it open."""

import subprocess
import sys

SCRIPT = """
import sys
import napari
viewer = napari.Viewer(show=False)
before = set(sys.modules)
{open_widget}
brought = {{name.partition(".")[0] for name in set(sys.modules) - before}}
assert not brought & {{"torch", "open_clip", "dask", "distributed", "pycocotools"}}, brought
viewer.close()
"""


def run(open_widget):
    code = SCRIPT.format(open_widget=open_widget)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_opening_the_widget_brings_no_torch():
    done = run(
        "from napari_dinoiser.main_widget import DinoiserWidget\n"
        "viewer.window.add_dock_widget(DinoiserWidget(viewer))"
    )
    assert done.returncode == 0, done.stderr


def test_napari_opens_it_by_the_plugins_name():
    """As in `napari -w napari-dinoiser`."""
    done = run('viewer.window.add_plugin_dock_widget("napari-dinoiser")')
    assert done.returncode == 0, done.stderr


LEFT_OPEN = """
import napari
from qtpy.QtWidgets import QApplication
viewer = napari.Viewer()
viewer.window.add_plugin_dock_widget("napari-dinoiser")
QApplication.processEvents()
"""


def test_a_script_may_end_with_the_window_open():
    done = subprocess.run(
        [sys.executable, "-c", LEFT_OPEN], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr

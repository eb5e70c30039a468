"""The manifest: valid, all that it names is there, and napari offers it."""

import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest
import yaml
from app_model.types import MenuItem
from napari._app_model import get_app_model
from qtpy.QtWidgets import QTabWidget

from tests.helpers.places import ROOT

MANIFEST = yaml.safe_load((ROOT / "napari_dinoiser" / "napari.yaml").read_text())
COMMANDS = MANIFEST["contributions"]["commands"]


def test_npe2_finds_nothing_wrong(tmp_path):
    command = [sys.executable, "-m", "npe2", "validate", "napari-dinoiser"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "valid" in done.stdout


@pytest.mark.parametrize("name", [command["python_name"] for command in COMMANDS])
def test_every_python_name_is_there(name):
    module, _, attribute = name.partition(":")
    assert callable(getattr(import_module(module), attribute))


def test_the_layers_menu_opens_the_widget(make_napari_viewer):
    viewer = make_napari_viewer()
    app = get_app_model()
    items = app.menus.get_menu("napari/layers/segment")
    ours = [item.command.id for item in items if isinstance(item, MenuItem)]
    (command,) = [name for name in ours if name.startswith("napari-dinoiser")]
    app.commands.execute_command(command).result()
    assert "DINOiser" in " ".join(viewer.window.dock_widgets)


def test_the_widget_opens_by_the_plugins_name_alone(make_napari_viewer):
    _, widget = make_napari_viewer().window.add_plugin_dock_widget("napari-dinoiser")
    tabs = widget.findChild(QTabWidget, "tabs")
    assert [tabs.tabText(i) for i in range(tabs.count())] == ["Segment", "Folder", "Review"]


@pytest.mark.parametrize(("key", "layers"), [("scene", 2), ("photo", 1)])
def test_sample_data_opens_offline(make_napari_viewer, key, layers):
    opened = make_napari_viewer().open_sample("napari-dinoiser", key)
    assert len(opened) == layers
    assert opened[0].rgb
    assert np.asarray(opened[0].data).std() > 0

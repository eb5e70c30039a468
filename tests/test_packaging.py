"""The package as it is installed: imports, start-up, wheel and editable, the napari manifest."""

import json
import os
import site
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from tests.helpers.places import ROOT


def python(code, *, executable=sys.executable, cwd):
    """Run Python code elsewhere; its stdout."""
    done = subprocess.run(
        [executable, "-c", code], capture_output=True, text=True, cwd=cwd, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_library_knows_no_gui_and_starts_without_torch(tmp_path):
    code = """
import sys, json
import dinoiser, dinoiser.cli, napari_dinoiser, napari_dinoiser.files.sample_data
heavy = ("torch", "open_clip", "napari", "qtpy", "skimage")
print(json.dumps([name for name in heavy if name in sys.modules]))
"""
    assert json.loads(python(code, cwd=tmp_path)) == []


def test_every_public_name_is_there(tmp_path):
    code = """
import json, sys, dinoiser
missing = [name for name in dinoiser.__all__ if not hasattr(dinoiser, name)]
gui = sorted({"napari", "qtpy", "magicgui"} & set(sys.modules))
print(json.dumps([dinoiser.__all__, missing, gui]))
"""
    names, missing, gui = json.loads(python(code, cwd=tmp_path))
    assert "segment_array" in names
    assert names == sorted(names)
    assert missing == gui == []


def test_the_manifest_at_the_top_is_the_packages():
    assert (ROOT / "napari.yaml").read_text() == (ROOT / "napari_dinoiser/napari.yaml").read_text()


FIND_PLUGIN = """
from npe2 import PluginManager
manager = PluginManager()
manager.discover()
manifest = manager.get_manifest("napari-dinoiser")
print(manifest.name, [sample.key for sample in manifest.contributions.sample_data])
"""


def test_commands_of_the_manifest_exist_and_work():
    from importlib import import_module

    manifest = yaml.safe_load((ROOT / "napari.yaml").read_text())
    for command in manifest["contributions"]["commands"]:
        module, name = command["python_name"].split(":")
        assert callable(getattr(import_module(module), name))
    from napari_dinoiser.files.sample_data import sample_scene

    (image, _, kind), (labels, truth, _) = sample_scene()
    assert kind == "image"
    assert image.shape == (*labels.shape, 3)
    assert len(truth["features"]["class"]) == labels.max() + 1


@pytest.mark.skipif(find_spec("dinoiser_training") is None, reason="not installed as editable")
def test_editable_install(tmp_path):
    assert "napari-dinoiser ['scene', 'photo']" in python(FIND_PLUGIN, cwd=tmp_path)
    python("import dinoiser, dinoiser_training.tiny", cwd=tmp_path)
    code = "from importlib.util import find_spec; print(find_spec('training'), find_spec('tests'))"
    assert python(code, cwd=tmp_path) == "None None"


def test_wheel(tmp_path):
    """A wheel in an environment of its own, whose dependencies are this one's."""
    uv = [sys.executable, "-m", "uv", "--quiet"]
    subprocess.run([*uv, "build", "--wheel", "--out-dir", tmp_path, ROOT], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < 6e6
    subprocess.run([*uv, "venv", "--python", sys.executable, tmp_path / "env"], check=True)
    folder = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    install = [*uv, "pip", "install", "--no-deps", "--python", folder / "python", wheel]
    subprocess.run(install, check=True)
    code = "import site; print(site.getsitepackages()[0])"
    packages = Path(python(code, executable=folder / "python", cwd=tmp_path))
    (packages / "dependencies.pth").write_text(site.getsitepackages()[0])

    found = python(FIND_PLUGIN, executable=folder / "python", cwd=tmp_path)
    assert "napari-dinoiser ['scene', 'photo']" in found
    code = "import dinoiser, dinoiser_training.tiny; print(dinoiser.__file__)"
    assert str(packages) in python(code, executable=folder / "python", cwd=tmp_path)
    helped = subprocess.run([folder / "dinoiser", "--help"], capture_output=True, check=True)
    assert b"label" in helped.stdout
    listed = subprocess.run(
        [folder / "dinoiser", "models", "list", "--json"], capture_output=True, check=True
    )
    assert {m["name"]: m["cached"] for m in json.loads(listed.stdout)}["tiny"]
    names = {path.name for path in packages.iterdir()}
    assert not names & {"training", "tests", "benchmarks", "examples"}

"""Tests for loading torch's libraries in a process with a window."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys
from pathlib import Path
from napari_dinoiser.triton_import import import_triton

import_triton()
assert "torch" not in sys.modules
print(Path("/proc/self/maps").read_text())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, nothing is loaded beforehand")
def test_the_libraries_of_torch_are_there_before_its_import_holds_pythons_lock():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "libtorch_cpu" in done.stdout

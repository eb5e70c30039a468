"""Tests for what napari does once, before its first layer."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys, threading
import numpy as np
from napari.components import ViewerModel
from napari_dinoiser.layer_warm_up import warm_up_layers

viewer = ViewerModel()
thread = threading.Thread(target=warm_up_layers)
thread.start()
thread.join()
before = {name.partition(".")[0] for name in sys.modules}
viewer.add_labels(np.ones((4, 4), np.uint8), features={"index": [0, 1], "class": ["a", "b"]})
viewer.add_image(np.zeros((4, 4)), colormap="viridis")
print(*({name.partition(".")[0] for name in sys.modules} - before))
"""


@pytest.mark.slow
def test_the_window_imports_no_package_when_its_first_layers_come():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []

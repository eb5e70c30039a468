"""Models, jobs and fits on a device that is not the CPU, as far as that can be seen on one."""

import subprocess
import sys

import pytest

from tests.helpers.places import ROOT


@pytest.mark.slow
def test_the_models_the_jobs_and_the_fits_keep_to_their_device():
    checks = ROOT / "tests" / "other_device" / "checks.py"
    # In a process of its own: the device, once registered, is there for good.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", str(checks)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr

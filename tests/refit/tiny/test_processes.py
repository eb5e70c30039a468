"""The recipes of the embedded model's parts, in one process and in two."""

import subprocess
import sys

import pytest
import torch


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without")
@pytest.mark.parametrize("recipe", ["backbone", "teacher"])
def test_two_processes_make_the_file_that_one_makes(recipe, tmp_path):
    module = ["-m", f"dinoiser_training.tiny.{recipe}", "--steps", "2"]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    made = []
    for start in ([], launcher):
        made.append(tmp_path / f"{len(made)}.safetensors")
        command = [sys.executable, *start, *module, "--out", str(made[-1])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert made[0].read_bytes() == made[1].read_bytes()

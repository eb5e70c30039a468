"""What `make gpu` runs, tried out on the CPU."""

import subprocess
import sys

import pytest

from tests.helpers.places import ROOT


@pytest.mark.slow
def test_every_line_of_make_gpu_runs_and_its_table_can_go_into_the_docs():
    command = [sys.executable, "-m", "benchmarks.gpu", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    _, table = done.stdout.split("| what | found | goal |\n|---|---|---|\n")
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert {len(line) for line in lines} == {3}
    found = {what: value for what, value, _ in lines}
    assert found["tests for devices"].startswith("1 passed")
    assert found["same masks, batches filled otherwise, float32"] == "True"
    assert found["a batch that does not fit is answered, float32"] == "True"
    assert found["labels as on the CPU, float32"] == "100.00 %"
    assert float(found["the same, 2 processes"]) > 0

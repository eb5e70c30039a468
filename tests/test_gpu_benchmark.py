"""What `make gpu` runs, tried out on the CPU."""

import subprocess
import sys

import pytest

from benchmarks import gpu
from tests.helpers.places import ROOT


@pytest.mark.slow
def test_every_line_of_make_gpu_runs_and_its_table_can_go_into_the_docs():
    command = [sys.executable, "-m", "benchmarks.gpu", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    _, rest = done.stdout.split("| what | found | goal |\n|---|---|---|\n")
    table = rest.partition("\n\n")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert {len(line) for line in lines} == {3}
    found = {what: value for what, value, _ in lines}
    assert found["tests for devices"].startswith("1 passed")
    assert found["same masks, batches filled otherwise, float32"] == "True"
    assert found["a batch that does not fit is answered, float32"] == "True"
    assert found["labels as on the CPU, float32"] == "100.00 %"
    assert float(found["the same, 2 processes"]) > 0


def test_a_line_that_fails_says_why_and_the_table_goes_on(capsys):
    def fails():
        msg = "no C compiler |\n was found"
        raise RuntimeError(msg)

    gpu.print_line(gpu.Line("compiled", "1.00", fails))
    gpu.print_line(gpu.Line("tests", "none", lambda: "16 passed"))
    assert capsys.readouterr().out.splitlines() == [
        "| compiled | RuntimeError: no C compiler / was found | 1.00 |",
        "| tests | 16 passed | none |",
    ]

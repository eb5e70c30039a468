"""The log of a fit: what it holds stays, also when the disk takes no more."""

import sys
from contextlib import contextmanager

import pytest
from dinoiser_training.logs import CSV_FILE, FitLog, LogRow

from dinoiser.errors import OutputError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="limits are those of POSIX")
ROWS = [LogRow(step, 0.5, 0.25, 100.0) for step in range(10, 310, 10)]


@contextmanager
def no_longer_files_than(size):
    """Let the system refuse longer files, as a full disk does."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_log_that_cannot_grow_is_named_and_keeps_its_lines(tmp_path):
    with FitLog(tmp_path) as log:
        for row in ROWS:
            log.write(row)
        written = (tmp_path / CSV_FILE).read_bytes()
        with no_longer_files_than(len(written)), pytest.raises(OutputError, match=r"log\.csv"):
            log.write(ROWS[-1])
    assert (tmp_path / CSV_FILE).read_bytes() == written


def test_a_log_that_cannot_be_begun_again_is_named_and_keeps_its_lines(tmp_path):
    with FitLog(tmp_path) as log:
        for row in ROWS:
            log.write(row)
    written = (tmp_path / CSV_FILE).read_bytes()
    with no_longer_files_than(100), pytest.raises(OutputError, match=r"log\.csv"):
        FitLog(tmp_path, done=200)
    assert (tmp_path / CSV_FILE).read_bytes() == written


def test_a_resumed_log_goes_on_after_the_lines_of_its_checkpoint(tmp_path):
    for done in (0, 200):
        with FitLog(tmp_path, done) as log:
            for row in ROWS[done // 10 :]:
                log.write(row)
    lines = (tmp_path / CSV_FILE).read_text().splitlines()
    assert lines == [",".join(LogRow._fields), *(",".join(map(str, row)) for row in ROWS)]

"""The command line, run in this process."""

import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

import pytest

from dinoiser.cli import main


def dinoiser(*arguments):
    """Run a command: exit code, stdout, stderr."""
    out, err = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["dinoiser", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
    return code, out.getvalue(), err.getvalue()

"""Ends the process of the checks at once."""

import os
import sys

import pytest


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    if "tests.other_device.device" in sys.modules:
        sys.stdout.flush()
        # Autograd's thread of such a device cannot be joined, and would abort the process.
        os._exit(config.exit_code)


@pytest.hookimpl
def pytest_sessionfinish(session, exitstatus):
    session.config.exit_code = int(exitstatus)

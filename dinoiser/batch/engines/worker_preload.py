"""Loaded by dask into the workers that it starts on this machine."""

from __future__ import annotations

import signal
from typing import Any


def dask_setup(worker: Any) -> None:
    """Leave Ctrl-C, which a terminal sends to all processes, to the one that started them."""
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)

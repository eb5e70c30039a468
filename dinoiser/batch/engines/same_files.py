"""Workers of the user's own cluster must see the files that the client sees."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from dinoiser.batch.folder import WRITER
from dinoiser.errors import ClusterError

if TYPE_CHECKING:
    from pathlib import Path

    from dinoiser.batch.engines.shards import Shard
    from dinoiser.batch.job import LabelJob

SECONDS_TO_APPEAR = 60
"""As long as network file systems may remember that a file is not there, or an earlier one."""
SECONDS_BETWEEN_LOOKS = 1


def read_mark(job: LabelJob) -> bytes | None:
    """Read what tells the job's folder from others; None where workers are on this machine."""
    return None if job.running.scheduler == "local" else _read(job.output)


def check_same_files(job: LabelJob, shard: Shard, mark: bytes | None) -> None:
    """Refuse to label on a worker that sees other files than the client.

    Parameters
    ----------
    job
        The job.
    shard
        The images to be labelled next.
    mark
        See `read_mark`.

    Raises
    ------
    ClusterError
        The job's folder is not there, or is another one of the same name, in
        which masks would be lost; or the images' folders are missing or empty.
    """
    if mark is None:
        return
    until = time.monotonic() + SECONDS_TO_APPEAR
    while _read(job.output) != mark:
        if time.monotonic() > until:
            raise _unseen(job.output)
        time.sleep(SECONDS_BETWEEN_LOOKS)
    # images may have been deleted since they were found, but a disk that is not mounted has none
    if not any(_holds_files(folder) for folder in {os.path.dirname(image.path) for image in shard}):
        raise _unseen(shard[0].path)


def _read(output: Path) -> bytes | None:
    with suppress(OSError):
        return (output / WRITER).read_bytes()
    return None


def _holds_files(folder: str) -> bool:
    with suppress(OSError), os.scandir(folder) as entries:
        return any(entries)
    return False


def _unseen(path: str | Path) -> ClusterError:
    return ClusterError(
        f"The worker on {socket.gethostname()} does not see {path} as this machine does; all "
        "workers need the same files under the same paths. Start it where they are, or stop it, "
        "and run the same command to resume."
    )

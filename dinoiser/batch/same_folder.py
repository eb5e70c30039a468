"""A job's folder that people may move away while the job runs."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from dinoiser.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class SameFolder:
    """Sees that results go into the folder that was there when the job began.

    Parameters
    ----------
    folder
        The job's folder, which is there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._identity = _identity(folder)

    @contextmanager
    def stays(self) -> Iterator[None]:
        """Write into the folder: what goes wrong because it is gone is said to.

        Raises
        ------
        OutputError
            The folder is gone, or another has come in its place; before,
            while or after something was written.
        """
        self._check()
        try:
            yield
        except OutputError:  # where it went between two steps of a write
            self._check()
            raise
        self._check()  # most writers make the folders that they miss

    def _check(self) -> None:
        if _identity(self.folder) != self._identity:
            msg = (
                f"The output folder {self.folder} was moved, removed or unmounted while the "
                "job ran; put it back and run the same command to resume."
            )
            raise OutputError(msg)


def _identity(folder: Path) -> tuple[int, int] | None:
    """Tell a folder from another that has taken its place; None where there is none."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino

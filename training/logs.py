"""Log a fit to a CSV table and, if it is installed, to TensorBoard."""

from __future__ import annotations

import csv
import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from dinoiser.atomic import write_error, write_file
from dinoiser.batch.records import append_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import numpy as np

CSV_FILE = "log.csv"


class LogRow(NamedTuple):
    """One line of the log; losses are means over the steps since the previous line."""

    step: int
    correlation_loss: float
    objectness_loss: float
    images_per_second: float


class FitLog:
    """Writes the log of a fit; a resumed fit continues after the lines of its checkpoint.

    Parameters
    ----------
    folder
        Folder for `CSV_FILE` and, in "tensorboard", for TensorBoard's files.
    done
        Number of steps done before; later lines are dropped.
    active
        False in all processes but the first; these write nothing.

    Raises
    ------
    OutputError
        The log cannot be written, here or later; what it holds stays.
    """

    def __init__(self, folder: Path, done: int = 0, active: bool = True) -> None:
        self._active = active
        if active:
            self._begin(folder, done)

    def _begin(self, folder: Path, done: int) -> None:
        self._path = folder / CSV_FILE
        # lines after the checkpoint belong to steps that will be repeated
        kept = [row for row in self._read() if int(row["step"]) <= done]
        write_file(self._path, _as_csv([LogRow._fields, *(row.values() for row in kept)]))
        self._boards = folder / "tensorboard"
        with _written(self._boards):
            self._board = _tensorboard(self._boards, done)

    def _read(self) -> list[dict[str, str]]:
        if not self._path.is_file():
            return []
        with self._path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def write(self, row: LogRow) -> None:
        """Add a line."""
        if not self._active:
            return
        append_lines(self._path, _as_csv([row]))
        if self._board is not None:
            with _written(self._boards):
                for name, value in row._asdict().items():
                    if name != "step":
                        self._board.add_scalar(name, value, row.step)
                self._board.flush()  # a thread would find a full disk at some later time

    def show(self, step: int, image: np.ndarray) -> None:
        """Add an image (H, W, 3) uint8."""
        if self._active and self._board is not None:
            with _written(self._boards):
                self._board.add_image("student and teacher", image, step, dataformats="HWC")
                self._board.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._active and self._board is not None:
            with _written(self._boards):
                self._board.close()


def _as_csv(rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """Say in a sentence what another program's writer could not write."""
    try:
        yield
    except OSError as error:
        raise write_error(path, error) from error


def has_tensorboard() -> bool:
    """Whether TensorBoard is installed."""
    from importlib.util import find_spec

    return find_spec("tensorboard") is not None


def _tensorboard(folder: Path, done: int) -> Any:
    if not has_tensorboard():
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(folder, purge_step=done + 1)

"""Labels of pixels, on a CPU: in each block, only the classes that can win there are compared.

    classes of each block --one: it has all pixels--> labels
                          --several: compared at pixels--> labels

A block is the pixels between the centres of the same four cells, see `dinoiser.segment.contest`.
There, a map of cells is `a + b x + y (c + d x)`, with x and y in [0, 1) from a centre to the next.
All steps are products and sums of float32, rounded one by one: a pixel is the same in any part of
an image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided, sliding_window_view

from dinoiser.segment.median import median_of_nine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from dinoiser.segment.canvas import Canvas
    from dinoiser.segment.contest import Blocks, Contest
    from dinoiser.segment.edges import Fit

PIXELS_AT_ONCE = 2**17
"""Pixels of blocks that are compared at a time: few enough for the processor's cache."""
REFUSED = -1e30
"""Added to what a class has where it may not be."""

SHARE = 4
"""Where the share of a class is, after the four numbers of its function."""


class _Batch(NamedTuple):
    """B blocks of the same size, in each of which S classes can win.

    Attributes
    ----------
    i, j
        (B,), which they are, along rows and columns.
    classes
        (S, B), the classes.
    rows, columns
        (B, height) and (B, width), their pixels.
    at_edge
        Whether the image has no pixels beyond one of their sides.
    """

    i: np.ndarray
    j: np.ndarray
    classes: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    at_edge: bool

    @property
    def size(self) -> tuple[int, int]:
        return self.rows.shape[1], self.columns.shape[1]


class BlockLabels:
    """The pixels of a part of an image, to be labelled block by block.

    Parameters
    ----------
    fit
        What cells know about the K classes.
    shares
        (K, n, m) float64, what pixels of each class have if they lie in a cell.
    contest
        The blocks, and which classes can win in them.
    image
        (rows, columns, 3) uint8: the part, and one more pixel on each side as
        far as the image has any.
    margin
        (rows, columns) that it has before the part: 1, or 0 at the image's edge.
    """

    def __init__(
        self,
        fit: Fit,
        shares: Tensor,
        contest: Contest,
        image: np.ndarray,
        margin: tuple[int, int],
    ) -> None:
        self._contest = contest
        self._channels = fit.channels
        # K, n, m: 0, or `REFUSED` where a class may not be
        self._refusals = np.where(fit.allowed.numpy(), np.float32(0), np.float32(REFUSED))
        # K, n, m and five numbers: a function of colours from 0 to 255, and the share
        maps = torch.cat([fit.functions[:, :3] / 255, fit.functions[:, 3:], shares[:, None]], 1)
        self._maps = maps.permute(0, 2, 3, 1).contiguous().numpy()
        self._image = image if image.strides[1:] == (3, 1) else np.ascontiguousarray(image)
        self._margin = margin

    def fill(self, canvas: Canvas) -> None:
        """Fill in the part's labels and confidence."""
        self._fill_rows(canvas)
        for batch in self._contested():
            self._compare(batch, canvas)

    def _fill_rows(self, canvas: Canvas) -> None:
        """Give each block to the first class that can win there, and often is the only one."""
        rows, columns = self._contest.rows, self._contest.columns
        winner = self._contest.can_win.argmax(0)  # of each row and column of blocks
        labels = canvas.ids[self._channels][winner]
        i, j = np.ix_(*map(np.arange, winner.shape))
        coefficients = _bilinear(self._corners(self._maps[..., SHARE], winner, i, j))
        widths = torch.from_numpy(columns.lengths)
        block_of = torch.arange(len(widths)).repeat_interleave(widths)
        for row, places in enumerate(rows.places):
            lines = _along_columns(coefficients[:, row].index_select(1, block_of), columns.share)
            share = _along_rows(*lines, rows.share[places, None])
            canvas.labels[places] = labels[row].index_select(0, block_of)
            # patches changed by the background filter sum to more than 1, see `apply_background`
            canvas.confidence[places] = share.clamp_(max=1)

    # -- Blocks in which several classes can win

    def _contested(self) -> Iterator[_Batch]:
        """Sort the blocks in which several classes can win into batches."""
        rows, columns = self._contest.rows, self._contest.columns
        can_win = self._contest.can_win
        count = can_win.sum(0)
        i, j = np.nonzero(count > 1)
        if not len(i):
            return
        height, width = rows.lengths[i], columns.lengths[j]
        top, left = rows.starts[i], columns.starts[j]
        at_edge = np.zeros(len(i), bool)
        for first, length, margin, end in zip(
            (top, left), (height, width), self._margin, self._image.shape[:2], strict=True
        ):
            at_edge |= (first + margin == 0) | (first + margin + length == end)
        kinds, kind = np.unique(
            np.stack([height, width, count[i, j], at_edge], 1), axis=0, return_inverse=True
        )
        for number, (high, wide, several, edge) in enumerate(kinds.tolist()):
            found = np.flatnonzero(kind.ravel() == number)
            at_once = max(1, PIXELS_AT_ONCE // (high * wide))
            for start in range(0, len(found), at_once):
                some = found[start : start + at_once]
                yield _Batch(
                    i[some],
                    j[some],
                    np.nonzero(can_win[:, i[some], j[some]].T)[1].reshape(-1, several).T,
                    top[some, None] + np.arange(high),
                    left[some, None] + np.arange(wide),
                    bool(edge),
                )

    def _compare(self, batch: _Batch, canvas: Canvas) -> None:
        """Give each pixel of some blocks to the best of its block's classes."""
        contenders = self._contenders(batch, canvas)
        best, picked, label = next(contenders)
        for value, share, own in contenders:
            # numpy compares in an eighth of torch's time, and casts in a quarter
            better = value.numpy() > best.numpy()
            torch.maximum(best, value, out=best)
            # products with 0 and 1: a choice takes up to forty times as long as they do
            label += (own - label) * better.view(np.uint8)
            new = torch.from_numpy(better.astype(np.float32))
            share *= new
            picked.mul_(1 - new).add_(share)

        confidence = picked.clamp_(max=1).to(canvas.confidence.dtype).numpy()
        height, width = batch.size
        place = batch.rows[:, 0], batch.columns[:, 0]
        for found, into in ((label, canvas.labels), (confidence, canvas.confidence)):
            windows = sliding_window_view(into.numpy(), batch.size, writeable=True)
            windows[place] = found.reshape(height, -1, width).transpose(1, 0, 2)

    def _contenders(
        self, batch: _Batch, canvas: Canvas
    ) -> Iterator[tuple[Tensor, Tensor, np.ndarray]]:
        """Yield value, share and label, (height, B * width) each, of each class in turn."""
        height, width = batch.size
        x = self._contest.columns.share[batch.columns]
        y = self._contest.rows.share[batch.rows.T, None].expand(-1, -1, width).flatten(1)
        # S, five numbers, blocks, width
        corners = self._corners(self._maps, batch.classes, batch.i, batch.j)
        coefficients = _bilinear(corners).movedim(-1, -2).contiguous()
        lines = (line.flatten(2) for line in _along_columns(coefficients[..., None], x))
        refused = self._refused(batch)
        colours = self._smoothed(batch).unbind()
        ids = canvas.ids[self._channels].numpy()[batch.classes].repeat(width, 1)
        for still, moving, not_here, own in zip(*lines, refused, ids, strict=True):
            # of each number of a class: what it has at a row of cells, and its rise to the next
            *factors, added, of_share = zip(still, moving, strict=True)
            value = _along_rows(*added, y)
            for factor, colour in zip(factors, colours, strict=True):
                value += _along_rows(*factor, y).mul_(colour)
            if not_here is not None:
                value += not_here
            yield value, _along_rows(*of_share, y), np.tile(own, (height, 1))

    def _refused(self, batch: _Batch) -> Iterator[Tensor | None]:
        """Yield what is added where a class may not be: `REFUSED`, else 0; None if nowhere."""
        rows, columns = self._contest.rows, self._contest.columns
        # which of the four cells pixels lie in: 1 if it is below, True if it is right
        below = rows.own[batch.rows.T] != rows.before[batch.i]  # height, blocks
        below = torch.from_numpy(below.repeat(batch.size[1], 1).astype(np.float32))
        right = columns.own[batch.columns] != columns.before[batch.j, None]  # blocks, width
        for classes in batch.classes:
            corners = self._corners(self._refusals, classes, batch.i, batch.j)
            if not np.any(corners):
                yield None
                continue
            above, under = (
                torch.from_numpy(np.where(right, after[:, None], before[:, None])).flatten()
                for before, after in corners
            )
            yield _along_rows(above, under - above, below)

    def _corners(
        self, maps: np.ndarray, classes: np.ndarray, i: np.ndarray, j: np.ndarray
    ) -> list[list[np.ndarray]]:
        """Return what maps (K, n, m, ...) have at the corners of blocks, see `_bilinear`."""
        rows, columns = self._contest.rows, self._contest.columns
        return [[maps[classes, up[i], left[j]] for left in columns.ends] for up in rows.ends]

    def _smoothed(self, batch: _Batch) -> Tensor:
        """Colours (3, height, B * width) float32 from 0 to 255, each the median of 3 x 3 pixels."""
        height, width = batch.size
        rows, columns = (
            places[:, 0] + margin - 1
            for places, margin in zip((batch.rows, batch.columns), self._margin, strict=True)
        )
        line = 3 * (width + 2)
        # B blocks with one more pixel on each side
        if batch.at_edge:  # its last pixels are repeated
            down, across = (
                (firsts[:, None] + np.arange(count + 2)).clip(0, length - 1)
                for firsts, count, length in zip(
                    (rows, columns), batch.size, self._image.shape, strict=False
                )
            )
            pixels = self._image[down[..., None], across[:, None]]
        else:
            high, wide, _ = self._image.shape
            flat = as_strided(self._image, (high, 3 * wide), (self._image.strides[0], 1))
            pixels = sliding_window_view(flat, (height + 2, line))[rows, 3 * columns]
        median = torch.from_numpy(median_of_nine(pixels.reshape(-1), line, 3))
        # each channel by itself, without what is around the blocks
        blocks = median.as_strided((3, height, len(rows), width), (1, line, line * (height + 2), 3))
        return blocks.to(torch.float32, memory_format=torch.contiguous_format).flatten(2)


def values_at(maps: Tensor, row: Blocks, column: Blocks) -> Tensor:
    """Values (K,) float32 of maps (K, n, m) of cells at a pixel, which is alone in its block."""
    cells = maps.cpu().numpy()
    corners = [[cells[:, i, j] for j in np.ravel(column.ends)] for i in np.ravel(row.ends)]
    return _along_rows(*_along_columns(_bilinear(corners), column.share), row.share)


def _bilinear(corners: list[list[np.ndarray]]) -> Tensor:
    """Return a, b, c and d (4, ...) float32 of what is at the corners of blocks.

    Corners are above and below, and in each of these before and after.
    """
    (a, right), (below, right_below) = corners
    b, c = right - a, below - a
    return torch.from_numpy(np.stack([a, b, c, right_below - below - b]).astype(np.float32))


def _along_columns(coefficients: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return `a + b x` and `c + d x` at the columns of pixels."""
    a, b, c, d = coefficients
    return (b * x).add_(a), (d * x).add_(c)


def _along_rows(still: Tensor, moving: Tensor, y: Tensor) -> Tensor:
    """Return `still + y moving` of columns of pixels, at their rows."""
    return torch.mul(y, moving).add_(still)

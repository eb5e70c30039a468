"""From windows of patch probabilities to pixels, a band of rows at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from dinoiser.segment.windows import WindowLayout


@dataclass(frozen=True)
class ProbabilityMap:
    """Class probabilities of one picture, kept at patch resolution.

    Attributes
    ----------
    patches
        (n, K, h, w) float32, the probabilities of every window.
    layout
        Where the windows lie.
    patch_size
        Side of a patch in pixels where a window's patches cover it with
        padding at the right and bottom, which is cut off (the published demo);
        None where they are stretched over the window (the published
        evaluation). The two agree on multiples of the patch.

    Notes
    -----
    Windows are interpolated bilinearly to pixels (`align_corners=False`), the
    plain mean is taken where they overlap, and that map is interpolated to
    the picture's size. Only the rows asked for are ever made.
    """

    patches: Tensor
    layout: WindowLayout
    patch_size: int | None = None

    def select(self, channel: int) -> ProbabilityMap:
        """Return the map of one class alone."""
        return replace(self, patches=self.patches[:, channel : channel + 1])

    def bands(self, values_at_once: int = 2**22) -> Iterator[tuple[slice, Tensor]]:
        """Go through the picture from the top.

        Parameters
        ----------
        values_at_once
            Rows are chosen so that a band holds about this many numbers.

        Yields
        ------
        rows, probabilities
            A slice of the picture's rows and their probabilities (K, rows, W).
        """
        height, width = self.layout.size
        step = max(1, values_at_once // (self.patches.shape[1] * width))
        for start in range(0, height, step):
            rows = slice(start, min(start + step, height))
            yield rows, self.rows(rows.start, rows.stop)

    def rows(self, start: int, stop: int) -> Tensor:
        """Probabilities (K, stop - start, W) of the picture's rows `start` to `stop`."""
        height, width = self.layout.size
        working_height, working_width = self.layout.working_size
        if (height, width) == (working_height, working_width):
            return self._working_rows(start, stop)
        down = _Taps.between(working_height, height, start, stop, self.patches.device)
        first, last = down.first, down.last
        band = down.shift(first).apply(self._working_rows(first, last + 1), dim=1)
        across = _Taps.between(working_width, width, 0, width, self.patches.device)
        return across.apply(band, dim=2)

    def _working_rows(self, start: int, stop: int) -> Tensor:
        """Mean over windows, (K, stop - start, w), at the working size."""
        total = self.patches.new_zeros(
            self.patches.shape[1], stop - start, self.layout.working_size[1]
        )
        visits = self.patches.new_zeros(stop - start, self.layout.working_size[1])
        for window, patches in zip(self.layout.windows, self.patches, strict=True):
            top, bottom = max(window.top, start), min(window.bottom, stop)
            if top >= bottom:
                continue
            pixels = self._window_rows(patches, window.top, window.bottom, top, bottom)
            place = (slice(top - start, bottom - start), slice(window.left, window.right))
            total[(slice(None), *place)] += pixels[..., : window.right - window.left]
            visits[place] += 1
        return total if len(self.patches) == 1 else total / visits

    def _window_rows(
        self, patches: Tensor, window_top: int, window_bottom: int, top: int, bottom: int
    ) -> Tensor:
        """Pixels (K, bottom - top, width) of one window's patches (K, h, w)."""
        width = self.layout.columns[0][1] - self.layout.columns[0][0]
        spread_height, spread_width = window_bottom - window_top, width
        if self.patch_size:
            spread_height, spread_width = (n * self.patch_size for n in patches.shape[-2:])
        top, bottom = top - window_top, bottom - window_top
        down = _Taps.between(patches.shape[-2], spread_height, top, bottom, patches.device)
        across = _Taps.between(patches.shape[-1], spread_width, 0, width, patches.device)
        return across.apply(down.apply(patches, dim=1), dim=2)


@dataclass(frozen=True)
class _Taps:
    """Linear interpolation along an axis: two neighbours and the second one's share."""

    lower: Tensor
    upper: Tensor
    share: Tensor

    @classmethod
    def between(
        cls, length: int, new_length: int, start: int, stop: int, device: torch.device
    ) -> _Taps:
        """Taps of places `start` to `stop` when `length` becomes `new_length` (pixel centres)."""
        place = torch.arange(start, stop, device=device, dtype=torch.float32) + 0.5
        place = (place * (length / new_length) - 0.5).clamp(min=0)
        lower = place.long().clamp(max=length - 1)
        return cls(lower, (lower + 1).clamp(max=length - 1), place - lower)

    @property
    def first(self) -> int:
        return int(self.lower[0])

    @property
    def last(self) -> int:
        return int(self.upper[-1])

    def shift(self, start: int) -> _Taps:
        """Return the taps for an array that begins at `start`."""
        return _Taps(self.lower - start, self.upper - start, self.share)

    def apply(self, x: Tensor, dim: int) -> Tensor:
        """Interpolate x (K, rows, columns) along `dim`."""
        share = self.share.view(-1, 1) if dim == 1 else self.share
        lower, upper = x.index_select(dim, self.lower), x.index_select(dim, self.upper)
        return torch.lerp(lower, upper, share)
